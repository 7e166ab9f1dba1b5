"""The error a handler raises to answer with a status."""

from http import HTTPStatus

from prefork.errors import PreforkError
from prefork.web.headers import HeaderInput
from prefork.web.response import Response


class HTTPError(PreforkError):
    """Answer with `status` and, as a line of text, `detail`; by default the status's own phrase.

    Raises ValueError for a status that is no error: below 400 or above 599.
    """

    def __init__(self, status: int, detail: str | None = None, headers: HeaderInput = None) -> None:
        if not 400 <= status <= 599:
            raise ValueError(f"HTTPError is for 400 to 599, not {status}: return a Response")
        self.status = int(status)
        self.detail = phrase(status) if detail is None else detail
        self.headers = headers
        super().__init__(f"{self.status} {self.detail}")

    def response(self) -> Response:
        """What the client gets unless an exception handler says otherwise."""
        return Response(self.detail + "\n", self.status, self.headers)


def phrase(status: int) -> str:
    """The standard phrase of a status (RFC 9110, 15), or its class's."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Client Error" if status < 500 else "Server Error"
