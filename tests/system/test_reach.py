"""Whom a root that runs the app as somebody else sends signals to. Each test has a process of its own for it."""

import os
import pwd
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.processes.patience import GUARD_SECONDS

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
PROGRAM = """
import os, sys
from prefork.system import process, reach
pid, uid, number = map(int, sys.argv[1:4])
reach.limit_to(uid)
try:
    reach.check(pid)
except ValueError as error:
    print(error)
process.send_signal(pid, number)
print(process.end_group(pid, number))
"""
NOBODY = pwd.getpwnam("nobody").pw_uid


def kill(pid: int, uid: int) -> str:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(pid), str(uid), str(int(signal.SIGKILL))],
        capture_output=True,
        text=True,
        timeout=GUARD_SECONDS,
        check=True,
    )
    return done.stdout


@pytest.fixture
def roots() -> Iterator[subprocess.Popen[bytes]]:
    """A process of root that leads a group."""
    with subprocess.Popen(["sleep", "1000"], process_group=0) as process:
        yield process
        process.kill()


def test_what_is_roots_is_out_of_reach(roots: subprocess.Popen[bytes]) -> None:
    assert kill(roots.pid, NOBODY) == f"process {roots.pid} is none of ours\nFalse\n"
    assert roots.poll() is None


def test_what_is_the_users_is_within_reach() -> None:
    with subprocess.Popen(["sleep", "1000"], process_group=0, user=NOBODY, group=0, extra_groups=[]) as theirs:
        assert kill(theirs.pid, NOBODY) == "True\n"
        assert theirs.wait(GUARD_SECONDS) == -signal.SIGKILL


def test_one_that_is_not_there_is_none_of_ours() -> None:
    with subprocess.Popen(["true"]) as gone:
        gone.wait(GUARD_SECONDS)
    assert kill(gone.pid, NOBODY) == f"process {gone.pid} is none of ours\nFalse\n"


def test_a_child_is_within_reach_whosever_it_is() -> None:
    program = """
import os, time
from prefork.system import process, reach
reach.limit_to(65534)
pid = os.fork()
if pid == 0:
    time.sleep(1000)
reach.check(pid)
process.send_signal(pid, 9)
print(os.wait()[1])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=GUARD_SECONDS)
    assert done.stdout == "9\n", done.stderr
