"""A canary gets its exact share, is promoted or rolled back by what it does, and costs nobody a connection."""

import os
import signal
from collections import Counter
from typing import Any

import pytest

from prefork.errors import CommandError
from tests.processes.client import fetch
from tests.processes.load import Load
from tests.processes.tree import CALM, Tree

pytestmark = pytest.mark.processes

VERSION = """
import asyncio
import os

from prefork import App

app = App()


@app.on_startup
def start():
    {hook}


@app.get("/who")
async def who(request):
    {first}
    return "{text}"
"""
LONG = ("--canary-seconds", "3600", *CALM)  # it ends before its time, or not at all
SHORT = ("--canary-seconds", "1.5", *CALM)


def version(text: str, first: str = "pass", hook: str = "pass") -> str:
    return VERSION.format(text=text, first=first, hook=hook)


def start(tree: Tree, *flags: str, workers: int = 2) -> None:
    """A server of old code that can be steered."""
    tree.write("shop.py", version("old"))
    tree.start("shop:app", *flags, workers=workers)


def reload_canary(tree: Tree, share: float) -> str:
    """Ask for a canary. Returns the answer; raises CommandError when it is refused."""
    done = tree.command("reload", canary=share)["done"]
    assert isinstance(done, str)
    return done


def serve_canary(tree: Tree, share: float, code: str) -> None:
    """Put that code in place and wait until it gets its share."""
    tree.write("shop.py", code)
    reload_canary(tree, share)
    tree.log.wait("canary: generation 2 gets .* of new connections")


def told(tree: Tree, verdict: str) -> dict[str, Any]:
    """Wait for the verdict. Returns its fields in the log."""
    tree.log.wait(f"canary: generation 2 is {verdict}")
    [record] = [r for r in tree.log.records if f"generation 2 is {verdict}" in str(r["message"])]
    fields = record["canary"]
    assert isinstance(fields, dict)
    return fields


def answers(tree: Tree, count: int) -> Counter[str]:
    """What that many clients get, one after the other: a text, or a status."""
    replies = [fetch(tree.address, "/who") for _ in range(count)]
    return Counter(reply.text if reply.status == 200 else str(reply.status) for reply in replies)


def settle(load: Load) -> None:
    """Count from here on: what was answered before has been read."""
    load.wait_answers(1)
    load.answered_by.clear()


def workers(tree: Tree) -> list[str]:
    return [worker.title for worker in tree.processes("worker")]


def test_a_good_canary_is_promoted_and_its_code_goes_to_every_worker(tree: Tree) -> None:
    start(tree, *SHORT)
    with Load(tree.address, keep_alive=2, closing=4) as load:
        serve_canary(tree, 0.25, version("new"))
        assert workers(tree) == ["prefork worker 0 g1", "prefork worker 0 g2", "prefork worker 1 g1"]
        verdict = told(tree, "promoted")
        tree.log.wait("has drained", count=2)
        settle(load)
        load.wait_answers(5)
    assert load.losses == []
    assert [load.connections[client] for client in load.keep_alive] == [1, 1]
    assert load.answered_by.keys() == {"new"}
    assert workers(tree) == ["prefork worker 0 g2", "prefork worker 1 g2"]
    given, new, old = verdict["connections"], verdict["new"], verdict["old"]
    assert given == (verdict["all_connections"] + 2) // 4
    assert abs(new["requests"] - given) <= 4  # those of the four clients that come and go; some are under way
    assert (verdict["verdict"], verdict["reason"]) == ("promoted", "no worse")
    assert (new["errors"], old["errors"]) == (0, 0)
    assert old["requests"] >= new["requests"]


