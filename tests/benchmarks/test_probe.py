"""A server is loaded only after it gave the answer that all of them give."""

from io import BytesIO

import pytest

from benchmarks.probe import Answer, ProbeError, check, check_hello, read_answer

FIELDS = {"content-type": "text/plain; charset=utf-8", "content-length": "13"}
CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"
HELLO = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 13\r\n\r\nHello, world!"


def test_pipelined_answers_are_read_one_by_one() -> None:
    stream = BytesIO(HELLO * 2)
    assert [read_answer(stream), read_answer(stream)] == [Answer(200, FIELDS, b"Hello, world!")] * 2
    assert stream.read() == b""


def test_the_common_answer_passes() -> None:
    check_hello(read_answer(BytesIO(HELLO)))


@pytest.mark.parametrize(
    "answer",
    [
        Answer(500, FIELDS, b"Hello, world!"),
        Answer(200, {"content-type": "application/json"}, b"Hello, world!"),
        Answer(200, FIELDS, b"Hello, World!"),
    ],
)
def test_any_other_answer_is_refused(answer: Answer) -> None:
    with pytest.raises(ProbeError, match="instead of"):
        check_hello(answer)


@pytest.mark.parametrize("answer", [b"SSH-2.0-x\r\n", b"HTTP/1.1 200 OK\r\n\r\n"])
def test_what_is_no_answer_with_a_length_is_refused(answer: bytes) -> None:
    with pytest.raises(ProbeError):
        read_answer(BytesIO(answer))


def test_a_chunked_answer_is_read_to_its_end_and_no_further() -> None:
    stream = BytesIO(CHUNKED + b"5\r\nHello\r\n8;x=1\r\n, world!\r\n0\r\n\r\n" + HELLO)
    assert read_answer(stream).body == b"Hello, world!"
    assert stream.read() == HELLO


@pytest.mark.parametrize("chunks", [b"5\r\nHel", b"5\r\nHello!\r\n0\r\n\r\n", b"five\r\nHello\r\n", b"5\r\nHello\r\n"])
def test_chunks_that_are_cut_or_malformed_are_refused(chunks: bytes) -> None:
    with pytest.raises(ProbeError, match="chunk"):
        read_answer(BytesIO(CHUNKED + chunks))


def test_a_long_body_that_differs_is_told_by_its_length_and_not_printed_whole() -> None:
    answer = Answer(200, {"content-type": "application/octet-stream"}, b"x" * 1_000_000)
    check(answer, "application/octet-stream", b"x" * 1_000_000)
    with pytest.raises(ProbeError, match=r"\(1000000 bytes\).*\(999999 bytes\)") as caught:
        check(answer, "application/octet-stream", b"x" * 999_999)
    assert len(str(caught.value)) < 300


def test_a_connection_closed_without_an_answer_is_a_connection_error() -> None:
    with pytest.raises(ConnectionResetError):
        read_answer(BytesIO(b""))
