"""What jobs promise when nothing breaks: order, bounds, answers, back-pressure, company of context and log."""

import json
import os
import re
from contextlib import suppress
from pathlib import Path

import pytest

from tests.processes.gate import Gate
from tests.processes.jobs import Jobs, parsed, path
from tests.processes.proc import Death, look
from tests.processes.tree import Tree

pytestmark = pytest.mark.processes


def test_a_job_runs_in_another_process_that_stays(jobs: Jobs) -> None:
    jobs.start()
    first = jobs.offloader()
    assert first == jobs.offloader()
    assert first != int(jobs.tree.get("/pid").text)
    assert [process.title for process in jobs.tree.processes("offloader")] == ["prefork offloader 0 g1"]


def test_ten_thousand_small_jobs_get_each_its_own_result(jobs: Jobs) -> None:
    jobs.start()
    assert parsed(jobs.tree.get("/many/10000")) == {"right": 10_000}


def test_several_offloaders_work_at_once(jobs: Jobs, gate: Gate) -> None:
    jobs.start("--offload-max", "3", "--offload-idle-seconds", "0.1")
    clients = [jobs.running("gate") for _ in range(3)]
    visitors = [gate.wait_entered() for _ in range(3)]
    assert len({visitor.pid for visitor in visitors}) == 3
    for visitor in visitors:
        visitor.release()
    assert {parsed(client.receive())["value"] for client in clients} == {visitor.pid for visitor in visitors}


def test_what_waits_behind_a_job_that_turns_out_long_goes_to_another(jobs: Jobs, gate: Gate) -> None:
    """Short jobs are sent ahead of time; one that is not short must not hold them."""
    jobs.start("--offload-max", "2", "--offload-idle-seconds", "0.1")
    parsed(jobs.tree.get("/many/300"))  # so short that they are sent ahead
    long = jobs.running("gate")
    visitor = gate.wait_entered()
    assert parsed(jobs.tree.get("/many/50")) == {"right": 50}
    visitor.release()
    assert long.receive().status == 200


def test_the_queue_is_bounded_in_count(jobs: Jobs, gate: Gate) -> None:
    jobs.start("--offload-queue", "2")
    clients = [jobs.running("gate")]
    visitor = gate.wait_entered()
    clients += [jobs.running("gate"), jobs.running("gate")]
    assert jobs.tree.get("/pid").status == 200  # asked after them: both wait by now
    found = jobs.run("add", 1, 2)
    assert found["error"] == "QueueFull"
    assert "2 jobs wait already (offload_queue = 2)" in found["text"]
    assert found["retry_after"] >= 1
    visitor.release()
    for _ in clients[1:]:
        gate.wait_entered().release()
    assert {client.receive().status for client in clients} == {200}
    assert jobs.run("add", 1, 2) == {"value": 3}


def test_the_queue_is_bounded_in_time(jobs: Jobs, gate: Gate) -> None:
    jobs.start("--offload-wait-seconds", "0.05")
    assert jobs.run("spin", timeout=0.5)["error"] == "Timeout"  # half a second is what a job takes, as far as is known
    client = jobs.running("gate")
    visitor = gate.wait_entered()
    found = jobs.run("add", 1, 2)
    assert found["error"] == "QueueFull"
    assert re.search(r"it would wait for about 0\.[1-9] s \(offload_wait_seconds = 0\.05\)", found["text"])
    visitor.release()
    assert client.receive().status == 200


def test_a_job_that_waits_past_its_deadline_never_begins(jobs: Jobs, gate: Gate) -> None:
    jobs.start()
    client = jobs.running("gate")
    visitor = gate.wait_entered()
    found = jobs.run("gate", timeout=0.2)
    assert found["text"] == "jobs.gate could not begin within 0.2 s"
    visitor.release()
    assert client.receive().status == 200
    assert gate.nobody_waits()


