"""The commands against real trees: what is told of a busy server, and what is done to one."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from prefork.cli import main
from prefork.control.finding import dial
from prefork.errors import CommandError
from prefork.settings import SETTINGS
from tests.processes.gate import Gate
from tests.processes.patience import GUARD_SECONDS
from tests.processes.proc import Death, wait_same
from tests.processes.tree import CALM, ROOT, Tree

pytestmark = pytest.mark.processes

TOKEN = "a-token-that-nobody-should-see"


def told(jobs: list[dict[str, Any]]) -> list[tuple[str, str, bool, str | None]]:
    return sorted((job["name"], job["state"], job["pid"] is not None, job["actor"]) for job in jobs)


def test_all_that_goes_on_is_told_also_of_a_blocked_worker(tree: Tree, gate: Gate) -> None:
    tree.start("steered:app", *CALM, workers=1)
    program, fork = map(int, tree.get("/family").text.split())
    for path in ("/job?secret=1", "/call"):
        tree.asking(path)
    offloader, actor = sorted((gate.wait_entered(), gate.wait_entered()), key=lambda one: one.pid in actors(tree))
    running = [
        ("steered.Model.compute", "running", True, "steered.Model"),
        ("steered.wait_at_gate", "running", True, None),
    ]
    wait_same(lambda: told(tree.command("jobs")), running, tree.report)
    (worker,) = tree.command("workers")

    with tree.client() as idle:
        idle.send("/")
        assert idle.receive().text == "root"
        states = sorted(client["state"] for client in tree.command("connections")["clients"])
        assert states == ["idle", "request", "request"]

    tree.asking("/block?secret=1")
    blocked = gate.wait_entered()
    assert blocked.pid == worker["pid"]

    found = tree.command("connections")
    assert sorted(request["request"] for request in found["requests"]) == ["GET /block", "GET /call", "GET /job"]
    assert (found["clients"], found["silent"]) == ([], [0])
    assert told(tree.command("jobs")) == running
    assert all(job["runs"] > 0 and job["age"] >= job["runs"] for job in tree.command("jobs"))

    pids = {child["role"]: child["pid"] for child in tree.command("children")}
    assert pids == {"program": program, "child": fork, "offloader": offloader.pid, "actor": actor.pid}
    names = {child["role"]: child["name"] for child in tree.command("children")}
    assert names == {"program": "sleep", "child": "steered:hold", "offloader": "offloader 1", "actor": "steered.Model"}
    assert all(child["rss"] > 0 and child["age"] >= 0 for child in tree.command("children"))

    for dumps in ask_at_once(tree, "stacks", 2):
        texts = {one["role"]: one["text"] for one in dumps}
        assert set(texts) == {"worker", "offloader", "actor"}
        for text in texts.values():
            assert text.count("in wait_at_gate") == 1
            assert "in run_mold" not in text
    assert not tree.log.find("stacks of worker")

    status = tree.command("status")
    assert (status["workers"][0]["in_flight"], status["jobs"]["offloaders"]) == (3, 1)

    os.kill(offloader.pid, signal.SIGKILL)
    blocked.release()
    message = tree.log.wait("crashed its process")
    assert "wait_at_gate" not in message.string.partition("\n")[2]  # the stack that was asked for is not its last word
    actor.release()


def ask_at_once(tree: Tree, command: str, count: int) -> list[Any]:
    """Answers to a command that so many clients have asked for before any got its own."""
    ends = [socket.socket(socket.AF_UNIX) for _ in range(count)]
    for end in ends:
        end.connect(str(tree.control_socket()))
        end.sendall(json.dumps({"command": command}).encode() + b"\n")
    answers = []
    for end in ends:
        with end, end.makefile("rb") as lines:
            answers.append(json.loads(lines.readline())["result"])
    return answers


def actors(tree: Tree) -> set[int]:
    return {child["pid"] for child in tree.command("children") if child["role"] == "actor"}


def test_each_command_does_what_it_says(tree: Tree) -> None:
    tree.start("steered:app", *CALM, "--admin", "127.0.0.1:0", "--admin-token", TOKEN, workers=2)
    path = tree.control_socket()
    assert (path.name, stat.S_IMODE(path.stat().st_mode)) == ("steered.sock", 0o600)

    settings = tree.command("settings")
    assert set(settings) == {"target", *SETTINGS}
    assert (settings["target"], settings["log_level"]) == ("steered:app", "info")
    assert TOKEN not in json.dumps(settings)

    tree.get("/")
    assert "begins with debug" in tree.command("log-level", level="debug")["done"]
    wait_same(lambda: tree.get("/").status == 200 and bool(tree.log.find("a debug line of the app")), True, tree.report)
    assert tree.command("settings")["log_level"] == "debug"

    mark = tree.log.mark()
    assert tree.command("scale", workers=3) == {"done": "3 workers wanted"}
    tree.wait_ready(2, mark)
    assert "slot 1 drains once" in tree.command("retire", slot=1)["done"]
    tree.wait_ready(1, mark)
    tree.log.wait("worker 1 .* has drained", mark)
    assert "is killed" in tree.command("kill", slot=2)["done"]
    tree.log.wait("worker 2 .* is killed: by command", mark)
    tree.wait_ready(2, tree.log.mark() - 1)

    mark = tree.log.mark()
    tree.command("reload")
    for slot in range(3):
        tree.log.wait(rf"worker {slot} \(generation 2, pid \d+\) is ready", mark)
    wait_same(lambda: tree.get("/").status == 200 and bool(tree.log.find("a debug line", mark)), True, tree.report)
    restarts = {slot["slot"]: slot["restarts"] for slot in tree.command("status")["slots"]}
    assert restarts == {0: 1, 1: 2, 2: 2}

    for command, arguments, words in (
        ("retire", {"slot": 9}, "there is no slot 9: the slots are 0 to 2"),
        ("kill", {"slot": 9}, "no worker in slot 9"),
        ("stacks", {"slot": 9}, "no worker in slot 9"),
        ("scale", {"workers": "many"}, "N or MIN:MAX"),
        ("scale", {"workers": "0"}, "N or MIN:MAX"),
    ):
        with pytest.raises(CommandError, match=words):
            tree.command(command, **arguments)

    texts = [event["text"] for event in tree.command("events", limit=2000)]
    assert any("is killed: by command" in text for text in texts)
    assert any(text.startswith("listening on") for text in texts)

    tree.command("drain")
    assert tree.command("status")["state"] == "draining"
    assert tree.get("/").status == 200
    tree.command("stop")
    assert tree.wait_exit() == 0
    assert not path.exists()


def test_the_command_line_prints_for_people_and_for_programs(
    tree: Tree, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    full = ("--access-log", "--access-log-file", "/dev/full")  # a disk without room (full(4))
    tree.start("steered:app", *CALM, "--log-level", "error", *full, workers=1)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PREFORK_CONTROL", str(tree.control_socket()))
    tree.get("/family")
    wait_same(lambda: len(tree.command("children")), 3, tree.report)
    wait_same(lambda: tree.command("status")["lost_lines"], 1, tree.report)
    for command, words in (
        ("status", "1 line lost"),
        ("workers", "ready"),
        ("connections", "No request in flight"),
        ("jobs", "No job"),
        ("children", "steered:hold"),
        ("events", "supervisor: worker 0"),
        ("stacks", "most recent call first"),
        ("settings --running", "steered:app"),
    ):
        assert main(command.split()) == 0
        shown = capsys.readouterr().out
        assert words in shown
        if not command.startswith(("events", "settings", "stacks")):
            assert max(map(len, shown.splitlines())) <= 80, shown
        assert main([*command.split(), "--json"]) == 0
        json.loads(capsys.readouterr().out)

    assert main(["scale", "1"]) == 0
    assert capsys.readouterr().out == "1 worker wanted\n"
    assert main(["kill", "7"]) == 1
    assert "no worker in slot 7" in capsys.readouterr().err
    assert main(["kill"]) == 2
    assert main(["kill", "first"]) == 2
    assert main(["log-level", "loud"]) == 2
    assert main(["settings", "--running", "--backlog", "3"]) == 2
    capsys.readouterr()
    assert main(["stop", "--fast", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"done": "open requests are cut"}
    assert tree.wait_exit() == 0
    assert main(["status"]) == 1
    assert "no server listens at" in capsys.readouterr().err


def test_two_servers_are_told_apart_and_garbage_harms_neither(tree: Tree, tree_beside: Tree) -> None:
    tree.start(workers=1)
    first = tree.control_socket()
    tree_beside.start(workers=1)
    second = first.with_name("faults-2.sock")
    tree_beside.log.wait("a server called faults runs already: this one is called faults-2")
    ends = [socket.socket(socket.AF_UNIX) for _ in range(3)]
    for end, data in zip(ends, (b"\xff" * 70_000, b'{"half', b'{"command": "status"}\n' * 3000), strict=True):
        end.connect(str(second))
        end.setblocking(False)
        end.send(data)
    with dial(None, str(second), {}) as client:
        assert client.ask("status")["name"] == "faults-2"  # type: ignore[index]
        assert tree_beside.get("/who").status == 200
        client.ask("stop")
    for end in ends:
        end.close()
    assert tree_beside.wait_exit() == 0
    assert not second.exists()
    assert tree.command("status")["name"] == "faults"


def test_the_socket_of_a_killed_server_is_taken_over(tree: Tree, tree_beside: Tree) -> None:
    tree.start(workers=1)
    left = tree.control_socket()
    death = Death(tree.master)
    tree.send_signal(signal.SIGKILL)
    death.wait()
    assert left.exists()
    tree_beside.start("faults:app", workers=1)
    assert tree_beside.command("status")["pid"] == tree_beside.master
    with dial("faults", None, {"XDG_RUNTIME_DIR": str(left.parents[1])}) as client:
        assert client.ask("workers")


def test_a_new_master_has_the_socket_and_who_follows_events_goes_on_with_it(tree: Tree) -> None:
    tree.start(workers=1)
    path, old = tree.control_socket(), Death(tree.master)
    command = [sys.executable, "-m", "prefork", "events", "--follow", "--json", "--control", str(path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, stderr=subprocess.PIPE) as follower:
        assert follower.stdout is not None
        assert follower.stderr is not None
        lines = (json.loads(line)["text"] for line in follower.stdout)
        assert next(text for text in lines if text.startswith("serving on"))
        assert "serves" in tree.command("upgrade")["done"]
        assert next(text for text in lines if text.startswith("serving on"))
        old.wait()
        status = tree.command("status")
        assert (status["name"], status["upgrading"]) == ("faults", False)
        assert status["pid"] != tree.master
        tree.master = status["pid"]
        tree.command("stop")
        assert follower.wait(GUARD_SECONDS) == 1
        assert follower.stderr.read() == "prefork: error: the server has ended\n"
    tree.log.wait_end()
    assert not path.exists()
