"""`exec` and `exec_file`: what comes of a program, its limits, and its end whoever ends it."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from prefork import children
from prefork.children.home import home
from prefork.children.programs import running
from prefork.children.programs.running import STDERR_BYTES
from prefork.children.programs.starting import start
from prefork.errors import (
    ChildError,
    ChildFailed,
    ChildNotStarted,
    ChildrenBusy,
    ChildTimeout,
    OutputTooLarge,
)
from prefork.system import guard, process
from tests.children.programs import STUBBORN, Run, lives, run, until, wait_gone

__all__ = ["run"]


def test_a_line_of_shell_gives_its_output_its_errors_and_its_status(run: Run[Any]) -> None:
    done = run(children.exec("printf 'b\\na\\nb\\n' | sort | uniq -c; echo oops >&2; exit 3", encoding="utf-8"))
    assert done.stdout.split() == ["1", "a", "2", "b"]
    assert (done.stderr, done.status, done.signal) == ("oops\n", 3, None)


def test_no_shell_reads_the_arguments_of_a_file(run: Run[Any]) -> None:
    done = run(children.exec_file("printf", "%s|", "; echo $HOME", "*", b"\xff"))
    assert done.stdout == b"; echo $HOME|*|\xff|"
    assert done.argv == ("printf", "%s|", "; echo $HOME", "*", b"\xff")


def test_a_real_git_runs_in_a_folder_with_an_environment(run: Run[Any], tmp_path: Path) -> None:
    env = {"PATH": os.environ["PATH"], "GIT_AUTHOR_NAME": "A. Thor", "GIT_AUTHOR_EMAIL": "a@b.c"}

    async def main() -> str:
        await children.exec_file("git", "init", "-q", cwd=tmp_path, check=True)
        done = await children.exec_file("git", "var", "GIT_AUTHOR_IDENT", cwd=tmp_path, env=env, encoding="utf-8")
        return done.stdout

    assert run(main()).startswith("A. Thor <a@b.c>")


def test_a_signal_is_no_status(run: Run[Any]) -> None:
    done = run(children.exec("kill -KILL $$"))
    assert (done.status, done.signal) == (None, signal.SIGKILL)


@pytest.mark.parametrize(
    ("line", "status", "number", "words"),
    [
        ("echo first >&2; echo the reason >&2; exit 4", 4, None, "'echo first .*': exit status 4: the reason"),
        ("kill -TERM $$", None, signal.SIGTERM, "'kill -TERM .*': signal SIGTERM"),
    ],
)
def test_a_failure_is_an_error_if_asked_for(
    run: Run[Any], line: str, status: int | None, number: int | None, words: str
) -> None:
    with pytest.raises(ChildFailed, match=f"{words}$") as caught:
        run(children.exec(line, check=True))
    assert (caught.value.status, caught.value.signal) == (status, number)


def test_a_failure_holds_the_end_of_what_was_said(run: Run[Any]) -> None:
    with pytest.raises(ChildFailed) as caught:
        run(children.exec("seq 100000 >&2; exit 1", check=True, encoding="utf-8"))
    assert isinstance(caught.value.stderr, str)
    assert caught.value.stderr.endswith("\n99999\n100000\n")
    assert len(caught.value.stderr) == STDERR_BYTES


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
@pytest.mark.parametrize("more", [-1, 0, 1])
def test_output_may_be_as_large_as_its_limit_and_no_larger(run: Run[Any], stream: str, more: int) -> None:
    most = 300_000
    line = f"head -c {most + more} /dev/zero" + (" >&2" if stream == "stderr" else "")
    if more <= 0:
        assert len(getattr(run(children.exec(line, max_output=most)), stream)) == most + more
        return
    with pytest.raises(OutputTooLarge, match=f"more than {most} bytes") as caught:
        run(children.exec(line, max_output=most))
    assert len(getattr(caught.value, stream)) == most


def test_a_program_without_end_is_ended_at_the_limit(run: Run[Any]) -> None:
    with pytest.raises(OutputTooLarge) as caught:
        run(children.exec_file("yes"))
    assert caught.value.stdout == b"y\n" * (512 * 1024)


def test_a_program_that_ignores_sigterm_is_killed_when_its_time_is_over(run: Run[Any]) -> None:
    with pytest.raises(ChildTimeout, match=r"sh was not over within 0.2 s"):
        run(children.exec_file(*STUBBORN, timeout=0.2))


def test_a_stopped_program_is_ended_too(run: Run[Any]) -> None:
    with pytest.raises(ChildTimeout):
        run(children.exec("kill -STOP $$", timeout=0.05))


@pytest.mark.parametrize("size", [0, 1, 65536, 5_000_000])
def test_all_of_the_input_goes_through(run: Run[Any], size: int) -> None:
    data = os.urandom(size)
    assert run(children.exec_file("cat", input=memoryview(data), max_output=size)).stdout == data


def test_input_that_is_not_wanted_is_no_error(run: Run[Any]) -> None:
    assert run(children.exec_file("true", input=bytes(1_000_000))).status == 0
    assert run(children.exec("exec <&-; sleep 0.01", input=bytes(1_000_000))).status == 0


def test_without_input_there_is_nothing_to_read(run: Run[Any]) -> None:
    assert run(children.exec_file("cat")).stdout == b""


def test_text_goes_in_and_out_in_an_encoding(run: Run[Any]) -> None:
    assert run(children.exec_file("cat", input="grün", encoding="latin-1")).stdout == "grün"
    assert run(children.exec_file("printf", "\\377", encoding="utf-8")).stdout == "�"
    with pytest.raises(TypeError, match="needs an encoding"):
        run(children.exec_file("cat", input="grün"))


def test_what_is_in_the_way_is_named(run: Run[Any], tmp_path: Path) -> None:
    script = tmp_path / "script"
    for text, mode, words in [
        ("#!/bin/sh\n", 0o600, "'.*/script' is not a program, or not ours to run"),
        ("#!/no/such/interpreter\n", 0o700, "script: the interpreter that its first line names does not exist"),
        ("\0\1\2", 0o700, "script: it is neither a program for this machine nor a script"),
    ]:
        script.write_text(text)
        script.chmod(mode)
        with pytest.raises(ChildNotStarted, match=words):
            run(children.exec_file(script))
    cases: list[tuple[Any, Any, str]] = [
        (("no-such-program",), {}, r"there is no program 'no-such-program' in PATH \(/"),
        (("no-such-program",), {"nice": 5}, r"there is no program 'no-such-program' in PATH \(/"),
        (("./x",), {"cwd": "/etc"}, "there is no program '/etc/./x'"),
        ((tmp_path,), {}, "is not a program"),
        (("true",), {"cwd": "/no/folder"}, "true: its folder '/no/folder' does not exist"),
        (("true",), {"cwd": "/etc/passwd"}, "true: its folder '/etc/passwd' is not a folder"),
        (("true",), {"user": "no-such-user"}, "no user 'no-such-user'"),
        (("true",), {"group": "no-such-group"}, "no group 'no-such-group'"),
        (("true", "x" * 200_000), {}, "arguments and environment are larger than the kernel takes"),
        (("true",), {"limits": children.Limits(files=2**40)}, f"true: the limit files={2**40} cannot be set"),
    ]
    for argv, options, words in cases:
        with pytest.raises(ChildNotStarted, match=words) as raised:
            run(children.exec_file(*argv, **options))
        assert raised.value.__suppress_context__ or raised.value.__context__ is None, "one traceback says it all"


def test_what_needs_root_is_named_without_it() -> None:
    program = """
