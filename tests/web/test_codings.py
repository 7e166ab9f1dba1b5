"""Which compressed file a client may get, and what type a file's name tells."""

import mimetypes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefork.web.codings import accepted
from prefork.web.content_types import guess_type, may_shrink


def names(*values: str) -> str:
    return " ".join(coding.name.decode() for coding in accepted([(b"accept-encoding", v.encode()) for v in values]))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("gzip, deflate, br, zstd", "br zstd gzip"),
        ("gzip", "gzip"),
        ("GZip", "gzip"),
        ("x-gzip", "gzip"),
        ("gzip;q=1.0, br;q=0.5", "gzip br"),
        ("gzip ; q=0.5 , br;Q=0.5", "br gzip"),
        ("br;q=0", ""),
        ("br;q=0.000, gzip;q=0.001", "gzip"),
        ("*", "br zstd gzip"),
        ("br;q=0, *", "zstd gzip"),
        ("*;q=0", ""),
        ("gzip, *;q=0", "gzip"),
        ("identity;q=1, *;q=0", ""),  # browsers, of sound and films
        ("identity;q=0.5, br;q=0.4, gzip;q=0.6", "gzip"),
        ("identity;q=0", ""),  # nothing else is accepted either: the file as it is (RFC 9110, 12.5.3)
        ("", ""),
        ("deflate", ""),
        ("gzip;q=2, br;q=x, zstd;q=0.1234", ""),  # broken: not said
        ("gzip;level=1", ""),
        (",, ,gzip,", "gzip"),
    ],
)
def test_accept_encoding(value: str, expected: str) -> None:
    assert names(value) == expected


def test_several_fields_are_one_list() -> None:
    assert names("gzip", "br;q=0.1") == "gzip br"
    assert accepted([]) == ()
    assert names("x" * 200 + ", gzip") == "gzip"


@given(st.binary(max_size=200))
def test_any_value_is_an_answer(value: bytes) -> None:
    assert len(accepted([(b"accept-encoding", value)])) <= 3


@pytest.mark.parametrize(
    ("name", "content_type", "shrinks"),
    [
        ("app.js", "text/javascript; charset=utf-8", True),
        ("app.MJS", "text/javascript; charset=utf-8", True),
        ("app.css", "text/css; charset=utf-8", True),
        ("app.js.map", "application/json", True),
        ("a.json", "application/json", True),
        ("a.svg", "image/svg+xml", True),
        ("a.ico", "image/vnd.microsoft.icon", True),
        ("a.wasm", "application/wasm", True),
        ("a.webmanifest", "application/manifest+json", True),
        ("a.ttf", "font/ttf", True),
        ("a", "application/octet-stream", True),
        ("a.webp", "image/webp", False),
        ("a.avif", "image/avif", False),
        ("a.woff2", "font/woff2", False),
        ("a.mp4", "video/mp4", False),
        ("a.js.gz", "application/gzip", False),
        ("data:text/html,a.unknown", "application/octet-stream", True),
    ],
)
def test_type_of_a_name(name: str, content_type: str, shrinks: bool) -> None:
    assert guess_type(name) == content_type
    assert may_shrink(content_type) == shrinks


def test_type_does_not_depend_on_the_machine() -> None:
    mimetypes.add_type("text/plain", ".js")  # as a registry or /etc/mime.types may say
    mimetypes.add_type("text/plain", ".docx")
    try:
        assert guess_type("app.js").startswith("text/javascript")
        assert guess_type("a.docx").startswith("application/")
    finally:
        mimetypes.init()
