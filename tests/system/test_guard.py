"""The guard: what a process leads does not outlive it, and nothing else is ended."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.children.programs import lives, wait_gone

START = """
import os, signal, subprocess, sys
from prefork.system import guard
def lead(*argv):
    return subprocess.Popen(argv, process_group=0, stdout=subprocess.DEVNULL).pid
def guard_it(pid):
    place = guard.announce(None)
    guard.watch(place, pid)
    return place
def say(*pids):
    print(*pids, guard.guard_pid() or 0, flush=True)
"""


@dataclass
class Owner:
    """A program that has said some pids, the last one its guard's."""

    process: "subprocess.Popen[str]"
    pids: list[int]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def owners() -> Iterator[list[Owner]]:
    made: list[Owner] = []
    yield made
    for owner in made:
        owner.kill()
        assert owner.process.stdout is not None
        owner.process.stdout.close()
        wait_gone(owner.pids[-1])
        for pid in owner.pids[:-1]:
            if lives(pid):
                os.kill(pid, signal.SIGKILL)


def own(owners: list[Owner], code: str) -> Owner:
    """Run that code in a process that then waits."""
    program = START + code + "\nsignal.pause()"
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    owner = Owner(process, [int(word) for word in process.stdout.readline().split()])
    owners.append(owner)
    return owner


@pytest.mark.parametrize("shell", ["/bin/sh", "/no/shell"])
def test_a_signal_that_asks_all_processes_for_an_end_leaves_the_guard_its_work(owners: list[Owner], shell: str) -> None:
    """As a service manager sends it to all of a service, which may still have its time to drain."""
    owner = own(
        owners,
        f"guard.SHELL = {shell!r}\n"
        "a = lead('sleep', '1000')\n"
        "guard_it(a)\n"
        "status = f'/proc/{guard.guard_pid()}/status'\n"
        "while not int(open(status).read().split('SigIgn:')[1].split()[0], 16) >> 14 & 1: pass\n"
        "say(a)",
    )
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        os.kill(owner.pids[1], number)
    owner.kill()
    for pid in owner.pids:
        wait_gone(pid)


@pytest.mark.parametrize("shell", ["/bin/sh", "/no/shell"])
def test_groups_end_with_a_process_that_is_killed(owners: list[Owner], shell: str) -> None:
    owner = own(
        owners,
        f"guard.SHELL = {shell!r}\n"
        "a, b = lead('sh', '-c', 'trap \"\" TERM HUP; sleep 1000; exit'), lead('sleep', '1000')\n"
        "guard_it(a); guard_it(b); say(a, b)",
    )
    owner.kill()
    for pid in owner.pids:
        wait_gone(pid)


def test_the_group_ends_also_when_its_leader_has_ended(owners: list[Owner]) -> None:
    owner = own(
        owners,
        "p = subprocess.Popen(['sh', '-c', 'sleep 1000 & echo $!'], process_group=0, stdout=-1, text=True)\n"
        "member = int(p.stdout.readline())\n"
        "guard_it(p.pid); p.wait(); say(member)",
    )
    assert lives(owner.pids[0])
    owner.kill()
    wait_gone(owner.pids[0])


def test_a_group_that_was_forgotten_lives_on(owners: list[Owner]) -> None:
    owner = own(
        owners,
        "a, b = lead('sleep', '1000'), lead('sleep', '1000')\n"
        "place = guard_it(a); guard_it(b); guard.forget(place); say(a, b)",
    )
    owner.kill()
    wait_gone(owner.pids[1])
    wait_gone(owner.pids[2])
    assert lives(owner.pids[0])


@pytest.mark.parametrize("shell", ["/bin/sh", "/no/shell"])
def test_a_number_that_is_somebody_elses_by_now_is_not_killed(owners: list[Owner], shell: str) -> None:
    """It was reaped and given to another process, which has started at another time."""
    owner = own(
        owners,
        f"guard.SHELL = {shell!r}\n"
        "a, b = lead('sleep', '1000'), lead('sleep', '1000')\n"
        "at = guard.start_time(a); guard.start_time = lambda pid: at - 1 if pid == a else at\n"
        "guard_it(a); guard_it(b); guard.start_time = None; say(a, b)",
    )
    owner.kill()
    wait_gone(owner.pids[2])
    assert lives(owner.pids[0])


