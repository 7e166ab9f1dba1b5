"""Conditional requests and ranges as a pure decision: RFC 9110, 13 and 14."""

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefork.web.conditions import RANGES, Part, Span, choose_part

SIZE = 100
ETAG = '"abc"'
MODIFIED = 1_700_000_000
DATE = "Tue, 14 Nov 2023 22:13:20 GMT"
EARLIER = "Tue, 14 Nov 2023 22:13:19 GMT"
UNCHANGED = Part(304)
FAILED = Part(412)
NO_SUCH_PART = Part(416)


def partial(*spans: tuple[int, int]) -> Part:
    return Part(206, tuple(Span(*span) for span in spans))


def whole(size: int) -> Part:
    return Part(200, (Span(0, size),))


WHOLE = whole(SIZE)


def choose(method: str = "GET", *, size: int = SIZE, **headers: str) -> Part:
    fields = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return choose_part(method, fields, size, ETAG, MODIFIED)


@pytest.mark.parametrize(
    ("wanted", "part"),
    [
        ("bytes=0-9", partial((0, 10))),
        ("bytes=10-", partial((10, 90))),
        ("bytes=-10", partial((90, 10))),
        ("bytes=-1000", partial((0, 100))),
        ("bytes=99-99", partial((99, 1))),
        ("bytes=90-1000", partial((90, 10))),
        ("bytes=0-", partial((0, 100))),
        ("Bytes = 0-0 ", partial((0, 1))),
        ("bytes=100-", NO_SUCH_PART),
        ("bytes=100-200", NO_SUCH_PART),
        ("bytes=-0", NO_SUCH_PART),
        ("bytes=9-0", WHOLE),
        ("bytes=-", WHOLE),
        ("bytes=a-b", WHOLE),
        ("lines=0-1", WHOLE),
        ("bytes=" + "9" * 19 + "-", WHOLE),
    ],
)
def test_range(wanted: str, part: Part) -> None:
    assert choose(range=wanted) == part


@pytest.mark.parametrize(
    ("wanted", "part"),
    [
        ("bytes=0-1,5-6", partial((0, 2), (5, 2))),
        ("bytes=90-, 0-1,-1", WHOLE),  # the last byte twice
        ("bytes=90-, 0-1", partial((90, 10), (0, 2))),  # in the order asked for
        ("bytes= 0-1 ,\t,, 5-6,", partial((0, 2), (5, 2))),
        ("bytes=0-9,10-19", partial((0, 10), (10, 10))),  # neighbours do not overlap
        ("bytes=0-10,10-19", WHOLE),
        ("bytes=0-49,50-99", WHOLE),  # no shorter than the file
        ("bytes=0-49,50-98", partial((0, 50), (50, 49))),
        ("bytes=0-1,200-300", partial((0, 2))),
        ("bytes=200-,-0", NO_SUCH_PART),
        ("bytes=0-1,x", WHOLE),
        ("bytes=0-1,9-0", WHOLE),
        ("bytes=", WHOLE),
        ("bytes=,,", WHOLE),
        ("bytes=" + ",".join(f"{n}-{n}" for n in range(RANGES)), partial(*((n, 1) for n in range(RANGES)))),
        ("bytes=" + ",".join(f"{n}-{n}" for n in range(RANGES + 1)), WHOLE),
    ],
)
def test_several_ranges(wanted: str, part: Part) -> None:
    assert choose(range=wanted) == part


@given(
    ranges=st.lists(st.tuples(st.none() | st.integers(0, 120), st.none() | st.integers(0, 120)), max_size=20),
    size=st.integers(1, 100),
)
def test_no_more_is_sent_than_the_file_has(ranges: Iterable[tuple[int | None, int | None]], size: int) -> None:
    text = ",".join(f"{'' if a is None else a}-{'' if b is None else b}" for a, b in ranges)
    status, spans = choose(size=size, range="bytes=" + text)
    assert status in (200, 206, 416)
    assert sum(span.length for span in spans) <= size
    covered = [at for span in spans for at in range(span.offset, span.offset + span.length)]
    assert len(covered) == len(set(covered))
    assert all(0 <= at < size for at in covered)
    assert bool(spans) == (status != 416)


