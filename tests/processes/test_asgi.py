"""An ASGI app in real workers: its lifespan, its files, and what it hears of its clients."""

import os
import select
import signal

import httpx
import pytest

from tests.processes.gate import Gate
from tests.processes.patience import GUARD_SECONDS
from tests.processes.tree import CALM, Tree

pytestmark = pytest.mark.processes

APP = "messages:app"


def test_each_worker_runs_the_lifespan_after_the_fork_and_at_its_end(tree: Tree) -> None:
    tree.start(APP)
    workers = set(tree.announced_workers)
    answers = {tree.get("/who").text for _ in range(4)}
    assert answers == {f"{pid} {pid}" for pid in workers}
    assert tree.stop() == 0
    assert {int(pid) for pid in (tree.folder / "stopped").read_text().split()} == workers


def test_a_start_up_that_failed_ends_with_the_apps_words_and_exit_code_3(tree: Tree) -> None:
    tree.write("broken", "")
    tree.launch(APP)
    assert tree.wait_exit() == 3
    assert "Traceback" not in tree.log.wait(r"worker 0 .* cannot boot:\nno database on purpose").string


def test_a_start_up_that_fails_on_reload_keeps_the_old_generation(tree: Tree) -> None:
    tree.start(APP)
    before = set(tree.announced_workers)
    tree.write("broken", "")
    tree.send_signal(signal.SIGHUP)
    tree.log.wait("reload failed: generation 1 keeps serving")
    assert {int(tree.get("/who").text.split()[0]) for _ in range(4)} == before


def test_no_lifespan_where_it_is_turned_off(tree: Tree) -> None:
    tree.write("broken", "")
    tree.start(APP, "--lifespan", "off")
    assert tree.client().post("/length", b"hello").text == "5 False"


def test_a_large_body_comes_in_pieces_and_whole(tree: Tree) -> None:
    tree.start(APP, workers=1)
    assert httpx.post(f"{tree.address}/length", content=b"x" * 5_000_000).text == "5000000 True"


def test_a_body_beyond_the_limit_is_refused(tree: Tree) -> None:
    tree.start(APP, "--max-body", "1M", workers=1)
    assert tree.client().post("/length", b"x" * (1024 * 1024 + 1)).status == 413
    assert tree.client().post("/length", b"x" * 1024 * 1024).status == 200


@pytest.mark.parametrize(("path", "chunked"), [("/path", False), ("/pieces", True)])
def test_files_are_sent_as_they_are(tree: Tree, path: str, chunked: bool) -> None:
    content = os.urandom(3_000_000)
    (tree.folder / "file.bin").write_bytes(content)
    tree.start(APP, workers=1)
    with httpx.Client(base_url=tree.address) as client:
        for _ in range(2):  # and the connection goes on
            reply = client.get(path)
            half = len(content) // 2
            assert reply.content == (content[half:] + content[:half] if chunked else content)
            assert ("content-length" in reply.headers) is not chunked


def test_an_app_is_told_that_its_client_left(tree: Tree, gate: Gate) -> None:
    tree.start(APP, workers=1)
    client = tree.asking("/told")
    visitor = gate.wait_entered()
    client.reset()
    assert visitor.read() == b"http.disconnect"


def test_a_client_that_left_has_its_task_cancelled_after_the_grace_time(tree: Tree, gate: Gate) -> None:
    tree.start(APP, "--disconnect-grace-seconds", "0.2", workers=1)
    client = tree.asking("/gate")
    visitor = gate.wait_entered()
    client.reset()
    visitor.wait_gone()


def test_a_client_that_does_not_read_stops_the_app(tree: Tree) -> None:
    tree.start(APP, *CALM, workers=1)
    client = tree.asking("/flood")
    select.select([client], [], [], GUARD_SECONDS)
    sent, same = 0, 0
    while same < 20:  # asked at the pace of answers, not of a clock
        now = int(tree.get("/sent").text)
        same = same + 1 if now == sent else 0
        sent = now
    assert sent < 500, "the kernel's buffers hold some megabytes, the server next to nothing"


def test_a_request_in_progress_outlives_a_reload(tree: Tree, gate: Gate) -> None:
    tree.start(APP)
    client = tree.asking("/gate")
    visitor = gate.wait_entered()
    since = tree.log.mark()
    tree.send_signal(signal.SIGHUP)
    for slot in range(2):
        tree.wait_ready(slot, since)
    visitor.release()
    assert int(client.receive().text) == visitor.pid


def test_what_an_app_does_after_its_answer_outlives_a_reload(tree: Tree, gate: Gate) -> None:
    tree.start(APP, workers=1)
    client = tree.asking("/after")
    assert client.receive().text == "soon"
    visitor = gate.wait_entered()
    tree.send_signal(signal.SIGHUP)
    while int(client.get("/who").text.split()[0]) == visitor.pid:  # its connection is not with the old worker any more
        pass
    visitor.call()
    assert visitor.read() == b"done"
    tree.log.wait(r"worker 0 \(generation 1, pid \d+\) has drained")


def test_what_an_app_does_after_its_answer_ends_at_the_drain_limit(tree: Tree, gate: Gate) -> None:
    tree.start(APP, "--drain-seconds", "0.2", workers=1)
    assert tree.asking("/after").receive().text == "soon"
    visitor = gate.wait_entered()
    assert tree.stop() == 0
    visitor.wait_gone()
    tree.log.wait(r"cancelled at the drain limit: what requests go on with after their answer \(1\)")
