"""A server that cannot start says why in its log and by its exit code; one that can says so on --ready-fd."""

import signal

import pytest

from tests.processes.gate import Gate
from tests.processes.patience import PATIENCE
from tests.processes.proc import Death, children
from tests.processes.tree import Tree

pytestmark = pytest.mark.processes

SHORT = f"{0.5 * PATIENCE:g}"  # seconds to boot: longer than our own imports take, before the app's turn comes


def test_the_readiness_line_names_master_and_workers(tree: Tree) -> None:
    tree.start(workers=3)
    workers = {worker.pid for worker in tree.processes("worker")}
    assert set(tree.announced_workers) == workers
    assert {int(tree.get("/who").text) for _ in range(3)} == workers
    assert tree.stop() == 0


def test_an_import_that_raises_ends_with_its_traceback_and_exit_code_3(tree: Tree) -> None:
    tree.launch("broken:app")
    assert tree.wait_exit() == 3
    assert 'raise RuntimeError("broken on purpose")' in tree.log.wait("cannot boot").string


def test_a_start_up_hook_that_raises_ends_with_its_traceback_and_exit_code_3(tree: Tree) -> None:
    tree.write("broken", "")
    tree.launch("fragile:app")
    assert tree.wait_exit() == 3
    assert 'raise RuntimeError("no database on purpose")' in tree.log.wait("worker 0 .* cannot boot").string


GATED = """
import socket

from prefork import App

app = App()


@app.on_startup
def start():
    with socket.socket(socket.AF_UNIX) as end:
        end.connect("gate")
        end.recv(1)
    raise RuntimeError("no database on purpose")
"""


def test_start_up_hooks_that_fail_one_after_the_other_do_not_go_on_for_ever(tree: Tree, gate: Gate) -> None:
    tree.write("gated.py", GATED)
    tree.launch("gated:app", workers=2)
    visitors = [gate.wait_entered(), gate.wait_entered()]
    visitors[0].release()
    tree.log.wait("the worker of slot . died young; the next one starts in 0.1 s")
    gate.close()
    assert tree.wait_exit() == 3


def test_an_import_that_ends_its_process_is_told_with_exit_code_3(tree: Tree) -> None:
    tree.write("fatal.py", "import os; os._exit(9)")
    tree.launch("fatal:app")
    assert tree.wait_exit() == 3
    tree.log.wait(r"mold \(generation 1, pid \d+\) died while it imported the app: exit status 9")


def test_an_import_without_preload_that_raises_ends_with_its_traceback_and_exit_code_3(tree: Tree) -> None:
    tree.launch("broken:app", "--no-preload")
    assert tree.wait_exit() == 3
    assert 'raise RuntimeError("broken on purpose")' in tree.log.wait("worker 0 .* cannot boot").string


@pytest.mark.parametrize("flag", ["--preload", "--no-preload"])
def test_a_target_that_does_not_exist_is_one_clear_line_and_exit_code_2(tree: Tree, flag: str) -> None:
    tree.launch("faults:ap", flag, workers=1)
    assert tree.wait_exit() == 2
    assert tree.log.wait("has no 'ap'; did you mean 'app'").string.count("\n") == 0
    assert not tree.log.find("Traceback")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--workers", "0"], "workers"),
        (["--bind", "localhost"], "HOST:PORT"),
        (["--no-such-flag"], "no-such-flag"),
    ],
)
def test_a_wrong_setting_is_one_clear_line_and_exit_code_2(tree: Tree, flags: list[str], said: str) -> None:
    tree.launch("faults:app", *flags)
    assert tree.wait_exit() == 2
    assert [record["message"] for record in tree.log.records if said in str(record["message"])]
    assert len(tree.log.records) == 1


def test_an_address_in_use_is_one_clear_line_and_exit_code_4(tree: Tree, tree_beside: Tree) -> None:
    tree.start()
    taken = tree.address.removeprefix("http://")
    tree_beside.launch("faults:app", "--bind", taken)
    assert tree_beside.wait_exit() == 4
    assert [record["message"] for record in tree_beside.log.records] == [
        f"prefork: error: cannot bind {taken}: address already in use"
    ]
    assert tree.get("/who").status == 200


def test_an_import_that_takes_too_long_ends_with_its_stacks_and_exit_code_3(tree: Tree) -> None:
    tree.launch("endless:factory()", "--boot-seconds", SHORT)
    assert tree.wait_exit() == 3
    tree.log.wait(rf"mold \(generation 1, pid \d+\) did not import the app within {SHORT} s")
    assert "in factory" in tree.log.wait("stacks of mold").string


def test_a_start_up_hook_that_takes_too_long_ends_with_its_stacks_and_exit_code_3(tree: Tree) -> None:
    tree.launch("endless:app", "--boot-seconds", SHORT, workers=1)
    assert tree.wait_exit() == 3
    tree.log.wait(f"worker 0 .* is aborted: it did not boot within {SHORT} s")
    assert "in wait" in tree.log.wait("stacks of worker 0").string


def test_without_preload_each_worker_imports_the_app_itself(tree: Tree) -> None:
    tree.start("faults:app", "--no-preload")
    importers = {tree.get("/imported-by").text for _ in range(2)}
    assert importers == {str(worker.pid) for worker in tree.processes("worker")}


def test_with_preload_the_mold_imports_the_app_for_all(tree: Tree) -> None:
    tree.start()
    [mold] = tree.processes("mold")
    assert {tree.get("/imported-by").text for _ in range(2)} == {str(mold.pid)}


@pytest.mark.parametrize("flag", ["--preload", "--no-preload"])
def test_what_a_fork_would_break_is_named_before_it_is_forked(tree: Tree, flag: str) -> None:
    tree.start("unsafe:app", flag)
    threads = tree.log.find("started threads .*stray-thread")
    sockets = tree.log.find(r"left open a socket at 127.0.0.1:\d+")
    assert len(threads) == len(sockets) == (1 if flag == "--preload" else 0)


def test_titles_carry_role_slot_and_generation(tree: Tree) -> None:
    tree.start()
    old = [Death(child.pid) for child in children(tree.master)]
    tree.send_signal(signal.SIGHUP)
    for death in old:
        death.wait()
    titles = sorted(child.title for child in children(tree.master) if child.state != "Z")
    assert titles == ["prefork mold g2", "prefork worker 0 g2", "prefork worker 1 g2"]


def test_log_lines_carry_role_slot_generation_and_pid(tree: Tree) -> None:
    tree.start("talkative:app", workers=1)
    tree.get("/")
    tree.log.wait("said by the app")
    [line] = [record for record in tree.log.records if record["message"] == "said by the app"]
    assert {key: line[key] for key in ("role", "slot", "generation", "pid", "logger", "level")} == {
        "role": "worker",
        "slot": 0,
        "generation": 1,
        "pid": tree.worker(0),
        "logger": "shop.orders",
        "level": "warning",
    }
