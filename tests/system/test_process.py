"""What a process does about itself; what needs a process of its own gets one."""

import os
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


def test_a_child_without_standard_streams_leaves_too() -> None:
    assert run("sys.stdout = sys.stderr = None\nprocess.leave(4)").returncode == 4


def test_standard_streams_that_are_closed_become_dev_null() -> None:
    done = run("""
os.close(0)
os.close(2)
before = os.readlink("/proc/self/fd/1")
process.fill_standard_streams()
print([os.readlink(f"/proc/self/fd/{number}") for number in range(3)] == ["/dev/null", before, "/dev/null"])
print(sorted(os.listdir("/proc/self/fd")) == ["0", "1", "2", "3"])  # 3 lists them
print(os.get_inheritable(0))
""")
    assert done.stdout == "True\nTrue\nTrue\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_who_becomes_another_user_cannot_type_into_the_terminal_of_root() -> None:
    done = run("""
import fcntl, pty, termios
from prefork.settings import Settings
from prefork.system.identity import become, find_identity
os.setsid()
_, terminal = pty.openpty()
fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)
if os.fork() == 0:
    os.close(os.open("/dev/tty", os.O_RDWR))
    become(find_identity(Settings(user="nobody")))
    try:
        os.open("/dev/tty", os.O_RDWR)
    except OSError as error:
        print(error.strerror, flush=True)
    os._exit(0)
os.wait()
os.close(os.open("/dev/tty", os.O_RDWR))
print("root still has it")
""")
    assert done.stdout == "No such device or address\nroot still has it\n", done.stderr


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


def test_children_are_seen_until_they_are_reaped() -> None:
    done = run("""
print(process.has_children(), process.children())
read, write = os.pipe()
alive, dead = os.fork(), None
if alive == 0:
    os.close(write)
    os.read(read, 1)
    os._exit(0)
dead = os.fork() or os._exit(0)
os.waitid(os.P_PID, dead, os.WEXITED | os.WNOWAIT)
print(process.has_children(), process.children() == {alive, dead})
os.waitpid(dead, 0)
print(process.has_children(), process.children() == {alive})
os.close(write)
os.waitpid(alive, 0)
print(process.has_children(), process.children())
""")
    assert done.stdout == "False set()\nTrue True\nTrue True\nFalse set()\n", done.stderr


def test_the_children_of_every_thread_are_seen() -> None:
    done = run("""
import threading
read, write = os.pipe()
forked, end = threading.Event(), threading.Event()
pids = []
def other():
    pids.append(os.fork())
    if not pids[0]:
        os.close(write)
        os.read(read, 1)
        os._exit(0)
    forked.set()
    end.wait()
thread = threading.Thread(target=other)
thread.start()
forked.wait()
print(process.has_children(), process.children() == set(pids))
process.kill_children()
end.set()
print(process.has_children())
""")
    assert done.stdout == "True True\nFalse\n", done.stderr


def test_no_child_is_left_nor_what_it_leaves_to_its_subreaper() -> None:
    done = run("""
process.become_subreaper()
read, write = os.pipe()
def family(depth):
    pid = os.fork()
    if pid:
        return pid
    os.setsid()  # none of these has anything in common with us any more
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    if depth:
        family(depth - 1)
        family(depth - 1)
    os.write(write, b"x")
    while True:
        signal.pause()
top = family(3)
for _ in range(15):
    os.read(read, 1)
process.kill_children()
print(process.has_children())
os.close(write)
print(os.read(read, 1))
""")
    assert done.stdout == "False\nb''\n", done.stderr


def test_children_that_are_spared_are_neither_killed_nor_reaped() -> None:
    done = run("""
read, write = os.pipe()
def child():
    pid = os.fork()
    if pid == 0:
        os.close(write)
        os.read(read, 1)
        os._exit(7)
    return pid
spared, other = child(), child()
process.kill_children(spare={spared})
print(process.children() == {spared})
os.close(write)
print(os.waitstatus_to_exitcode(os.waitpid(spared, 0)[1]))
""")
    assert done.stdout == "True\n7\n", done.stderr


def test_zombies_are_reaped_too() -> None:
    done = run("""
for _ in range(3):
    os.fork() or os._exit(0)
process.kill_children()
print(process.has_children())
""")
    assert done.stdout == "False\n"


def test_a_group_is_ended_with_all_its_members_and_said_to_be_gone_when_it_is() -> None:
    done = run("""
read, write = os.pipe()
ready, tell = os.pipe()
leader = os.fork()
if leader == 0:
    process.lead_group()
    process.lead_group()  # twice does no harm
    os.fork()
    os.write(tell, b"x")
    while True:
        signal.pause()
for _ in range(2):
    os.read(ready, 1)
os.close(write)
print(process.end_group(leader, 0), process.end_group(leader, signal.SIGKILL))
print(os.read(read, 1))
os.waitpid(leader, 0)
process.become_subreaper()
print(process.end_group(leader, 0))
""")
    assert done.stdout.splitlines()[:2] == ["True True", "b''"], done.stderr


def test_a_group_that_never_was_is_gone() -> None:
    done = run("""
pid = os.fork() or os._exit(0)
os.waitpid(pid, 0)
print(process.end_group(pid, signal.SIGKILL))
""")
    assert done.stdout == "False\n", done.stderr


def test_a_signal_to_one_that_is_gone_or_not_forked_is_no_error() -> None:
    done = run("""
pid = os.fork() or os._exit(0)
os.waitpid(pid, 0)
process.send_signal(pid, signal.SIGTERM)
process.send_signal(None, signal.SIGTERM)
print("goes on")
""")
    assert done.stdout == "goes on\n", done.stderr


def test_memory_that_is_held_and_address_space_that_is_mapped_are_told_apart() -> None:
    done = run("""
import mmap
mib = 1 << 20
before = process.resident_bytes(), process.address_space_bytes()
memory = mmap.mmap(-1, 64 * mib)
mapped = process.resident_bytes() - before[0], process.address_space_bytes() - before[1]
for page in range(0, 64 * mib, mmap.PAGESIZE):
    memory[page] = 1
held = process.resident_bytes() - before[0]
print(mapped[0] < 8 * mib, 64 * mib <= mapped[1] < 80 * mib, 64 * mib <= held < 80 * mib)
print(before[0] < before[1])
""")
    assert done.stdout == "True True True\nTrue\n", done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGXCPU])
def test_the_stacks_are_written_before_a_signal_ends_the_process(number: int) -> None:
    done = run(f"""
def ends_here():
    os.kill(os.getpid(), {int(number)})
process.watch_end(2)
ends_here()
print("not reached")
""")
    assert done.returncode == -number
    assert "in ends_here" in done.stderr
    assert done.stdout == ""
