"""`prefork top`: watch a server in the terminal, and steer it with keys."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

import click
import msgspec

from prefork.cli.control import connect, control_options
from prefork.control.frames import Frame, Frames
from prefork.control.status import EventStatus, JobStatus, RequestStatus, ServerStatus
from prefork.control.top_keys import Order, View, answered, decode, press, refused
from prefork.errors import CommandError, UsageError
from prefork.system.usage import proportional

if TYPE_CHECKING:
    from prefork.cli.screen import Screen

ANSWER_SECONDS: Final = 5.0  # stacks take two; while an answer is awaited no key is obeyed
EVENTS: Final = 100  # asked for at first
MEMORY_SECONDS: Final = 3.0  # between two looks at PSS, for which the kernel walks all mappings of a process
SAMPLE_SECONDS: Final = 1.0  # between the two looks of --once
NO_RICH: Final = "top needs the package rich: pip install 'prefork[standard]'"


@click.command()
@control_options
@click.option("--once", is_flag=True, help="Print one frame and end. So it does where there is no terminal.")
@click.option(
    "--interval", type=click.FloatRange(0.2, 60.0), default=1.0, show_default=True, help="Seconds between two looks."
)
def top(name: str | None, control: str | None, once: bool, interval: float) -> int:
    """Watch a server live: its workers, requests, jobs and events; keys to sort, reload, scale, show stacks."""
    try:
        import rich  # noqa: F401
    except ImportError:
        raise UsageError(NO_RICH) from None
    server = Server(lambda: connect(name, control, ANSWER_SECONDS))
    try:
        if once or not (sys.stdin.isatty() and sys.stdout.isatty()):
            return _print_once(server)
        return _watch(server, interval)
    finally:
        server.close()


T = TypeVar("T")


class Connection(Protocol):
    """A `control.client.Client`."""

    def ask_raw(self, command: str, arguments: dict[str, object]) -> bytes:
        """`{"result": …}`. Raises CommandError."""

    def close(self) -> None:
        """Hang up."""


class Server:
    """The server as `top` asks it, on one connection; after trouble on another one."""

    def __init__(self, dial: Callable[[], Connection]) -> None:
        self._dial = dial
        self._client: Connection | None = None
        self._leaves = False  # it ends
        self._frames = Frames()
        self._memory: dict[int, int | None] = {}
        self._weighed_at = 0.0  # monotonic seconds

    def look(self) -> Frame:
        """What is new. Raises CommandError."""
        if self._leaves:
            self.close()  # after an upgrade another master listens there
        status = self._ask(ServerStatus, "status")
        self._leaves = status.state == "stopping"
        if self._frames.take(status, self._new_events()):
            self._frames.take(status, self._new_events())
        jobs = self._ask(list[JobStatus], "jobs")
        requests = self._ask(_Requests, "connections", requests=True).requests
        return self._frames.frame(jobs, requests, self._weigh(status))

    def order(self, order: Order) -> object:
        """Have a command done. Raises CommandError."""
        return self._ask(object, order.command, **order.arguments)

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    def _new_events(self) -> list[EventStatus]:
        last = self._frames.last_event
        arguments = {"since": last} if last else {"limit": EVENTS}
        return self._ask(list[EventStatus], "events", **arguments)

    def _ask(self, kind: type[T], command: str, **arguments: object) -> T:
        if self._client is None:
            self._client = self._dial()
        answer = self._client.ask_raw(command, arguments)
        try:
            return msgspec.convert(json.loads(answer)["result"], kind)
        except msgspec.ValidationError as error:
            raise CommandError(f"the server is of another version: {error}") from None

    def _weigh(self, status: ServerStatus) -> dict[int, int | None]:
        now = time.monotonic()
        pids = {worker.pid for worker in status.workers if worker.pid is not None}
        if now >= self._weighed_at + MEMORY_SECONDS:
            self._weighed_at, self._memory = now, {}
        self._memory = {pid: self._memory[pid] if pid in self._memory else proportional(pid) for pid in pids}
        return self._memory


class _Requests(msgspec.Struct):
    requests: list[RequestStatus]


def _print_once(server: Server) -> int:
    from rich.console import Console

    from prefork.control.top import once

    server.look()
    time.sleep(SAMPLE_SECONDS)
    console = Console(highlight=False)
    console.print(once(server.look(), View(), console.width))
    return 0


def _watch(server: Server, interval: float) -> int:
    from rich.console import Console

    from prefork.cli.screen import taken

    server.look()  # if there is no server at all, this says so in a line
    with taken(Console(highlight=False), sys.stdin.fileno()) as screen:
        _run(server, screen, interval)
    return 0 if screen.ended_by is None else 128 + screen.ended_by


def _run(server: Server, screen: Screen, interval: float) -> None:
    """Look, draw, obey keys, until told to end."""
    from prefork.control.top import lost, render

    view, frame, trouble, next_look = View(), None, "", 0.0
    while not view.quit and screen.ended_by is None:
        if time.monotonic() >= next_look:
            next_look = time.monotonic() + interval
            try:
                frame, trouble = server.look(), ""
            except CommandError as error:
                server.close()
                trouble = str(error)
        width, height = screen.size
        screen.draw(lost(trouble) if frame is None else render(frame, view, width, height, trouble))
        for key in decode(screen.wait(next_look - time.monotonic())):
            view, order = press(view, key, frame, height)
            if order is not None:
                if view.said and frame is not None:
                    screen.draw(render(frame, view, width, height, trouble))
                view = _obey(server, view, order)
                next_look = 0.0
            if view.quit:
                break


def _obey(server: Server, view: View, order: Order) -> View:
    try:
        return answered(view, order, server.order(order))
    except CommandError as error:
        server.close()  # a late answer must not be taken for that of the next command
        return refused(view, order, str(error))
