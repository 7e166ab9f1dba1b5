"""Who descends from a process."""

import os
import subprocess

from prefork.system.offspring import offspring


def test_children_and_theirs_are_found_and_the_process_itself_is_not() -> None:
    with subprocess.Popen(["sh", "-c", "sleep 60 & echo $!; wait"], stdout=subprocess.PIPE) as shell:
        assert shell.stdout is not None
        sleeper = int(shell.stdout.readline())
        assert offspring(os.getpid()) >= {shell.pid, sleeper}
        assert offspring(shell.pid) == {sleeper}
        assert os.getpid() not in offspring(os.getpid())
        os.kill(sleeper, 9)
    assert offspring(shell.pid) == set()
