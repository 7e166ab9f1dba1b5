"""What is served while the app has never been able to start: why, on every path (--reload)."""

import json
from string import Template
from typing import Final

from prefork.apps.overlay import BROKEN, mark
from prefork.http.exchange import Exchange
from prefork.web.error_page import accepts_html, error_page, last_line

LOOK_MILLISECONDS: Final = 1000  # how often an open page asks whether the app has changed

# Loads the page anew once this server, or the app that takes its place, has something else to say.
_SCRIPT: Final = Template("""
<p>This page loads again once the code has changed.</p>
<script>
setInterval(async () => {
  try {
    const answer = await fetch(location.href, { method: "HEAD", cache: "no-store" });
    if (answer.headers.get("$field") !== $mark) location.reload();
  } catch {}
}, $pause);
</script>
""")


class BrokenApplication:
    """An app in the place of one that cannot be loaded or started."""

    def __init__(self, traceback: str) -> None:
        self._traceback = traceback

    def __repr__(self) -> str:
        return f"an error page, {last_line(self._traceback)}"

    def show(self, traceback: str) -> None:
        """Show this one from now on; an empty one changes nothing."""
        self._traceback = traceback or self._traceback

    async def startup(self) -> None:
        """Nothing to start."""

    async def shutdown(self) -> None:
        """Nothing to stop."""

    def offloader(self) -> None:
        """Nothing runs jobs."""

    async def __call__(self, exchange: Exchange) -> None:
        field = mark(self._traceback)
        if accepts_html(exchange.fields):
            kind = b"text/html; charset=utf-8"
            body = error_page(last_line(self._traceback), self._traceback, _script(field))
        else:
            kind = b"text/plain; charset=utf-8"
            body = self._traceback.encode(errors="backslashreplace")
        exchange.respond(500, [(b"content-type", kind), (b"cache-control", b"no-store"), field], body)


def _script(field: tuple[bytes, bytes]) -> str:
    value = json.dumps(field[1].decode()).replace("<", "\\u003c")  # `</script>` in an error's words is only words
    return _SCRIPT.substitute(field=BROKEN.decode(), mark=value, pause=LOOK_MILLISECONDS)
