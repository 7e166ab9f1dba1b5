"""The streams of programs, when what feeds them or what writes to them does not keep to its part."""

import asyncio
import gc
import io
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from prefork import children
from prefork.children.home import home
from prefork.children.programs.output import SMALL_BYTES, TAIL_BYTES, Buffered, Output, Pipe
from prefork.errors import ChildNotStarted
from tests.children.programs import Run, lives, run, until

__all__ = ["run"]

MIB = 1 << 20


def test_what_cannot_be_an_input_leaves_no_program_behind(run: Run[Any], tmp_path: Path) -> None:
    async def main(folder: int) -> None:
        text: Any = "x"
        with pytest.raises(TypeError, match="stdin takes bytes, a file or an asynchronous iterator of bytes, not str"):
            await children.spawn("cat", stdin=text)
        with pytest.raises(ChildNotStarted, match="its streams cannot be made: Is a directory"):
            await children.spawn("cat", stdin=folder, nice=1)
        with pytest.raises(ChildNotStarted, match="no program"):
            await children.spawn("no-such-program", stdin=null, nice=1)
        assert home().places.taken == 0

    folder, null = os.open(tmp_path, os.O_RDONLY), os.open(os.devnull, os.O_RDONLY)
    run(main(folder))
    os.close(folder)
    os.close(null)


def test_a_source_that_breaks_off_is_not_taken_for_one_that_ends(run: Run[Any]) -> None:
    """Also when what it raises is what a program that reads no more would cause, and when it has nothing for now."""

    class Empty(io.RawIOBase):
        def readinto(self, room: Any) -> None:
            return None

        def readable(self) -> bool:
            return True

    class Slow:
        """It takes its time to close; the program has ended before."""

        def __aiter__(self) -> AsyncIterator[bytes]:
            return self

        async def __anext__(self) -> bytes:
            raise BrokenPipeError("the source broke")

        async def aclose(self) -> None:
            await until(lambda: not lives(pids[-1]))

    async def main(source: Any) -> None:
        child = await children.spawn("cat", stdin=source)
        pids.append(child.pid)
        with pytest.raises(OSError, match=r"the source broke|does not block"):
            await child.stdout.read()

    pids: list[int] = []
    run(main(Slow()))
    run(main(Empty()))


def test_what_a_source_raises_when_the_program_has_ended_is_no_failure_of_it(run: Run[Any]) -> None:
    async def source() -> AsyncIterator[bytes]:
        try:
            yield b"x"
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            raise LookupError("broken off") from None

    async def main() -> None:
        logged: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, what: logged.append(what))
        child = await children.spawn("head", "-c", "1", stdin=source())
        assert await child.stdout.read() == b"x"
        assert await child.wait() == (0, None)
        del child
        await until(lambda: gc.collect() and logged)
        assert str(logged[0]["exception"]) == "broken off"

    run(main())


def test_only_one_task_writes_at_a_time(run: Run[Any]) -> None:
    async def main() -> None:
        async with await children.spawn("sleep", "1000", stdin=children.PIPE) as child:
            first = asyncio.create_task(child.stdin.write(bytes(MIB)))
            await asyncio.sleep(0)
            with pytest.raises(RuntimeError, match="another task writes to this program"):
                await child.stdin.write(b"")
            first.cancel()

    run(main())


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_flood_of_who_has_left_the_group_ends_a_while_after_the_program(run: Run[Any], stream: str) -> None:
    """It must neither hold the loop up, nor be read for ever."""

    async def main() -> None:
        flooded, other = (1, "stderr") if stream == "stdout" else (2, "stdout")
        line = f"for n in 1 2 3; do setsid cat /dev/zero >&{flooded} & echo $! >&{3 - flooded}; done; read go"
        child = await children.spawn("sh", "-c", line, stdin=children.PIPE)
        lines = getattr(child, other).lines()
        pids = [int(await anext(lines)) for _ in range(3)]
        output: Output = getattr(child, stream)
        try:
            await until(lambda: output._pipe.bytes >= TAIL_BYTES)
            child.stdin.close()
            assert await child.wait() == (1, None)
            async for _ in output:
                pass
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGKILL)

    run(main())


def test_who_writes_as_fast_as_is_read_does_not_hold_the_loop_up(run: Run[Any]) -> None:
    class Refilled(Pipe):
        def _take(self, data: bytes) -> None:
            os.write(write, data)

    async def main() -> None:
        pipe = Refilled(asyncio.get_running_loop(), read)
        pipe.read_on()
        assert not pipe.ended
        pipe.finish()
        assert pipe.ended

    read, write = os.pipe()
    os.set_blocking(read, False)
    os.write(write, b"some")
    run(main())
    os.close(write)


def test_single_bytes_are_kept_together(run: Run[Any]) -> None:
    """Each by itself would take fifty times the memory."""

    async def main() -> None:
        read, write = os.pipe()
        os.set_blocking(read, False)
        pipe = Buffered(asyncio.get_running_loop(), read)
        for _ in range(3 * SMALL_BYTES):
            os.write(write, b"x")
            pipe.read_on()
        os.close(write)
        pipe.read_on()
        sizes = []
        while piece := await pipe.next():
            sizes.append(len(piece))
        assert sizes == [SMALL_BYTES] * 3

    run(main())
