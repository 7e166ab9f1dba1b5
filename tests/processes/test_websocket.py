"""WebSockets of a real tree, asked by the client of `websockets`, or by bytes where that one is too polite."""

import os
import select
import signal
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from tests.http.websocket import FINAL, HANDSHAKE, PING, TEXT, Peer, close, frame
from tests.processes.gate import Gate
from tests.processes.patience import GUARD_SECONDS
from tests.processes.proc import Death
from tests.processes.tree import APPS, CALM, Tree

pytestmark = pytest.mark.processes

MIB = 1024 * 1024
Open = Callable[..., ClientConnection]


@pytest.fixture
def opened(tree: Tree) -> Iterator[Open]:
    """Opens WebSockets of the tree, which are closed with the test."""
    with ExitStack() as stack:

        def open_one(path: str, **options: Any) -> ClientConnection:
            url = tree.address.replace("http", "ws") + path
            options = {"open_timeout": GUARD_SECONDS, "close_timeout": GUARD_SECONDS, "max_size": None, **options}
            client: ClientConnection = stack.enter_context(connect(url, **options))
            return client

        yield open_one
        tree.close()  # so that no client waits for an answer to its close frame


def end_of(client: ClientConnection) -> tuple[int, str]:
    """Wait for the server's close frame."""
    with pytest.raises(ConnectionClosed) as caught:
        client.recv(GUARD_SECONDS)
    assert caught.value.rcvd is not None
    return int(caught.value.rcvd.code), caught.value.rcvd.reason


def test_messages_come_back_with_and_without_compression(tree: Tree, opened: Open) -> None:
    tree.start("sockets:app", workers=1)
    messages: list[str | bytes] = ["", "ü", "x" * 70_000, b"", os.urandom(1000), bytes(100_000)]
    for options in ({}, {"compression": None}):
        client = opened("/echo", **options)
        for message in messages:
            client.send(message)
            assert client.recv(GUARD_SECONDS) == message
        assert bool(client.protocol.extensions) == (not options)
        client.close(4000, "done")
        assert (client.close_code, client.close_reason) == (4000, "done")


def test_the_subprotocol_is_agreed(tree: Tree, opened: Open) -> None:
    tree.start("sockets:app", workers=1)
    assert opened("/echo", subprotocols=[Subprotocol("b"), Subprotocol("a")]).subprotocol == "b"


def test_a_message_may_have_16_mib_and_not_one_byte_more(tree: Tree, opened: Open) -> None:
    tree.start("sockets:app", *CALM, workers=1)
    client = opened("/echo", compression=None)
    message = os.urandom(16 * MIB)
    client.send(message)
    assert client.recv(GUARD_SECONDS) == message
    try:
        client.send(message + b"x")
    except ConnectionClosed:
        pass  # it was refused by its length, before all of it was sent
    assert end_of(client)[0] == 1009
    assert tree.get("/who").status == 200


def test_starlettes_websocket_is_served(tree: Tree, opened: Open) -> None:
    tree.start("starlette_sockets:app", workers=1)
    client = opened("/echo")
    client.send("hello")
    assert client.recv(GUARD_SECONDS) == "HELLO"
    client.close()
    assert client.close_code == 1000


def test_a_reload_says_1012_spread_over_the_drain_time_and_the_fresh_worker_takes_who_comes_back(
    tree: Tree, opened: Open
) -> None:
    tree.start("sockets:app", "--drain-seconds", "3", *CALM, workers=1)
    old = tree.worker(0)
    clients = [opened("/pid") for _ in range(4)]
    assert {client.recv(GUARD_SECONDS) for client in clients} == {str(old)}
    tree.send_signal(signal.SIGHUP)
    with ThreadPoolExecutor(len(clients)) as threads:
        ends = list(threads.map(lambda client: (end_of(client), time.monotonic()), clients))
    assert [end for end, _ in ends] == [(1012, "service restart")] * 4
    times = [at for _, at in ends]
    assert max(times) - min(times) > 1, "of 1.8: three quarters of four fifths of 3 s"
    assert opened("/pid").recv(GUARD_SECONDS) != str(old)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_says_1012_and_loses_no_time(tree: Tree, opened: Open, number: signal.Signals) -> None:
    tree.start("sockets:app", workers=1)
    client = opened("/echo")
    tree.send_signal(number)
    assert end_of(client) == (1012, "service restart")
    assert tree.wait_exit() == 0


