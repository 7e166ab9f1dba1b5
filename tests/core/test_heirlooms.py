"""Which listeners of another master a new one keeps."""

from dataclasses import asdict

import pytest

from prefork.core.heirlooms import OPERATORS, Heirloom, Will


def heirloom(number: int, bind: str, slot: int = 0, index: int = 0) -> Heirloom:
    return Heirloom(number, bind, slot, index, 2, False)


def test_an_address_gets_its_listener_once() -> None:
    will = Will([heirloom(0, "127.0.0.1:80"), heirloom(1, "unix:/run/a", index=1)])
    assert will.take("unix:/run/b") is None
    taken = will.take("unix:/run/a")
    assert taken is not None
    assert taken.number == 1
    assert will.take("unix:/run/a") is None


def test_two_that_ask_for_any_port_get_one_each() -> None:
    will = Will([heirloom(0, "127.0.0.1:0"), heirloom(1, "127.0.0.1:0", index=1)])
    taken = [will.take("127.0.0.1:0") for _ in range(3)]
    assert [found and found.number for found in taken] == [0, 1, None]


def test_what_serves_operators_is_not_for_clients() -> None:
    will = Will([heirloom(0, "127.0.0.1:9000", OPERATORS)])
    assert will.take("127.0.0.1:9000") is None
    assert will.take_operators("127.0.0.1:9000") is not None


def test_slots_keep_theirs_in_the_new_order() -> None:
    both = [("127.0.0.1:80", 0), ("127.0.0.1:81", 1)]
    all_of_them = [heirloom(10 * slot + index, bind, slot, index) for slot in (0, 1, 2) for bind, index in both]
    will = Will(all_of_them)
    taken = [will.take("127.0.0.1:81"), None, will.take("127.0.0.1:80")]  # the second is new
    rows = will.of_slots(taken)
    assert {slot: [found and found.number for found in row] for slot, row in rows.items()} == {
        1: [11, None, 10],
        2: [21, None, 20],
    }


def test_a_slot_of_which_nothing_is_wanted_is_left_out() -> None:
    will = Will([heirloom(0, "127.0.0.1:80"), heirloom(1, "127.0.0.1:80", slot=1)])
    assert will.of_slots([None]) == {}


def test_it_is_read_as_it_was_written() -> None:
    written = Heirloom(3, "unix:/run/a", 0, 1, 1, True, (1, 2, 3))
    fields = {**asdict(written), "file": [1, 2, 3]}  # JSON has no tuples
    assert Heirloom.read(fields) == written
    for wrong in ({"number": 1}, {**fields, "slot": "0"}, {**fields, "file": [1]}, {**fields, "file": ["a", 1, 2]}):
        with pytest.raises(ValueError, match="not a listener"):
            Heirloom.read(wrong)
