"""As many workers as there is work for (--workers MIN:MAX), and no request notices that they come and go."""

import logging
import signal

import pytest

from prefork.core.roster import Roster
from prefork.errors import CommandError
from prefork.processes.autoscaling import Autoscaling
from prefork.processes.handout import HandOut
from prefork.settings import Settings, WorkerRange
from prefork.system.cgroup import usable_cpus
from tests.core.roster import full
from tests.processes.gate import Gate
from tests.processes.jobs import path
from tests.processes.load import Load
from tests.processes.proc import wait_same
from tests.processes.tree import CALM, Tree

QUICK = (
    *("--scale-up-seconds", "0.25", "--scale-up-share", "0.5"),
    *("--scale-down-seconds", "0.25", "--scale-down-share", "0.3"),
)
NEVER_DOWN = ("--scale-up-seconds", "0.5", "--scale-down-share", "0")


@pytest.mark.processes
def test_workers_come_under_load_and_go_when_it_is_over_and_no_request_is_lost(tree: Tree) -> None:
    tree.start("costly:burning", "--workers", "1:2", *QUICK, *CALM)
    idle = tree.client()
    assert idle.get("/who").status == 200
    with Load(tree.address, keep_alive=4, closing=4) as load:
        tree.log.wait(r"scaling from 1 to 2 workers: workers were \d+% busy for 0.25 s \(--scale-up-share 0.5\)")
        tree.wait_ready(1, 0)
        tree.log.wait(r"workers were \d+% busy for 0.25 s .*, but there may be no more than 2 \(1:2\)")
        load.wait_answers(5)
    assert load.losses == []
    assert len(load.answered_by) == 2
    assert [load.connections[client] for client in load.keep_alive] == [1, 1, 1, 1]
    since = tree.log.mark()
    tree.log.wait(r"scaling from 2 to 1 worker: one worker would be \d+% busy, for 0.25 s \(--scale-down-share 0.3\)")
    tree.log.wait(r"one worker would be .*, but there may be no fewer than 1 \(1:2\)", since)
    tree.log.wait("worker 1 .* has drained")
    assert idle.get("/who").text == str(tree.worker(0))  # wherever it was


@pytest.mark.processes
@pytest.mark.parametrize(
    ("target", "flags", "path"),
    [
        ("threads:native", ("--threads", "1"), "/gate"),
        ("faults:app", (), "/block"),
        ("faults:app", ("--balance", "kernel"), "/block"),
    ],
)
def test_workers_that_wait_in_threads_or_are_blocked_get_others(
    tree: Tree, gate: Gate, target: str, flags: tuple[str, ...], path: str
) -> None:
    tree.start(target, "--workers", "1:2", *NEVER_DOWN, *flags, *CALM)
    asked = tree.asking(path)
    visitor = gate.wait_entered()
    tree.log.wait(r"scaling from 1 to 2 workers: workers were \d+% busy")
    tree.wait_ready(1, 0)
    visitor.release()
    assert asked.receive().status == 200


@pytest.mark.processes
def test_connections_that_wait_for_room_get_another_worker(tree: Tree) -> None:
    tree.start("faults:app", "--workers", "1:2", "--max-connections", "1", *NEVER_DOWN, *CALM)
    first = tree.client()
    assert first.get("/who").status == 200
    waiting = tree.asking("/who")
    tree.log.wait("scaling from 1 to 2 workers: connections have waited for 0.5 s, now 1")
    assert waiting.receive().text == str(tree.worker(1))


@pytest.mark.processes
def test_an_operator_who_wants_one_more_or_fewer_is_obeyed_within_the_limits(tree: Tree) -> None:
    tree.start("faults:app", "--workers", "1:2", "--scale-down-seconds", "3600", *CALM)
    for number, said in (
        (signal.SIGTTIN, r"scaling to 2 workers \(1:2\)"),
        (signal.SIGTTIN, r"there may be no more than 2 \(1:2\)"),
        (signal.SIGTTOU, r"scaling to 1 worker \(1:2\)"),
        (signal.SIGTTOU, r"there may be no fewer than 1 \(1:2\)"),
    ):
        since = tree.log.mark()
        tree.send_signal(number)
        tree.log.wait(said, since)