import asyncio, os
from prefork import children
from prefork.errors import ChildNotStarted
async def main():
    await children.exec_file("true")
    if os.getuid() == 0:
        os.setgroups([]); os.setgid(65534); os.setuid(65534)
    for options in {"user": 1}, {"group": 1}, {"nice": -1}:
        try:
            await children.exec_file("true", **options)
        except ChildNotStarted as error:
            print(error)
asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert [line.partition(": ")[2][:40] for line in done.stdout.splitlines()] == [
        "to run it as another user or group, this",
        "to run it as another user or group, this",
        "nice=-1 is below ours, which needs CAP_S",
    ], done


@pytest.mark.skipif(os.getuid() != 0, reason="needs root")
def test_another_user_comes_with_its_own_groups(run: Run[Any]) -> None:
    done = run(children.exec("id -un; id -Gn", user="nobody", encoding="utf-8"))
    assert done.stdout.split() == ["nobody", "nogroup"]
    assert run(children.exec_file("id", "-u", user=12345)).stdout == b"12345\n"


def test_a_program_has_its_niceness_and_its_limits_from_its_first_moment(run: Run[Any]) -> None:
    limits = children.Limits(memory=1 << 30, cpu_seconds=7, files=20, file_bytes=4096, processes=500, core_bytes=0)
    done = run(children.exec("cat; nice; cat /proc/self/limits", nice=3, limits=limits, input="x\n", encoding="utf-8"))
    lines = done.stdout.splitlines()
    assert lines[:2] == ["x", str(os.getpriority(os.PRIO_PROCESS, 0) + 3)]
    found = {line[:26].strip(): line[26:].split()[:2] for line in lines[2:]}
    assert found["Max address space"] == ["1073741824", "1073741824"]
    assert found["Max cpu time"] == ["7", "8"]
    assert found["Max open files"] == ["20", "20"]
    assert found["Max file size"] == ["4096", "4096"]
    assert found["Max processes"] == ["500", "500"]
    assert found["Max core file size"] == ["0", "0"]


