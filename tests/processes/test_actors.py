"""Actors in real trees: shared, spread, called while processes die, and gone when they should be."""

import os
import re
import signal
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.processes.client import Client, Lost
from tests.processes.gate import Gate
from tests.processes.jobs import family, parsed
from tests.processes.load import Load
from tests.processes.proc import Death, descriptors, look, wait_same
from tests.processes.test_job_standalone import Program
from tests.processes.tree import APPS, CALM, Tree

pytestmark = pytest.mark.processes

READY = r"actor actors\.Model \(generation %s\) process (\d+) is ready"
NAMES = ("model", "own", "hasty")


def path(name: str, *args: Any, actor: str = "model", **more: str) -> str:
    rest = "".join(f"&{key}={value}" for key, value in more.items())
    return f"/call/{name}?actor={actor}&args={quote(str(list(args)))}{rest}"


class Shop:
    """One tree with the app `actors`."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree

    def start(self, *flags: str, workers: int = 1, target: str = "actors:one()") -> None:
        self.tree.start(target, *CALM, *flags, workers=workers)
        self.workers = workers

    def call(self, name: str, *args: Any, **options: str) -> dict[str, Any]:
        return parsed(self.tree.get(path(name, *args, **options)))

    def calling(self, name: str, *args: Any, **options: str) -> Client:
        return self.tree.asking(path(name, *args, **options))

    def both(self) -> list[Client]:
        """A connection to each worker."""
        found: dict[str, Client] = {}
        while len(found) < self.workers:
            client = self.tree.client()
            client.send("/who")
            found.setdefault(client.receive().text, client)
        return list(found.values())

    def pid(self, actor: str = "model") -> int:
        pid: int = self.call("pid", actor=actor)["value"]
        return pid

    def rest(self) -> Mapping[tuple[str, ...], int]:
        """What there is of processes and their descriptors, by title without its generation, once each worker has
        called each actor: before, a channel may still be on its way."""
        self.tree.close_clients()
        served: set[tuple[str, int]] = set()
        while len(served) < self.workers * len(NAMES):
            for actor in NAMES:
                served.add((actor, self.call("pid", actor=actor)["worker"]))  # on connections that are closed by then
        found = [process for process in family(self.tree.master) if process.state != "Z"]
        return Counter((re.sub(r" g\d+$", "", process.title), *descriptors(process.pid)) for process in found)

    def check_rest(self, before: Mapping[tuple[str, ...], int]) -> None:
        """Hold that it is as before. AssertionError with the difference."""
        wait_same(self.rest, before, self.tree.report)


@pytest.fixture
def shop(tree: Tree) -> Shop:
    return Shop(tree)


def ask(client: Client, name: str, *args: Any, **options: str) -> dict[str, Any]:
    client.send(path(name, *args, **options))
    return parsed(client.receive())


def test_all_workers_share_one_process_and_each_has_its_own_of_the_other_scope(shop: Shop) -> None:
    shop.start(workers=2)
    clients = shop.both()
    models, owns, hasty = ({ask(client, "pid", actor=actor)["value"] for client in clients} for actor in NAMES)
    assert [len(models), len(owns), len(hasty)] == [1, 2, 1]
    found = [ask(client, "add", 1) for client in clients]
    assert [answer["value"] for answer in found] == [101, 102]  # one state
    assert len({answer["worker"] for answer in found}) == 2
    assert [ask(client, "add", 1, actor="own")["value"] for client in clients] == [1, 1]  # two
    titles = Counter(process.title for process in shop.tree.processes("actor"))
    assert titles == {"prefork actor actors.Model g1": 4}
    failed = ask(clients[0], "fail")
    assert (failed["error"], failed["text"]) == ("LookupError", "not there")
    assert "in fail" in failed["cause"]
    assert "did you mean count" in ask(clients[0], "coutn")["text"]
    assert parsed(shop.tree.get("/numbers/1000")) == {"right": True}
    assert re.match("ChildError: .* can be called from its workers", parsed(shop.tree.get("/job"))["value"])
    assert shop.tree.stop() == 0
    assert len(shop.tree.log.find(r"close\(\) of the model in \d+")) == 4


def test_a_call_goes_to_the_least_busy_process_whoever_keeps_the_others_busy(shop: Shop, gate: Gate) -> None:
    shop.start(workers=2, target="actors:pair()")
    first, second = shop.both()
    assert len({ask(first, "pid")["value"] for _ in range(4)}) == 2  # in turn, as long as none is busy
    first.send(path("gate"))
    busy = gate.wait_entered()
    for client in (second, *shop.both()):
        assert all(ask(client, "pid")["value"] != busy.pid for _ in range(10))
    busy.release()
    assert parsed(first.receive())["value"] == busy.pid


def test_a_crash_fails_the_call_in_hand_and_none_of_those_that_wait(shop: Shop, gate: Gate) -> None:
    shop.start(workers=2)
    before = shop.rest()
    clients = shop.both()
    clients[0].send(path("gate"))
    visitor = gate.wait_entered()
    waiting = [shop.calling("add", 1) for _ in range(20)]
    shop.tree.log.wait("add is called", count=20)
    os.kill(visitor.pid, signal.SIGKILL)
    failed = parsed(clients[0].receive())
    assert failed["error"] == "Crashed"
    assert f"crashed its process (pid {visitor.pid}): signal SIGKILL" in failed["text"]
    assert sorted(parsed(client.receive())["value"] for client in waiting) == list(range(101, 121))  # from the start
    assert shop.pid() != visitor.pid
    shop.check_rest(before)


def test_a_full_mailbox_answers_503_and_a_client_that_leaves_stops_nobody(shop: Shop, gate: Gate) -> None:
    shop.start()
    client = shop.calling("gate")
    visitor = gate.wait_entered()
    waiting = [shop.calling("add", 1) for _ in range(24)]
    shop.tree.log.wait("add is called", count=24)
    refused = shop.tree.get(path("add", 1, **{"raise": "1"}))
    assert refused.status == 503
    assert "retry-after: " in refused.head
    shop.tree.log.wait(r"actors\.Model\.add is refused: 24 calls wait already \(mailbox = 24\)")
    client.reset()
    visitor.release()
    assert sorted(parsed(client.receive())["value"] for client in waiting) == list(range(101, 125))
    assert shop.pid() == visitor.pid


def test_the_deadline_of_a_call_kills_its_process_which_starts_again(shop: Shop) -> None:
    shop.start()
    before = shop.pid("hasty")
    model = shop.pid()
    late = shop.call("spin", actor="hasty")
    assert late["error"] == "Timeout"
    assert late["text"] == "actors.Model.spin did not end within 0.3 s"
    shop.tree.log.wait(rf"process {before} died: signal SIGTERM")
    shop.tree.log.wait("stacks of actor process .*\n(.*\n)*.* in spin")
    assert shop.pid("hasty") not in (before, model)
    assert shop.pid() == model


def test_a_class_that_cannot_start_again_is_tried_with_back_off_until_it_can(shop: Shop) -> None:
    shop.start()
    shop.tree.write("actor-fails", "")
    os.kill(shop.pid(), signal.SIGKILL)
    waiting = shop.calling("add", 1)
    shop.tree.log.wait(r"did not start again: [^$]*no weights on purpose[^$]*; it starts again in 0\.2 s")
    (shop.tree.folder / "actor-fails").unlink()
    assert parsed(waiting.receive())["value"] == 101


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("raises", "RuntimeError: no weights on purpose"),
        ("is killed", "signal SIGKILL"),
        ("hangs", r"it did not start within 1\.6 s[^$]* in wait_at_gate\n"),
    ],
)
def test_an_actor_that_cannot_start_stops_the_server_and_says_why(
    tree: Tree, gate: Gate, fault: str, words: str
) -> None:
    tree.write("actor-fails" if fault == "raises" else "actor-waits", "")
    tree.launch("actors:one()", *(["--boot-seconds", "2"] if fault == "hangs" else []), workers=2)
    if fault == "is killed":
        visitors = [gate.wait_entered() for _ in range(4)]  # two that are shared, and one of each worker
        for visitor in visitors:
            os.kill(visitor.pid, signal.SIGKILL)
    assert tree.wait_exit() == 3
    tree.log.wait(rf"worker \d .* cannot boot:\n.*actor actors\.Model cannot start: [^$]*{words}")


def test_a_reload_has_new_actors_before_new_workers_and_loses_no_call(shop: Shop) -> None:
    shop.start(workers=2)
    before, old = shop.rest(), {shop.pid(), shop.pid("hasty")}
    with Load(shop.tree.address, keep_alive=2) as load:
        shop.tree.send_signal(signal.SIGHUP)
        shop.tree.wait_ready(0, shop.tree.log.mark() - 1)
        shop.tree.log.wait(r"worker 1 \(generation 1, .* has drained")
        load.wait_answers(5)
    assert load.losses == []
    lines = [str(record.get("message")) for record in shop.tree.log.records]
    up = [line for line in lines if re.search(READY % 2, line) or re.search("generation 2, .* is ready", line)]
    assert [line.split()[0] for line in up[:4]] == ["actor", "actor", "actor", "worker"]
    for pid in old:
        shop.tree.log.wait(rf"close\(\) of the model in {pid}")
    shop.check_rest(before)
    shop.tree.write("actor-fails", "")
    kept = shop.pid()
    shop.tree.send_signal(signal.SIGHUP)
    shop.tree.log.wait("reload failed: generation 2 keeps serving")
    shop.check_rest(before)
    assert shop.pid() == kept


def test_what_is_killed_costs_its_own_calls_only_and_leaves_nothing(shop: Shop, gate: Gate) -> None:
    """A worker, an idle actor, one that streams, one that boots, the mold: each in turn."""
    shop.start(workers=2)
    before = shop.rest()
    model = shop.pid()
    first, _ = shop.both()

    own = Death(ask(first, "pid", actor="own")["value"])
    worker = ask(first, "pid")["worker"]
    first.send(path("gate"))
    visitor = gate.wait_entered()
    mark = shop.tree.log.mark()
    os.kill(worker, signal.SIGKILL)
    own.wait()
    shop.tree.log.wait(rf"close\(\) of the model in {own.pid}", mark)
    shop.tree.wait_ready(shop.tree.slot(worker), mark)
    visitor.release()
    shop.check_rest(before)
    assert shop.pid() == model  # which has lost a caller, and goes on

    mark = shop.tree.log.mark()
    os.kill(model, signal.SIGKILL)
    shop.tree.log.wait(READY % 1, mark)
    shop.check_rest(before)

    streaming = shop.tree.asking("/stream/watched")
    visitor = gate.wait_entered()
    os.kill(visitor.pid, signal.SIGKILL)
    with pytest.raises((Lost, OSError)):
        streaming.receive_until(b"the end that never comes")
    shop.check_rest(before)

    shop.tree.write("actor-waits", "")
    os.kill(shop.pid(), signal.SIGKILL)
    os.kill(gate.wait_entered().pid, signal.SIGKILL)
    (shop.tree.folder / "actor-waits").unlink()
    shop.pid()
    shop.check_rest(before)

    mark = shop.tree.log.mark()
    (mold,) = shop.tree.processes("mold")
    os.kill(mold.pid, signal.SIGKILL)
    shop.tree.log.wait("worker 1 .* has drained", mark)
    shop.pid()
    shop.check_rest(before)


def test_a_worker_does_not_stay_for_the_end_of_its_actors(shop: Shop, gate: Gate) -> None:
    shop.start()
    shop.tree.write("actor-lingers", "")
    shop.tree.send_signal(signal.SIGTERM)
    visitor = gate.wait_entered()  # its own, of which the master lets go once the worker has
    shop.tree.log.wait("worker 0 .* has drained")
    visitor.release()
    for _ in range(2):
        gate.wait_entered().release()
    assert shop.tree.wait_exit() == 0
    assert not shop.tree.log.find("did not end within")


def test_without_mold_and_process_calls_fail_at_once_and_say_why(shop: Shop, gate: Gate) -> None:
    shop.start()
    (mold,) = shop.tree.processes("mold")
    kept = shop.both()[0]
    doomed = shop.calling("gate")
    visitor = gate.wait_entered()
    waiting = shop.calling("add", 1)
    shop.tree.log.wait("add is called")
    os.kill(mold.pid, signal.SIGKILL)
    shop.tree.log.wait("importing the app anew")
    os.kill(visitor.pid, signal.SIGKILL)
    assert parsed(doomed.receive())["error"] == "Crashed"
    failed = parsed(waiting.receive())
    assert failed["error"] == "ActorNotStarted"
    assert "so has the mold" in failed["text"]
    kept.close()
    shop.tree.log.wait("worker 0 .* has drained")
    assert shop.call("add", 1)["value"] == 101


def test_a_killed_master_takes_actors_along_and_what_they_have_started(shop: Shop, gate: Gate) -> None:
    shop.start()
    program = shop.call("start_program")["value"]
    assert shop.pid()
    assert look(program) is not None  # a call may leave something running
    shop.calling("gate")
    gate.wait_entered()
    shop.tree.send_signal(signal.SIGKILL)
    assert shop.tree.wait_exit() == -signal.SIGKILL  # when nobody holds its log any more


def test_a_stream_ends_with_who_reads_it(shop: Shop, gate: Gate) -> None:
    shop.start()
    client = shop.tree.asking("/stream/watched")
    visitor = gate.wait_entered()
    client.reset()
    visitor.release()
    shop.tree.log.wait(rf"a stream of {visitor.pid} ended")
    reader = shop.tree.asking("/stream/watched")  # slow: it takes nothing more
    visitor = gate.wait_entered()
    visitor.release()
    assert shop.pid() == visitor.pid  # and holds up nobody
    reader.reset()
    shop.tree.log.wait(rf"a stream of {visitor.pid} ended", count=2)


def test_large_arguments_are_seen_where_they_are_and_kept_ones_stay_as_they_were(shop: Shop) -> None:
    shop.start()
    assert parsed(shop.tree.get("/large/where"))["values"] == [["/memfd:prefork-arena", 10 * n] for n in (1, 2, 3)]
    assert parsed(shop.tree.get("/large/keep"))["values"] == [[1], [1, 2], [1, 2, 3]]


def test_an_actor_of_a_request_is_gone_with_it(shop: Shop) -> None:
    shop.start()
    before = shop.rest()
    found = parsed(shop.tree.get("/made"))
    assert found["value"] == 8
    assert found["closed"] == "ChildError: <Actor actors.Model> is closed"
    shop.tree.log.wait(rf"close\(\) of the model in {found['pid']}")
    shop.check_rest(before)


def test_without_preload_each_actor_imports_the_app_itself(shop: Shop) -> None:
    shop.start("--no-preload", workers=2)
    assert shop.call("add", 1)["value"] == 101
    assert shop.tree.stop() == 0


@pytest.mark.parametrize("interface", ["asgi", "wsgi"])
def test_apps_that_are_no_app_declare_actors_too(tree: Tree, interface: str) -> None:
    tree.start(f"actor_frameworks:{interface}", *CALM, workers=2)
    (actor,) = tree.processes("actor")
    assert [tree.get("/").text for _ in range(4)] == [f"{number} in {actor.pid}" for number in range(1, 5)]


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_plain_program_has_actors_which_end_in_order_with_it(tmp_path: Path, loop: str) -> None:
    found = Program(tmp_path, str(APPS / "actor_program.py"), "calls", loop).finish()
    ends = sorted(line["closed"] for line in found if "closed" in line)
    assert ends == [5, 6, 1001]
    assert [line for line in found if "closed" not in line] == [
        {"added": 6},
        {"items": True},
        {"reused": True},
        {"large": [0, 1, 2]},
        {"broken_off": [1, "no more"]},
        {"counted": 1},
        {"declared": 1001},
    ]


def test_each_mistake_has_an_error_that_names_it(tmp_path: Path) -> None:
    *found, _ = Program(tmp_path, str(APPS / "actor_program.py"), "mistakes").finish()
    for line, (error, words) in zip(found, MISTAKES, strict=True):
        assert line["error"] == error
        assert re.search(words, line["text"]), line


MISTAKES = [
    ("AttributeError", r"Model has no method 'ad' .*; did you mean add\?"),
    ("TypeError", r"Model\.wrong is async def: .* plain def"),
    ("TypeError", r"Model\.count is a generator: `async for item in actor\.stream\.count"),
    ("Unsendable", r"Model\.add: argument 1, of type _thread\.lock, cannot be pickled"),
    ("Unsendable", r"Local is defined within a function"),
    ("Unsendable", r"Model: argument 1, of type _thread\.lock, cannot be pickled"),
    ("ActorNotStarted", r"Broken cannot start: [^$]*LookupError: no weights"),
    ("TypeError", r"made from a class, not from builtins\.len"),
    ("ValueError", r"count=0: an actor has from 1 to 1024 processes"),
    ("RuntimeError", r"is declared, and is closed with the server"),
]


def test_actors_are_there_again_when_their_nursery_has_died(tmp_path: Path) -> None:
    found = Program(tmp_path, str(APPS / "actor_program.py"), "nursery_dies").finish()
    assert [line for line in found if "closed" not in line] == [{"added": 6, "another": True}]


def test_an_actor_that_nobody_can_reach_is_closed_and_the_others_with_the_program(tmp_path: Path) -> None:
    found = Program(tmp_path, str(APPS / "actor_program.py"), "forgotten").finish()
    assert found == [{"closed": 1}, {"gone": True}, {"closed": 2}]
