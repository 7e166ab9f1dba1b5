"""What a process does about itself; what needs a process of its own gets one."""

import signal
import subprocess
import sys

import pytest

from prefork.system.process import exit_words
from tests.processes.patience import GUARD_SECONDS


def run(body: str) -> subprocess.CompletedProcess[str]:
    """A Python process that runs `body` with the module under test, and `os`, `signal`, `sys`."""
    program = f"import os, signal, sys\nfrom prefork.system import process\n{body}"
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=GUARD_SECONDS)


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (0, "exit status 0"),
        (3 << 8, "exit status 3"),
        (255 << 8, "exit status 255"),
        (signal.SIGKILL, "signal SIGKILL"),
        (signal.SIGSEGV | 0x80, "signal SIGSEGV"),  # with a core dump
        (signal.SIGRTMIN + 3, f"signal {signal.SIGRTMIN + 3}"),
    ],
)
def test_a_wait_status_is_told_in_words(status: int, words: str) -> None:
    assert exit_words(status) == words


def test_the_title_is_shown() -> None:
    assert run('process.set_title("prefork worker 3 g1"); print(open("/proc/self/comm").read())').stdout.strip() in (
        "worker 3 g1",
        "prefork worker",
    )


def test_a_subreaper_adopts_and_reaps_the_grandchild_of_a_dead_child() -> None:
    done = run("""
parent = os.getpid()
process.become_subreaper()
if os.fork() == 0:
    between = os.getpid()
    if os.fork() == 0:
        process.wait_for_adoption(parent, between)
        os._exit(7 if os.getppid() == parent else 8)
    os._exit(0)
print(sorted(os.waitstatus_to_exitcode(os.wait()[1]) for _ in range(2)))
""")
    assert done.stdout == "[0, 7]\n"


def test_a_grandchild_that_somebody_else_adopts_ends() -> None:
    done = run("""
process.become_subreaper()
if os.fork() == 0:
    between = os.getpid()
    if os.fork() == 0:
        process.wait_for_adoption(between, between)  # that one is gone by then: we are the subreaper's
        os._exit(8)
    os._exit(0)
print(sorted(os.waitstatus_to_exitcode(os.wait()[1]) for _ in range(2)))
""")
    assert done.stdout == "[0, 1]\n"


def test_a_child_is_killed_when_its_parent_dies_even_if_it_ignores_all_signals() -> None:
    done = run("""
read, write = os.pipe()
middle = os.fork()
if middle == 0:
    ready, child_write = os.pipe()
    if os.fork() == 0:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        process.die_with_parent(os.getppid())
        os.write(child_write, b"x")
        while True:
            signal.pause()
    os.read(ready, 1)
    os.kill(os.getpid(), signal.SIGKILL)
os.close(write)
assert os.read(read, 1) == b""  # end of file: nobody holds the other end any more
print("gone")
""")
    assert done.stdout == "gone\n"


def test_descriptors_that_are_not_kept_are_closed() -> None:
    done = run("""
low, high = os.open("/dev/null", 0), os.dup2(0, 300)
process.close_descriptors_except([0, high])
os.fstat(high)
try:
    os.fstat(low)
except OSError:
    print("closed")
""")
    assert done.stdout == "closed\n"


def test_a_child_drops_its_parents_handlers_mask_and_wake_up_descriptor() -> None:
    done = run("""
read, write = os.pipe2(os.O_NONBLOCK)
signal.set_wakeup_fd(write)
signal.signal(signal.SIGTERM, lambda *_: print("parent's"))
signal.signal(signal.SIGUSR1, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
process.become_child()
print(signal.getsignal(signal.SIGTERM) is signal.SIG_DFL, signal.getsignal(signal.SIGUSR1) is signal.SIG_IGN,
      signal.getsignal(signal.SIGINT) is signal.SIG_IGN, signal.set_wakeup_fd(-1),
      signal.pthread_sigmask(signal.SIG_BLOCK, []))
""")
    assert done.stdout == "True True True -1 set()\n", done.stderr


def test_stacks_are_written_on_the_signal_and_the_process_goes_on() -> None:
    done = run("""
def waits_here():
    os.kill(os.getpid(), process.STACKS_SIGNAL)
    print("goes on")
process.watch_stacks(2)
waits_here()
""")
    assert done.stdout == "goes on\n"
    assert "in waits_here" in done.stderr


def test_forked_children_have_random_numbers_of_their_own() -> None:
    done = run("""
import random
random.seed(1)
for _ in range(2):
    if os.fork() == 0:
        process.reseed()
        os.write(1, b"%d\\n" % random.getrandbits(64))
        os._exit(0)
    os.wait()
""")
    assert len(set(done.stdout.split())) == 2


def test_the_soft_descriptor_limit_becomes_the_hard_one() -> None:
    done = run("""
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 128))
print(process.raise_descriptor_limit(), resource.getrlimit(resource.RLIMIT_NOFILE)[0])
""")
    assert done.stdout == "128 128\n"


def test_a_child_leaves_with_its_code_its_exit_hooks_and_its_output_but_without_its_parents_frames() -> None:
    done = run("""
import atexit
atexit.register(print, "hook")
try:
    sys.stdout.write("buffered ")
    process.leave(4)
finally:
    print("frame")
""")
    assert done.returncode == 4
    assert done.stdout == "buffered hook\n"


def test_a_stopped_process_is_told_from_a_running_one() -> None:
    done = run("""
read, write = os.pipe()
child = os.fork()
if child == 0:
    os.close(write)
    os.read(read, 1)
    os._exit(0)
os.kill(child, signal.SIGSTOP)
os.waitpid(child, os.WUNTRACED)
print(process.is_stopped(child), process.is_stopped(os.getpid()), process.is_stopped(None))
os.kill(child, signal.SIGKILL)
""")
    assert done.stdout == "True False False\n"
