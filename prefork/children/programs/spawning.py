"""Run a program and stream with it: `spawn`."""

import os
import signal
import weakref
from collections.abc import AsyncIterable, Mapping
from contextlib import suppress
from functools import partial
from io import BufferedRandom, BufferedReader, FileIO
from subprocess import DEVNULL, PIPE, STDOUT
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar, runtime_checkable

from prefork.children.home import home
from prefork.children.programs.ends import Ends
from prefork.children.programs.feeding import Fed, Input, Readable
from prefork.children.programs.limits import Limits
from prefork.children.programs.output import Buffered, Output
from prefork.children.programs.running import Ended, Running, check_ended, programs_of
from prefork.children.programs.starting import Argument, Streams, Surroundings

__all__ = ["DEVNULL", "PIPE", "STDOUT", "Program", "spawn"]

S = TypeVar("S")


@runtime_checkable
class HasFileno(Protocol):
    """A file, a socket, a pipe."""

    def fileno(self) -> int: ...


Stdin = int | bytes | bytearray | memoryview | AsyncIterable[bytes] | Readable | HasFileno | None
Stdout = int | HasFileno


class _Handle:
    """Lives as long as somebody can reach the program: itself, or one of its streams."""

    __slots__ = ("__weakref__",)


class Program:
    """A program that runs. `async with` ends it; without, it is ended with its request, or when nobody refers to it or
    its streams any more."""

    def __init__(
        self,
        running: Running,
        argv: tuple[Argument, ...],
        stdin: Fed | None,
        stdout: Buffered | None,
        stderr: Buffered | None,
        check: bool,
        fed: bool,
    ) -> None:
        """`fed`: its input may fail."""
        handle = _Handle()
        at_end = partial(_at_end, running, check or fed, check, stderr)
        self.argv = argv
        self._running = running
        self._check = check
        self._handle = handle
        self._errors = stderr
        self._stdin = None if stdin is None else Input(stdin, handle)
        self._stdout = None if stdout is None else Output(stdout, "stdout", handle, at_end)
        self._stderr = None if stderr is None else Output(stderr, "stderr", handle, None)
        weakref.finalize(handle, _end_lost, running).atexit = False

    def __repr__(self) -> str:
        ended = self._running.ended
        return f"<Program {self._running.name} (pid {self.pid}): {ended.words if ended else 'runs'}>"

    @property
    def pid(self) -> int:
        """That of the program, the leader of its process group; another process's once it is reaped."""
        return self._running.pid

    @property
    def status(self) -> int | None:
        """What it has exited with; None while it runs, and when a signal ended it."""
        return self._running.ended.status if self._running.ended else None

    @property
    def signal(self) -> int | None:
        """What signal has ended it; None while it runs, and when it exited."""
        return self._running.ended.signal if self._running.ended else None

    @property
    def stdin(self) -> Input:
        """What it reads. Raises RuntimeError unless `stdin=PIPE`."""
        return _wanted(self._stdin, "stdin")

    @property
    def stdout(self) -> Output:
        """What it writes: `async for piece in child.stdout`. A program whose output nobody reads waits. Raises
        RuntimeError when stdout goes elsewhere."""
        return _wanted(self._stdout, "stdout")

    @property
    def stderr(self) -> Output:
        """What it writes there. Until somebody reads it, it does not wait, and the last 64 KiB are kept. Raises
        RuntimeError when stderr goes elsewhere."""
        return _wanted(self._stderr, "stderr")

    def terminate(self) -> None:
        """SIGTERM to its process group; what it does then is up to it."""
        self._running.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL to its process group."""
        self._running.send_signal(signal.SIGKILL)

    def send_signal(self, number: int) -> None:
        """A signal to its process group; nothing when it is gone."""
        self._running.send_signal(number)

    async def wait(self) -> Ended:
        """Until it has ended: its status or its signal. Its output need not have been read; but a program that writes
        more than fits its pipe does not end before. Raises ChildFailed for another status than 0 if `check`, what its
        input has raised, and ChildError when it was ended because its request, or the server, is over."""
        return await _verdict(self._running, self._check, self._errors)

    async def end(self) -> None:
        """SIGTERM to its process group, SIGKILL after `--children-grace-seconds`; until it is reaped."""
        self._running.end("its handle was closed")
        await self._running.wait_gone()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.end()
        for output in (self._stdout, self._stderr):
            if output is not None:
                await output.aclose()


async def spawn(
    program: Argument,
    /,
    *args: Argument,
    stdin: Stdin = None,
    stdout: Stdout = PIPE,
    stderr: Stdout = PIPE,
    check: bool = False,
    cwd: str | os.PathLike[str] | None = None,
    env: Mapping[str, str] | None = None,
    user: str | int | None = None,
    group: str | int | None = None,
    nice: int | None = None,
    limits: Limits | None = None,
    bound: bool = True,
) -> Program:
    """Start a program, found in PATH unless it has a slash, with these arguments and no shell.

    `stdin`: bytes, a file, or an asynchronous iterator of bytes, which it gets as fast as it reads them; PIPE, to write
    to `child.stdin`; None: it reads nothing. That it does not read all of it is no error; an error of the iterator ends
    the program, and is raised where its output ends and by `wait`. `stdout` and `stderr`: PIPE, to read them; DEVNULL;
    a file or descriptor; stderr may be STDOUT. With `check`, the end of `stdout` waits for the program's, and raises
    ChildFailed for another status than 0: so no half answer passes for a whole one.

    It is ended, with its process group, when its request is over (the client has left, or the handler and the response
    it returned have ended), with the server, and when nobody refers to it any more; `bound=False`: not with the
    request. The other options are those of `exec_file`. Raises ChildNotStarted that names what is in the way, and
    ChildrenBusy (503) when `--max-children` run already and none has ended in `--children-wait-seconds`.
    """
    argv = (program, *args)
    around = Surroundings(cwd=cwd, env=env, user=user, group=group, nice=nice, limits=limits)
    programs = programs_of(home())

    def start() -> Program:
        given = _descriptor_of(stdin)
        source = _source_of(stdin) if given is None and stdin != PIPE else None
        copied = False
        with Ends() as ends:
            if given == DEVNULL and PIPE not in (stdout, stderr):
                given = None  # an empty pipe: that the guard may know it by
            if around.gated and given is not None:  # its standard input is a pipe then
                copied = given != DEVNULL
                source = ends.open_copy(given) if copied else None
                given = None
            theirs_in, ours_in = (given, None) if given is not None else ends.to_program(wide=source is not None)
            theirs_out, ours_out = ends.from_program(wide=True) if stdout == PIPE else (_place(stdout), None)
            theirs_err, ours_err = ends.from_program() if stderr == PIPE else (_place(stderr), None)
            pairs = ((theirs_in, ours_in), (theirs_out, ours_out), (theirs_err, ours_err))
            pipe = next((theirs for theirs, ours in pairs if ours is not None), None)
            streams = Streams(theirs_in, theirs_out, theirs_err, ours_in if around.gated else None, pipe)
            running = programs.run(argv, around, streams, bound)
        loop = running.loop
        out = None if ours_out is None else Buffered(loop, ours_out)
        err = None if ours_err is None else Buffered(loop, ours_err, keep_tail=True)
        input = None if ours_in is None else Fed(loop, ours_in)
        running.own([pipe for pipe in (out, err) if pipe is not None], input)
        fed = False
        if input is not None and stdin != PIPE:
            fed = _feed(running, input, source, copied)
        return Program(running, argv, input if stdin == PIPE else None, out, err, check, fed)

    return await programs.start(start)


def _feed(running: Running, input: Fed, source: Any, ours: bool) -> bool:
    """Let it have what comes from there, which is closed then if it is `ours`. Returns whether that may fail."""
    if source is None or isinstance(source, memoryview):
        input.feed_bytes(b"" if source is None else source)
        return False
    running.feeder = running.loop.create_task(input.feed(source, running.input_failed), name="prefork-feeder")
    if ours:
        running.feeder.add_done_callback(lambda _: source.close())
    return True


async def _verdict(running: Running, check: bool, stderr: Buffered | None) -> Ended:
    """How it ended. Raises what speaks against taking its output for whole."""
    ended = await running.wait_gone()
    running.check_whole()
    if check:
        check_ended(running, ended, b"" if stderr is None else stderr.tail())
    return ended


async def _at_end(running: Running, waits: bool, check: bool, stderr: Buffered | None) -> None:
    if waits:
        await _verdict(running, check, stderr)
    running.check_whole()


def _descriptor_of(stdin: Any) -> int | None:
    """What a program can read itself: a descriptor, a socket, a file of the system; None for all else."""
    if stdin is None:
        return DEVNULL
    if isinstance(stdin, int):
        return None if stdin == PIPE else stdin
    if isinstance(stdin, BufferedReader | BufferedRandom) and isinstance(stdin.raw, FileIO) and stdin.seekable():
        os.lseek(stdin.fileno(), stdin.tell(), os.SEEK_SET)  # it has read ahead
        return stdin.fileno()
    if isinstance(stdin, FileIO) or (isinstance(stdin, HasFileno) and not isinstance(stdin, AsyncIterable | Readable)):
        return stdin.fileno()
    return None


def _source_of(stdin: Any) -> memoryview | AsyncIterable[bytes] | Readable:
    """What it is fed from. Raises TypeError before it has started."""
    if isinstance(stdin, AsyncIterable | Readable):
        return stdin
    try:
        return memoryview(stdin).cast("B")
    except TypeError:
        kind = type(stdin).__qualname__
        raise TypeError(f"stdin takes bytes, a file or an asynchronous iterator of bytes, not {kind}") from None


def _place(stream: Stdout) -> int:
    """Where output goes, as Popen takes it."""
    return stream if isinstance(stream, int) else stream.fileno()


def _end_lost(running: Running) -> None:
    """Nobody can reach it. Called by whatever thread collects garbage."""
    with suppress(RuntimeError):  # its loop is closed: it ends with this process
        running.loop.call_soon_threadsafe(running.abandon)


def _wanted(stream: S | None, name: str) -> S:
    if stream is None:
        raise RuntimeError(f"{name} of this program is not a pipe to us")
    return stream
