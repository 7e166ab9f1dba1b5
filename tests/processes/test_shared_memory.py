"""Memory by name is the same for every process of a server, also for those that come later, and goes with the last."""

import json
import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.processes.gate import Gate
from tests.processes.jobs import family
from tests.processes.proc import Death, descriptors, wait_same
from tests.processes.test_job_standalone import Program
from tests.processes.tree import CALM, Tree

pytestmark = pytest.mark.processes

FLAGS = (*CALM, "--offload-max", "1")


def ask(tree: Tree, path: str) -> Any:
    reply = tree.get(path)
    assert reply.status == 200, reply
    return json.loads(reply.text)


def memory_files(tree: Tree) -> list[str]:
    """Shared memory that any process of the tree has open."""
    return [
        name
        for process in family(tree.master)
        for name in descriptors(process.pid)
        if name.startswith(("/memfd:prefork-counters", "/memfd:prefork-shared"))
    ]


def memory_of(pid: int) -> set[int]:
    """The memory by name that a process has open, each by its inode."""
    found = set()
    try:
        for path in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(FileNotFoundError):
                if str(path.readlink()).startswith("/memfd:prefork-counters"):
                    found.add(path.stat().st_ino)
    except (FileNotFoundError, PermissionError):
        pass  # it has ended, or is none of ours
    return found


def holders(memory: int) -> list[int]:
    """All processes of this machine that have it open."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit() and memory in memory_of(int(name))]


def add_everywhere(tree: Tree) -> int:
    """Add in both workers and in an offloader of each. Returns how much."""
    seen: set[tuple[int, int]] = set()
    for turn in range(1, 20):
        adders = ask(tree, "/add/1000")
        seen.add((adders["worker"], adders["offloader"]))
        if len(seen) == 2:
            assert len({pid for pair in seen for pid in pair}) == 4
            return 2000 * turn
    raise AssertionError(f"not everybody was asked: {seen}")


@pytest.mark.parametrize("flags", [(), ("--no-preload",)], ids=["preload", "no-preload"])
def test_a_name_means_the_same_memory_to_all_processes_and_to_later_generations(
    tree: Tree, flags: tuple[str, ...]
) -> None:
    tree.start("shared:app", *FLAGS, *flags)
    added = add_everywhere(tree)
    assert ask(tree, "/value") == {"value": added, "size": 4096}

    open_files = len(memory_files(tree))
    for _ in range(3):
        assert ask(tree, "/sent") == {"changed": True, "made": True}
    assert len(memory_files(tree)) == open_files, "memory that was sent is let go of"

    for fresh in (0,) if flags else (0, 1):  # a new interpreter finds the app's folder through the mold
        forked = ask(tree, f"/fork/{fresh}/5")
        assert forked["changed"], forked
        added += 5
    assert ask(tree, "/value")["value"] == added

    late, other_size = ask(tree, "/late")
    assert "'late' is not known in this process: ask for it at the top level of a module" in late
    assert "'counters' has 4096 bytes, and 8 were asked for" in other_size

    tree.send_signal(signal.SIGHUP)
    tree.log.wait(r"\(generation 1, .* has drained", count=2)
    added += add_everywhere(tree)
    assert ask(tree, "/value")["value"] == added

    since = tree.log.mark()
    (mold,) = tree.processes("mold")
    os.kill(mold.pid, signal.SIGKILL)
    tree.log.wait(r"\(generation 2, .* has drained", since, count=2)
    os.kill(tree.worker(0), signal.SIGKILL)
    tree.wait_ready(0, tree.log.mark())
    added += add_everywhere(tree)
    assert ask(tree, "/value")["value"] == added

    (memory,) = {held for process in family(tree.master) for held in memory_of(process.pid)}
    of_python = [process for process in family(tree.master) if process.role != "guard"]  # which is a shell
    assert len(holders(memory)) == len(of_python)
    tree.send_signal_to_all(signal.SIGKILL)
    tree.wait_exit()
    assert holders(memory) == [], "it is freed"
    assert [name for name in os.listdir("/dev/shm") if "prefork" in name or "counters" in name] == []


def test_another_size_after_a_reload_is_other_memory_for_the_new_generation(tree: Tree) -> None:
    tree.start("shared:app", *FLAGS)
    ask(tree, "/add/1")
    tree.write("size", "8192")
    tree.send_signal(signal.SIGHUP)
    tree.log.wait(r"\(generation 1, .* has drained", count=2)
    assert ask(tree, "/value") == {"value": 0, "size": 8192}

    def held() -> int:
        return sum("memfd:prefork-counters" in name for name in descriptors(tree.master))

    wait_same(held, 1, tree.report)  # the old memory goes with the old mold


def test_another_size_within_a_generation_is_an_error_that_names_both(tree: Tree) -> None:
    tree.start("shared:app", *FLAGS, "--no-preload")
    tree.write("size", "8192")
    since = tree.log.mark()
    os.kill(tree.worker(0), signal.SIGKILL)
    tree.log.wait(r"ChildError: shared memory 'counters' has 4096 bytes, and 8192 were asked for", since)
    tree.write("size", "4096")
    tree.wait_ready(0, since)


def test_a_lock_whose_holder_is_killed_goes_to_a_handler_that_waits(tree: Tree, gate: Gate) -> None:
    tree.start("shared:app", *FLAGS)
    tree.asking("/hold")
    holder = gate.wait_entered()
    waits = tree.asking("/locked")
    while not (tree.folder / "waiting").exists():
        ask(tree, "/value")
    death = Death(holder.pid)
    os.kill(holder.pid, signal.SIGKILL)
    death.wait()
    assert json.loads(waits.receive().text) == {"abandoned": True}
    assert ask(tree, "/locked") == {"abandoned": False}


PROGRAM = """
import asyncio, json
import shared

async def main():
    pids = [await shared.offload(shared.add, 10) for _ in range(3)]
    shared.add(1)
    print(json.dumps({"value": shared.counter.value}))

if __name__ == "__main__":
    asyncio.run(main())
"""


def test_in_another_program_a_name_is_its_own_memory_and_that_of_its_jobs(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    assert Program(tmp_path, str(tmp_path / "program.py")).finish() == [{"value": 31}]
    assert Program(tmp_path, str(tmp_path / "program.py")).finish() == [{"value": 31}], "not that of the one before"
