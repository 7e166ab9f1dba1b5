"""A worker that has done enough is replaced, and no request notices."""

from types import SimpleNamespace
from typing import Any

import pytest

from prefork.core.roster import Roster
from prefork.errors import CommandError
from prefork.processes import limits as limits_module
from prefork.processes.limits import WorkerLimits
from prefork.settings import Settings
from prefork.system.usage import Usage
from tests.core.roster import full
from tests.processes.load import Load
from tests.processes.tree import CALM, Tree


@pytest.mark.processes
@pytest.mark.parametrize("balance", ["round-robin", "kernel"])
def test_after_so_many_requests_a_worker_is_replaced_and_none_is_lost(tree: Tree, balance: str) -> None:
    limits = ("--max-requests", "100", "--max-requests-jitter", "20", "--balance", balance)
    tree.start("faults:app", *limits, *CALM)
    with Load(tree.address, keep_alive=4, closing=4) as load:
        tree.log.wait("worker . .* has drained", count=4)
        load.wait_answers(5)
    assert load.losses == []
    assert [load.connections[client] for client in load.keep_alive] == [1, 1, 1, 1]
    replaced = tree.log.find(
        r"worker \d \(generation 1, pid \d+\) is replaced: ([\d,]+) requests \(--max-requests 100\)"
    )
    assert len(replaced) >= 4
    assert all(int(found[1].replace(",", "")) >= 100 for found in replaced)
    assert len(tree.log.find("worker . .* drains: max-requests")) >= 4


@pytest.mark.processes
def test_a_leaking_worker_is_replaced_before_it_takes_more_and_loses_nothing(tree: Tree) -> None:
    tree.start("costly:leaking", "--max-rss", "150M", *CALM, workers=1)
    with Load(tree.address, keep_alive=2, closing=2) as load:
        tree.log.wait("worker 0 .* has drained")
        load.wait_answers(5)
    assert load.losses == []
    assert [load.connections[client] for client in load.keep_alive] == [1, 1]
    found = tree.log.find(r"worker 0 \(.*\) is replaced: ([\d,.]+) MiB of memory \(--max-rss 150\.0 MiB\)")
    assert all(float(measured[1].replace(",", "")) > 150 for measured in found)
    tree.log.wait("worker 0 .* drains: max-rss")


@pytest.mark.processes
def test_a_worker_that_has_served_long_enough_is_replaced_and_loses_nothing(tree: Tree) -> None:
    tree.start("faults:app", "--max-lifetime", "0.5", *CALM)
    with Load(tree.address, keep_alive=2, closing=2) as load:
        tree.log.wait(r"worker . .* is replaced: [\d.]+ s of service \(--max-lifetime 0\.5\)")
        tree.log.wait("worker . .* has drained", count=2)
        load.wait_answers(5)
    assert load.losses == []
    assert [load.connections[client] for client in load.keep_alive] == [1, 1]


@pytest.mark.processes
def test_a_limit_that_no_worker_can_keep_is_said_once_and_nobody_is_replaced_for_it(tree: Tree) -> None:
    tree.start("faults:app", "--max-rss", "1M", "--max-requests", "1", *CALM)
    assert [tree.get("/who").status for _ in range(4)] == [200] * 4
    tree.log.wait("worker . .* is replaced: [12] requests")
    said = tree.log.find(r"holds [\d.]+ MiB just after its start, more than --max-rss 1.0 MiB")
    assert len(said) == 1
    assert not tree.log.find("drains: max-rss")


def limits_of(roster: Roster) -> WorkerLimits:
    return WorkerLimits(Settings(), roster, {})


def test_a_command_marks_the_worker_of_a_slot_once() -> None:
    roster = full(2)
    limits_of(roster).retire(1)
    assert [handle.retiring for handle in roster] == ["", "retire"]
    with pytest.raises(CommandError, match="slot 1 is being replaced already"):
        limits_of(roster).retire(1)
    with pytest.raises(CommandError, match="no slot 7"):
        limits_of(roster).retire(7)


def test_without_limits_nobody_is_looked_at() -> None:
    limits = limits_of(full(2))
    limits.tick(0.0)
    assert list(limits.deadlines()) == []


class Board:
    """No request was answered."""

    requests = 0


def test_memory_is_measured_however_often_something_else_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    rss = 10 << 20
    monkeypatch.setattr(limits_module, "usage", lambda pid: Usage(rss, 0.0, 0.0))
    roster = full(1)
    links: Any = {handle.serial: SimpleNamespace(board=Board()) for handle in roster}
    limits = WorkerLimits(Settings(max_rss=20 << 20), roster, links)
    limits.tick(0.0)
    rss = 30 << 20
    for tenth in range(1, 14):
        limits.tick(tenth / 10)
    assert [handle.retiring for handle in roster] == ["max-rss"]
