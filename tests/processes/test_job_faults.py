"""One fault, one job: whatever a job does to its process, the others go on, and nothing of it is left."""

import os
import re
import signal

import pytest

from tests.processes.gate import Gate
from tests.processes.jobs import Jobs, family, parsed
from tests.processes.proc import Death, look

pytestmark = pytest.mark.processes


@pytest.mark.parametrize(
    ("name", "args", "expected"),
    [
        ("segfault", [], {"cause": "signal", "signal": signal.SIGSEGV, "words": "signal SIGSEGV"}),
        ("kill_self", [], {"cause": "signal", "signal": signal.SIGKILL, "words": "signal SIGKILL"}),
        ("leave", [3], {"cause": "exit", "exit_status": 3, "words": "exit status 3"}),
        ("leave", [0], {"cause": "exit", "exit_status": 0, "words": "exit status 0"}),
    ],
)
def test_a_job_that_ends_its_process_fails_alone_and_says_how(
    jobs: Jobs, name: str, args: list[int], expected: dict[str, object]
) -> None:
    jobs.start()
    before = jobs.offloader()
    found = jobs.run(name, *args)
    words = str(expected.pop("words"))
    assert found["error"] == "Crashed"
    assert words in found["text"]
    assert f"jobs.{name} crashed its process (pid {before})" in found["text"]
    assert {key: found[key] for key in expected} == expected
    jobs.tree.log.wait(rf"job \d+ \(jobs\.{name}\) crashed: .*{words}")
    assert jobs.run("add", 1, 2) == {"value": 3}
    assert jobs.offloader() != before


def test_a_crash_carries_the_last_stack(jobs: Jobs) -> None:
    jobs.start()
    found = jobs.run("segfault")
    assert "Segmentation fault" in found["stack"]
    assert re.search(r'File ".*jobs\.py", line \d+ in segfault$', found["stack"])  # the app's frames, and no others


def test_a_process_killed_from_outside_costs_its_job(jobs: Jobs, gate: Gate) -> None:
    jobs.start()
    client = jobs.running("gate")
    visitor = gate.wait_entered()
    os.kill(visitor.pid, signal.SIGKILL)
    assert parsed(client.receive())["signal"] == signal.SIGKILL
    assert jobs.run("add", 1, 2) == {"value": 3}


def test_a_memory_bomb_under_a_limit_is_told_as_such(jobs: Jobs) -> None:
    jobs.start()
    found = jobs.run("allocate", 300, memory="100M")
    assert found["error"] == "Crashed"
    assert "needed more memory than its limit of 104857600 bytes" in found["text"]
    assert jobs.run("allocate", 50, memory="100M") == {"value": 50 << 20}
    assert jobs.run("allocate", 300) == {"value": 300 << 20}  # the limit was that job's


def test_too_much_cpu_time_is_told_as_such(jobs: Jobs) -> None:
    jobs.start()
    found = jobs.run("spin", cpu_seconds=1)
    assert found["error"] == "Crashed"
    assert "used more CPU time than its limit of 1 s" in found["text"]
    assert "in spin" in found["stack"]
    assert jobs.run("who")["value"]["limits"] == [-1, -1]


@pytest.mark.parametrize("name", ["spin", "deadlock", "stubborn"])
def test_an_endless_job_is_ended_at_its_deadline(jobs: Jobs, name: str) -> None:
    jobs.start()
    death = Death(jobs.offloader())
    found = jobs.run(name, timeout=0.3, grace=0.2)
    assert found["error"] == "Timeout"
    assert found["text"] == f"jobs.{name} did not end within 0.3 s"
    assert jobs.run("add", 1, 2) == {"value": 3}
    death.wait()


def test_a_deadline_shows_where_the_job_was(jobs: Jobs) -> None:
    jobs.start()
    jobs.run("spin", timeout=0.3)
    assert "in spin" in jobs.tree.log.wait("stacks of offloader .* when it was ended").string


def test_its_place_is_free_before_an_ended_one_is_gone(jobs: Jobs) -> None:
    jobs.start()
    old = jobs.offloader()
    assert jobs.run("stubborn", timeout=0.3, grace=60)["error"] == "Timeout"
    assert jobs.run("add", 1, 2) == {"value": 3}
    assert look(old) is not None
    os.kill(old, signal.SIGKILL)


