"""HTML that shows a traceback to a developer. Self-contained, all of it escaped; never for the public."""

from collections.abc import Iterable
from html import escape
from string import Template
from typing import Final

from prefork.web.exchange import Exchange, Fields

STYLE: Final = """
:root, dialog { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif }
h1, h2 { font-weight: 600; font-size: 1.4em; line-height: 1.25; margin: 0 0 .6em; overflow-wrap: anywhere }
h2 { font-size: 1.1em; margin-top: 1.6em }
pre { font: 13px/1.55 ui-monospace, monospace; margin: 0; padding: 1em; overflow: auto; tab-size: 4;
  background: light-dark(#f4f4f5, #18181b); border-left: 4px solid #dc2626 }
table { border-collapse: collapse; font: 13px/1.55 ui-monospace, monospace }
td { padding: .1em 1.5em .1em 0; vertical-align: top; overflow-wrap: anywhere }
td:first-child { opacity: .7; white-space: nowrap }
"""

_PAGE: Final = Template("""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>$title</title>
<style>$style
body { margin: 2em auto; padding: 0 1em; max-width: 70em }
</style>
<h1>$title</h1>
$rest
</html>
""")


def accepts_html(fields: Fields) -> bool:
    """Whether a request asks for HTML by name, as browsers do for a page; `*/*` does not count."""
    return any(name == b"accept" and b"text/html" in value.lower() for name, value in fields)


def last_line(traceback: str) -> str:
    """What a traceback comes down to: `ValueError: no`."""
    lines = [line for line in traceback.splitlines() if line.strip()]
    # What is set in belongs to the frames; further lines of the error's own message may follow its name.
    frames = max((index for index, line in enumerate(lines) if line[0].isspace()), default=-1)
    return lines[frames + 1] if frames + 1 < len(lines) else "the app failed"


def ascii_html(text: str) -> str:
    """Text escaped for HTML, in ASCII: it reads the same in a page of any encoding."""
    return escape(text).encode("ascii", "xmlcharrefreplace").decode()


def error_page(title: str, traceback: str, more: str = "") -> bytes:
    """A whole page with a title and a traceback; `more` is HTML that comes after it."""
    rest = f"<pre>{ascii_html(traceback)}</pre>{more}"
    return _PAGE.substitute(title=ascii_html(title), style=STYLE, rest=rest).encode()


def request_section(exchange: Exchange) -> str:
    """A request's first line and fields, as a section for `error_page`."""
    line = f"{exchange.method} {exchange.target.decode('latin-1')}"
    rows = ((name.decode("latin-1"), value.decode("latin-1")) for name, value in exchange.fields)
    return f"<h2>Request</h2><p><code>{ascii_html(line)}</code></p>{_table(rows)}"


def _table(rows: Iterable[tuple[str, str]]) -> str:
    cells = "".join(f"<tr><td>{ascii_html(name)}<td>{ascii_html(value)}" for name, value in rows)
    return f"<table>{cells}</table>"
