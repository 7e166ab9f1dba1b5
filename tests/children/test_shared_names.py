"""Memory by name: asked for once, held for those who come later, and refused where it would be another's."""

import gc
import os
import threading
from collections.abc import Iterator

import pytest

from prefork import App
from prefork.children import shared
from prefork.children.memory.names import NAME_BYTES
from prefork.errors import ChildError
from prefork.messages import ReopenLogs, Shared, WantShared
from prefork.processes import ask_shared
from prefork.processes.ask_shared import asking
from prefork.processes.shared import SharedRegions
from prefork.system import named_memory
from prefork.system.channel import Channel


@pytest.fixture(autouse=True)
def _a_process_of_its_own(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each test is a process that knows no names yet; what it has opened is closed."""
    monkeypatch.setattr(named_memory, "_known", {})
    monkeypatch.setattr(named_memory, "_source", named_memory.create)
    monkeypatch.setattr("prefork.children.memory.names._buffers", {})
    yield
    for region in named_memory.known():
        os.close(region.descriptor)


@pytest.fixture
def ends() -> Iterator[tuple[Channel, Channel]]:
    """A mold's end, which waits as a worker's does not, and the master's."""
    ours, theirs = Channel.pair()
    theirs.set_blocking(True)
    yield ours, theirs
    ours.close()
    theirs.close()


@pytest.fixture
def regions() -> Iterator[SharedRegions]:
    regions = SharedRegions()
    yield regions
    regions.release([])


def inode(descriptor: int) -> int:
    return os.fstat(descriptor).st_ino


def answered(regions: SharedRegions, generation: int, size: int, name: str = "a") -> tuple[Shared, int | None]:
    """What a process of that generation is told, and which memory it gets, by its inode."""
    ours, theirs = Channel.pair()
    try:
        regions.answer(generation, WantShared(name, size), ours, None)
        received = theirs.receive()
        assert received is not None
        answer, descriptors = received
        assert isinstance(answer, Shared)
        found = [inode(descriptor) for descriptor in descriptors]
        for descriptor in descriptors:
            os.close(descriptor)
        return answer, found[0] if found else None
    finally:
        ours.close()
        theirs.close()


# -- in a program of one's own


def test_a_name_is_one_piece_of_memory_whoever_asks() -> None:
    first = shared("a", 16)
    assert App().shared("a", 16) is first
    assert shared("b", 16) is not first


def test_one_that_was_closed_is_there_again_with_what_is_in_it() -> None:
    first = shared("a", 16)
    first.view[0] = 1
    first.close()
    assert shared("a", 16).view[0] == 1


def test_another_size_is_refused_with_both() -> None:
    shared("a", 16)
    with pytest.raises(ChildError, match="'a' has 16 bytes, and 17 were asked for"):
        shared("a", 17)


@pytest.mark.parametrize("name", ["", "x" * (NAME_BYTES + 1), "ü" * (NAME_BYTES // 2 + 1), "a\nb", "a\0b"])
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="printable text of 1 to 100 bytes"):
        shared(name, 8)


@pytest.mark.parametrize("name", ["x" * NAME_BYTES, "ü" * (NAME_BYTES // 2), "a name/with: all sorts"])
def test_the_longest_name_and_strange_ones_are_taken(name: str) -> None:
    assert shared(name, 8).size == 8


def test_what_is_no_text_or_no_size_is_refused() -> None:
    with pytest.raises(TypeError, match="name of shared memory"):
        shared(1, 8)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="size of shared memory"):
        shared("a", 0)


def test_where_it_is_too_late_names_that_are_known_are_found_and_others_refused_with_what_to_do() -> None:
    known = shared("a", 8)
    named_memory.ask_from_now_on(named_memory.refuse)
    assert shared("a", 8) is known
    with pytest.raises(ChildError, match="'b' is not known in this process: ask for it at the top level of a module"):
        shared("b", 8)


# -- asking the master


@pytest.mark.parametrize("blocking", [True, False], ids=["mold", "worker"])
def test_what_else_is_said_while_one_asks_is_heard_afterwards_in_its_order(
    ends: tuple[Channel, Channel], regions: SharedRegions, blocking: bool
) -> None:
    master, mold = ends
    mold.set_blocking(blocking)
    master.set_blocking(True)

    def answer() -> None:
        received = master.receive()
        assert received is not None
        assert isinstance(received[0], WantShared)
        master.send(ReopenLogs(), [0])
        master.send(Shared("other", 1))
        regions.answer(1, received[0], master, None)
        master.send(ReopenLogs())

    thread = threading.Thread(target=answer)
    thread.start()
    with asking(mold):
        buffer = shared("a", 8)
    thread.join()
    assert buffer.size == 8
    heard = [mold.receive() for _ in range(3)]
    assert [message for message, _ in filter(None, heard)] == [ReopenLogs(), Shared("other", 1), ReopenLogs()]
    (descriptor,) = heard[0][1] if heard[0] else []
    os.close(descriptor)
    with pytest.raises(ChildError, match="not known in this process"):
        shared("b", 8)


def test_why_the_master_cannot_is_told(ends: tuple[Channel, Channel]) -> None:
    master, mold = ends
    master.send(Shared("a", 8, "No space left on device"))
    with asking(mold), pytest.raises(ChildError, match="No space left on device"):
        shared("a", 8)


def test_memory_that_did_not_arrive_is_told(ends: tuple[Channel, Channel]) -> None:
    master, mold = ends
    master.send(Shared("a", 8))
    with asking(mold), pytest.raises(ChildError, match="did not arrive: too many open files"):
        shared("a", 8)


def test_what_others_have_asked_for_is_known_and_is_learned_once(regions: SharedRegions) -> None:
    descriptor = named_memory.create("a", 8)
    ask_shared.learn(Shared("a", 8), [descriptor])
    ask_shared.learn(Shared("a", 8), [descriptor])
    named_memory.ask_from_now_on(named_memory.refuse)
    assert inode(named_memory.find("a", 8).descriptor) == inode(descriptor)
    before = len(os.listdir("/proc/self/fd"))
    ask_shared.learn(Shared("a", 8), [descriptor])
    assert len(os.listdir("/proc/self/fd")) == before
    os.close(descriptor)


# -- what the master holds


def test_all_of_a_generation_and_those_after_it_get_the_same(regions: SharedRegions) -> None:
    first = answered(regions, 1, 8)
    assert first[0] == Shared("a", 8)
    assert [answered(regions, generation, 8) for generation in (1, 2, 3, 1)] == [first] * 4
    assert answered(regions, 1, 8, name="b")[1] != first[1]


def test_another_size_is_refused_to_the_same_generation_and_is_new_memory_for_the_next(regions: SharedRegions) -> None:
    old = answered(regions, 1, 8)
    refused, nothing = answered(regions, 1, 16)
    assert nothing is None
    assert refused.reason == "shared memory 'a' has 8 bytes, and 16 were asked for: all must ask for the same"
    new = answered(regions, 2, 16)
    assert new[0] == Shared("a", 16)
    assert new[1] != old[1]
    assert answered(regions, 1, 8) == old, "a worker of the old generation that is replaced"
    assert answered(regions, 2, 8)[0].reason


def test_memory_is_held_as_long_as_a_generation_that_asked_for_it_is_needed(regions: SharedRegions) -> None:
    first = answered(regions, 1, 8)
    assert answered(regions, 2, 8) == first
    regions.release({2, 3})
    assert answered(regions, 3, 8) == first
    regions.release({4})
    assert answered(regions, 5, 8)[1] != first[1]


def test_what_the_kernel_does_not_give_is_refused_with_its_reason(regions: SharedRegions) -> None:
    before = len(os.listdir("/proc/self/fd"))
    refused, nothing = answered(regions, 1, 2**63)
    assert refused.reason
    assert nothing is None
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before
