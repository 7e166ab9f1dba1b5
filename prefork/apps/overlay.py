"""While the code as it is now cannot start, show why on the pages that the code before it serves (--reload).

Whole pages only: what scripts fetch, JSON, streams of events and files that are no HTML go out as they are.
"""

from contextlib import suppress
from string import Template
from typing import Any, Final, cast

from prefork.apps.application import Application
from prefork.errors import Disconnected
from prefork.http.exchange import Exchange
from prefork.web.error_page import STYLE, accepts_html, ascii_html, last_line
from prefork.web.exchange import Fields

BROKEN: Final = b"x-prefork-broken"  # the field that names the error, for those who see no page
BROKEN_CHARACTERS: Final = 200
_PAGES: Final = (b"document", b"iframe", b"frame")  # what a browser is about to show (Sec-Fetch-Dest)
_BODILESS: Final = (204, 206, 304)  # 206 is part of a body
# What frames or caches the page without the overlay.
_REPLACED: Final = (b"content-length", b"etag", b"last-modified", b"cache-control", b"expires")

# A shadow root, so that the page's style does not reach it; a dialog, which needs no script to close, and no style to
# be seen: where the page's Content-Security-Policy forbids ours, it stands at the page's end instead of above it.
_OVERLAY: Final = Template("""
<prefork-overlay><template shadowrootmode="open"><style>:host { all: initial }$style
dialog { position: fixed; inset: 4vh 4vw auto; width: auto; max-width: none; max-height: 84vh; overflow: auto;
  z-index: 2147483647; box-sizing: border-box; padding: 1.2em; background: Canvas; color: CanvasText;
  border: 1px solid #dc2626; border-radius: 6px; box-shadow: 0 8px 40px #0008 }
button { float: right; font: inherit; padding: .1em .8em }
</style><dialog open aria-label="prefork"><form method="dialog"><button>Close</button></form>
<h1>$title</h1><pre>$traceback</pre>
<p>The code as it is now cannot start. This page comes from the code before it.</p>
</dialog></template></prefork-overlay>
""")


class Overlay:
    """An app whose pages show a traceback while there is one to show."""

    def __init__(self, app: Application) -> None:
        self._app = app
        self._traceback = ""

    def __repr__(self) -> str:
        return repr(self._app)

    def show(self, traceback: str) -> None:
        """Show it on every page from now on; an empty one: none."""
        self._traceback = traceback

    async def startup(self) -> None:
        await self._app.startup()

    async def shutdown(self) -> None:
        await self._app.shutdown()

    def offloader(self) -> None:
        self._app.offloader()

    async def __call__(self, exchange: Exchange) -> None:
        if self._traceback and exchange.method != "HEAD" and _is_for_a_page(exchange.fields):
            exchange = cast(Exchange, OverlaidExchange(exchange, self._traceback))
        await self._app(exchange)


class OverlaidExchange:
    """An exchange that puts the overlay at the end of its response, if that is HTML."""

    __slots__ = ("_exchange", "_pending", "_traceback")

    def __init__(self, exchange: Exchange, traceback: str) -> None:
        self._exchange: Any  # the app may use what our protocol does not name
        for name, value in (("_exchange", exchange), ("_pending", b""), ("_traceback", traceback)):
            object.__setattr__(self, name, value)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._exchange, name)

    def __setattr__(self, name: str, value: object) -> None:
        setattr(self._exchange, name, value)

    def respond(self, status: int, fields: Fields, body: bytes = b"") -> None:
        if _is_html(status, fields):
            body = body + overlay(self._traceback)
            fields = _with_mark(fields, self._traceback)
        self._exchange.respond(status, fields, body)

    def start(self, status: int, fields: Fields, length: int | None = None) -> None:
        end = b""
        if _is_html(status, fields):
            end = overlay(self._traceback)
            if length is None:
                length = next((int(value) for name, value in fields if name.lower() == b"content-length"), None)
            if length is not None:
                length += len(end)
            fields = _with_mark(fields, self._traceback)
        self._exchange.start(status, fields, length)
        object.__setattr__(self, "_pending", end)

    def finish(self, *trailers: Any) -> None:
        if self._pending and not self._exchange.finished:
            # `finish` cannot wait, and need not: `write` has written before it waits for a slow client.
            writing = self._exchange.write(self._pending)
            object.__setattr__(self, "_pending", b"")
            with suppress(StopIteration, Disconnected):
                writing.send(None)
            writing.close()
        self._exchange.finish(*trailers)


def overlay(traceback: str) -> bytes:
    """The HTML to append to a page."""
    return _OVERLAY.substitute(
        style=STYLE, title=ascii_html(last_line(traceback)), traceback=ascii_html(traceback)
    ).encode()


def mark(traceback: str) -> tuple[bytes, bytes]:
    """A header field that names the error."""
    text = last_line(traceback)[:BROKEN_CHARACTERS].strip()
    return BROKEN, "".join(c if c.isascii() and c.isprintable() else "?" for c in text).encode()


def _with_mark(fields: Fields, traceback: str) -> Fields:
    kept = [(name, value) for name, value in fields if name.lower() not in _REPLACED]
    return [*kept, (b"cache-control", b"no-store"), mark(traceback)]


def _is_for_a_page(fields: Fields) -> bool:
    for name, value in fields:
        if name == b"sec-fetch-dest":
            return value in _PAGES
    return accepts_html(fields)


def _is_html(status: int, fields: Fields) -> bool:
    """Whether this is the head of a whole HTML page whose bytes are as they will be read."""
    kind = b""
    for name, value in fields:
        name = name.lower()
        if name == b"content-type":
            kind = value.partition(b";")[0].strip().lower()
        elif name == b"content-encoding" and value.strip().lower() != b"identity":
            return False
    return kind == b"text/html" and status not in _BODILESS
