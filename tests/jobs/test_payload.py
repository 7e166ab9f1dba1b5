"""What is sent comes back equal and of its type; what is large is not in the pickle; what cannot go is named."""

import array
import ctypes
import pickle
import sys
import threading
import weakref
from collections import OrderedDict, namedtuple
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefork.errors import Unsendable
from prefork.jobs.payload import (
    BIG_BYTES,
    WRAPPED_ITEMS,
    Payload,
    decode,
    encode,
    encode_call,
    encode_result,
    why_not,
    wrap,
)
from prefork.jobs.runner import About
from tests.jobs import work

BIG = bytes(range(256)) * (BIG_BYTES // 256)
SMALL = BIG[:-1]

Pair = namedtuple("Pair", "left right")

sizes = st.sampled_from([0, 1, BIG_BYTES - 1, BIG_BYTES, BIG_BYTES + 1])
leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters())
    | st.binary()
    | sizes.map(bytes)
    | sizes.map(bytearray)
    | sizes.map(lambda size: memoryview(bytes(size)))
    | sizes.map(lambda size: memoryview(bytearray(size)))
)
# A memoryview is taken as the value, or as an item of a plain list, tuple or dict.
deep = st.recursive(
    leaves.filter(lambda leaf: type(leaf) is not memoryview),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=8,
)
values = (
    leaves
    | deep
    | st.lists(leaves | deep, max_size=4)
    | st.lists(leaves | deep, max_size=4).map(tuple)
    | st.dictionaries(st.text(max_size=2), leaves | deep, max_size=4)
)


def there(value: Any) -> Any:
    """The value as the other side has it: buffers are in memory of its own."""
    sent = encode(wrap(value))
    return decode(sent.pickle, [bytearray(buffer) for buffer in sent.buffers])


def types(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return type(value), [types(item) for item in value]
    if isinstance(value, dict):
        return type(value), {key: types(item) for key, item in value.items()}
    return type(value)


@given(values)
def test_a_value_comes_back_equal_and_of_its_types(value: Any) -> None:
    back = there(value)
    assert back == value
    assert types(back) == types(value)


@given(values)
def test_wrapping_leaves_the_callers_value_alone(value: Any) -> None:
    before = types(value)
    encode(wrap(value))
    assert types(value) == before


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, lambda data: memoryview(bytearray(data))])
@pytest.mark.parametrize(("data", "apart"), [(SMALL, 0), (BIG, 1)], ids=["below", "at the bound"])
@pytest.mark.parametrize(
    "within",
    [lambda item: item, lambda item: [item], lambda item: (1, item), lambda item: {"key": item}],
    ids=["alone", "list", "tuple", "dict"],
)
def test_a_buffer_is_kept_apart_from_its_bound_on(
    kind: Callable[[bytes], Any], data: bytes, apart: int, within: Callable[[Any], Any]
) -> None:
    sent = encode(wrap(within(kind(data))))
    assert [bytes(buffer) for buffer in sent.buffers] == [BIG] * apart
    assert len(sent.pickle) < 200 if apart else len(sent.pickle) > len(data)


def test_large_buffers_are_the_callers_memory_not_copies() -> None:
    mine = bytearray(BIG)
    sent = encode(wrap((mine,)))
    mine[0] = 255
    assert sent.buffers[0][0] == 255


@pytest.mark.parametrize(
    ("payload", "big"),
    [
        (Payload(b"x" * (BIG_BYTES - 1), ()), False),
        (Payload(b"x" * BIG_BYTES, ()), True),
        (Payload(b"x", (memoryview(BIG),)), True),
    ],
)
def test_a_payload_is_big_by_its_pickle_or_when_it_has_buffers(payload: Payload, big: bool) -> None:
    assert payload.big is big


def test_what_is_large_deeper_down_goes_in_the_pickle_and_comes_back() -> None:
    value = [[BIG], {"a": [bytearray(BIG)]}]
    assert encode(wrap(value)).buffers == []
    assert there(value) == value


@pytest.mark.parametrize("value", [Pair(BIG, 1), OrderedDict(a=BIG), frozenset([BIG])], ids=lambda v: type(v).__name__)
def test_a_container_of_another_class_keeps_its_class(value: Any) -> None:
    back = there(value)
    assert back == value
    assert type(back) is type(value)


def test_bytes_of_a_subclass_keep_their_class() -> None:
    back = there(Bytes(BIG))
    assert type(back) is Bytes
    assert back == BIG


class Bytes(bytes): ...


@pytest.mark.parametrize("data", [b"", b"x", SMALL, BIG], ids=len)
def test_a_memoryview_can_be_written_there_if_it_can_here(data: bytes) -> None:
    assert there(memoryview(bytearray(data))).readonly is False
    assert there(memoryview(data)).readonly is True


