"""The control server with clients that behave badly: each is answered or cut, and nobody waits for anybody."""

import json
import os
import select
import selectors
import socket
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from prefork.control import conversation as talks
from prefork.control import socket as control
from prefork.control.client import Client
from prefork.control.later import Later
from prefork.control.socket import CONNECTIONS, ControlServer
from prefork.control.wire import LINE_BYTES
from prefork.errors import CommandError

LARGE = 4 * 1024 * 1024  # more than a socket's buffers hold
STATUS = b'{"command": "status"}\n'


class Runner:
    """Runs `status` at once, `connections` when told to, and `events` with a large result."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.waiting: list[Later] = []

    def run(self, name: str, arguments: Mapping[str, object]) -> object:
        self.ran.append(name)
        if name == "connections":
            self.waiting.append(Later())
            return self.waiting[-1]
        if name == "events":
            return "x" * LARGE
        if name == "kill":
            raise CommandError("no such slot")
        if name == "jobs":
            raise ZeroDivisionError
        return {"name": "main", **arguments}


class Server:
    """A control server whose loop the test turns."""

    def __init__(self) -> None:
        self.selector = selectors.DefaultSelector()
        self.runner = Runner()
        self.control = ControlServer(self.selector, self.runner)
        self.ends: list[socket.socket] = []

    def connect(self, trusted: bool = False) -> socket.socket:
        near, far = socket.socketpair()
        self.control.add(far, trusted)
        near.setblocking(False)
        self.ends.append(near)
        return near

    def turn(self, rounds: int = 50) -> None:
        """Until nothing is left to do."""
        for _ in range(rounds):
            ready = self.selector.select(0)
            for key, _ in ready:
                if self.selector.get_map().get(key.fd) is key:
                    key.data()
            if not ready:
                return

    def say(self, end: socket.socket, data: bytes) -> list[Any]:
        end.sendall(data)
        return self.hear(end)

    def hear(self, end: socket.socket) -> list[Any]:
        """What has been answered; None for a hang-up."""
        said = b""
        while True:
            self.turn()
            try:
                piece = end.recv(1 << 20)
            except BlockingIOError:
                break
            except ConnectionResetError:
                piece = b""
            said += piece
            if not piece:
                said += b"null\n"
                break
        return [json.loads(line) for line in said.splitlines()]

    def later(self, seconds: float) -> None:
        self.control.tick(time.monotonic() + seconds)

    def close(self) -> None:
        self.control.close()
        for end in self.ends:
            end.close()
        assert not self.selector.get_map()
        self.selector.close()


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


def test_a_command_is_answered_on_a_line(server: Server) -> None:
    end = server.connect()
    assert server.say(end, STATUS) == [{"result": {"name": "main"}}]
    assert server.say(end, STATUS) == [{"result": {"name": "main"}}]


def test_a_refusal_and_a_fault_are_answers_and_the_connection_stays(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    end = server.connect()
    assert server.say(end, b'{"command": "kill", "arguments": {"slot": 7}}\n') == [{"error": "no such slot"}]
    assert server.say(end, b'{"command": "jobs"}\n') == [{"error": "the server could not do this; its log says why"}]
    assert "ZeroDivisionError" in caplog.text
    assert "no command" in server.say(end, b"garbage\n")[0]["error"]
    assert server.say(end, STATUS) == [{"result": {"name": "main"}}]


def test_a_line_may_come_byte_by_byte(server: Server) -> None:
    end = server.connect()
    for index in range(len(STATUS) - 1):
        assert server.say(end, STATUS[index : index + 1]) == []
    assert server.say(end, STATUS[-1:]) == [{"result": {"name": "main"}}]


def test_a_half_line_has_a_time_limit_that_more_bytes_do_not_extend(server: Server) -> None:
    end = server.connect()
    assert server.say(end, b'{"comm') == []
    server.later(talks.HALF_LINE_SECONDS - 1)
    assert server.say(end, b"an") == []
    server.later(talks.HALF_LINE_SECONDS + 0.1)
    said = server.hear(end)
    assert "did not come" in said[0]["error"]
    assert said[1:] == [None]


def test_an_idle_connection_is_closed_unless_it_is_trusted(server: Server) -> None:
    stranger, child = server.connect(), server.connect(trusted=True)
    server.later(talks.IDLE_SECONDS - 1)
    assert server.hear(stranger) == []
    server.later(talks.IDLE_SECONDS + 1)
    assert server.hear(stranger) == [None]
    assert server.say(child, STATUS) == [{"result": {"name": "main"}}]


def test_a_line_without_end_is_cut(server: Server) -> None:
    end = server.connect()
    assert server.say(end, b"x" * LINE_BYTES) == []
    end.send(b"x" * LINE_BYTES)
    said = server.hear(end)
    assert "longer than" in said[0]["error"]
    assert said[1:] == [None]


def test_the_last_line_before_the_end_is_answered(server: Server) -> None:
    end = server.connect()
    end.sendall(STATUS + STATUS.rstrip())
    end.shutdown(socket.SHUT_WR)
    assert server.hear(end) == [{"result": {"name": "main"}}, {"result": {"name": "main"}}, None]


def test_many_lines_at_once_are_obeyed_one_a_turn_of_the_loop(server: Server) -> None:
    greedy, other = server.connect(), server.connect()
    greedy.sendall(STATUS * 1000)
    server.turn(rounds=1)
    assert len(server.runner.ran) == 1
    other.sendall(b'{"command": "workers"}\n')
    server.turn(rounds=2)
    assert "workers" in server.runner.ran
    assert len(server.runner.ran) <= 5


def test_a_client_that_never_reads_holds_one_answer_and_is_cut(server: Server) -> None:
    deaf, other = server.connect(), server.connect()
    deaf.sendall(b'{"command": "events"}\n' * 100)
    server.turn()
    assert server.runner.ran == ["events"]
    assert server.say(other, STATUS) == [{"result": {"name": "main"}}]
    server.later(talks.WRITE_SECONDS + 1)
    rest = 0
    while piece := deaf.recv(1 << 20):
        rest += len(piece)
    assert rest < LARGE


def test_a_slow_reader_gets_all_of_it(server: Server) -> None:
    slow = server.connect()
    slow.sendall(b'{"command": "events"}\n')
    said = b""
    while not said.endswith(b"\n"):
        server.turn(rounds=1)
        said += slow.recv(64 * 1024)
        server.later(talks.WRITE_SECONDS - 1)
    assert len(json.loads(said)["result"]) == LARGE


def test_answers_that_nobody_reads_have_a_bound_in_all(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "HELD_BYTES", LARGE + LARGE // 2)
    deaf, second = server.connect(), server.connect()
    deaf.sendall(b'{"command": "events"}\n')
    server.turn()
    assert "too many answers" in server.say(second, b'{"command": "events"}\n')[0]["error"]


def test_answers_that_come_later_keep_their_order(server: Server) -> None:
    end = server.connect()
    end.sendall(b'{"command": "connections"}\n' + STATUS)
    server.turn()
    assert server.hear(end) == []
    assert server.runner.ran == ["connections"]
    server.runner.waiting[0].settle([1])
    server.runner.waiting[0].settle([2])
    assert server.hear(end) == [{"result": [1]}, {"result": {"name": "main"}}]


def test_who_leaves_before_an_answer_that_comes_later_harms_nobody(server: Server) -> None:
    end = server.connect()
    end.sendall(b'{"command": "connections"}\n')
    server.turn()
    end.close()
    server.runner.waiting[0].fail(CommandError("too late"))
    server.turn()
    assert server.say(server.connect(), STATUS) == [{"result": {"name": "main"}}]


def test_another_user_is_told_to_go(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "_peer", lambda end: 4711)
    said = server.hear(server.connect())
    assert "own user and root" in said[0]["error"]
    assert said[1:] == [None]
    assert server.say(server.connect(trusted=True), STATUS) == [{"result": {"name": "main"}}]


def test_the_listener_takes_so_many_and_tells_the_others(server: Server, tmp_path: Path) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "socket"))
    listener.listen(CONNECTIONS * 2)
    server.control.listen(listener)
    ends = [socket.socket(socket.AF_UNIX) for _ in range(CONNECTIONS + 1)]
    server.ends += [*ends, listener]
    for end in ends:
        end.connect(str(tmp_path / "socket"))
        end.setblocking(False)
        server.turn()
    assert "others are connected" in server.hear(ends[-1])[0]["error"]
    ends[0].close()
    server.turn()
    late = socket.socket(socket.AF_UNIX)
    server.ends.append(late)
    late.connect(str(tmp_path / "socket"))
    late.setblocking(False)
    assert server.say(late, STATUS) == [{"result": {"name": "main"}}]
    server.control.release()
    assert server.say(late, STATUS) == [{"result": {"name": "main"}}]


def test_the_client_says_in_a_line_what_went_wrong(server: Server) -> None:
    near, far = socket.socketpair()
    with Client(near, seconds=0.01) as client:
        with pytest.raises(CommandError, match="did not answer within"):
            client.ask("status")
        far.close()
        with pytest.raises(CommandError, match="hung up"):
            client.ask("status")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_the_kernel_tells_who_connects(server: Server) -> None:
    listener = socket.socket(socket.AF_UNIX)
    server.ends.append(listener)
    listener.bind(f"\0prefork-test-{os.getpid()}")  # an abstract name, which anybody may connect to
    listener.listen()
    server.control.listen(listener)
    told, tell = os.pipe()
    child = os.fork()
    if child == 0:
        os.setuid(4711)
        with socket.socket(socket.AF_UNIX) as end:
            end.connect(listener.getsockname())
            os.write(tell, end.recv(1000))
        os._exit(0)
    os.close(tell)
    while not select.select([told], [], [], 0.01)[0]:  # bounded by the child: its end closes the pipe
        server.turn()
    said = os.read(told, 1000)
    os.close(told)
    os.waitpid(child, 0)
    assert b"own user and root" in said
