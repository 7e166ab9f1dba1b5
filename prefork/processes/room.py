"""Make room where a service has as many connections as it may, so that idle clients keep nobody out."""

from collections.abc import Iterable

from prefork.http.connection import Connection
from prefork.http.successor import Successor


def make_room(connections: Iterable[Connection | Successor], wanted: int) -> int:
    """Close up to so many, the oldest first: those without a request in progress, then those whose clients do not read
    their answers. Returns how many were closed."""
    ours = sorted((c for c in connections if isinstance(c, Connection)), key=lambda c: c.opened_at)
    idle = [connection for connection in ours if connection.in_progress is None]
    deaf = [connection for connection in ours if connection.in_progress is not None and not connection.writable]
    chosen = (idle + deaf)[:wanted]
    for connection in chosen:
        connection.transport.abort()  # nothing is written any more that somebody would wait for
    return len(chosen)