def test_a_name_with_blanks_and_parentheses_does_not_mislead_it(owners: list[Owner], tmp_path: str) -> None:
    program = f"{tmp_path}/a) S 1 (b"
    os.symlink("/bin/sleep", program)
    owner = own(owners, f"a = lead({program!r}, '1000')\nguard_it(a); say(a)")
    owner.kill()
    wait_gone(owner.pids[0])


def test_a_fork_of_ours_does_not_keep_the_guard_from_seeing_our_end(owners: list[Owner]) -> None:
    owner = own(
        owners,
        "a = lead('sleep', '1000')\n"
        "guard_it(a)\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    assert guard.guard_pid() is None\n"
        "    signal.pause()\n"
        "say(child, a)",
    )
    owner.kill()
    wait_gone(owner.pids[1])
    assert lives(owner.pids[0])


def test_a_signal_to_our_group_leaves_the_guard_its_work(owners: list[Owner]) -> None:
    owner = own(owners, "os.setpgid(0, 0)\na = lead('sleep', '1000')\nguard_it(a); say(a)")
    os.killpg(owner.process.pid, signal.SIGKILL)
    owner.process.wait()
    wait_gone(owner.pids[0])


def test_a_guard_that_was_killed_is_replaced_with_the_next_group(owners: list[Owner]) -> None:
    owner = own(
        owners,
        "a, b = lead('sleep', '1000'), lead('sleep', '1000')\n"
        "guard_it(a)\n"
        "os.kill(guard.guard_pid(), 9); os.waitid(os.P_PID, guard.guard_pid(), os.WEXITED | os.WNOWAIT)\n"
        "guard_it(b); say(a, b)",
    )
    owner.kill()
    for pid in owner.pids:
        wait_gone(pid)


@pytest.mark.parametrize("shell", ["/bin/sh", "/no/shell"])
def test_a_group_that_somebody_else_ends_is_left_to_them_while_they_live(owners: list[Owner], shell: str) -> None:
    owner = own(
        owners,
        f"guard.SHELL = {shell!r}\n"
        "a, b, c = (lead('sleep', '1000') for _ in range(3))\n"
        "dead = subprocess.Popen(['true'])\n"
        "os.waitid(os.P_PID, dead.pid, os.WEXITED | os.WNOWAIT)\n"
        "reaped = subprocess.Popen(['true']); reaped.wait()\n"
        "for pid, unless in ((a, os.getppid()), (b, dead.pid), (c, reaped.pid)):\n"
        "    guard.watch(guard.announce(None), pid, unless)\n"
        "say(a, b, c)",
    )
    owner.kill()
    for pid in owner.pids[1:]:
        wait_gone(pid)
    assert lives(owner.pids[0])


@pytest.mark.parametrize("shell", ["/bin/sh", "/no/shell"])
def test_a_program_that_runs_before_its_number_is_known_is_found_by_its_pipe(owners: list[Owner], shell: str) -> None:
    owner = own(
        owners,
        f"guard.SHELL = {shell!r}\n"
        "read, write = os.pipe()\n"
        "guard.announce(write)\n"
        "line = 'trap \"\" TERM HUP; sleep 1000 >/dev/null & wait; wait'\n"
        "a = subprocess.Popen(['sh', '-c', line], process_group=0, stderr=write).pid\n"
        "b = lead('sleep', '1000')\n"
        "say(a, b)",
    )
    owner.kill()
    wait_gone(owner.pids[0])
    wait_gone(owner.pids[2])
    assert lives(owner.pids[1])


def test_a_program_that_did_not_start_leaves_its_place_to_the_next(owners: list[Owner]) -> None:
    owner = own(
        owners,
        "read, write = os.pipe()\n"
        "places = [guard.announce(write) for _ in range(2)]\n"
        "guard.forget(places[0])\n"
        "assert guard.announce(None) == places[0]\n"
        "say()",
    )
    owner.kill()
    wait_gone(owner.pids[0])


def test_many_groups_come_and_go_in_one_table(owners: list[Owner]) -> None:
    owner = own(
        owners,
        "for turn in range(3):\n"
        "    pids = [lead('sleep', '1000') for _ in range(20)]\n"
        "    places = [guard_it(pid) for pid in pids]\n"
        "    if turn < 2:\n"
        "        for pid, place in zip(pids, places): os.kill(pid, 9); guard.forget(place)\n"
        "assert os.fstat(guard._guard._table).st_size == 20 * guard.ENTRY_BYTES\n"
        "say(*pids)",
    )
    owner.kill()
    for pid in owner.pids:
        wait_gone(pid)
