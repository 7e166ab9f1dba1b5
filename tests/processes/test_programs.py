"""Programs in a tree: they end with their request, their job, their worker and the master, whoever is killed."""

import os
import select
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.children.programs import lives, wait_gone
from tests.processes.client import Client
from tests.processes.gate import Gate
from tests.processes.jobs import family, path
from tests.processes.patience import GUARD_SECONDS
from tests.processes.proc import Death, descriptors
from tests.processes.tree import CALM, Tree

pytestmark = pytest.mark.processes

SIZE = 1 << 30
MORE_BYTES = 16 * 1024 * 1024  # what a worker may need for streams of any size


class Told:
    """Where programs that say nothing to the client say their pids."""

    def __init__(self, folder: Path) -> None:
        os.mkfifo(folder / "told")
        self._pipe = os.open(folder / "told", os.O_RDWR | os.O_CLOEXEC)

    def pids(self) -> list[int]:
        """Waits until a program has said them."""
        said, _, _ = select.select([self._pipe], [], [], GUARD_SECONDS)
        assert said, "no program has started"
        return [int(word) for word in os.read(self._pipe, 100).split()]

    def close(self) -> None:
        os.close(self._pipe)


@pytest.fixture
def told(tmp_path: Path) -> Iterator[Told]:
    told = Told(tmp_path)
    yield told
    told.close()


def streaming(tree: Tree) -> tuple[Client, list[int]]:
    """A connection that a program streams to, and the pids it has said."""
    client = tree.asking("/stream")
    received = b""
    while b"y\n" not in received:
        received += client.receive_raw()
    line = next(line for line in received.partition(b"\r\n\r\n")[2].splitlines() if b" " in line)
    return client, [int(word) for word in line.split()]


def left(tree: Tree) -> tuple[Counter[str], list[str]]:
    """The processes of the tree, and what its worker has open."""
    found = [process for process in family(tree.master) if process.state != "Z"]
    return Counter(process.title for process in found), descriptors(tree.worker(0))


def test_programs_end_with_their_request(tree: Tree, told: Told) -> None:
    tree.start("programs:app", *CALM, "--disconnect-grace-seconds", "0.1", workers=1)
    for pid in map(int, tree.get("/parts").text.split()):  # the first request, which nobody has asked to be tracked yet
        wait_gone(pid)
    assert tree.get("/true").text == "0"  # so that the guard is there
    before = left(tree)
    client, pids = streaming(tree)
    client.close()
    pids += map(int, tree.get("/left").text.split())
    client = tree.asking("/buffered")
    pids += told.pids()
    client.close()
    for pid in pids:
        wait_gone(pid)
    client = tree.client()
    assert client.post("/count", bytes(5_000_000)).text == "5000000\n"
    client.send("/count", "content-length: 1000\r\n", "POST", b"some")
    client.close()
    ignored = {number for number in range(64) if int(tree.get("/signals").text, 16) >> number & 1}
    assert not {signal.SIGINT - 1, signal.SIGQUIT - 1, signal.SIGHUP - 1} & ignored
    assert tree.get("/true").text == "0"
    for _ in range(1000):
        if left(tree) == before:
            break
        tree.get("/pid")
    assert left(tree) == before


def test_much_goes_through_a_worker_whose_memory_is_bounded(tree: Tree) -> None:
    tree.start("programs:app", *CALM, workers=1)
    assert tree.get("/many").text == "True"
    before = left(tree)
    most = int(tree.get("/memory").text)
    client = tree.asking(f"/zeros?bytes={SIZE}")
    client.receive_until(b"\r\n\r\n")
    size = 0
    while size < SIZE:
        size += len(client.receive_raw())
    assert size == SIZE
    client.close()
    slow = tree.asking(f"/zeros?bytes={SIZE}")  # who reads no more than this
    slow.receive_until(b"\r\n\r\n")
    assert int(tree.get("/memory").text) - most < MORE_BYTES
    slow.reset()
    for _ in range(1000):
        if left(tree) == before:
            break
        tree.get("/pid")
    assert left(tree) == before


def test_programs_end_with_who_is_killed(tree: Tree) -> None:
    tree.start("programs:app", *CALM, workers=1)
    _, pids = streaming(tree)
    pids += map(int, tree.get("/kept").text.split())
    worker = tree.worker(0)
    os.kill(worker, signal.SIGKILL)
    for pid in pids:
        wait_gone(pid)
    tree.log.wait("worker 0 .* is ready", count=2)

    client, pids = streaming(tree)
    [mold] = tree.processes("mold")
    os.kill(mold.pid, signal.SIGKILL)
    tree.log.wait("worker 0 .* drains")
    assert all(map(lives, pids))
    assert client.receive_raw()

    later, others = streaming(tree)
    tree.send_signal(signal.SIGKILL)
    for pid in pids + others:
        wait_gone(pid)
    later.close()
    tree.wait_exit()


def test_programs_end_when_all_of_the_tree_is_killed_at_once(tree: Tree) -> None:
    tree.start("programs:app", *CALM, workers=2)
    pids = [pid for _ in range(2) for pid in streaming(tree)[1]]
    tree.send_signal_to_all(signal.SIGKILL)
    for pid in pids:
        wait_gone(pid)
    tree.wait_exit()


def test_programs_of_a_job_end_with_it(tree: Tree, told: Told) -> None:
    tree.start("programs:app", *CALM, "--offload-max", "1", "--max-children", "7", workers=1)
    assert tree.get("/most").text == "7"  # a flag of the server is known in its jobs
    client = tree.asking("/job?seconds=2")
    pids = told.pids()
    assert client.receive().text == "too late"
    for pid in pids:
        wait_gone(pid)
    tree.asking("/job?seconds=60")
    pids = told.pids()
    tree.send_signal(signal.SIGKILL)
    for pid in pids:
        wait_gone(pid)
    tree.wait_exit()


def test_a_stop_ends_programs_that_no_request_has(tree: Tree) -> None:
    tree.start("programs:app", *CALM, "--children-grace-seconds", "0.1", workers=1)
    pids = [int(word) for word in tree.get("/kept").text.split()]
    deaths = [Death(pid) for pid in pids]
    assert tree.stop() == 0
    for death in deaths:
        death.wait()


def test_what_jobs_have_started_by_themselves_ends_with_a_killed_master(tree: Tree, gate: Gate) -> None:
    tree.start("jobs:app", *CALM, workers=1)
    tree.asking(path("litter_and_wait", 3))
    deaths = [Death(process.pid) for process in family(gate.wait_entered().pid)]
    assert len(deaths) >= 4
    tree.send_signal(signal.SIGKILL)
    for death in deaths:
        death.wait()
    tree.wait_exit()