def test_the_highest_priority_goes_first(jobs: Jobs, gate: Gate) -> None:
    jobs.start()
    clients = [jobs.running("gate")]
    first = gate.wait_entered()
    low = jobs.running("say", "low", priority=-1)
    for name, priority in (("middle", 0), ("high", 5)):
        clients.append(jobs.running("say", name, priority=priority))
    assert jobs.tree.get("/pid").status == 200
    first.release()
    for client in (*clients, low):
        client.receive()
    said = [record["message"] for record in jobs.tree.log.records if record.get("logger") == "shop.jobs"]
    assert said[-3:] == ["high", "middle", "low"]


def test_a_client_that_leaves_while_its_job_waits_costs_nothing(jobs: Jobs, gate: Gate) -> None:
    jobs.start()
    first = jobs.running("gate")
    visitor = gate.wait_entered()
    waiting = jobs.running("say", "never")
    assert jobs.tree.get("/pid").status == 200
    waiting.reset()
    assert jobs.tree.get("/pid").status == 200
    visitor.release()
    assert first.receive().status == 200
    assert jobs.run("add", 1, 2) == {"value": 3}
    assert not jobs.tree.log.find("never")


def test_a_client_that_leaves_takes_its_running_job_along(jobs: Jobs, gate: Gate) -> None:
    jobs.start()
    client = jobs.running("gate")
    visitor = gate.wait_entered()
    death = Death(visitor.pid)
    client.reset()
    death.wait()
    assert jobs.run("add", 1, 2) == {"value": 3}


def test_large_buffers_go_there_and_back_with_their_types(jobs: Jobs) -> None:
    jobs.start()
    for _ in range(3):
        assert parsed(jobs.tree.get("/array")) == {
            "types": ["bytes", "bytearray", "memoryview"],
            "same": [True, True, True],
            "two": [True, True],
        }


def test_arguments_that_a_job_keeps_are_never_overwritten(jobs: Jobs) -> None:
    jobs.start()
    first = jobs.offloader()
    assert parsed(jobs.tree.get("/kept")) == {"before": [[10], [10, 20]], "after": [10, 20, 30]}
    assert jobs.offloader() == first
    jobs.run("kill_self")  # and what it has kept goes with it


def test_arenas_give_their_memory_back(jobs: Jobs) -> None:
    jobs.start()
    assert jobs.run("large", 30) == {"value": 30 << 20}
    worker = int(jobs.tree.get("/pid").text)
    assert arena_bytes(worker) >= 30 << 20
    while arena_bytes(worker):  # until it has been idle for a few seconds
        assert look(worker) is not None


def arena_bytes(pid: int) -> int:
    """Memory in the arenas that a process has open."""
    folder = Path(f"/proc/{pid}/fd")
    found = 0
    for descriptor in folder.iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            if "prefork-arena" in os.readlink(descriptor):
                found += descriptor.stat().st_blocks * 512
    return found


def test_a_stream_gives_all_items_in_order(jobs: Jobs) -> None:
    jobs.start()
    assert json.loads(jobs.tree.get("/stream/count?args=[5000]").text) == list(range(5000))
    found = json.loads(jobs.tree.get("/stream/count_large?args=[100]").text)
    assert found == [[number, 300_000] for number in range(100)]


def test_a_generator_does_not_run_away_from_its_reader(jobs: Jobs, gate: Gate) -> None:
    jobs.start()
    offloader = jobs.offloader()
    client = jobs.tree.asking("/slow-reader")
    visitor = gate.wait_entered()
    used = -1
    while (now := cpu_ticks(offloader)) != used:  # until it does nothing any more: it is held back
        used = now
        jobs.tree.get("/pid")
    visitor.release()
    assert parsed(client.receive()) == {"first": 0}


def cpu_ticks(pid: int) -> int:
    with open(f"/proc/{pid}/stat") as file:
        return int(file.read().rpartition(")")[2].split()[11])