def test_range_is_for_get_and_for_files_with_bytes() -> None:
    assert choose("HEAD", range="bytes=0-9") == WHOLE
    assert choose(size=0, range="bytes=0-9") == whole(0)


@pytest.mark.parametrize(
    ("condition", "applies"),
    [
        (ETAG, True),
        ('"other"', False),
        (f"W/{ETAG}", False),
        (DATE, True),
        (EARLIER, False),
        ("nonsense", False),
    ],
)
def test_range_applies_only_if_the_client_has_this_very_file(condition: str, applies: bool) -> None:
    assert choose(range="bytes=0-9", if_range=condition) == (partial((0, 10)) if applies else WHOLE)


@pytest.mark.parametrize(
    ("tags", "part"),
    [
        (ETAG, UNCHANGED),
        (f"W/{ETAG}", UNCHANGED),
        (f'"x", {ETAG}', UNCHANGED),
        ('"x,y",' + ETAG, UNCHANGED),
        ("*", UNCHANGED),
        ('"x"', WHOLE),
        ("abc", WHOLE),
    ],
)
def test_if_none_match(tags: str, part: Part) -> None:
    assert choose(if_none_match=tags) == part
    assert choose("HEAD", if_none_match=tags) == part


@pytest.mark.parametrize(
    ("date", "part"),
    [
        (DATE, UNCHANGED),
        ("Wed, 15 Nov 2023 22:13:20 GMT", UNCHANGED),
        (EARLIER, WHOLE),
        ("nonsense", WHOLE),
        ("Tue, 14 Nov 2023 22:13:20 -0000", UNCHANGED),
        ("Tue, 14 Nov 99999999 22:13:20 GMT", WHOLE),
        ("Tue, 14 Nov 99999999999 22:13:20 GMT", WHOLE),
        ("Tue, 14 Nov 2023 22:13:20 +99999999999999999999", WHOLE),
    ],
)
def test_if_modified_since(date: str, part: Part) -> None:
    assert choose(if_modified_since=date) == part


@pytest.mark.parametrize(
    ("headers", "part"),
    [
        ({"if_match": ETAG}, WHOLE),
        ({"if_match": f'"x", {ETAG}'}, WHOLE),
        ({"if_match": "*"}, WHOLE),
        ({"if_match": '"x"'}, FAILED),
        ({"if_match": f"W/{ETAG}"}, FAILED),  # what is weakly the same may differ in its bytes
        ({"if_unmodified_since": DATE}, WHOLE),
        ({"if_unmodified_since": EARLIER}, FAILED),
        ({"if_unmodified_since": "nonsense"}, WHOLE),
        ({"if_match": ETAG, "if_unmodified_since": EARLIER}, WHOLE),  # the tag counts, not the date
        ({"if_match": '"x"', "if_none_match": ETAG}, FAILED),
        ({"if_match": ETAG, "if_none_match": ETAG}, UNCHANGED),
        ({"if_unmodified_since": EARLIER, "range": "bytes=0-9"}, FAILED),
        ({"if_match": ETAG, "range": "bytes=0-9"}, partial((0, 10))),
    ],
)
def test_condition_that_the_client_sets(headers: dict[str, str], part: Part) -> None:
    fields = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    assert choose_part("GET", fields, SIZE, ETAG, MODIFIED) == part
    if part.status != 206:
        assert choose_part("HEAD", fields, SIZE, ETAG, MODIFIED) == part


def test_etag_counts_before_the_date_and_both_before_the_range() -> None:
    assert choose(if_none_match='"x"', if_modified_since=DATE) == WHOLE
    assert choose(if_none_match=ETAG, range="bytes=0-9") == UNCHANGED


def test_other_methods_know_no_conditions() -> None:
    assert choose("POST", if_none_match="*", if_match='"x"', range="bytes=0-9") == WHOLE