def test_clients_see_exactly_the_share_and_a_reload_calls_the_canary_off(tree: Tree) -> None:
    start(tree, *LONG)
    stays = tree.client()
    assert stays.get("/who").text == "old"
    serve_canary(tree, 0.1, version("new"))
    assert answers(tree, 100) == {"old": 90, "new": 10}
    canary = tree.command("status")["canary"]
    assert (canary["generation"], canary["share"], canary["state"]) == (2, 0.1, "serving")
    assert (canary["requests"], canary["errors"], canary["old_errors"]) == (10, 0, 0)
    assert canary["old_requests"] in (89, 90)  # a worker counts a request just after its client has the answer
    with pytest.raises(CommandError, match="generation 2 is a canary already"):
        reload_canary(tree, 0.5)
    since = tree.log.mark()
    os.kill(next(w.pid for w in tree.processes("worker") if w.title == "prefork worker 1 g1"), signal.SIGKILL)
    tree.log.wait(r"worker 1 \(generation 1, pid \d+\) is ready", since)
    assert "slot 0 drains once another one is ready" in tree.command("retire", slot=0)["done"]
    tree.log.wait(r"worker 0 \(generation 1, pid \d+\) has drained", since)
    assert answers(tree, 50) == {"old": 45, "new": 5}
    assert stays.get("/who").text == "old"
    tree.write("shop.py", version("newest"))
    tree.send_signal(signal.SIGHUP)
    assert told(tree, "called off")["reason"] == "a reload brings code that is newer"
    tree.log.wait(r"\(generation 1, .* has drained", count=3)
    assert answers(tree, 10) == {"newest": 10}
    assert stays.get("/who").text == "newest"
    assert workers(tree) == ["prefork worker 0 g3", "prefork worker 1 g3"]


def test_a_canary_that_fails_is_rolled_back_at_once_and_nobody_else_sees_an_error(tree: Tree) -> None:
    start(tree, *LONG)
    serve_canary(tree, 0.5, version("new", first="raise RuntimeError('on purpose')"))
    assert answers(tree, 26) == {"old": 13, "500": 13}  # one error more, and no chance explains it
    assert answers(tree, 10).keys() <= {"old", "500"}
    verdict = told(tree, "rolled back")
    assert verdict["reason"] == "plainly more errors"
    assert verdict["new"]["requests"] == verdict["new"]["errors"] >= 13
    assert (verdict["old"]["requests"] >= 13, verdict["old"]["errors"]) == (True, 0)
    assert answers(tree, 20) == {"old": 20}
    tree.log.wait(r"\(generation 2, .* has drained")
    assert workers(tree) == ["prefork worker 0 g1", "prefork worker 1 g1"]


def test_a_slow_canary_is_rolled_back_and_fails_no_request(tree: Tree) -> None:
    start(tree, *SHORT)
    with Load(tree.address, keep_alive=2, closing=8) as load:
        serve_canary(tree, 0.5, version("new", first="await asyncio.sleep(0.1)"))
        verdict = told(tree, "rolled back")
        tree.log.wait(r"\(generation 2, .* has drained")
        settle(load)
        load.wait_answers(5)
    assert verdict["reason"] == "slower"
    assert load.losses == []
    assert load.answered_by.keys() == {"old"}


def test_a_canary_that_crashes_is_rolled_back_at_once_and_takes_nothing_along_but_what_it_held(tree: Tree) -> None:
    start(tree, *LONG)
    with Load(tree.address, keep_alive=2, closing=4) as load:
        serve_canary(tree, 0.5, version("new", first="os._exit(7)"))
        verdict = told(tree, "rolled back")
        load.wait_answers(5)
    assert "died: exit status 7" in str(verdict["reason"])
    tree.log.wait("lost with worker 0: GET /who")
    assert 0 < len(load.losses) <= verdict["connections"]
    assert not any(loss.client in load.keep_alive for loss in load.losses)
    assert [load.connections[client] for client in load.keep_alive] == [1, 1]
    assert workers(tree) == ["prefork worker 0 g1", "prefork worker 1 g1"]


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import no_such_module_at_all\n", "died as it imported the app"),
        (version("bad", hook="raise RuntimeError('no database on purpose')"), "died before it was ready"),
    ],
)
def test_a_canary_that_cannot_start_is_rolled_back_and_the_next_one_may_try(tree: Tree, code: str, reason: str) -> None:
    start(tree, *LONG)
    tree.write("shop.py", code)
    reload_canary(tree, 0.5)
    assert reason in str(told(tree, "rolled back")["reason"])
    assert answers(tree, 10) == {"old": 10}
    tree.write("shop.py", version("new"))
    reload_canary(tree, 0.5)
    tree.log.wait("canary: generation 3 gets .* of new connections")
    assert answers(tree, 10) == {"old": 5, "new": 5}


