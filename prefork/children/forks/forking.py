"""Fork a Python process to talk to, from the mold: `fork`, and what the parent has of it."""

import asyncio
import weakref
from types import TracebackType
from typing import Any, Final

from prefork.children.binding import bind, request_task
from prefork.children.forks import packets
from prefork.children.forks.async_line import fill
from prefork.children.forks.events import Crashed, Event, Exited
from prefork.children.forks.forked_child import ForkedProcess
from prefork.children.forks.packets import Attached, Codec
from prefork.children.forks.registry import Forks, forks
from prefork.children.forks.targets import Target, name_of_target
from prefork.children.home import Home, home
from prefork.errors import ChildCrashed, ChildDisconnected, ChildError, ChildNotStarted
from prefork.jobs.arena import QUICK_BYTES

MAX_MESSAGE: Final = 256 * 1024 * 1024  # bytes


class ForkedChild:
    """A child that was forked: a process of its own to talk to.

    Several tasks may send and receive; each message is sent whole and received once, in order. When nothing refers to
    this object, its child is ended, unless it belongs to a request, or was forked with `bound=False`.
    """

    def __init__(self, process: ForkedProcess, owner: Forks) -> None:
        self._process = process
        self._forks = owner
        assert process.pid is not None
        self.pid: Final[int] = process.pid

    async def send(self, message: Any, *, fds: Attached = ()) -> None:
        """Send a message, after those that were sent before. Waits while the child has too much to read already.

        `fds`: descriptors, or sockets and files, of which the child gets duplicates; its message is a `WithFds` then.
        Raises Unsendable for what cannot travel or is larger than `max_message`, ChildDisconnected when nobody reads
        any more, and ChildCrashed, which is one, when it has crashed.
        """
        await self._process.send(message, fds)

    async def receive(self) -> Any:
        """The next message; a `WithFds` if it was sent with descriptors. Raises ChildDisconnected when there will be
        none (`event` tells why), ChildCrashed, which is one, when the child has crashed, and ChildError for a message
        that cannot be made anew here, which is lost then."""
        return await self._process.receive()

    def __aiter__(self) -> "ForkedChild":
        return self

    async def __anext__(self) -> Any:
        try:
            return await self._process.receive()
        except ChildCrashed:
            raise
        except ChildDisconnected:
            raise StopAsyncIteration from None

    @property
    def event(self) -> Event | None:
        """What has become of the child: None while it can be talked to."""
        return self._process.event

    def disconnect(self) -> None:
        """Send no more. The child still reads what was sent; then its iteration ends, and it should. What it sends
        until then can be received."""
        self._process.disconnect()

    def terminate(self, grace: float | None = None) -> None:
        """Send SIGTERM to the child and all it has started, and SIGKILL after `grace` seconds; None: the setting
        `children_grace_seconds`."""
        self._forks.end(self._process, grace)

    def kill(self) -> None:
        """Send SIGKILL to the child and all it has started."""
        self._forks.end(self._process, 0.0)

    async def wait(self) -> Exited | Crashed:
        """Wait until the process is gone. What it has sent can still be received."""
        return await asyncio.shield(self._process.gone)

    async def __aenter__(self) -> "ForkedChild":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.terminate()
        self._process.abandon()
        await self.wait()

    def __repr__(self) -> str:
        return f"<ForkedChild {self._process.name} pid {self.pid} {self.event or 'connected'}>"


async def fork(
    target: Target,
    *args: Any,
    fresh: bool = False,
    codec: Codec = "pickle",
    bound: bool = True,
    max_message: int = MAX_MESSAGE,
) -> ForkedChild:
    """Call `target(*args)` in a process of its own, and talk to it. Returns when it is about to be called.

    `target` is "module:function", or a function that can be found by its name. It is a `def`, or an `async def` that
    runs on an event loop of its own. In it, `prefork.children.parent` sends and receives. In a worker, the process is
    forked from the mold, with the app's code imported; elsewhere from a nursery, which imports the target's module if
    it is imported here. `fresh`: start a new interpreter instead, which imports what the target needs.

    Messages are encoded by `codec`: "pickle" for Python objects, arrays and shared memory, "msgspec" (MessagePack) for
    plain data; the arguments are always pickled. A message has at most `max_message` bytes. With `bound`, the child is
    ended when the current request is over, or when nothing refers to the result; otherwise it may live as long as the
    worker, or the event loop.

    Raises ChildNotStarted when there is no such target, or no process can be forked; ChildrenBusy when `max_children`
    run, and none ended in time; Unsendable for arguments that cannot travel; ValueError for another codec.
    """
    if codec not in packets.CODECS:
        raise ValueError(f"codec is one of {', '.join(packets.CODECS)}, not {codec!r}")
    name = name_of_target(target)
    at_home = home()
    arguments = packets.pack(packets.ARGUMENTS, args, "pickle", (), max_message)
    try:
        if arguments.weight > QUICK_BYTES:
            await fill(arguments, at_home.loop)
        owner = forks(at_home, name)
        await at_home.places.take()
        child = _order(at_home, owner, name, codec, max_message, fresh, arguments)
    finally:
        arguments.close()
    request = request_task() if bound else None
    if request is not None:
        child.unbind = bind(lambda: _end(owner, child))
    try:
        await child.started()
    except BaseException:
        _end(owner, child)
        raise
    handle = ForkedChild(child, owner)
    weakref.finalize(handle, _dropped, owner, child, at_home.loop, bound and request is None).atexit = False
    return handle


def _order(
    at_home: Home, owner: Forks, name: str, codec: Codec, most: int, fresh: bool, arguments: packets.Packet
) -> ForkedProcess:
    """Order a process. If that fails, its place is free again."""
    try:
        child = owner.make(name, codec, most)
    except OSError as error:
        at_home.places.free()
        raise ChildNotStarted(f"{name}: {error.strerror or error}") from error
    try:
        child.prepare(packets.start((name, codec, most), child.far_side, fresh), arguments)
    except (OSError, ChildError) as error:
        at_home.places.free()
        child.discard()
        raise ChildNotStarted(f"{name}: {error}") from error
    owner.order(child)
    return child


def _end(owner: Forks, child: ForkedProcess) -> None:
    """Nobody talks to it any more, and it shall end."""
    owner.end(child)
    child.abandon()


def _dropped(owner: Forks, child: ForkedProcess, loop: asyncio.AbstractEventLoop, ends: bool) -> None:
    """Nothing refers to its handle: called by the garbage collector, in any thread."""
    if not loop.is_closed():
        loop.call_soon_threadsafe(_end if ends else _abandon, owner, child)


def _abandon(owner: Forks, child: ForkedProcess) -> None:
    child.abandon()
