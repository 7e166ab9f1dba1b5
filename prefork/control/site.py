"""The admin server's site: probes, metrics, status, commands and the dashboard, over whatever knows the server."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final, Protocol

import msgspec

from prefork.control import dashboard, scrape
from prefork.control.async_client import Silent
from prefork.control.entry import Entry, Refusal
from prefork.control.probes import Verdict, liveness, readiness
from prefork.control.status import ServerStatus
from prefork.control.table import COMMANDS
from prefork.control.wire import LINE_BYTES, check_arguments
from prefork.errors import CommandError, UsageError
from prefork.web import App, HTTPError, Request, Response, StreamingResponse
from prefork.web.app import CallNext

BARE_POLICY: Final = "default-src 'none'; frame-ancestors 'none'"  # of what is no page
PART_BYTES: Final = 64 * 1024  # written at a time
UNSEEN: Final = "the server is just starting"

_FIELDS: Final = {
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
}


class Source(Protocol):
    """What the site asks of whoever knows the server."""

    @property
    def status(self) -> ServerStatus | None:
        """The last one; None before the first."""

    @property
    def status_json(self) -> bytes:
        """The same as it came."""

    @property
    def silent(self) -> float:
        """For how many seconds the master has owed an answer."""

    async def live(self, sample: float, event: int) -> Sequence[bytes]:
        """What a dashboard shows, as pieces of JSON: samples after a time, events after a number. Raises
        CommandError."""

    async def metrics(self, openmetrics: bool) -> bytes | None:
        """The metrics as text; None when nothing is counted."""

    async def command(self, name: str, arguments: Mapping[str, object]) -> bytes:
        """Have the master do it. Returns the result as JSON. Raises CommandError."""


def make_site(source: Source, entry: Entry) -> App:
    """The site as an app of ours."""
    site = App()

    @site.middleware
    async def guard(request: Request, call_next: CallNext) -> Response:
        refusal = entry.refuse_host(request.headers.get("host"))
        response = await call_next(request) if refusal is None else _refused(refusal)
        for name, value in _FIELDS.items():
            response.headers[name] = value
        if "content-security-policy" not in response.headers:
            response.headers["content-security-policy"] = BARE_POLICY
        return response

    @site.get("/livez")
    async def livez(request: Request) -> Response:
        return _probe(liveness(source.silent))

    @site.get("/readyz")
    async def readyz(request: Request) -> Response:
        return _probe(readiness(source.status, source.silent))

    @site.get("/metrics")
    async def metrics(request: Request) -> Response:
        openmetrics = scrape.wants_openmetrics(request.headers.get("accept", ""))
        try:
            text = await source.metrics(openmetrics)
        except UsageError as error:  # something is not installed
            raise HTTPError(501, str(error)) from None
        if text is None:
            raise HTTPError(404, "nothing is counted: the server was started with --no-metrics")
        kind = scrape.OPENMETRICS if openmetrics else scrape.TEXT
        return Response(text, content_type=kind, headers={"vary": "accept"})

    @site.get("/status")
    async def status(request: Request) -> Response:
        if source.status is None:
            return _error(503, UNSEEN)
        return _json(source.status_json)

    @site.get("/live")
    async def live(request: Request) -> Response:
        sample = _number(request.query.get("sample", "0"), float, "sample")
        event = _number(request.query.get("event", "0"), int, "event")
        verdict = liveness(source.silent)
        if source.status is None or not verdict.good:
            return _error(503, verdict.words if source.status else UNSEEN)
        try:
            return _pieces(await source.live(sample, event))
        except CommandError as error:
            return _error(503, str(error))

    @site.post("/command/{name}", max_body=LINE_BYTES)
    async def command(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in COMMANDS:
            return _error(404, f"there is no command {name!r:.60}; there are {', '.join(COMMANDS)}")
        refusal = entry.refuse_command(COMMANDS[name], request.headers.get("authorization"))
        if refusal is not None:
            return _refused(refusal)
        try:
            arguments = check_arguments(name, _arguments(await request.body()))
        except CommandError as error:
            return _error(400, str(error))
        try:
            return _json(b'{"result":' + await source.command(name, arguments) + b"}")
        except Silent as error:
            return _error(504, str(error))
        except CommandError as error:
            return _error(409, str(error))

    @site.get("/")
    async def page(request: Request) -> Response:
        policy = {"content-security-policy": dashboard.policy()}
        return Response(dashboard.page(), content_type="text/html; charset=utf-8", headers=policy)

    return site


def _probe(verdict: Verdict) -> Response:
    return Response(verdict.words + "\n", 200 if verdict.good else 503)


def _json(body: bytes, status: int = 200) -> Response:
    return Response(body, status, content_type="application/json")


def _pieces(pieces: Sequence[bytes]) -> Response:
    """JSON in pieces that others are sent too: what is large is joined no sooner than the client takes it, so that it
    is not copied for each slow one."""
    length = sum(map(len, pieces))
    if length <= PART_BYTES:
        return _json(b"".join(pieces))
    return StreamingResponse(_parts(pieces), content_type="application/json", length=length)


async def _parts(pieces: Sequence[bytes]) -> AsyncIterator[bytes]:
    part: list[bytes] = []
    length = 0
    for piece in pieces:
        part.append(piece)
        length += len(piece)
        if length >= PART_BYTES:
            yield b"".join(part)
            part, length = [], 0
    if part:
        yield b"".join(part)


def _error(status: int, words: str) -> Response:
    return _json(msgspec.json.encode({"error": words}) + b"\n", status)


def _refused(refusal: Refusal) -> Response:
    response = _error(refusal.status, refusal.words)
    for name, value in refusal.fields:
        response.headers[name] = value
    return response


def _arguments(body: bytes) -> dict[str, object]:
    """The arguments in a body: a JSON object, or nothing. Raises CommandError."""
    if not body.strip():
        return {}
    try:
        return msgspec.json.decode(body, type=dict[str, object])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CommandError(f"the arguments are a JSON object: {error}") from None


def _number(text: str, kind: Any, name: str) -> Any:
    try:
        number = kind(text)
        if 0 <= number < float("inf"):
            return number
    except ValueError:
        pass
    raise HTTPError(400, f"{name} is a number, 0 or more")