def test_progress_reaches_who_watches(jobs: Jobs, gate: Gate) -> None:
    jobs.start()
    client = jobs.tree.client()
    client.send("/watched/3")
    for step in (1, 2, 3):
        visitor = gate.wait_entered()
        assert client.receive_until(f"step {step}\n".encode())
        visitor.release()
    assert client.receive_until(b"result 3\n")


def test_context_variables_and_the_request_come_along(jobs: Jobs) -> None:
    jobs.start()
    assert jobs.run("who", tenant="acme")["value"]["tenant"] == "acme"
    assert jobs.run("who")["value"]["tenant"] == "nobody"
    jobs.tree.get(path("say", "hello"), "x-request-id: order-66\r\n")
    jobs.tree.log.wait("hello")
    [line] = [record for record in jobs.tree.log.records if record["message"] == "hello"]
    assert {key: line[key] for key in ("role", "slot", "generation", "request", "logger", "pid")} == {
        "role": "offloader",
        "slot": 0,
        "generation": 1,
        "request": "order-66",
        "logger": "shop.jobs",
        "pid": jobs.offloader(),
    }
    assert isinstance(line["job"], int)


def test_an_offloader_has_nothing_that_is_not_its_own(jobs: Jobs) -> None:
    jobs.start()
    found = jobs.run("who")["value"]
    worker = int(jobs.tree.get("/pid").text)
    assert found["group"] == found["pid"]
    assert found["nice"] == os.getpriority(os.PRIO_PROCESS, worker) + 5
    assert found["ignored"] == ["SIGINT"]
    assert not found["loop"]
    kinds = sorted(name.partition(":[")[0] for number, name in found["descriptors"].items() if int(number) > 2)
    shared = ("prefork-arena", "prefork-ledger")  # mapped, and a mapping may have a descriptor of its own
    kinds = [kind for kind in kinds if not any(name in kind for name in shared) and not kind.startswith("/proc/")]
    assert kinds == ["/memfd:prefork-stacks (deleted)", "socket"]


def test_offloaders_have_random_numbers_of_their_own(jobs: Jobs) -> None:
    jobs.start()
    first = jobs.run("who")["value"]["random"]
    jobs.run("kill_self")
    assert jobs.run("who")["value"]["random"] != first


def test_sockets_that_the_import_left_open_are_not_an_offloaders(tree: Tree) -> None:
    tree.start("unsafe:app", workers=1)
    assert json.loads(tree.get("/who-listens").text) == ["/dev/null", "ENOTSOCK"]


def test_hooks_run_once_in_each_offloader(jobs: Jobs) -> None:
    jobs.start()
    first = jobs.run("who")["value"]
    again = jobs.run("who")["value"]
    assert first["started"] == again["started"] == [first["pid"]]


def test_an_offloader_is_replaced_after_so_many_jobs(jobs: Jobs) -> None:
    jobs.start("--offload-max-jobs", "2")
    pids = [jobs.offloader() for _ in range(6)]
    assert max(pids.count(pid) for pid in pids) == 2
    jobs.tree.log.wait("stop hook in", count=2)


def test_an_offloader_that_holds_too_much_memory_is_replaced(jobs: Jobs) -> None:
    jobs.start("--offload-max-rss", "150M")
    death = Death(jobs.offloader())
    jobs.run("grow", 200)
    death.wait()
    assert jobs.run("add", 1, 2) == {"value": 3}


def test_idle_offloaders_end_down_to_the_minimum(tree: Tree, gate: Gate) -> None:
    tree.start("jobs:app", "--offload-max", "3", "--offload-min", "1", "--offload-idle-seconds", "0.2", workers=1)
    clients = [tree.asking(path("gate")) for _ in range(3)]
    visitors = [gate.wait_entered() for _ in range(3)]
    deaths = [Death(visitor.pid) for visitor in visitors]
    for visitor in visitors:
        visitor.release()
    assert {client.receive().status for client in clients} == {200}
    gone = 0
    for death in deaths:
        if gone < 2:
            try:
                death.wait(1.0)
                gone += 1
            except AssertionError:
                pass  # the one that stays
    assert gone == 2
    assert len(tree.processes("offloader")) == 1


