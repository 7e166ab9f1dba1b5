"""What the kernel tells of the connections that wait to be accepted."""

import contextlib
import socket
from pathlib import Path

import pytest

from prefork.system import backlog


@pytest.mark.parametrize("family", ["tcp4", "tcp6", "unix"])
def test_connections_that_wait_are_counted_until_they_are_accepted(family: str, tmp_path: Path) -> None:
    with contextlib.ExitStack() as opened:
        if family == "unix":
            listener = opened.enter_context(socket.socket(socket.AF_UNIX))
            listener.bind(str(tmp_path / "socket"))
        else:
            listener = opened.enter_context(socket.socket(socket.AF_INET if family == "tcp4" else socket.AF_INET6))
            listener.bind(("127.0.0.1" if family == "tcp4" else "::1", 0))
        listener.listen(10)
        assert backlog.waiting(listener) == 0
        for _ in range(3):
            client = opened.enter_context(socket.socket(listener.family))
            client.connect(listener.getsockname())
        assert backlog.waiting(listener) == 3
        opened.enter_context(listener.accept()[0])
        assert backlog.waiting(listener) == 2


def test_a_socket_that_tells_nothing_counts_as_none() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        assert backlog.waiting(other) == 0
    assert backlog.waiting(other) == 0  # closed
