"""The master leaves no orphan when it is killed, and reaps everybody's, also as process 1 of a container."""

import os
import shutil
import signal
import socket
import subprocess
import time

import pytest

from tests.processes.gate import Gate
from tests.processes.patience import PATIENCE
from tests.processes.proc import Death, children, descriptors
from tests.processes.tree import Tree

pytestmark = pytest.mark.processes

ORPHAN_SECONDS = 2.0 * PATIENCE  # the promise
CONTAINER = ("unshare", "--pid", "--fork", "--mount-proc")


def kill_master(tree: Tree) -> None:
    deaths = [Death(child.pid) for child in children(tree.master)]
    begin = time.monotonic()
    tree.send_signal(signal.SIGKILL)
    assert tree.wait_exit() == -signal.SIGKILL  # and the end of every process that holds its log
    for death in deaths:
        death.wait()
    assert time.monotonic() - begin < ORPHAN_SECONDS
    socket.create_server(("127.0.0.1", int(tree.address.rpartition(":")[2]))).close()


@pytest.mark.parametrize("balance", ["round-robin", "kernel"])
def test_when_the_master_is_killed_everybody_goes_and_the_port_is_free(tree: Tree, balance: str) -> None:
    tree.start("faults:app", "--balance", balance)
    assert tree.client().get("/who").status == 200
    kill_master(tree)


@pytest.mark.parametrize("path", ["/loop", "/sleep", "/deadlock", "/stubborn"])
def test_when_the_master_is_killed_a_worker_that_hangs_goes_too(tree: Tree, path: str) -> None:
    tree.start("faults:app", "--stall-seconds", "0.2")
    tree.asking(path)
    tree.log.wait("is stalled")
    kill_master(tree)


def test_when_the_master_is_killed_a_mold_that_imports_goes_too(tree: Tree, gate: Gate) -> None:
    tree.write("shop.py", "async def app(request): return 'old'")
    tree.start("shop:app")
    tree.write("shop.py", "import time, socket; socket.socket(socket.AF_UNIX).connect('gate'); time.sleep(3600)")
    tree.send_signal(signal.SIGHUP)
    gate.wait_entered()
    kill_master(tree)


@pytest.mark.parametrize("command", [(), CONTAINER], ids=["plain", "process-1"])
def test_orphans_are_reaped_and_a_stop_ends_all(tree: Tree, command: tuple[str, ...]) -> None:
    if command and not may(*command):
        pytest.skip("unshare(1) may not make a PID namespace here")
    tree.start(command=command)
    assert tree.get("/orphan").status == 200
    before = descriptors(tree.master)
    for _ in range(70):  # more than the statuses of strangers it keeps
        assert tree.get("/orphan").status == 200
    since = tree.log.mark()
    tree.send_signal(signal.SIGTTIN)  # comes after the SIGCHLD of the last orphan
    tree.wait_ready(2, since)
    assert sorted(child.title for child in children(tree.master)) == [
        "prefork mold g1",
        *(f"prefork worker {slot} g1" for slot in range(3)),
    ]
    since = tree.log.mark()
    death = Death(tree.processes("worker")[2].pid)
    tree.send_signal(signal.SIGTTOU)
    death.wait()
    tree.log.wait("worker 2 .* has drained", since)
    assert tree.get("/who").status == 200
    assert descriptors(tree.master) == before
    assert tree.stop() == 0


def test_as_process_1_it_respawns_and_reloads(tree: Tree) -> None:
    if not may(*CONTAINER):
        pytest.skip("unshare(1) may not make a PID namespace here")
    tree.start(command=CONTAINER)
    since = tree.log.mark()
    os.kill(tree.processes("worker")[0].pid, signal.SIGKILL)
    tree.wait_ready(0, since)
    tree.send_signal(signal.SIGHUP)
    tree.log.wait("has drained", count=2)
    assert tree.get("/who").status == 200
    assert tree.stop() == 0


def may(*command: str) -> bool:
    return (
        shutil.which(command[0]) is not None and subprocess.run([*command, "true"], capture_output=True).returncode == 0
    )