def test_what_a_job_leaves_behind_is_ended_with_it(jobs: Jobs) -> None:
    jobs.start()
    left = jobs.run("litter", 25)["value"]
    assert len(left) >= 25
    assert jobs.run("add", 1, 2) == {"value": 3}
    assert not [pid for pid in left if look(pid)]


@pytest.mark.parametrize("ended_by", ["deadline", "disconnect", "crash"])
def test_what_a_job_has_started_is_ended_when_it_is_ended(jobs: Jobs, gate: Gate, ended_by: str) -> None:
    jobs.start()
    options = {"timeout": 2.0, "grace": 0.2} if ended_by == "deadline" else {"grace": 0.2}
    client = jobs.running("litter_and_wait", 25, **options)
    visitor = gate.wait_entered()
    deaths = [Death(process.pid) for process in family(visitor.pid)]
    assert len(deaths) >= 26
    if ended_by == "disconnect":
        client.reset()
    elif ended_by == "crash":
        os.kill(visitor.pid, signal.SIGSEGV)
    for death in deaths:
        death.wait()


def test_a_result_that_cannot_be_pickled_is_named(jobs: Jobs) -> None:
    jobs.start()
    found = jobs.run("unpicklable")
    assert found["error"] == "Unsendable"
    assert "jobs.unpicklable returned _thread.lock, which cannot be pickled" in found["text"]


def test_a_function_or_argument_that_cannot_be_sent_is_named_at_the_call(jobs: Jobs) -> None:
    jobs.start()
    assert "is a lambda; an offloader finds functions by name" in parsed(jobs.tree.get("/lambda"))["text"]
    found = parsed(jobs.tree.get("/unpicklable-argument"))
    assert "jobs.echo: argument 1, of type _thread.lock, cannot be pickled" in found["text"]


def test_a_result_of_200_megabytes_arrives(jobs: Jobs) -> None:
    jobs.start()
    assert jobs.run("large", 200) == {"value": 200 << 20}


def test_a_result_beyond_the_arena_is_refused(jobs: Jobs) -> None:
    jobs.start("--offload-arena", "32M")
    assert "more than offload_arena" in jobs.run("large", 33)["text"]
    assert jobs.run("large", 31) == {"value": 31 << 20}


def test_an_exception_keeps_its_type_its_state_and_its_traceback(jobs: Jobs) -> None:
    jobs.start()
    found = jobs.run("peculiar")
    assert {key: found[key] for key in ("error", "text", "code", "detail")} == {
        "error": "Peculiar",
        "text": "code 7: on purpose",
        "code": 7,
        "detail": "on purpose",
    }
    assert 'raise Peculiar(7, detail="on purpose")' in found["cause"]
    assert "runner.py" not in found["cause"]


def test_a_job_that_exits_the_interpreter_ends_neither_its_process_nor_the_worker(jobs: Jobs) -> None:
    jobs.start()
    worker, offloader = jobs.tree.get("/pid").text, jobs.offloader()
    found = jobs.run("exit_interpreter")
    assert found["error"] == "OffloadError"
    assert found["text"] == "SystemExit: 5"
    assert jobs.tree.get("/pid").text == worker
    assert jobs.offloader() == offloader


def test_a_nested_call_is_refused(jobs: Jobs) -> None:
    jobs.start()
    assert "offload() within a job" in jobs.run("nested")["text"]


def test_of_a_thousand_jobs_ten_that_crash_cost_ten(jobs: Jobs) -> None:
    jobs.start("--offload-queue", "1000", "--offload-wait-seconds", "600")
    assert parsed(jobs.tree.get("/crashing/1000")) == {"Crashed 50": 10, "right": 990}


def test_an_idempotent_job_is_tried_again(jobs: Jobs) -> None:
    jobs.start()
    assert jobs.run("crash_until", "tries", 1, retries=3, idempotent=True) == {"value": 2}
    jobs.tree.log.wait(r"job \d+ \(jobs\.crash_until\) is tried again: .*SIGKILL")


def test_a_job_that_has_crashed_two_processes_is_not_tried_again(jobs: Jobs) -> None:
    jobs.start()
    assert jobs.run("crash_until", "tries", 9, retries=5, idempotent=True)["error"] == "Crashed"
    assert (jobs.tree.folder / "tries").stat().st_size == 2


