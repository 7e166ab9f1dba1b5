"""The latest records that fit, for whoever comes after their writer."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefork.system import ring
from prefork.system.ring import Ring


@pytest.fixture
def memory() -> Iterator[int]:
    descriptor = ring.create(64)
    yield descriptor
    os.close(descriptor)


def test_records_outlive_their_writer_in_order(memory: int) -> None:
    first = Ring(memory)
    assert first.append(b"one")
    assert first.append(b"")
    del first
    second = Ring(memory)
    assert second.append(b"three")
    assert list(Ring(memory)) == [b"one", b"", b"three"]


def test_the_oldest_make_room(memory: int) -> None:
    kept = Ring(memory)
    for number in range(100):
        assert kept.append(b"%012d" % number)
    assert list(kept) == [b"000000000096", b"000000000097", b"000000000098", b"000000000099"]


def test_what_can_never_fit_is_refused_and_nothing_is_lost(memory: int) -> None:
    kept = Ring(memory)
    kept.append(b"one")
    assert not kept.append(bytes(61))
    assert list(kept) == [b"one"]
    assert kept.append(bytes(60))
    assert list(kept) == [bytes(60)]


@given(st.lists(st.binary(max_size=60), max_size=40))
def test_it_holds_the_latest_whatever_their_lengths(records: list[bytes]) -> None:
    descriptor = ring.create(64)
    try:
        kept = Ring(descriptor)
        for record in records:
            assert kept.append(record)
        found = list(kept)
    finally:
        os.close(descriptor)
    assert found == records[len(records) - len(found) :]
    room = 64 - sum(4 + len(record) for record in found)
    assert room >= 0
    if len(found) < len(records):
        assert room < 4 + len(records[-len(found) - 1])