def test_a_limit_is_a_whole_number() -> None:
    with pytest.raises(ValueError, match="memory is a whole number of at least 0, not -1"):
        children.Limits(memory=-1)


def test_two_hundred_at_once_take_turns(run: Run[Any]) -> None:
    async def main() -> int:
        most = 0

        async def one(number: int) -> None:
            nonlocal most
            done = await children.exec_file("echo", str(number))
            most = max(most, home().places.taken)
            assert done.stdout == b"%d\n" % number

        await asyncio.gather(*(one(number) for number in range(200)))
        assert home().places.taken == 0
        return most

    assert run(main()) == 64


def test_who_finds_no_place_in_time_is_told(run: Run[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFORK_MAX_CHILDREN", "1")
    monkeypatch.setenv("PREFORK_CHILDREN_WAIT_SECONDS", "0.01")

    async def main() -> None:
        async with await children.spawn("sleep", "1000"):
            with pytest.raises(ChildrenBusy):
                await children.exec_file("true")
        with pytest.raises(ChildNotStarted):
            await children.exec_file("no-such-program")  # gives its place back
        await children.exec_file("true")

    run(main())


def test_cancelling_ends_the_program_with_its_group_and_returns_when_it_is_reaped(run: Run[Any]) -> None:
    async def main() -> None:
        told = asyncio.Event()
        read, write = os.pipe()
        asyncio.get_running_loop().add_reader(read, told.set)
        line = f"sleep 1000 & echo $! >/proc/{os.getpid()}/fd/{write}; trap '' TERM; wait; wait"
        task = asyncio.create_task(children.exec(line))
        await told.wait()
        asyncio.get_running_loop().remove_reader(read)
        grandchild = int(os.read(read, 100))
        leaders = process.children()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(process.children()) == len(leaders) - 1
        wait_gone(grandchild)
        os.close(read)
        os.close(write)

    run(main())


def test_whoever_is_cancelled_twice_leaves_the_reaping_to_the_loop(run: Run[Any]) -> None:
    async def main() -> None:
        told = asyncio.Event()
        read, write = os.pipe()
        asyncio.get_running_loop().add_reader(read, told.set)
        task = asyncio.create_task(
            children.exec(f"trap '' TERM; echo >/proc/{os.getpid()}/fd/{write}; while :; do sleep 1000; done")
        )
        await told.wait()
        asyncio.get_running_loop().remove_reader(read)
        for _ in range(2):
            task.cancel()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await task
        assert home().places.taken == 1
        await home().close()
        os.close(read)
        os.close(write)

    run(main())


def test_what_a_program_leaves_in_its_group_is_killed(run: Run[Any]) -> None:
    done = run(children.exec("(trap '' TERM HUP; sleep 1000) & echo $!"))
    wait_gone(int(done.stdout))


def test_who_has_left_the_group_is_not_waited_for(run: Run[Any], tmp_path: Path) -> None:
    line = "setsid sh -c 'echo $$ >pid; exec sleep 1000' & until [ -s pid ]; do sleep 0.01; done; cat pid"
    daemon = int(run(children.exec(line, cwd=tmp_path)).stdout)
    assert lives(daemon)  # and has our pipes open
    os.kill(daemon, signal.SIGKILL)


def test_the_group_is_killed_and_forgotten_before_its_leader_is_reaped(
    run: Run[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reaped, its number could be somebody else's."""
    seen: list[tuple[str, bool]] = []

    def zombie(pid: int) -> bool:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def end_group(leader: int, number: int) -> bool:
        seen.append((signal.Signals(number).name, zombie(leader)))
        return True

    def forget(place: int) -> None:
        [leader] = process.children() - {guard.guard_pid() or 0}
        seen.append(("forgotten", zombie(leader)))
        forget_place(place)

    forget_place = guard.forget
    monkeypatch.setattr(process, "end_group", end_group)
    monkeypatch.setattr(guard, "forget", forget)
    assert run(children.exec_file("true")).status == 0
    assert seen == [("SIGKILL", True), ("forgotten", True)]


def test_the_end_of_the_loop_ends_what_runs(run: Run[Any]) -> None:
    async def main() -> asyncio.Task[Any]:
        task = asyncio.create_task(children.exec_file("sleep", "1000"))
        await until(lambda: process.children() - before)
        await home().close()
        with pytest.raises(ChildError, match="sleep was ended: the event loop is closed"):
            await task
        forgotten = await children.spawn(*STUBBORN)
        await anext(aiter(forgotten.stdout))
        return asyncio.current_task() or task

    before = process.children()
    run(main())


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"input": 123}, TypeError),
        ({"input": memoryview(b"abcd")[::2]}, TypeError),
        ({"encoding": "no-such-encoding"}, LookupError),
        ({"max_output": -1}, ValueError),
        ({"timeout": "soon"}, TypeError),
        ({"env": {"A=B": "C"}}, ValueError),
    ],
)
def test_a_mistake_of_the_caller_leaves_no_program_behind(
    run: Run[Any], options: dict[str, Any], error: type[Exception]
) -> None:
    async def main() -> None:
        with pytest.raises(error):
            await children.exec_file("sleep", "1000", **options)
        assert home().places.taken == 0
        assert process.children() == before

    before = process.children()
    run(main())


