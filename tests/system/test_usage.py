"""What a process uses, as /proc tells."""

import os
import subprocess
import sys
import time

from prefork.system.usage import proportional, tree, usage

NOBODY = 2**22 + 1  # past the largest pid there can be


def test_memory_and_time_of_this_process() -> None:
    held = bytearray(os.urandom(64)) * (1024 * 1024)  # 64 MiB, touched
    began = time.process_time()
    while time.process_time() < began + 0.05:
        pass
    found = usage(os.getpid())
    assert found is not None
    assert len(held) <= found.rss < 1 << 36
    assert 0.02 < found.cpu <= time.process_time() + 0.05
    assert found.started > 0


def test_shared_pages_count_in_part() -> None:
    whole, part = usage(os.getpid()), proportional(os.getpid())
    assert whole is not None
    assert part is not None
    assert 1024 * 1024 < part <= whole.rss * 1.1
    assert tree([os.getpid(), NOBODY]) > 1024 * 1024


def test_a_process_that_has_ended_uses_nothing() -> None:
    assert usage(NOBODY) is None
    assert proportional(NOBODY) is None
    child = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # a zombie now
    assert usage(child.pid) is None
    child.wait()


def test_a_name_with_brackets_and_spaces_confuses_nobody() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", "open('/proc/self/comm', 'w').write('a) Z 1 (b'); print(flush=True); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as child:
        assert child.stdout is not None
        assert child.stdin is not None
        child.stdout.readline()
        found = usage(child.pid)
        child.stdin.close()
    assert found is not None
    assert found.rss > 0
