"""Answer with a file from disk."""

import os
from functools import partial
from typing import ClassVar, Literal
from urllib.parse import quote

from prefork.web.content_types import guess_type
from prefork.web.exchange import Exchange
from prefork.web.headers import HeaderInput, encode_field
from prefork.web.http_error import HTTPError
from prefork.web.looking import open_regular, without_waiting
from prefork.web.parts import etag_of, respond_with, validators
from prefork.web.response import Response, build_fields

_ATTR_CHARS = "!#$&+-.^_`|~"  # RFC 8187, 3.2.1, beside letters and digits


class FileResponse(Response):
    """A file, by sendfile(2) if it is large, with ETag, Last-Modified, conditions and ranges (RFC 9110, 13 and 14).

    `filename` makes it a download under that name (RFC 6266); `disposition="inline"` names it only. The file is opened
    when the response is sent, in the thread pool if that may take time; a path that is no readable regular file then
    answers 404. Never build the path from a request without checking where it leads: `App.static` does.
    """

    __slots__ = ("path",)

    streams: ClassVar[bool] = True

    def __init__(
        self,
        path: str | os.PathLike[str],
        status: int = 200,
        headers: HeaderInput = None,
        content_type: str | None = None,
        filename: str | None = None,
        disposition: Literal["attachment", "inline"] = "attachment",
    ) -> None:
        self.path = os.fspath(path)
        self.body = b""
        self.status = status
        default = (encode_field("content-type", guess_type(filename or self.path)),)
        self.fields = build_fields(default, headers, content_type)
        if filename is not None:
            self.headers["content-disposition"] = content_disposition(filename, disposition)

    async def send(self, exchange: Exchange) -> None:
        """Raises HTTPError(404) when there is no such file, ResponseError when it becomes shorter."""
        response = await without_waiting(partial(self._answer, exchange))
        if response.streams:
            await response.send(exchange)
        else:
            exchange.respond(response.status, response.fields, response.body)

    def _answer(self, exchange: Exchange, wait: bool) -> Response:
        file = open_regular(self.path, wait=wait)
        if file is None:
            raise HTTPError(404)
        etag = etag_of(file)
        fields = self.fields + validators(etag, file.modified)
        return respond_with(file, fields, etag, exchange.method, exchange.fields, status=self.status, wait=wait)


def content_disposition(filename: str, disposition: str) -> str:
    """A Content-Disposition value (RFC 6266), with the name in UTF-8 (RFC 8187) where ASCII does not do."""
    plain = "".join(char if " " <= char <= "~" and char not in '"\\%' else "_" for char in filename)
    value = f'{disposition}; filename="{plain}"'
    if plain != filename:
        value += f"; filename*=UTF-8''{quote(filename, safe=_ATTR_CHARS)}"
    return value
