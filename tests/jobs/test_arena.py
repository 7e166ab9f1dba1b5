"""Large payloads through shared memory: there as here, whatever was in the arena before, and not one byte too many."""

import os
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefork.errors import Unsendable
from prefork.jobs import arena
from prefork.jobs.arena import ALIGNMENT, ArenaReader, ArenaWriter, size
from prefork.jobs.payload import BIG_BYTES, Payload, encode, wrap
from tests.jobs import work

MIB = 1 << 20


class Arena:
    """Both sides; the reader's descriptor is a duplicate, as one that was sent."""

    def __init__(self, most: int = 1 << 30) -> None:
        self.writer = ArenaWriter(most)
        self.reader = ArenaReader(os.dup(self.writer.descriptor))

    def write(self, value: Any) -> int:
        """Returns the number of parts."""
        sent = encode(wrap(value))
        self.writer.write(sent)
        return 1 + len(sent.buffers)

    def load(self, value: Any) -> Any:
        parts = self.write(value)
        return self.reader.load(self.writer.bytes, parts)

    def copy(self, value: Any) -> Any:
        parts = self.write(value)
        return self.reader.copy(self.writer.bytes, parts)

    @property
    def held(self) -> int:
        """Bytes of memory it holds."""
        return os.fstat(self.writer.descriptor).st_blocks * 512

    def close(self) -> None:
        self.reader.close()
        self.writer.close()


@pytest.fixture
def shared() -> Iterator[Arena]:
    made = Arena()
    yield made
    made.close()


