"""The time that a process waits for a processor."""

import os
import subprocess
import sys

import pytest

from prefork.system.runqueue import RunQueue

COMPETE = """
import os, time
from prefork.system.runqueue import RunQueue
os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
other = os.fork()
runqueue = RunQueue()
before, end = runqueue.waited(), time.monotonic() + 0.3
while time.monotonic() < end:
    pass
waited = runqueue.waited() - before
if other == 0:
    os._exit(0)
os.waitpid(other, 0)
print(waited)
"""


def test_who_shares_a_processor_waits_for_it() -> None:
    if not os.path.exists("/proc/self/schedstat"):
        pytest.skip("this kernel does not tell")
    found = subprocess.run([sys.executable, "-c", COMPETE], capture_output=True, text=True, check=True)
    assert float(found.stdout) > 0.05  # half of 0.3 s, about


def test_it_only_grows() -> None:
    runqueue = RunQueue()
    before = runqueue.waited()
    assert runqueue.waited() >= before >= 0.0
