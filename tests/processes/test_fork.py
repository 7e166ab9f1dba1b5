"""fork in a server: children come from the mold, and go with their request, their worker and their master."""

import json
import os
import signal
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.processes.client import Client
from tests.processes.jobs import family
from tests.processes.patience import GUARD_SECONDS
from tests.processes.proc import Death, descriptors, look, wait_same
from tests.processes.test_job_standalone import Program
from tests.processes.tree import CALM, Tree

pytestmark = pytest.mark.processes


class Server:
    """One tree with one worker, and what there is of it when nothing goes on."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree

    def start(self, *flags: str) -> None:
        self.tree.start("forks:app", *CALM, "--children-grace-seconds", "0.1", *flags, workers=1)
        self.ask("/who")
        self._before = self._rest()

    def ask(self, path: str) -> Any:
        return json.loads(self.tree.get(path).text)

    def child(self, path: str) -> tuple[Client, int]:
        """Ask for a child that is held. Returns the connection and its pid."""
        client = self.tree.asking(path)
        return client, int(client.receive_until(b"!").rstrip(b"!").split()[-1])

    def check_nothing_left(self) -> None:
        """Hold that processes and descriptors are as before. AssertionError with the difference."""
        self.tree.close_clients()
        wait_same(self._rest, self._before, self.tree.report)

    def _rest(self) -> Mapping[str, Any]:
        found = family(self.tree.master)
        return {
            "processes": Counter(process.title.rpartition(" g")[0] for process in found),
            "descriptors": {process.role: Counter(descriptors(process.pid)) for process in found},
        }


@pytest.fixture
def server(tree: Tree) -> Server:
    return Server(tree)


def test_children_come_from_the_mold_talk_and_leave_nothing_behind(server: Server) -> None:
    server.start()
    tree = server.tree
    [mold] = tree.processes("mold")
    found = server.ask("/who")
    assert found["parent"] == tree.master
    assert found["group"] == found["pid"]
    assert found["imported_in"] == mold.pid
    assert not found["fresh"]
    tree.log.wait("hello from a child")
    record = next(record for record in tree.log.records if record.get("message") == "hello from a child")
    assert (record["role"], record["slot"], record["generation"]) == ("child", 0, 1)
    found = server.ask("/who?fresh=1")
    assert found["fresh"]
    assert found["parent"] == tree.master
    assert found["group"] == found["imported_in"] == found["pid"]
    for target in ("echo", "echo_async"):
        assert server.ask(f"/talk/{target}") == list(range(1000))
    assert tree.get("/socket").text == "from child"
    assert server.ask("/fork/no_such") == {"error": "ChildNotStarted", "text": "forks:no_such: forks has no no_such"}
    server.check_nothing_left()


def test_a_child_that_nobody_reads_costs_bounded_memory(server: Server) -> None:
    server.start()
    before_worker, before_child, after_worker, after_child = server.ask("/flooded")["resident"]
    assert after_worker - before_worker < 50_000_000
    assert after_child - before_child < 50_000_000
    server.check_nothing_left()


def test_a_child_goes_with_its_request(server: Server) -> None:
    server.start()
    # The client leaves.
    client, pid = server.child("/held")
    death = Death(pid)
    found = look(pid)
    assert found is not None
    assert found.title == "prefork child 0 g1"
    client.reset()
    death.wait()
    # The handler returns.
    reply = server.tree.get("/forgotten")
    wait_same(lambda: look(int(reply.text)), None, server.tree.report)
    server.check_nothing_left()


def test_a_child_that_is_killed_or_whose_mold_dies_is_told_of(server: Server) -> None:
    server.start()
    pid = int(server.tree.get("/kept").text)
    os.kill(pid, signal.SIGKILL)
    found = server.ask(f"/fate/{pid}")
    assert found["crashed"] == signal.SIGKILL
    assert found["error"] == "ChildCrashed"
    assert f"forks:hold (pid {pid}) was killed: signal SIGKILL" in found["text"]
    server.check_nothing_left()
    # Its mold's death is nothing to a child that lives; whoever wants another is told.
    pid = int(server.tree.get("/kept").text)
    [mold] = server.tree.processes("mold")
    death = Death(mold.pid)
    os.kill(mold.pid, signal.SIGKILL)
    death.wait()
    found = server.ask("/fork/echo")
    if "started" not in found:  # unless there is another mold already
        assert found["error"] == "ChildNotStarted"
        assert "mold" in found["text"]
    living = look(pid)
    assert living is not None
    assert living.role == "child"
    os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("victim", ["worker", "master"])
def test_a_child_goes_with_its_worker_and_its_master(server: Server, victim: str) -> None:
    server.start()
    pids = [server.child("/held")[1], int(server.tree.get("/kept").text)]
    deaths = [Death(pid) for pid in pids]
    since = server.tree.log.mark() if victim == "worker" else 0
    os.kill(server.tree.worker(0) if victim == "worker" else server.tree.master, signal.SIGKILL)
    for death in deaths:
        death.wait()
    if victim == "master":
        server.tree.wait_exit()
    else:
        server.tree.wait_ready(0, since)
        server.ask("/who")
        server.check_nothing_left()


def test_a_child_of_nobody_does_not_hold_up_a_worker_that_stops(server: Server) -> None:
    server.start()
    death = Death(int(server.tree.get("/kept").text))
    assert server.tree.stop() == 0
    death.wait()


def test_without_preload_a_child_imports_the_app_itself(server: Server) -> None:
    server.start("--no-preload")
    found = server.ask("/who")
    assert found["imported_in"] == found["pid"]
    assert server.ask("/who?fresh=1")["fresh"]
    assert server.ask("/talk/echo") == list(range(1000))
    server.check_nothing_left()


def test_a_program_whose_main_module_is_not_guarded_does_not_run_twice(tmp_path: Path) -> None:
    (tmp_path / "unguarded.py").write_text(
        "import asyncio, os\n"
        "from prefork import children\n"
        "async def main():\n"
        "    await (await children.fork('os:getpid')).wait()\n"
        "    print('once', flush=True)\n"
        "asyncio.run(main())\n"
    )
    program = Program(tmp_path, "unguarded.py")
    out, errors = program.process.communicate(timeout=GUARD_SECONDS)
    assert out == ""
    assert program.process.returncode == 1
    assert "no child while the nursery imports the program: put what starts it under `if __name__" in errors


def test_as_many_children_run_as_may(server: Server) -> None:
    server.start("--max-children", "2", "--children-wait-seconds", "0")
    clients = [server.child("/held")[0] for _ in range(2)]
    found = server.ask("/fork/echo")
    assert found["error"] == "ChildrenBusy"
    assert "2 children run" in found["text"]
    for client in clients:
        client.reset()
    server.check_nothing_left()
    assert server.ask("/fork/echo") == {"started": True}
