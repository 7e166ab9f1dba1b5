"""Run a program and have its output whole: `exec` a line of shell, `exec_file` a program."""

import codecs
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Generic, TypedDict, TypeVar, Unpack, overload

from prefork.children.home import home
from prefork.children.programs.ends import Ends
from prefork.children.programs.feeding import Fed
from prefork.children.programs.limits import Limits
from prefork.children.programs.output import MOST_BYTES, Collected
from prefork.children.programs.running import Running, check_ended, programs_of
from prefork.children.programs.starting import SHELL, Argument, Streams, Surroundings
from prefork.errors import ChildError, ChildTimeout, OutputTooLarge

NAME_CHARACTERS: Final = 60  # of a line of shell, in errors
TOO_LATE: Final = "its time was over"
TOO_LARGE: Final = "its output was too large"

T = TypeVar("T", bytes, str)


@dataclass(frozen=True, slots=True)
class Done(Generic[T]):
    """A program that has ended, with `status` or by `signal` (the other one is None), and what it wrote."""

    argv: tuple[Argument, ...]
    stdout: T
    stderr: T
    status: int | None
    signal: int | None


class Options(TypedDict, total=False):
    """What `exec` and `exec_file` take beside the program.

    `timeout`: seconds from its start; then it is ended, and ChildTimeout raised. `max_output`: bytes, of standard
    output and error each; past it the program is ended, and OutputTooLarge holds what was read. `check`: raise
    ChildFailed for another status than 0, and for a signal. `input`: what it reads; without, it reads nothing.
    `cwd`: its folder. `env`: all its variables. `user`, `group`: name or number, with that user's groups; needs root.
    `nice`: its niceness, as nice(1) shows it. `limits`: see `Limits`. `bound`: whether it is ended with the request.
    """

    timeout: float | None
    max_output: int
    check: bool
    input: bytes | bytearray | memoryview | str
    cwd: str | os.PathLike[str]
    env: dict[str, str]
    user: str | int
    group: str | int
    nice: int
    limits: Limits
    bound: bool


@overload
async def exec(line: str, *, encoding: None = None, **options: Unpack[Options]) -> Done[bytes]: ...
@overload
async def exec(line: str, *, encoding: str, **options: Unpack[Options]) -> Done[str]: ...
async def exec(line: str, *, encoding: str | None = None, **options: Unpack[Options]) -> Done[Any]:
    """Run a line of shell (`/bin/sh -c`, with pipes, globs, variables) and return what came of it.

    Never put into the line what a client has sent: `exec(f"convert {name} out.png")` with a name of `x; rm -rf ~` runs
    `rm -rf ~`. Where a part of the command comes from elsewhere, use `exec_file`, whose arguments no shell ever reads;
    if it has to be a shell, quote each part with `shlex.quote`. Options and errors as `exec_file`.
    """
    name = line if len(line) <= NAME_CHARACTERS else f"{line[:NAME_CHARACTERS]}…"
    return await _run((SHELL, "-c", line), repr(name), encoding, **options)


@overload
async def exec_file(
    program: Argument, /, *args: Argument, encoding: None = None, **options: Unpack[Options]
) -> Done[bytes]: ...
@overload
async def exec_file(program: Argument, /, *args: Argument, encoding: str, **options: Unpack[Options]) -> Done[str]: ...
async def exec_file(
    program: Argument, /, *args: Argument, encoding: str | None = None, **options: Unpack[Options]
) -> Done[Any]:
    """Run a program, found in PATH unless it has a slash, with these arguments and no shell; return what came of it.

    With an `encoding` output is str, where what is no text becomes U+FFFD. When the caller is cancelled, or the request
    that it belongs to is over, the program is ended with its process group: SIGTERM, then SIGKILL after
    `--children-grace-seconds`; this returns when it is reaped. What a program leaves running in its group when it ends
    is killed. `Options` tells the options.

    Raises ChildNotStarted that names what is in the way; ChildrenBusy (503) when `--max-children` run already and none
    has ended in `--children-wait-seconds`; ChildTimeout (504), OutputTooLarge and ChildFailed as the options say;
    ChildError when it was ended because its request, or the server, is over.
    """
    return await _run((program, *args), os.fsdecode(program), encoding, **options)


async def _run(
    argv: Sequence[Argument],
    name: str,
    encoding: str | None,
    *,
    timeout: float | None = None,
    max_output: int = MOST_BYTES,
    check: bool = False,
    input: bytes | bytearray | memoryview | str | None = None,
    bound: bool = True,
    **surroundings: Any,
) -> Done[Any]:
    around = Surroundings(**surroundings)
    data = None if input is None else _bytes(input, encoding)
    if encoding is not None:
        codecs.lookup(encoding)  # wrong, it would be told when the program has ended
    if max_output < 0:
        raise ValueError(f"max_output is a number of bytes, not {max_output}")
    programs = programs_of(home())
    output: list[Collected] = []

    def start() -> Running:
        with Ends() as ends:
            stdin, gate = subprocess.DEVNULL, None
            if data is not None or around.gated:
                stdin, gate = ends.to_program()
            (stdout, out), (stderr, err) = ends.from_program(), ends.from_program()
            streams = Streams(stdin, stdout, stderr, gate if around.gated else None, stdout)
            running = programs.run(argv, around, streams, bound)
        running.name = name
        output.extend(Collected(running.loop, descriptor, max_output) for descriptor in (out, err))
        feeder = None if gate is None else Fed(running.loop, gate)
        running.own(output, feeder)
        for collected in output:
            collected.on_too_large = partial(running.end, TOO_LARGE)
        if feeder is not None:
            feeder.feed_bytes(b"" if data is None else data)
        return running

    running = await programs.start(start)
    timer = None
    try:
        if timeout is not None:
            timer = running.loop.call_later(timeout, running.end, TOO_LATE)
        ended = await running.wait_over()
    except BaseException:
        running.end("who waited for it has gone")
        await running.wait_gone()
        raise
    finally:
        if timer is not None:
            timer.cancel()
    stdout, stderr = (_text(collected.data(), encoding) for collected in output)
    if any(collected.too_large for collected in output):
        raise OutputTooLarge(f"{running.name} wrote more than {max_output} bytes and was ended", stdout, stderr)
    if running.because == TOO_LATE:
        raise ChildTimeout(f"{running.name} was not over within {timeout:g} s and was ended")
    if running.because:
        raise ChildError(f"{running.name} was ended: {running.because}")
    if check:
        check_ended(running, ended, output[1].data(), encoding)
    return Done(tuple(argv), stdout, stderr, *ended)


def _bytes(input: bytes | bytearray | memoryview | str, encoding: str | None) -> memoryview:
    if isinstance(input, str):
        if encoding is None:
            raise TypeError("an input of type str needs an encoding")
        input = input.encode(encoding)
    return memoryview(input).cast("B")


def _text(data: bytes, encoding: str | None) -> bytes | str:
    return data if encoding is None else data.decode(encoding, "replace")
