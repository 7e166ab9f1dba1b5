"""Conditional requests and ranges as a pure decision: RFC 9110, 13 and 14."""

import pytest

from prefork.web.conditions import Part, choose_part
from prefork.web.headers import Headers

SIZE = 100
ETAG = '"abc"'
MODIFIED = 1_700_000_000
DATE = "Tue, 14 Nov 2023 22:13:20 GMT"
EARLIER = "Tue, 14 Nov 2023 22:13:19 GMT"
WHOLE = Part(200, 0, SIZE)
UNCHANGED = Part(304, 0, 0)


def choose(method: str = "GET", size: int = SIZE, **headers: str) -> Part:
    fields = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return choose_part(method, Headers(fields), size, ETAG, MODIFIED)


@pytest.mark.parametrize(
    ("wanted", "part"),
    [
        ("bytes=0-9", Part(206, 0, 10)),
        ("bytes=10-", Part(206, 10, 90)),
        ("bytes=-10", Part(206, 90, 10)),
        ("bytes=-1000", Part(206, 0, 100)),
        ("bytes=99-99", Part(206, 99, 1)),
        ("bytes=90-1000", Part(206, 90, 10)),
        ("bytes=0-", Part(206, 0, 100)),
        ("Bytes = 0-0 ", Part(206, 0, 1)),
        ("bytes=100-", Part(416, 0, 0)),
        ("bytes=100-200", Part(416, 0, 0)),
        ("bytes=-0", Part(416, 0, 0)),
        ("bytes=0-1,5-6", WHOLE),
        ("bytes=9-0", WHOLE),
        ("bytes=-", WHOLE),
        ("bytes=a-b", WHOLE),
        ("lines=0-1", WHOLE),
        ("bytes=" + "9" * 19 + "-", WHOLE),
    ],
)
def test_range(wanted: str, part: Part) -> None:
    assert choose(range=wanted) == part


def test_range_is_for_get_and_for_files_with_bytes() -> None:
    assert choose("HEAD", range="bytes=0-9") == WHOLE
    assert choose(size=0, range="bytes=0-9") == Part(200, 0, 0)


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
    assert choose(range="bytes=0-9", if_range=condition) == (Part(206, 0, 10) if applies else WHOLE)


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
    ],
)
def test_if_modified_since(date: str, part: Part) -> None:
    assert choose(if_modified_since=date) == part


def test_etag_counts_before_the_date_and_both_before_the_range() -> None:
    assert choose(if_none_match='"x"', if_modified_since=DATE) == WHOLE
    assert choose(if_none_match=ETAG, range="bytes=0-9") == UNCHANGED


def test_other_methods_know_no_conditions() -> None:
    assert choose("POST", if_none_match="*", range="bytes=0-9") == WHOLE
