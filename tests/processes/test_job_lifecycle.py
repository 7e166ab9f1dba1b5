"""Jobs and the life of the tree: reload, drain, death of a worker, of the mold and of the master, stop."""

import os
import signal

import pytest

from tests.processes.client import Lost
from tests.processes.gate import Gate
from tests.processes.jobs import Jobs, family, parsed, path
from tests.processes.proc import Death
from tests.processes.tree import Tree

pytestmark = pytest.mark.processes

TAKEN_ALONG_SECONDS = 2.0  # what the issue promises


def test_a_reload_lets_the_running_job_finish(jobs: Jobs, gate: Gate) -> None:
    jobs.start()
    client = jobs.running("gate")
    visitor = gate.wait_entered()
    old = Death(visitor.pid)
    jobs.tree.send_signal(signal.SIGHUP)
    jobs.tree.log.wait("worker 0 .* drains: reload")
    assert jobs.run("who")["value"]["pid"] != visitor.pid  # served by the new generation already
    visitor.release()
    assert parsed(client.receive()) == {"value": visitor.pid}
    old.wait()
    jobs.tree.log.wait("worker 0 .* has drained")
    assert [process.title for process in jobs.tree.processes("offloader")] == ["prefork offloader 0 g2"]


def test_a_draining_worker_can_still_start_offloaders(jobs: Jobs, gate: Gate) -> None:
    jobs.start()
    first, second = jobs.running("gate"), jobs.running("gate")
    visitor = gate.wait_entered()
    jobs.tree.send_signal(signal.SIGHUP)
    jobs.tree.log.wait("worker 0 .* drains: reload")
    os.kill(visitor.pid, signal.SIGKILL)
    replacement = gate.wait_entered()
    replacement.release()
    outcomes = [parsed(client.receive()) for client in (first, second)]
    assert {"value": replacement.pid} in outcomes
    assert [found.get("error") for found in outcomes].count("Crashed") == 1
    jobs.tree.log.wait("worker 0 .* has drained")


def test_a_drain_waits_for_jobs_that_no_request_waits_for(jobs: Jobs, gate: Gate) -> None:
    jobs.start()
    assert jobs.tree.get("/background").text == "started"
    visitor = gate.wait_entered()
    jobs.tree.send_signal(signal.SIGHUP)
    jobs.tree.log.wait("worker 0 .* drains: reload")
    assert jobs.run("add", 1, 2) == {"value": 3}
    visitor.release()
    jobs.tree.log.wait("background job ended: well")
    jobs.tree.log.wait("worker 0 .* has drained")


def test_the_drain_limit_ends_jobs_too(jobs: Jobs, gate: Gate) -> None:
    jobs.start("--drain-seconds", "0.3")
    assert jobs.tree.get("/background").text == "started"
    visitor = gate.wait_entered()
    death = Death(visitor.pid)
    jobs.tree.send_signal(signal.SIGHUP)
    death.wait()
    jobs.tree.log.wait("background job ended: .*the server stops")


@pytest.mark.parametrize("name", ["gate", "deadlock", "stubborn"])
def test_a_worker_that_is_killed_takes_its_offloaders_along(jobs: Jobs, gate: Gate, name: str) -> None:
    jobs.start()
    offloader = Death(jobs.offloader())
    client = jobs.running(name)
    if name == "gate":
        gate.wait_entered()
    assert jobs.tree.get("/pid").status == 200  # asked after it: the job has been given by now
    os.kill(jobs.tree.worker(0), signal.SIGKILL)
    offloader.wait(TAKEN_ALONG_SECONDS)
    with pytest.raises((Lost, ConnectionResetError)):
        client.receive()
    jobs.tree.log.wait("worker 0 .* is ready", count=2)
    assert jobs.run("add", 1, 2) == {"value": 3}


