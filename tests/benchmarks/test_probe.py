"""A server is loaded only after it gave the answer that all of them give."""

from io import BytesIO

import pytest

from benchmarks.probe import Answer, ProbeError, check_hello, read_answer

FIELDS = {"content-type": "text/plain; charset=utf-8", "content-length": "13"}
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


def test_a_connection_closed_without_an_answer_is_a_connection_error() -> None:
    with pytest.raises(ConnectionResetError):
        read_answer(BytesIO(b""))