@pytest.mark.parametrize("code", "bBhHiIlLqQfd")
@pytest.mark.parametrize("count", [1, 10, BIG_BYTES])
def test_a_memoryview_keeps_its_format(code: str, count: int) -> None:
    view = memoryview(array.array(code, [1]) * count)
    back = there(view)
    assert back.format == code
    assert back == view


@pytest.mark.parametrize("rows", [2, BIG_BYTES], ids=["small", "big"])
def test_a_memoryview_keeps_its_dimensions(rows: int) -> None:
    view = memoryview(bytes(6 * rows)).cast("B", (rows, 3, 2))
    back = there(view)
    assert back.shape == (rows, 3, 2)
    assert back == view


@pytest.mark.parametrize("count", [4, 2 * BIG_BYTES], ids=["small", "big"])
def test_the_items_of_a_memoryview_with_gaps_arrive(count: int) -> None:
    view = memoryview(bytes(range(256)) * (count // 4 + 1))[: 2 * count : 2]
    assert not view.contiguous
    assert there(view).tolist() == view.tolist()


def test_a_memoryview_with_gaps_keeps_its_format() -> None:
    view = memoryview(array.array("d", [1, 2, 3, 4]))[::2]
    back = there(view)
    assert (back.format, back.tolist()) == ("d", [1, 3])


def test_an_empty_memoryview_keeps_its_format() -> None:
    back = there(memoryview(array.array("d")))
    assert (back.format, back.shape, back.tolist()) == ("d", (0,), [])


def test_a_format_of_this_machines_byte_order_becomes_the_native_one() -> None:
    view = memoryview((ctypes.c_int * 3)(1, 2, 3))
    assert view.format == ("<i" if sys.byteorder == "little" else ">i")
    back = there(view)
    assert (back.format, back.tolist(), back.tobytes()) == ("i", [1, 2, 3], view.tobytes())


def test_a_memoryview_of_another_format_is_refused_with_what_to_do() -> None:
    foreign = ctypes.c_int.__ctype_be__ if sys.byteorder == "little" else ctypes.c_int.__ctype_le__
    with pytest.raises(Unsendable, match=r"argument 1, .*a memoryview of format '[<>]i' cannot be sent; send its tob"):
        call(memoryview((foreign * 3)(1, 2, 3)))


@pytest.mark.parametrize("count", [WRAPPED_ITEMS, WRAPPED_ITEMS + 1])
def test_memoryviews_in_a_container_of_any_length_arrive(count: int) -> None:
    assert there([memoryview(b"x")] * count) == [b"x"] * count


def test_a_reversed_memoryview_arrives_reversed() -> None:
    assert there(memoryview(b"abc")[::-1]).tobytes() == b"cba"


@pytest.mark.parametrize("copied", [1, 3 * BIG_BYTES], ids=["small", "big"])
def test_an_array_of_numpy_comes_back(copied: int) -> None:
    numpy = pytest.importorskip("numpy")
    for value in (
        numpy.arange(copied, dtype=">i4"),
        numpy.arange(2 * copied).reshape(2, copied),
        numpy.asfortranarray(numpy.arange(2 * copied).reshape(2, copied)),
        numpy.arange(2 * copied)[::2],
        numpy.zeros((0, 3)),
        numpy.array(1.5),
        numpy.array([("a", 1)] * copied, dtype=[("name", "U4"), ("number", "i8")]),
        numpy.array(["word"] * copied),
        numpy.array([object, None][1:] * copied, dtype=object),
        numpy.zeros(copied, "complex128"),
    ):
        back = there(value)
        assert back.dtype == value.dtype
        assert back.shape == value.shape
        assert (back == value).all()
        assert back.flags.f_contiguous or not value.flags.f_contiguous


def test_a_large_array_of_numpy_is_kept_apart_wherever_it_is() -> None:
    numpy = pytest.importorskip("numpy")
    value = {"deep": [numpy.zeros(BIG_BYTES, "u1"), {"deeper": numpy.zeros(BIG_BYTES - 1, "u1")}]}
    sent = encode(wrap(value))
    assert [buffer.nbytes for buffer in sent.buffers] == [BIG_BYTES]


def test_an_array_of_numpy_that_cannot_be_written_stays_so() -> None:
    numpy = pytest.importorskip("numpy")
    assert not there(numpy.frombuffer(BIG, "u1")).flags.writeable
    assert there(numpy.zeros(BIG_BYTES, "u1")).flags.writeable


# -- what cannot be sent


def call(*args: Any, **kwargs: Any) -> Payload:
    return encode_call(work.echo, "app.echo", args, kwargs, None)


@pytest.mark.parametrize(
    ("unpicklable", "kind"),
    [(lambda: None, "function"), (threading.Lock(), "_thread.lock"), ((n for n in range(3)), "generator")],
)
def test_an_argument_that_cannot_be_pickled_is_named_by_its_place_and_type(unpicklable: Any, kind: str) -> None:
    with pytest.raises(Unsendable, match=rf"^app\.echo: argument 2, of type {kind}, cannot be pickled: .+; pass plain"):
        call(1, unpicklable, 3)
    with pytest.raises(Unsendable, match=rf"^app\.echo: argument 'key', of type {kind}, cannot be pickled: "):
        call(1, other=2, key=unpicklable)
    with pytest.raises(Unsendable, match=r"^app\.echo: argument 1, of type list, cannot be pickled: "):
        call([BIG, unpicklable])


def test_an_argument_that_raises_when_it_is_pickled_is_named() -> None:
    with pytest.raises(
        Unsendable, match=r"argument 2, of type tests\.jobs\.work\.Unpicklable, .*: cannot be told; pass"
    ):
        call(1, work.Unpicklable())
    gone = weakref.proxy(work.Machine(1))
    with pytest.raises(Unsendable, match=r"argument 1, of type .*no longer exists"):
        call(gone)


def test_an_argument_that_can_be_sent_is_not_named_for_another() -> None:
    with pytest.raises(Unsendable, match="argument 2, of type function, "):
        call([memoryview(b"x")], lambda: 0)


def test_a_carried_variable_that_cannot_be_pickled_is_named() -> None:
    about = About(None, {"tenant": lambda: 0}, 0, 0.0, 0)
    with pytest.raises(Unsendable, match=r"^app\.echo: context variable 'tenant', of type function, cannot be pickled"):
        encode_call(work.echo, "app.echo", (1,), {}, about)


def test_a_result_that_raises_when_it_is_pickled_names_the_function() -> None:
    with pytest.raises(Unsendable, match=r"^app\.f returned tests\.jobs\.work\.Unpicklable, which .*: cannot be told;"):
        encode_result(work.Unpicklable(), "app.f")


def test_a_function_that_cannot_be_pickled_is_named() -> None:
    class Local:
        def __call__(self) -> None: ...

    with pytest.raises(Unsendable, match=r"^app\.local: the function, of type .*Local, cannot be pickled: "):
        encode_call(Local(), "app.local", (1,), {}, None)


def test_an_argument_that_goes_on_for_ever_is_named() -> None:
    endless: list[Any] = []
    deepest = endless
    for _ in range(100_000):
        deeper: list[Any] = []
        deepest.append(deeper)
        deepest = deeper
    with pytest.raises(Unsendable, match=r"argument 1, of type list, cannot be pickled: .*recursion"):
        call(endless)
    while endless:  # else its own end would be as deep
        endless = endless[0]


def test_a_released_memoryview_is_named() -> None:
    view = memoryview(b"x")
    view.release()
    with pytest.raises(Unsendable, match=r"argument 1, of type memoryview, cannot be pickled: .*released"):
        call(view)


def test_a_result_that_cannot_be_pickled_names_function_and_type() -> None:
    with pytest.raises(Unsendable, match=r"^app\.f returned function, which cannot be pickled: .+; return plain data$"):
        encode_result(lambda: None, "app.f")
    with pytest.raises(Unsendable, match=r"^app\.f returned list, which cannot be pickled"):
        encode_result([threading.Lock()], "app.f")


def test_an_error_does_not_show_pickles_own() -> None:
    with pytest.raises(Unsendable) as caught:
        call(lambda: None)
    assert caught.value.__suppress_context__


def test_why_not_is_none_for_what_can_be_sent() -> None:
    assert why_not(BIG) is None
    assert why_not(memoryview(BIG)) is None
    assert why_not([1, {"a": b"x"}]) is None
    assert why_not(lambda: None)


def test_an_error_of_a_class_that_is_made_anew_is_its_own() -> None:
    with pytest.raises(LookupError, match="not here"):
        there(work.Unmakeable())


def test_a_call_comes_back_as_it_was() -> None:
    sent = encode_call(work.echo, "app.echo", (1, BIG), {"key": bytearray(BIG)}, "about")
    assert decode(sent.pickle, sent.buffers) == (work.echo, (1, BIG), {"key": bytearray(BIG)}, "about")
    assert len(sent.buffers) == 2


def test_the_pickle_is_one_that_the_standard_library_reads() -> None:
    sent = encode(wrap([1, BIG]))
    assert pickle.loads(sent.pickle, buffers=sent.buffers) == [1, BIG]