def test_a_worker_that_is_killed_takes_along_what_its_jobs_have_started(jobs: Jobs, gate: Gate) -> None:
    jobs.start()
    jobs.running("litter_and_wait", 10)
    visitor = gate.wait_entered()
    deaths = [Death(process.pid) for process in family(visitor.pid)]
    assert len(deaths) >= 11
    os.kill(jobs.tree.worker(0), signal.SIGKILL)
    for death in deaths:
        death.wait(TAKEN_ALONG_SECONDS)
    jobs.tree.log.wait("worker 0 .* is ready", count=2)


def test_a_killed_master_leaves_no_offloader(tree: Tree, gate: Gate) -> None:
    tree.start("jobs:app", workers=1)
    tree.asking(path("deadlock"))
    assert tree.get("/pid").status == 200
    death = Death(tree.processes("offloader")[0].pid) if tree.processes("offloader") else None
    tree.asking(path("gate"))
    tree.send_signal(signal.SIGKILL)
    if death is not None:
        death.wait()
    tree.wait_exit()  # the log's pipe ends when the last process that holds it is gone


def test_a_stop_runs_the_stop_hooks(tree: Tree) -> None:
    tree.start("jobs:app", workers=1)
    assert tree.get(path("add", 1, 2)).status == 200
    assert tree.stop() == 0
    tree.log.wait("stop hook in")


def test_a_stop_waits_for_running_jobs(tree: Tree, gate: Gate) -> None:
    tree.start("jobs:app", workers=1)
    client = tree.asking(path("gate"))
    visitor = gate.wait_entered()
    tree.send_signal(signal.SIGTERM)
    tree.log.wait("worker 0 .* drains: stop")
    visitor.release()
    assert parsed(client.receive()) == {"value": visitor.pid}
    assert tree.wait_exit() == 0


def test_a_fast_stop_ends_running_jobs(tree: Tree, gate: Gate) -> None:
    tree.start("jobs:app", workers=1)
    tree.asking(path("stubborn"))
    tree.asking(path("gate"))
    assert tree.get("/pid").status == 200
    tree.send_signal(signal.SIGINT)
    assert tree.wait_exit() == 0


def test_the_terminals_interrupt_is_not_an_offloaders(tree: Tree, gate: Gate) -> None:
    tree.start("jobs:app", workers=1)
    client = tree.asking(path("gate"))
    visitor = gate.wait_entered()
    os.kill(visitor.pid, signal.SIGINT)
    visitor.release()
    assert parsed(client.receive()) == {"value": visitor.pid}


def test_a_mold_that_died_is_replaced_for_offloaders_too(jobs: Jobs) -> None:
    jobs.start()
    [mold] = jobs.tree.processes("mold")
    os.kill(mold.pid, signal.SIGKILL)
    jobs.tree.log.wait(r"worker 0 \(generation 2, pid \d+\) is ready")
    jobs.tree.log.wait("worker 0 .* has drained")
    assert jobs.run("add", 1, 2) == {"value": 3}


def test_jobs_work_without_preload(tree: Tree) -> None:
    tree.start("jobs:app", "--no-preload", workers=1)
    found = parsed(tree.get(path("who")))["value"]
    assert found["started"] == [found["pid"]]
    assert parsed(tree.client().post("/endpoint/upload", b"\x01\x02"))["same app"]


def test_each_worker_has_offloaders_of_its_own(tree: Tree) -> None:
    tree.start("jobs:app", workers=2)
    pids = {parsed(tree.get(path("pid")))["value"] for _ in range(4)}
    assert len(pids) == 2
    assert sorted(process.title for process in tree.processes("offloader")) == [
        "prefork offloader 0 g1",
        "prefork offloader 1 g1",
    ]


def test_an_offloaded_handler_that_has_no_name_of_its_own_is_told_when_the_app_starts(tree: Tree) -> None:
    tree.write(
        "hidden.py",
        "from prefork import App\napp = App()\ndef make():\n    @app.get('/', offload=True)\n"
        "    def inner(request): return 'x'\nmake()\n",
    )
    tree.launch("hidden:app", workers=1)
    assert tree.wait_exit() == 3
    assert "hidden.make.<locals>.inner is defined within a function" in tree.log.wait("cannot boot").string
