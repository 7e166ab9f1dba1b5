"""A request as a handler sees it. Everything is parsed when it is first asked for, and then kept."""

import asyncio
import os
import re
from collections.abc import AsyncIterator, Coroutine
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final, TypeVar, overload
from urllib.parse import parse_qsl, unquote

import msgspec

from prefork.jobs.runner import offloaded
from prefork.web.cookies import parse_cookies
from prefork.web.exchange import Exchange
from prefork.web.headers import Headers
from prefork.web.http_error import HTTPError
from prefork.web.multidict import MultiDict

if TYPE_CHECKING:
    from prefork.web.app import App
    from prefork.web.forms import Form

T = TypeVar("T")

QUERY_PARAMETERS: Final = 1000  # more is an attack on whoever loops over them
FORM_FIELDS: Final = 1000
FORM_FILES: Final = 100
FORM_FIELD_BYTES: Final = 1024 * 1024  # a field is kept in memory; a file is not

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_CHARSET = re.compile(r';\s*charset\s*=\s*"?([^\s";]+)', re.IGNORECASE)

_decode_json = msgspec.json.Decoder().decode


class Request:
    """One request. `exchange` is the server's side of it; handlers rarely need it."""

    __slots__ = (
        "__weakref__",
        "_apps",
        "_body",
        "_cookies",
        "_form",
        "_headers",
        "_id",
        "_loop",
        "_mount_path",
        "_path",
        "_path_params",
        "_query",
        "_state",
        "_streamed",
        "exchange",
    )

    # Empty until asked for: filling them in __init__ would cost more than most requests' whole handling.
    _apps: "tuple[App, ...]"  # outermost first; set by App.find
    _body: bytes
    _cookies: dict[str, str]
    _form: "Form"
    _headers: Headers
    _id: str
    _loop: asyncio.AbstractEventLoop  # set for handlers that run in a thread
    _mount_path: str
    _path: str
    _path_params: dict[str, Any]
    _query: MultiDict[str]
    _state: SimpleNamespace
    _streamed: bool

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange

    def __repr__(self) -> str:
        return f"<Request {self.method} {self.path}>"

    def carried(
        self,
        body: bytes,
        id: str,
        path_params: dict[str, Any],
        mount_path: str,
        state: SimpleNamespace,
        root: "App | None",
    ) -> None:
        """Fill in what came along to an offloader; `root` is the app this request was sent to."""
        self._body, self._id, self._path_params, self._state = body, id, path_params, state
        self._mount_path = mount_path
        if root is not None:
            self._apps = root.mounted_at(mount_path)

    @property
    def method(self) -> str:
        """The method, in upper case: `"GET"`."""
        return self.exchange.method

    @property
    def target(self) -> str:
        """Path and query as sent, not decoded (RFC 9112, 3.2.1)."""
        return self.exchange.target.decode("latin-1")

    @property
    def path(self) -> str:
        """The path, percent-decoded as UTF-8; what is not UTF-8 becomes U+FFFD."""
        try:
            return self._path
        except AttributeError:
            self._path = unquote(self.target.partition("?")[0])
            return self._path

    @property
    def mount_path(self) -> str:
        """Where the app that handles this request is mounted: `""`, or for example `"/api"`."""
        try:
            return self._mount_path
        except AttributeError:
            return ""

    @property
    def query(self) -> MultiDict[str]:
        """The query's parameters, decoded. Raises HTTPError(400) beyond 1,000 of them."""
        try:
            return self._query
        except AttributeError:
            text = self.target.partition("?")[2]
            try:
                pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=QUERY_PARAMETERS)
            except ValueError:
                raise HTTPError(400, f"more than {QUERY_PARAMETERS} query parameters") from None
            self._query = MultiDict(pairs)
            return self._query

    @property
    def headers(self) -> Headers:
        """The header fields, by name in any case."""
        try:
            return self._headers
        except AttributeError:
            self._headers = Headers(self.exchange.fields)
            return self._headers

    @property
    def cookies(self) -> dict[str, str]:
        """The cookies, name to value."""
        try:
            return self._cookies
        except AttributeError:
            self._cookies = parse_cookies(self.headers.get_all("cookie"))
            return self._cookies

    @property
    def client(self) -> tuple[str, int] | None:
        """The peer's address and port; None on a Unix socket."""
        return self.exchange.client

    @property
    def scheme(self) -> str:
        """`"http"` or `"https"`."""
        return self.exchange.scheme

    @property
    def path_params(self) -> dict[str, Any]:
        """What the route's parameters matched, converted; empty without any."""
        try:
            return self._path_params
        except AttributeError:
            self._path_params = {}
            return self._path_params

    @property
    def id(self) -> str:
        """The client's X-Request-Id if it is 1 to 128 of A-Z a-z 0-9 . _ -, else a random one of 16 characters."""
        try:
            return self._id
        except AttributeError:
            sent = self.headers.get("x-request-id", "")
            self._id = sent if _REQUEST_ID.fullmatch(sent) else os.urandom(8).hex()
            return self._id

    @property
    def state(self) -> SimpleNamespace:
        """A place for what middleware finds out and handlers use: `request.state.user = ...`."""
        try:
            return self._state
        except AttributeError:
            self._state = SimpleNamespace()
            return self._state

    @property
    def app(self) -> "App":
        """The App that handles this request. Raises RuntimeError where there is none: in a plain handler, and on a Dask
        worker."""
        try:
            return self._apps[-1]
        except AttributeError:
            raise RuntimeError(
                "there is no App here: this request is served by a plain handler, or by a Dask worker, which has only "
                "the functions that jobs name"
            ) from None

    async def stream(self) -> AsyncIterator[bytes]:
        """The body piece by piece, as it comes.

        Raises RequestError (a broken, late or too large body), Disconnected, RuntimeError when it was streamed before.
        """
        try:
            yield self._body
            return
        except AttributeError:
            pass
        if hasattr(self, "_streamed"):
            raise RuntimeError("the body was streamed before and is gone")
        self._streamed = True
        read = self.exchange.read
        while piece := await read():
            yield piece

    async def body(self) -> bytes:
        """The whole body. Raises what `stream` raises."""
        try:
            return self._body
        except AttributeError:
            body = b"".join([piece async for piece in self.stream()])
            self._body = body
            return body

    async def text(self) -> str:
        """The body as text, in the content type's charset or UTF-8. Raises HTTPError(400) when it is not."""
        declared = _CHARSET.search(self.headers.get("content-type", ""))
        charset = declared[1] if declared else "utf-8"
        try:
            return (await self.body()).decode(charset)
        except LookupError:
            raise HTTPError(400, f"unknown charset {charset}") from None
        except UnicodeDecodeError:
            raise HTTPError(400, f"the body is not {charset}") from None

    @overload
    async def json(self) -> Any: ...
    @overload
    async def json(self, type: type[T]) -> T: ...
    async def json(self, type: Any = None) -> Any:
        """The body as JSON; with `type` (a Struct, dataclass, TypedDict, list[int] ...) validated and of that type.

        Raises HTTPError(400) when it is not JSON, HTTPError(422) when it does not fit the type.
        """
        body = await self.body()
        try:
            return _decode_json(body) if type is None else msgspec.json.decode(body, type=type)
        except msgspec.ValidationError as error:
            raise HTTPError(400 if type is None else 422, str(error)) from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise HTTPError(400, f"the body is not JSON: {error}" if body else "the body is empty, not JSON") from None

    async def form(
        self, *, max_fields: int = FORM_FIELDS, max_files: int = FORM_FILES, max_field_size: int = FORM_FIELD_BYTES
    ) -> "Form":
        """The body as a form: `form["name"]` for fields, `form.files["name"]` for uploads. `max_field_size` in bytes.

        Raises HTTPError: 400 malformed, 413 beyond a limit, 415 not a form.
        """
        try:
            return self._form
        except AttributeError:
            from prefork.web.forms import FormLimits, read_form

            limits = FormLimits(max_fields, max_files, max_field_size)
            self._form = await read_form(self.headers.get("content-type", ""), self, limits)
            return self._form

    def wait(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """From a plain `def` handler: run a coroutine on the event loop and wait for its result. In an offloader,
        where there is none, it gets one of its own.

        `data = request.wait(request.json())`. Raises what the coroutine raises; RuntimeError outside such a handler.
        """
        try:
            loop = self._loop
        except AttributeError:
            if offloaded():
                return asyncio.run(coroutine)
            coroutine.close()
            raise RuntimeError("request.wait() is for plain def handlers; in async def, use await") from None
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result()