def test_others_have_their_turn_between_many_starts(run: Run[Any]) -> None:
    async def main() -> None:
        starts: list[int] = []  # in each turn of the loop

        def counted(*args: Any) -> Any:
            starts[-1] += 1
            return start(*args)

        async def other() -> None:
            while True:
                starts.append(0)
                await asyncio.sleep(0)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(running, "start", counted)
            task = asyncio.create_task(other())
            await asyncio.gather(*(children.exec_file("true") for _ in range(20)))
            task.cancel()
        assert sum(starts) == 20
        assert max(starts) == 1

    run(main())


def test_nothing_starts_when_the_loop_has_ended_what_ran(run: Run[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFORK_MAX_CHILDREN", "1")

    async def main() -> None:
        tasks = [asyncio.create_task(children.exec_file("sleep", "1000")) for _ in range(3)]
        await until(lambda: process.children() - before)
        await home().close()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            assert "the event loop is closed" in str(result)

    before = process.children()
    run(main())


def test_who_is_cancelled_before_its_turn_to_start_gives_its_place_back(run: Run[Any]) -> None:
    async def main() -> None:
        tasks = [asyncio.create_task(children.exec_file("true")) for _ in range(3)]
        await asyncio.sleep(0)
        assert home().places.taken == 3
        tasks[1].cancel()
        assert [type(result).__name__ for result in await asyncio.gather(*tasks, return_exceptions=True)] == [
            "Done",
            "CancelledError",
            "Done",
        ]
        assert home().places.taken == 0

    run(main())
