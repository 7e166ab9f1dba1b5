"""Run jobs of the app `jobs` in a tree, and hold that nothing of them is left over."""

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from tests.processes.client import Client, Reply
from tests.processes.proc import Process, children, descriptors, look, wait_same
from tests.processes.tree import CALM, Tree


class Jobs:
    """One tree with one worker whose jobs run in one offloader, unless said otherwise."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self._before: Mapping[str, Any] = {}

    def start(self, *flags: str, workers: int = 1) -> None:
        """Start it, and note what there is when nothing goes on."""
        self.tree.start("jobs:app", "--offload-max", "1", *CALM, *flags, workers=workers)
        self._before = self._rest()

    def run(self, name: str, *args: Any, tenant: str = "", **options: Any) -> dict[str, Any]:
        """What came of a job: `value`, or `error`, `text`, `cause` and its attributes."""
        return parsed(self.tree.get(path(name, *args, tenant=tenant, **options)))

    def running(self, name: str, *args: Any, **options: Any) -> Client:
        """A connection on which a job was asked for."""
        return self.tree.asking(path(name, *args, **options))

    def offloader(self) -> int:
        """The pid of the one that runs jobs."""
        pid: int = self.run("pid")["value"]
        return pid

    def check_nothing_left(self) -> None:
        """Hold that processes and descriptors are as before. AssertionError with the difference."""
        self.tree.close_clients()
        wait_same(self._rest, self._before, self.tree.report)

    def _rest(self) -> Mapping[str, Any]:
        """What there is once the offloader has run a job with large buffers, so that both arenas exist."""
        self.tree.get("/array")
        found = [process for process in family(self.tree.master) if process.state != "Z"]
        return {
            "processes": Counter(process.title.rpartition(" g")[0] for process in found),
            "descriptors": {
                process.title.rpartition(" g")[0]: Counter(descriptors(process.pid))
                for process in found
                if process.role != "master"
            },
            "master": len(descriptors(self.tree.master)),
        }


def family(root: int) -> list[Process]:
    """All that descends from a process, itself first."""
    first = look(root)
    found = [first] if first is not None else []
    for process in found:
        found += children(process.pid)
    return found


def path(name: str, *args: Any, tenant: str = "", **options: Any) -> str:
    """Where the app runs a job."""
    query = f"args={quote(json.dumps(args))}&options={quote(json.dumps(options))}"
    return f"/run/{name}?{query}" + (f"&tenant={tenant}" if tenant else "")


def parsed(reply: Reply) -> dict[str, Any]:
    """The JSON object in a reply of 200."""
    assert reply.status == 200, reply
    found: dict[str, Any] = json.loads(reply.text)
    return found