@pytest.fixture(params=["in one go", "in pieces, without the GIL"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """How bytes are moved: as small ones are, or as large ones, made so by lower bounds."""
    if request.param != "in one go":
        monkeypatch.setattr(arena, "QUICK_BYTES", 0)
        monkeypatch.setattr(arena, "IO_BYTES", 40_000)


def get_loaded(shared: Arena, value: Any) -> Any:
    return shared.load(value)


def get_copied(shared: Arena, value: Any) -> Any:
    return shared.copy(value)


BOTH = pytest.mark.parametrize("get", [get_loaded, get_copied], ids=["loaded", "copied"])
Get = Callable[[Arena, Any], Any]


@pytest.mark.usefixtures("way")
@BOTH
@pytest.mark.parametrize(
    "value",
    [
        b"x" * BIG_BYTES,
        bytearray(b"x" * (BIG_BYTES + 1)),
        "a long text" * BIG_BYTES,
        [work.pattern(number, BIG_BYTES // 4 + number) for number in range(5)],
        (1, {"a": b"x" * BIG_BYTES}, bytearray(b"y" * 3 * BIG_BYTES)),
        {"only": "small"},
        None,
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_payload_comes_back_as_it_was(shared: Arena, get: Get, value: Any) -> None:
    back = get(shared, value)
    assert back == value
    assert type(back) is type(value)


@BOTH
@given(st.lists(st.integers(BIG_BYTES, 3 * BIG_BYTES), min_size=1, max_size=6))
def test_parts_of_any_length_do_not_touch_each_other(get: Get, lengths: list[int]) -> None:
    shared = Arena()
    value = [bytes([number + 1]) * length for number, length in enumerate(lengths)]
    assert get(shared, value) == value
    shared.close()


@BOTH
def test_each_buffer_lies_on_a_boundary(get: Get) -> None:
    numpy = pytest.importorskip("numpy")
    shared = Arena()
    for back in get(shared, [numpy.zeros(BIG_BYTES + number, "u1") for number in range(3)]):
        if get is get_loaded:
            assert back.ctypes.data % ALIGNMENT == 0
    shared.close()


@pytest.mark.usefixtures("way")
@BOTH
def test_an_arena_is_written_again_smaller_and_larger(shared: Arena, get: Get) -> None:
    for number, count in enumerate([BIG_BYTES, 10 * BIG_BYTES, BIG_BYTES, 40 * BIG_BYTES, 1]):
        value = [work.pattern(number, count), number]
        back = get(shared, value)
        assert back == value
        del back
        assert shared.reader.let_go()


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("side", ["writer", "reader"])
@pytest.mark.parametrize("again", [BIG_BYTES // 2, 8 * BIG_BYTES, 32 * BIG_BYTES])
@BOTH
def test_an_arena_that_was_shrunk_holds_nothing_and_is_used_again(
    shared: Arena, get: Get, again: int, side: str
) -> None:
    value = get(shared, bytearray(8 * BIG_BYTES))
    del value
    assert shared.reader.let_go()
    assert shared.held >= 8 * BIG_BYTES
    getattr(shared, side).shrink()
    assert shared.held == 0
    assert get(shared, b"again" * again) == b"again" * again


def test_an_arena_that_was_never_used_can_be_shrunk(shared: Arena) -> None:
    shared.reader.shrink()
    shared.writer.shrink()
    assert shared.copy(b"x" * BIG_BYTES) == b"x" * BIG_BYTES


def test_pages_are_kept_from_one_payload_to_the_next(shared: Arena) -> None:
    shared.load(bytearray(8 * BIG_BYTES))
    held = shared.held
    shared.load(b"small")
    assert shared.held == held


def test_what_is_loaded_is_in_the_arena_and_not_a_copy(shared: Arena) -> None:
    view = shared.load(memoryview(bytearray(BIG_BYTES)))
    view[0] = 7
    assert os.pread(shared.writer.descriptor, 2 * BIG_BYTES, 0).count(7) >= 1
    assert view.nbytes == BIG_BYTES


@pytest.mark.usefixtures("way")
def test_what_is_copied_stays_when_the_arena_is_written_again(shared: Arena) -> None:
    numpy = pytest.importorskip("numpy")
    for first in (
        memoryview(bytearray(b"1" * BIG_BYTES)),
        memoryview(b"1" * BIG_BYTES),
        numpy.full(BIG_BYTES, 1),
        [bytearray(b"1" * BIG_BYTES)],
        "1" * BIG_BYTES,
    ):
        back = shared.copy(first)
        shared.copy(b"2" * 20 * BIG_BYTES)
        assert numpy.array_equal(back, first) if isinstance(first, numpy.ndarray) else back == first


def test_what_is_copied_can_be_written_as_it_could_be_there(shared: Arena) -> None:
    numpy = pytest.importorskip("numpy")
    back = shared.copy(numpy.zeros(BIG_BYTES))
    back[0] = 1
    assert back.flags.writeable
    assert shared.copy(memoryview(b"x" * BIG_BYTES)).readonly


def test_a_job_that_keeps_nothing_lets_its_arguments_go(shared: Arena) -> None:
    numpy = pytest.importorskip("numpy")
    value = shared.load([b"x" * BIG_BYTES, memoryview(b"x" * BIG_BYTES), numpy.zeros(BIG_BYTES)])
    kept = value[0], bytes(value[1]), value[2].copy()
    del value
    assert shared.reader.let_go()
    assert kept[1] == b"x" * BIG_BYTES


@pytest.mark.parametrize("kind", ["memoryview", "read-only memoryview", "numpy", "read-only numpy", "its own buffer"])
@pytest.mark.parametrize("part", [slice(None), slice(10, 20)], ids=["whole", "part"])
def test_an_arena_is_not_let_go_while_something_refers_to_what_was_loaded(
    shared: Arena, kind: str, part: slice
) -> None:
    numpy = pytest.importorskip("numpy")
    value = {
        "memoryview": memoryview(bytearray(BIG_BYTES)),
        "read-only memoryview": memoryview(bytes(BIG_BYTES)),
        "numpy": numpy.zeros(BIG_BYTES, "u1"),
        "read-only numpy": numpy.frombuffer(bytes(BIG_BYTES), "u1"),
        "its own buffer": OwnBuffer(bytearray(BIG_BYTES)),
    }[kind]
    loaded = shared.load([value])
    kept = loaded[0][part]
    del loaded
    assert not shared.reader.let_go()
    assert set(bytes(kept)) == {0}
    del kept
    assert shared.reader.let_go()


class OwnBuffer:
    """Keeps the very buffer that it is given."""

    def __init__(self, data: Any) -> None:
        self.data = data

    def __getitem__(self, part: slice) -> Any:
        return self.data[part]

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return OwnBuffer, (pickle.PickleBuffer(self.data),)


def test_what_is_kept_stays_when_the_reader_closes(shared: Arena) -> None:
    kept = shared.load(memoryview(b"x" * BIG_BYTES))
    other = ArenaReader(os.dup(shared.writer.descriptor))
    also = other.load(shared.writer.bytes, 2)
    other.close()
    assert bytes(kept) == bytes(also) == b"x" * BIG_BYTES


def test_an_arena_that_was_let_go_can_be_let_go(shared: Arena) -> None:
    assert shared.reader.let_go()
    shared.load(b"x" * BIG_BYTES)
    assert shared.reader.let_go()
    assert shared.reader.let_go()


def test_a_payload_may_fill_its_arena_but_not_by_a_byte_more() -> None:
    sent = encode(wrap(bytearray(BIG_BYTES)))
    needed = size(sent)
    exact, short = ArenaWriter(needed), ArenaWriter(needed - 1)
    exact.check(sent, "the arguments of app.f")
    with pytest.raises(
        Unsendable,
        match=rf"^the arguments of app\.f: {needed} bytes are more than offload_arena = {needed - 1} allows; raise "
        r"--offload-arena, or pass less \(a path, a key\)$",
    ):
        short.check(sent, "the arguments of app.f")
    exact.close()
    short.close()


@pytest.mark.parametrize("value", [b"x" * MIB, [bytearray(BIG_BYTES)] * 3, "text" * BIG_BYTES, None])
def test_the_size_of_a_payload_is_what_it_takes(shared: Arena, value: Any) -> None:
    sent = encode(wrap(value))
    shared.writer.write(sent)
    assert shared.writer.bytes == size(sent) == os.fstat(shared.writer.descriptor).st_size
    assert size(sent) >= len(sent.pickle) + sum(buffer.nbytes for buffer in sent.buffers)


def test_an_error_of_a_class_that_is_made_anew_leaves_the_arena_usable(shared: Arena) -> None:
    with pytest.raises(LookupError, match="not here"):
        shared.load([work.Unmakeable(), b"x" * BIG_BYTES])
    assert shared.reader.let_go()
    with pytest.raises(LookupError, match="not here"):
        shared.copy([work.Unmakeable(), b"x" * BIG_BYTES])
    assert shared.load(b"x" * BIG_BYTES) == b"x" * BIG_BYTES


def test_lack_of_memory_is_an_error(shared: Arena, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int, length: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "ftruncate", refuse)
    with pytest.raises(OSError, match="No space left"):
        shared.writer.write(Payload(b"x" * BIG_BYTES, ()))


def test_descriptors_of_arenas_are_not_inherited(shared: Arena) -> None:
    assert not os.get_inheritable(shared.writer.descriptor)


def test_both_sides_leave_no_descriptor_open() -> None:
    before = os.listdir("/proc/self/fd")
    shared = Arena()
    shared.load(bytearray(BIG_BYTES))
    shared.copy(bytearray(4 * BIG_BYTES))
    shared.reader.let_go()
    shared.close()
    del shared
    assert os.listdir("/proc/self/fd") == before