def test_a_canary_that_nobody_asked_is_rolled_back(tree: Tree) -> None:
    start(tree, "--canary-seconds", "0.2", *CALM)
    tree.write("shop.py", version("new"))
    assert "gets 0.5% of new connections" in reload_canary(tree, 0.005)
    assert "too few requests to judge" in str(told(tree, "rolled back")["reason"])
    since = tree.log.mark()
    tree.write("shop.py", "import no_such_module_at_all\n")
    tree.send_signal(signal.SIGHUP)
    tree.log.wait("reload failed: generation 1 keeps serving", since)
    assert answers(tree, 10) == {"old": 10}


def test_a_canary_that_stands_still_costs_nobody_a_connection_and_is_not_promoted(tree: Tree) -> None:
    start(tree, "--canary-seconds", "1.5", "--stall-seconds", "0.4", "--hang-seconds", "0")
    serve_canary(tree, 0.5, version("new"))
    canary = next(worker.pid for worker in tree.processes("worker") if worker.title == "prefork worker 0 g2")
    os.kill(canary, signal.SIGSTOP)
    try:
        assert answers(tree, 10) == {"old": 10}
        assert "has stalled" in str(told(tree, "rolled back")["reason"])
    finally:
        os.kill(canary, signal.SIGCONT)
    tree.log.wait(r"\(generation 2, .* has drained")


def test_a_server_with_a_canary_stops_without_losing_a_request(tree: Tree) -> None:
    start(tree, *LONG)
    serve_canary(tree, 0.5, version("new"))
    clients = [tree.client() for _ in range(4)]
    for client in clients:
        client.send("/who")
    assert Counter(client.receive().text for client in clients) == {"old": 2, "new": 2}
    for client in clients:
        client.send("/who")
    assert tree.stop() == 0
    assert Counter(client.receive().text for client in clients) == {"old": 2, "new": 2}
    assert told(tree, "called off")["reason"] == "the server stops"


def test_an_upgrade_ends_a_canary_and_brings_the_code_as_it_is(tree: Tree) -> None:
    start(tree, *LONG)
    serve_canary(tree, 0.5, version("new"))
    with Load(tree.address, keep_alive=2, closing=2) as load:
        tree.send_signal(signal.SIGUSR2)
        new_master = int(tree.log.wait(r"new master \(pid (\d+)\) is ready and serves")[1])
        told(tree, "called off")
        tree.log.wait("stopped")
        settle(load)
        load.wait_answers(5)
    assert load.losses == []
    assert load.answered_by.keys() == {"new"}
    os.kill(new_master, signal.SIGTERM)
    assert tree.wait_exit() == 0


def test_when_the_old_code_cannot_fork_any_more_the_canary_is_called_off(tree: Tree) -> None:
    start(tree, *LONG)
    serve_canary(tree, 0.5, version("new"))
    with Load(tree.address, keep_alive=2, closing=2) as load:
        os.kill(next(mold.pid for mold in tree.processes("mold") if mold.title == "prefork mold g1"), signal.SIGKILL)
        told(tree, "called off")
        tree.log.wait(r"\(generation 1, .* has drained", count=2)
        settle(load)
        load.wait_answers(5)
    assert load.losses == []
    assert load.answered_by.keys() == {"new"}
    assert workers(tree) == ["prefork worker 0 g3", "prefork worker 1 g3"]


def test_a_server_that_cannot_have_a_canary_says_why_and_goes_on(tree: Tree) -> None:
    start(tree, "--balance", "kernel", *CALM, workers=1)
    with pytest.raises(CommandError, match="a canary does not go with --balance kernel"):
        reload_canary(tree, 0.5)
    with pytest.raises(CommandError, match="canary is a share"):
        reload_canary(tree, 1.0)
    assert answers(tree, 2) == {"old": 2}
