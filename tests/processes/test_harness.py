"""The fixture itself: whatever a test leaves behind is gone after it."""

import os
import signal

import pytest

from tests.processes.proc import Death, children
from tests.processes.tree import Tree

pytestmark = pytest.mark.processes


@pytest.mark.parametrize("stopped", ["master", "worker", "mold"])
def test_closing_ends_every_process_even_a_stopped_one(tree: Tree, stopped: str) -> None:
    tree.start()
    tree.asking("/loop")
    everybody = [tree.master, *(child.pid for child in children(tree.master))]
    deaths = [Death(pid) for pid in everybody]
    os.kill(tree.master if stopped == "master" else tree.processes(stopped)[0].pid, signal.SIGSTOP)
    tree.close()
    for death in deaths:
        death.wait()


def test_a_server_that_does_not_start_fails_the_test_with_its_log(tree: Tree) -> None:
    with pytest.raises(AssertionError, match="broken on purpose"):
        tree.start("broken:app")


def test_a_wait_that_is_in_vain_ends_with_the_log(tree: Tree) -> None:
    tree.start()
    tree.stop()
    with pytest.raises(AssertionError, match=r"0 of 1 messages like 'no such thing'[^$]*serving on"):
        tree.log.wait("no such thing")


def test_a_tree_that_was_never_started_has_nothing_to_close_or_tell(tree: Tree) -> None:
    tree.close()
    assert tree.report() == "it was not started"
