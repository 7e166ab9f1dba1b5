"""`spawn`: streams with back-pressure both ways, and the end of a program whoever loses interest in it."""

import asyncio
import gc
import io
import os
import resource
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from prefork import children
from prefork.children.programs.output import AHEAD_BYTES, READ_BYTES, TAIL_BYTES
from prefork.errors import ChildError, ChildFailed, ChildNotStarted, OutputTooLarge
from prefork.jobs import context
from prefork.system.guard import guard_pid
from prefork.web.streaming import iterate
from tests.children.programs import STUBBORN, Run, lives, run, until, wait_gone

__all__ = ["run"]

GIB = 1 << 30
MIB = 1 << 20


async def pieces(*said: bytes) -> AsyncIterator[bytes]:
    for piece in said:
        await asyncio.sleep(0)
        yield piece


def guard_table() -> list[str]:
    """Who stands in the table of this process's guard."""
    with open(f"/proc/{guard_pid()}/fd/1") as table:
        return [line for line in table.read().split("\n") if line.strip()]


def peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@pytest.mark.parametrize("kind", ["bytes", "iterator", "memory", "file", "raw", "descriptor", "gated"])
def test_a_program_reads_what_it_is_given(run: Run[Any], tmp_path: Path, kind: str) -> None:
    path = tmp_path / "names"
    path.write_bytes(b"skipped\nb\na\n")

    async def main(file: BinaryIO, raw: BinaryIO) -> bytes:
        source: Any = {
            "bytes": b"b\na\n",
            "iterator": pieces(b"b\n", b"a\n"),
            "memory": io.BytesIO(b"b\na\n"),
            "file": file,
            "raw": raw,
            "descriptor": raw.fileno(),
            "gated": raw,
        }[kind]
        child = await children.spawn("sort", stdin=source, nice=1 if kind == "gated" else None, check=True)
        return await child.stdout.read()

    with open(path, "rb") as file, open(path, "rb", 0) as raw:
        assert file.readline() == b"skipped\n"
        os.lseek(raw.fileno(), 8, os.SEEK_SET)
        assert run(main(file, raw)) == b"a\nb\n"


def test_an_app_talks_with_a_program(run: Run[Any]) -> None:
    async def main() -> None:
        async with await children.spawn("cat", stdin=children.PIPE) as child:
            lines = child.stdout.lines("utf-8")
            for word in ("one", "two"):
                await child.stdin.write(f"{word}\n".encode())
                assert await anext(lines) == word
            child.stdin.close()
            assert await child.wait() == (0, None)
            assert (child.status, child.signal) == (0, None)
            with pytest.raises(BrokenPipeError):
                await child.stdin.write(b"x")

    run(main())


def test_who_writes_to_a_program_that_reads_no_more_is_told(run: Run[Any]) -> None:
    async def main() -> None:
        child = await children.spawn("head", "-c", "1", stdin=children.PIPE)
        with pytest.raises(BrokenPipeError):
            await child.stdin.write(bytes(MIB))
        assert await child.wait() == (0, None)

    run(main())


def test_lines_are_found_across_pieces_with_either_end(run: Run[Any]) -> None:
    async def main() -> list[Any]:
        child = await children.spawn("cat", stdin=pieces(b"on", b"e\r", b"\ntw", b"o\n\n\xff"))
        found: list[Any] = [line async for line in child.stdout.lines()]
        child = await children.spawn("seq", "100000")
        numbers = [int(line) async for line in child.stdout.lines("ascii")]
        assert numbers == list(range(1, 100001))
        return found

    assert run(main()) == [b"one", b"two", b"", b"\xff"]


@pytest.mark.parametrize("end", ["", "\n"])
@pytest.mark.parametrize("more", [0, 1])
def test_a_line_may_be_as_long_as_its_limit(run: Run[Any], more: int, end: str) -> None:
    async def main() -> list[bytes]:
        async with await children.spawn("printf", f"%{100 + more}s{end}", "x") as child:
            return [line async for line in child.stdout.lines(longest=100)]

    if more:
        with pytest.raises(OutputTooLarge, match="a line of stdout is longer than 100 bytes"):
            run(main())
    else:
        assert [len(line) for line in run(main())] == [100]


@pytest.mark.parametrize("more", [0, 1])
def test_reading_it_whole_has_a_limit(run: Run[Any], more: int) -> None:
    async def main() -> bytes:
        async with await children.spawn("head", "-c", str(100_000 + more), "/dev/zero") as child:
            return await child.stdout.read(100_000)

    if more:
        with pytest.raises(OutputTooLarge, match="stdout is larger than 100000 bytes") as caught:
            run(main())
        assert len(caught.value.stdout) == 100_000
    else:
        assert len(run(main())) == 100_000


