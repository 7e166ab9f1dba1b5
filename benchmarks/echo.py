"""Load a server with WebSocket messages that it echoes: compiles, runs and reads echo.c."""

import re
from collections.abc import Callable

from benchmarks.generator import LoadError, Report, generate
from benchmarks.peers import HERE, compiled

SOURCE = HERE / "echo.c"


def parse(text: str) -> Report:
    """Read the report of echo.c. LoadError if it is none, or of no time at all."""
    found = re.fullmatch(r"messages (\d+)\nseconds ([\d.]+)\np99_ms ([\d.]+)\n", text)
    if found is None or float(found[2]) == 0:
        raise LoadError(f"not a report of echo: {text.strip()[-200:]!r}")
    messages = int(found[1])
    return Report(messages, messages / float(found[2]), float(found[3]))


def load(port: int, seconds: int, connections: int, message_bytes: int, pin: Callable[[], None]) -> Report:
    """Keep one message in flight on each connection for some seconds, in a process that `pin` sets up.

    LoadError where a server closes, or answers anything but the right echo. PeerError without a compiler.
    """
    numbers = (port, seconds, connections, message_bytes)
    return parse(generate([str(compiled(SOURCE)), *map(str, numbers)], seconds, pin))
