"""Framing by itself: lengths and chunks, cut anywhere, just below and just above each limit."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefork.http.body import CHUNK_EXTENSION_BYTES, CHUNK_LINE_BYTES, ChunkedFraming, Framing, LengthFraming


def cut(framing: Framing, *pieces: bytes) -> tuple[bytes, bytes]:
    """The payload of these pieces, and what is left over at the end."""
    payload, rest = b"", b""
    for piece in pieces:
        taken, rest = framing.cut(rest + piece)
        payload += taken
    return payload, rest


def chunked(fields: int = 10, field_bytes: int = 1000) -> ChunkedFraming:
    return ChunkedFraming(fields, field_bytes)


def status(framing: Framing, *pieces: bytes) -> int | None:
    cut(framing, *pieces)
    return framing.error.status if framing.error is not None else None


@given(st.binary(max_size=50), st.binary(max_size=50), st.integers(0, 100))
def test_a_length_takes_its_bytes_and_no_more(body: bytes, behind: bytes, at: int) -> None:
    data = body + behind
    framing = LengthFraming(len(body))
    assert framing.done is (not body)
    if body:
        payload, rest = cut(framing, data[:at], data[at:]) if at < len(body) else cut(framing, data)
        assert (payload, rest) == (body, behind)
    assert framing.done


@given(st.lists(st.binary(min_size=1, max_size=30)), st.binary(max_size=20), st.lists(st.integers(0, 300), max_size=5))
def test_chunks_cut_anywhere_are_joined_and_what_is_behind_is_left(
    chunks: list[bytes], behind: bytes, cuts: list[int]
) -> None:
    data = b"".join(b"%X;a=b\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\nA: 1\r\n\r\n"
    ends = sorted({min(at, len(data) - 1) for at in cuts} | {len(data)})
    pieces = [data[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    framing = chunked()
    assert cut(framing, *pieces[:-1], pieces[-1] + behind) == (b"".join(chunks), behind)
    assert framing.done
    assert framing.error is None


def test_bytes_of_a_large_chunk_are_passed_on_as_they_come() -> None:
    framing = chunked()
    assert framing.cut(b"ffffffff\r\n") == (b"", b"")
    for _ in range(3):
        assert framing.cut(b"x" * 1000) == (b"x" * 1000, b"")


def test_what_stands_before_an_error_is_still_payload() -> None:
    framing = chunked()
    assert framing.cut(b"5\r\nhello\r\nnonsense\r\n") == (b"hello", b"")
    assert framing.error is not None


@pytest.mark.parametrize(("length", "refused"), [(CHUNK_LINE_BYTES, None), (CHUNK_LINE_BYTES + 1, 400)])
@pytest.mark.parametrize("complete", [True, False])
def test_a_chunk_line_has_a_limit_that_does_not_wait_for_its_end(
    length: int, refused: int | None, complete: bool
) -> None:
    line = b"1;" + b"x" * (length - 4) + b"\r\n" if complete else b"1;" + b"x" * (length - 2)
    assert status(chunked(), line) == refused


def test_extensions_of_all_chunks_together_have_a_limit() -> None:
    extension = b";" + b"x" * 127
    below = (b"1%b\r\nx\r\n" % extension) * (CHUNK_EXTENSION_BYTES // len(extension))
    assert status(chunked(), below) is None
    assert status(chunked(), below + b"1;x\r\n") == 400


@pytest.mark.parametrize(("fields", "refused"), [(3, None), (4, 431)])
def test_trailers_are_counted(fields: int, refused: int | None) -> None:
    assert status(chunked(fields=3), b"0\r\n" + b"A: 1\r\n" * fields + b"\r\n") == refused


@pytest.mark.parametrize(("length", "refused"), [(98, None), (99, 431)])
@pytest.mark.parametrize("complete", [True, False])
def test_trailers_are_weighed_also_before_they_end(length: int, refused: int | None, complete: bool) -> None:
    line = b"A:" + b"x" * (length - 4) + b"\r\n\r\n" if complete else b"A:" + b"x" * (length - 2)
    expected = refused if complete else (None if length <= 100 else 431)
    assert status(chunked(field_bytes=100), b"0\r\n" + line) == expected


def test_an_endless_trailer_is_refused_before_its_end() -> None:
    assert status(chunked(field_bytes=100), b"0\r\nA:", b"x" * 99) == 431


@pytest.mark.parametrize("size", [b"0" * 16, b"000000000000000A", b"fffffffffffffffF"])
def test_sizes_of_up_to_sixteen_digits_are_read(size: bytes) -> None:
    assert status(chunked(), size + b"\r\n") is None