def test_a_flood_of_errors_does_not_hold_up_who_reads_the_output(run: Run[Any]) -> None:
    async def main() -> None:
        child = await children.spawn("sh", "-c", "seq 500000 >&2; echo out; echo last >&2")
        assert await child.stdout.read() == b"out\n"
        kept = await child.stderr.read()
        assert kept.endswith(b"\n500000\nlast\n")
        assert TAIL_BYTES <= len(kept) < TAIL_BYTES + READ_BYTES

    run(main())


def test_errors_that_are_read_are_read_whole(run: Run[Any]) -> None:
    async def main() -> None:
        child = await children.spawn("sh", "-c", "seq 500000 >&2")
        numbers = [int(line) async for line in child.stderr.lines()]
        assert numbers == list(range(1, 500001))
        child = await children.spawn("sh", "-c", "echo out; echo err >&2", stderr=children.STDOUT)
        assert await child.stdout.read() == b"out\nerr\n"
        with pytest.raises(RuntimeError, match="stderr of this program is not a pipe to us"):
            _ = child.stderr

    run(main())


def test_a_program_with_a_niceness_reads_nothing_or_what_the_app_writes(run: Run[Any]) -> None:
    async def main() -> None:
        child = await children.spawn("cat", nice=1)
        assert await child.stdout.read() == b""
        async with await children.spawn("cat", nice=1, stdin=children.PIPE) as child:
            await child.stdin.write(b"x")
            assert await anext(child.stdout) == b"x"

    run(main())


def test_output_goes_to_a_file(run: Run[Any], tmp_path: Path) -> None:
    async def main(file: BinaryIO) -> None:
        child = await children.spawn("echo", "hello", stdout=file, stderr=children.DEVNULL)
        await child.wait()

    with open(tmp_path / "out", "wb") as file:
        run(main(file))
    assert (tmp_path / "out").read_bytes() == b"hello\n"


def test_a_program_that_closes_its_output_early_runs_on(run: Run[Any]) -> None:
    async def main() -> None:
        line = "echo x; exec >&- 2>&-; read word; exit 7"
        async with await children.spawn("sh", "-c", line, stdin=children.PIPE) as child:
            assert await child.stdout.read() == b"x\n"
            assert child.status is None
            await child.stdin.write(b"go\n")
            assert await child.wait() == (7, None)

    run(main())


