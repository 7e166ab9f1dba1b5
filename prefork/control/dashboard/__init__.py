"""The dashboard: one page, joined from the files beside this one, and the policy that lets a browser run nothing else.

It asks the server that it came from, at the relative addresses `live` and `command/NAME`, so it works below a path too.
"""

import base64
import hashlib
from functools import cache
from pathlib import Path
from typing import Final

_FOLDER: Final = Path(__file__).parent
_SCRIPTS: Final = ("words.js", "charts.js", "timeline.js", "tables.js", "steer.js", "main.js")  # in this order


@cache
def page() -> bytes:
    """The whole page, UTF-8."""
    style, script = _parts()
    markup = (_FOLDER / "page.html").read_bytes()
    return markup.replace(b"{style}", style, 1).replace(b"{script}", script, 1)


@cache
def policy() -> str:
    """The value of Content-Security-Policy for it: just this style and this script, and its own host to ask."""
    style, script = map(_source, _parts())
    return (
        f"default-src 'none'; style-src {style}; script-src {script}; connect-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


@cache
def _parts() -> tuple[bytes, bytes]:
    style = (_FOLDER / "style.css").read_bytes()
    return style, b"\n".join((_FOLDER / name).read_bytes() for name in _SCRIPTS)


def _source(part: bytes) -> str:
    """As a policy names an inline part: by its hash."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(part).digest()).decode()}'"
