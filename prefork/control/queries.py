"""Leave out what targets of requests have in their queries: it may be secret. The log has it, for who may read that."""

import re
from typing import Final

# A request line as the master's log has it, within a text of JSON. There a quote stands behind a backslash.
_TARGET: Final = re.compile(rb"\b([A-Z]{3,16} (?:https?:/)?/(?:\\.|[^\s?\"\\])*)\?(?:\\.|[^\s\"\\])*")


def without_queries(json: bytes) -> bytes:
    """The JSON with `GET /page?…` in the place of `GET /page?key=secret`."""
    return _TARGET.sub("\\1?…".encode(), json)