def test_a_program_waits_for_who_reads_its_output(run: Run[Any]) -> None:
    async def main() -> None:
        async with await children.spawn("yes") as child:
            await until(lambda: child.stdout._pipe.waits)
            assert AHEAD_BYTES <= child.stdout._pipe.bytes < AHEAD_BYTES + READ_BYTES
            before = child.stdout._pipe.bytes
            await asyncio.sleep(0)
            assert child.stdout._pipe.bytes == before
            read = 0
            async for piece in child.stdout:
                assert piece == b"y\n" * (len(piece) // 2) or len(piece) % 2
                read += len(piece)
                if read > 10 * MIB:
                    break

    run(main())


def test_only_one_task_reads_at_a_time(run: Run[Any]) -> None:
    async def main() -> None:
        async with await children.spawn("sleep", "1000") as child:
            first = asyncio.create_task(anext(child.stdout))
            await asyncio.sleep(0)
            with pytest.raises(RuntimeError, match="another task reads this stream"):
                await anext(child.stdout)
            first.cancel()

    run(main())


def test_a_gigabyte_goes_through_in_bounded_memory(run: Run[Any]) -> None:
    async def source() -> AsyncIterator[bytes]:
        block = bytes(MIB)
        for _ in range(1024):
            yield block

    async def main() -> int:
        child = await children.spawn("cat", stdin=source(), check=True)
        read = 0
        async for piece in child.stdout:
            read += len(piece)
        return read

    before = peak_bytes()
    assert run(main()) == GIB
    assert peak_bytes() - before < 16 * MIB


def test_others_have_their_turn_while_a_gigabyte_goes_through(run: Run[Any]) -> None:
    async def main() -> int:
        turns = 0

        async def other() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        task = asyncio.create_task(other())
        child = await children.spawn("head", "-c", str(GIB // 8), "/dev/zero")
        async for _ in child.stdout:
            pass
        task.cancel()
        return turns

    assert run(main()) > 100


def test_leaving_the_block_ends_a_program_that_ignores_sigterm(run: Run[Any]) -> None:
    async def main() -> None:
        async with await children.spawn(*STUBBORN) as child:
            assert await anext(child.stdout) == b"ready\n"
        assert child.signal == signal.SIGKILL
        assert repr(child) == f"<Program sh (pid {child.pid}): signal SIGKILL>"

    run(main())


def test_a_program_is_told_to_end_or_made_to(run: Run[Any]) -> None:
    async def main() -> None:
        child = await children.spawn(
            "sh", "-c", "trap 'echo told; exit 5' TERM; echo ready; while :; do sleep 0.01; done"
        )
        assert await anext(child.stdout) == b"ready\n"
        child.terminate()
        assert await child.stdout.read() == b"told\n"
        assert await child.wait() == (5, None)
        child.kill()  # it is gone: nothing happens
        child = await children.spawn("sleep", "1000")
        child.kill()
        assert await child.wait() == (None, signal.SIGKILL)

    run(main())


def test_a_program_that_nobody_refers_to_is_ended(run: Run[Any]) -> None:
    async def main() -> None:
        child = await children.spawn("yes")
        pid, stdout = child.pid, child.stdout
        del child
        gc.collect()
        for _ in range(3):
            assert len(await anext(stdout)) > 0
        assert lives(pid)  # whoever has the stream may still read it
        del stdout
        gc.collect()
        await until(lambda: not lives(pid))

    run(main())


def test_half_an_answer_is_not_taken_for_a_whole_one_if_asked_for(run: Run[Any]) -> None:
    async def main() -> None:
        line = "echo half; echo broke >&2; exec >&-; exit 3"
        child = await children.spawn("sh", "-c", line, check=True)
        assert await anext(child.stdout) == b"half\n"
        with pytest.raises(ChildFailed, match="sh: exit status 3: broke"):
            await anext(child.stdout)
        with pytest.raises(ChildFailed):
            await child.wait()
        child = await children.spawn("sh", "-c", line)
        assert await child.stdout.read() == b"half\n"
        assert await child.wait() == (3, None)

    run(main())


def test_an_error_of_the_input_ends_the_program_and_is_raised_where_its_output_ends(run: Run[Any]) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"first\n"
        raise LookupError("the source broke")

    async def main() -> None:
        child = await children.spawn("cat", stdin=broken())
        with pytest.raises(LookupError, match="the source broke"):
            await child.stdout.read()
        with pytest.raises(LookupError):
            await child.wait()

    run(main())


def test_the_source_is_closed_when_the_program_does_not_want_more(run: Run[Any]) -> None:
    closed = []

    async def endless() -> AsyncIterator[bytes]:
        try:
            while True:
                yield bytes(MIB)
        finally:
            closed.append(True)

    async def main() -> None:
        child = await children.spawn("head", "-c", "1", stdin=endless())
        assert await child.stdout.read() == b"\0"
        await child.wait()
        await until(lambda: closed)

    run(main())


@pytest.mark.parametrize("bound", [True, False])
def test_a_program_ends_with_its_request_unless_it_is_not_bound_to_it(run: Run[Any], bound: bool) -> None:
    async def main() -> None:
        kept = []

        async def handler() -> None:
            context.handling.set(asyncio.current_task())

            async def part() -> None:
                kept.append(await children.spawn(*STUBBORN, bound=bound))

            await asyncio.create_task(part())
            await anext(kept[0].stdout)

        await asyncio.create_task(handler())
        [child] = kept
        if bound:
            with pytest.raises(ChildError, match="ended: the request that it belonged to is over"):
                await child.wait()
            with pytest.raises(ChildError):
                await child.stdout.read()
        else:
            assert lives(child.pid)
            await child.end()

    run(main())


def test_a_response_that_is_given_up_closes_the_stream(run: Run[Any]) -> None:
    async def main() -> None:
        child = await children.spawn("yes")
        body = iterate(child.stdout)
        await anext(body)
        await body.aclose()
        assert await child.wait() == (None, signal.SIGPIPE)

    run(main())


def test_what_is_left_of_the_group_ends_with_its_leader(run: Run[Any]) -> None:
    async def main() -> list[int]:
        line = "for n in 1 2 3; do (trap '' TERM; sleep 1000) & echo $!; done; wait"
        async with await children.spawn("sh", "-c", line) as child:
            lines = child.stdout.lines()
            return [int(await anext(lines)) for _ in range(3)]

    for pid in run(main()):
        wait_gone(pid)


def test_a_program_that_cannot_start_leaves_nothing_behind(run: Run[Any]) -> None:
    async def main() -> None:
        for _ in range(3):
            with pytest.raises(ChildNotStarted):
                await children.spawn("no-such-program", stdin=pieces(b"x"))

    run(main())


def test_no_descriptor_left_is_said_and_leaves_nothing_behind(run: Run[Any]) -> None:
    async def tried(most: int) -> str:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        try:
            child = await children.spawn("true")
        except ChildNotStarted as error:
            return str(error)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        await child.wait()
        return ""

    async def main() -> list[str]:
        await children.exec_file("true")
        used = len(os.listdir("/proc/self/fd")) - 1
        table = guard_table()
        tried_all = [await tried(used + more) for more in range(1, 16)]
        assert guard_table() == table
        return tried_all

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    *failures, last = run(main())
    assert failures[0]
    assert not last
    assert all("descriptor" in words or "open files" in words for words in failures if words)