def test_the_minimum_is_there_before_the_first_job(tree: Tree) -> None:
    tree.start("jobs:app", "--offload-min", "2", "--offload-max", "2", "--log-level", "debug", workers=1)
    tree.log.wait(r"offloader \d is process \d+", count=2)


def test_a_lower_niceness_gets_a_process_that_has_it(jobs: Jobs) -> None:
    jobs.start()
    base = jobs.run("who", nice=0)["value"]["nice"]
    assert jobs.run("who", nice=10)["value"]["nice"] == base + 10
    assert jobs.run("who", nice=0)["value"]["nice"] == base


# -- endpoints


def test_an_endpoint_returns_what_a_handler_may_return(jobs: Jobs) -> None:
    jobs.start()
    teapot = jobs.tree.get("/endpoint/teapot")
    assert (teapot.status, teapot.text) == (418, "short and stout\n")
    assert "x-spout: yes" in teapot.head
    assert jobs.tree.get("/endpoint/large").text == "x" * 5_000_000
    client = jobs.tree.client()
    client.send("/endpoint/lines")
    received = client.receive_until(b"0\r\n\r\n").decode()
    assert "content-type: text/plain; charset=utf-8" in received
    assert [f"line {number}\n" in received for number in range(3)] == [True] * 3


@pytest.mark.parametrize("size", [0, 100, 200_000, 1 << 20])
def test_an_endpoint_gets_the_whole_body(jobs: Jobs, size: int) -> None:
    jobs.start()
    assert parsed(jobs.tree.client().post("/endpoint/upload", b"\x01" * size)) == {
        "length": size,
        "type": "bytes",
        "sum": size,
        "same app": True,
    }


def test_an_endpoints_body_ends_at_its_routes_limit(jobs: Jobs) -> None:
    jobs.start()
    assert jobs.tree.client().post("/endpoint/upload", b"x" * ((1 << 20) + 1)).status == 413


def test_an_endpoint_that_is_late_answers_504(jobs: Jobs) -> None:
    jobs.start()
    assert jobs.tree.get("/endpoint/timeout").status == 504


def test_an_endpoint_that_crashes_answers_500(jobs: Jobs) -> None:
    jobs.start()
    assert jobs.tree.get("/endpoint/crash").status == 500


def test_an_endpoint_that_is_refused_answers_503_with_retry_after(jobs: Jobs, gate: Gate) -> None:
    jobs.start("--offload-queue", "0")
    client = jobs.tree.asking("/endpoint/gate")
    visitor = gate.wait_entered()
    refused = jobs.tree.get("/endpoint/gate")
    assert refused.status == 503
    assert "retry-after: 1" in refused.head
    visitor.release()
    assert client.receive().text == str(visitor.pid)


def test_a_client_that_leaves_ends_the_stream_of_an_endpoint(jobs: Jobs, gate: Gate) -> None:
    jobs.start()
    client = jobs.tree.asking("/endpoint/endless")
    visitor = gate.wait_entered()
    death = Death(visitor.pid)
    visitor.release()
    client.receive_until(b"x" * 1000)
    client.reset()
    death.wait()


def test_a_head_request_ends_the_stream_of_an_endpoint(jobs: Jobs, gate: Gate) -> None:
    jobs.start()
    client = jobs.tree.client()
    client.send("/endpoint/endless", method="HEAD")
    gate.wait_entered().release()
    assert b"200 OK" in client.receive_until(b"\r\n\r\n")
    assert jobs.run("add", 1, 2) == {"value": 3}


def test_large_results_of_quick_jobs_are_those_of_their_jobs(jobs: Jobs) -> None:
    """They are sent ahead of their reader, who must not find the next one in the place of the one before."""
    jobs.start("--offload-queue", "1000", "--offload-wait-seconds", "600")
    assert parsed(jobs.tree.get("/patterns/500")) == {"right": 500}