def test_a_client_that_does_not_answer_pings_is_let_go(tree: Tree) -> None:
    tree.start("sockets:app", "--websocket-ping-seconds", "0.1", "--websocket-pong-seconds", "0.1", workers=1)
    client = raw(tree, "/echo")
    received = until_the_end(client)
    frames = Peer.frames.fget(_Received(received))  # type: ignore[attr-defined]
    assert frames[0] == (FINAL | PING, b"")
    assert frames[1].payload[2:] == b"no answer to a ping"


def test_an_app_that_does_not_receive_stops_the_client_and_loses_nothing(tree: Tree, gate: Gate) -> None:
    tree.start("sockets:app", *CALM, workers=1)
    client = raw(tree, "/count")
    visitor = gate.wait_entered()
    client.setblocking(False)
    message = frame(TEXT, b"x" * 60_000)
    unsent = message * 1000  # 60 MB
    sent = 0
    while select.select([], [client], [], 0.5)[1]:  # it stays full: nobody reads
        sent += client.send(unsent[sent : sent + MIB])
    assert sent < 20 * MIB, "the kernel's buffers, a read and the queue"
    assert tree.get("/who").status == 200
    visitor.release()
    client.settimeout(GUARD_SECONDS)
    whole = -(-sent // len(message)) * len(message)
    client.sendall(unsent[sent:whole] + frame(TEXT, b"how many?"))
    received, count = b"", b"%d" % (whole // len(message) * 60_000)
    while count not in received:
        piece = client.recv(65536)
        assert piece, received
        received += piece
    client.sendall(close(1000))
    assert until_the_end(client).endswith(b"\x03\xe8")


def test_a_worker_that_is_killed_takes_its_websockets_along_and_no_others(tree: Tree, opened: Open) -> None:
    tree.start("sockets:app", *CALM, workers=2)
    clients = [opened("/pid") for _ in range(4)]
    pids = [int(str(client.recv(GUARD_SECONDS))) for client in clients]
    assert set(pids) == set(tree.announced_workers)
    death = Death(pids[0])
    os.kill(pids[0], signal.SIGKILL)
    death.wait()
    for client, pid in zip(clients, pids, strict=True):
        if pid == pids[0]:
            with pytest.raises(ConnectionClosed) as caught:
                client.recv(GUARD_SECONDS)
            assert caught.value.rcvd is None
        else:
            client.ping().wait(GUARD_SECONDS)
    tree.log.wait("GET /pid")  # the requests that died are named


def test_no_descriptor_is_left_of_websockets_that_ended(tree: Tree, opened: Open) -> None:
    tree.start("sockets:app", *CALM, "--disconnect-grace-seconds", "0", workers=1)
    assert tree.get("/connections").text == "1"
    clients = [opened("/echo") for _ in range(20)]
    assert tree.get("/connections").text == "21"
    for place, client in enumerate(clients):
        if place % 3 == 0:
            client.close()
        elif place % 3 == 1:
            client.socket.close()
        else:
            client.socket.sendall(frame(3))
            assert end_of(client)[0] == 1002
            client.close_socket()
    guard = time.monotonic() + GUARD_SECONDS
    while (left := tree.get("/connections").text) != "1":
        assert time.monotonic() < guard, f"{left} connections are left"


def test_without_the_package_the_app_serves_the_rest(tree: Tree) -> None:
    tree.write("websockets.py", "raise ImportError('not installed')")
    tree.write("local.py", (APPS / "sockets.py").read_text())
    tree.start("local:app", workers=1)
    with raw(tree, "/echo") as client:
        assert client.recv(65536).startswith(b"HTTP/1.1 501 ")
    tree.log.wait(r"pip install 'prefork\[standard\]'")
    assert tree.get("/who").status == 200


class _Received:
    """What `Peer.frames` reads, of a client on a real socket."""

    def __init__(self, received: bytes) -> None:
        self.client = self
        self.received = received


def raw(tree: Tree, path: str) -> socket.socket:
    """A client that does only what it is told to."""
    host, _, port = tree.address.removeprefix("http://").rpartition(":")
    client = socket.create_connection((host, int(port)), timeout=GUARD_SECONDS)
    lines = [f"GET {path} HTTP/1.1", "Host: a", *HANDSHAKE, "", ""]
    client.sendall("\r\n".join(lines).encode())
    return client


def until_the_end(client: socket.socket) -> bytes:
    """All that the server sends until it closes."""
    received = b""
    with client:
        while piece := client.recv(65536):
            received += piece
    return received