@pytest.mark.processes
@pytest.mark.skipif(usable_cpus() < 2, reason="there is nothing to share")
def test_workers_share_the_cpus_for_their_jobs_however_many_they_become(tree: Tree, gate: Gate) -> None:
    tree.start("jobs:app", "--workers", "1:2", "--scale-down-seconds", "3600", *CALM)
    running = [tree.asking(path("gate")) for _ in range(2)]
    visitors = [gate.wait_entered() for _ in range(2)]  # two at a time: there is one worker for two CPUs or more
    tree.send_signal(signal.SIGTTIN)
    tree.log.wait("worker 1 .* is ready")
    for visitor in visitors:
        visitor.release()
    assert [client.receive().status for client in running] == [200, 200]
    left = usable_cpus() // 2
    wait_same(lambda: len(tree.processes("offloader")) <= max(left, 1), True, tree.report)


# -- what an operator asks for


class NoHandOut:
    """Nothing waits."""

    def queued(self) -> int:
        return 0


def scaling(roster: Roster, low: int, high: int) -> Autoscaling:
    handout: HandOut = NoHandOut()  # type: ignore[assignment]
    return Autoscaling(Settings(), WorkerRange(low, high), roster, {}, handout, 100)


def test_a_number_ends_autoscale_and_limits_begin_it() -> None:
    roster = full(2)
    scaled = scaling(roster, 1, 4)
    assert list(scaled.deadlines()) != []
    scaled.scale_to(3, 3)
    assert (roster.wanted, scaled.limits, list(scaled.deadlines())) == (3, (3, 3), [])
    scaled.scale_to(2, 8)
    assert (roster.wanted, scaled.limits) == (3, (2, 8))
    assert list(scaled.deadlines()) != []


@pytest.mark.parametrize(("low", "high", "wanted"), [(3, 8, 3), (1, 1, 1), (1, 8, 2)])
def test_limits_are_kept_at_once(low: int, high: int, wanted: int) -> None:
    roster = full(2)
    scaling(roster, 2, 2).scale_to(low, high)
    assert roster.wanted == wanted


@pytest.mark.parametrize(("had", "wanted"), [(0, 2), (3, 3), (9, 4)])
def test_a_new_master_begins_with_as_many_workers_as_the_old_one_had(had: int, wanted: int) -> None:
    roster = Roster(2)
    scaling(roster, 2, 4).go_on_from(had)
    assert roster.wanted == wanted


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-1, 2), (3, 2), (1, 1025)])
def test_numbers_that_cannot_be_are_refused_and_change_nothing(low: int, high: int) -> None:
    roster = full(2)
    scaled = scaling(roster, 2, 2)
    with pytest.raises(CommandError, match=rf"cannot scale to {low}:{high} workers: "):
        scaled.scale_to(low, high)
    assert (roster.wanted, scaled.limits) == (2, (2, 2))


def test_one_more_than_a_fixed_number_is_the_new_number(caplog: pytest.LogCaptureFixture) -> None:
    roster = full(2)
    scaled = scaling(roster, 2, 2)
    scaled.step(+1)
    assert (roster.wanted, scaled.limits) == (3, (3, 3))
    with caplog.at_level(logging.INFO):
        for _ in range(5):
            scaled.step(-1)
    assert (roster.wanted, scaled.limits) == (1, (1, 1))
    assert caplog.messages[-3:] == ["there may be no fewer than 1"] * 3


def test_there_are_never_more_than_a_server_can_have(caplog: pytest.LogCaptureFixture) -> None:
    roster = full(1)
    scaled = scaling(roster, 1, 1)
    scaled.scale_to(1024, 1024)
    with caplog.at_level(logging.WARNING):
        scaled.step(+1)
    assert roster.wanted == 1024
    assert "cannot scale to 1025 workers" in caplog.text