def test_a_job_that_may_not_run_twice_runs_once(jobs: Jobs) -> None:
    jobs.start("--offload-retries", "3")
    assert jobs.run("crash_until", "tries", 1)["error"] == "Crashed"
    assert (jobs.tree.folder / "tries").stat().st_size == 1


@pytest.mark.parametrize(
    "state", ["booting", "idle", "given and not read", "running", "streaming", "paused", "after a large result"]
)
def test_an_offloader_killed_in_any_state_costs_at_most_its_job(jobs: Jobs, gate: Gate, state: str) -> None:
    jobs.start()
    victim = jobs.offloader()
    crashed = False
    if state == "booting":
        os.kill(victim, signal.SIGKILL)
        client = jobs.running("add", 1, 2)
        for process in jobs.tree.processes("offloader"):
            os.kill(process.pid, signal.SIGKILL)
    elif state == "idle":
        os.kill(victim, signal.SIGKILL)
        client = jobs.running("add", 1, 2)
    elif state == "given and not read":
        os.kill(victim, signal.SIGSTOP)
        client = jobs.running("add", 1, 2)
        assert jobs.tree.get("/pid").status == 200  # asked after it, so that one has been given by now
        os.kill(victim, signal.SIGKILL)
    elif state == "running":
        client = jobs.running("gate")
        os.kill(gate.wait_entered().pid, signal.SIGKILL)
        crashed = True
    elif state == "streaming":
        client = jobs.tree.asking("/stream/gate_twice")
        gate.wait_entered().release()
        os.kill(gate.wait_entered().pid, signal.SIGKILL)
        assert client.receive().status == 500
        client = jobs.running("add", 1, 2)
    elif state == "paused":
        client = jobs.tree.asking("/slow-reader")
        visitor = gate.wait_entered()
        os.kill(victim, signal.SIGKILL)
        visitor.release()
        assert parsed(client.receive()) == {"first": 0}
        client = jobs.running("add", 1, 2)
    else:
        assert jobs.run("large", 40) == {"value": 40 << 20}
        os.kill(victim, signal.SIGKILL)
        client = jobs.running("add", 1, 2)
    found = parsed(client.receive())
    assert found.get("error") == "Crashed" if crashed else found.get("value") == 3 or found["error"] == "Crashed"
    assert jobs.run("add", 1, 2) == {"value": 3}


def test_a_job_that_was_given_and_not_begun_is_given_to_another(jobs: Jobs) -> None:
    jobs.start()
    victim = jobs.offloader()
    os.kill(victim, signal.SIGSTOP)
    client = jobs.running("add", 1, 2)
    assert jobs.tree.get("/pid").status == 200
    os.kill(victim, signal.SIGKILL)
    assert parsed(client.receive()) == {"value": 3}


def test_a_start_hook_that_fails_fails_the_jobs_that_wait_and_says_why(jobs: Jobs) -> None:
    jobs.start()
    (jobs.tree.folder / "hook-fails").touch()
    assert jobs.run("kill_self")["error"] == "Crashed"
    found = jobs.run("add", 1, 2)
    assert found["error"] == "OffloadError"
    assert found["text"] == "jobs.add: no offloader can start: RuntimeError: no model on purpose"
    assert "in start_hook" in jobs.tree.log.wait("an offloader could not start").string
    (jobs.tree.folder / "hook-fails").unlink()
    assert jobs.run("add", 1, 2) == {"value": 3}


def test_a_stream_whose_process_dies_gives_its_items_and_then_the_error(jobs: Jobs) -> None:
    jobs.start()
    found = parsed(jobs.tree.get("/stream-error"))
    assert found["items"] == [0, 1, 2]
    assert found["error"] == "Crashed"


def test_a_generator_that_is_left_half_way_is_ended(jobs: Jobs) -> None:
    jobs.start()
    death = Death(jobs.offloader())
    assert jobs.tree.get("/abandon").text == "[0,1,2]"
    death.wait()
    assert jobs.run("add", 1, 2) == {"value": 3}


def test_a_job_can_be_cancelled_by_its_handle(jobs: Jobs, gate: Gate) -> None:
    jobs.start()
    client = jobs.tree.asking("/cancelled")
    first, second = gate.wait_entered(), gate.wait_entered()
    job, handler = (first, second) if first.pid != int(jobs.tree.get("/pid").text) else (second, first)
    handler.release()
    found = parsed(client.receive())
    assert found["error"] == "Cancelled"
    job.wait_gone()
