"""Files by sendfile(2): the descriptor the kernel writes to is a pipe here, the transport beside it a fake."""

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

from prefork.errors import ResponseError
from prefork.http.exchange import Exchange
from prefork.http.sendfile import PIECE_BYTES
from tests.http.server import PLAIN, Client, Server, request
from tests.http.transport import Pipe

CONTENT = bytes(range(256)) * 4096  # 1 MiB: more than a piece, and than a pipe holds


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    pipe.close()


@pytest.fixture
def file(tmp_path: Path) -> Iterator[BinaryIO]:
    (tmp_path / "content").write_bytes(CONTENT)
    with open(tmp_path / "content", "rb") as file:
        yield file


class Download:
    """A client that asks for part of a file."""

    def __init__(
        self, file: BinaryIO, pipe: Pipe, offset: int = 0, count: int = len(CONTENT), method: str = "GET"
    ) -> None:
        self.errors: list[Exception] = []
        self.pipe = pipe
        self.server = Server(self._app)
        self.client: Client = self.server.connect(socket=pipe)
        self._part = file, offset, count
        self.client.send(request(method))

    async def _app(self, exchange: Exchange) -> None:
        exchange.start(200, PLAIN, self._part[2])
        try:
            await exchange.send_file(*self._part)
        except ResponseError as error:
            self.errors.append(error)
            return
        exchange.finish()

    def body(self) -> bytes:
        """Everything that comes, read as fast as it comes."""
        received = b""
        while piece := self.pipe.read():
            received += piece
            for ready in list(self.server.loop.writers.values()):
                ready()
            self.server.run()
        return received


def test_a_file_larger_than_what_the_client_takes_at_once_arrives_whole(file: BinaryIO, pipe: Pipe) -> None:
    assert len(CONTENT) > PIECE_BYTES
    download = Download(file, pipe)
    assert b"content-length: %d\r\n" % len(CONTENT) in download.client.received
    assert download.body() == CONTENT
    assert len(download.server.flight.requests) == 1
    assert download.server.loop.writers == {}


def test_part_of_a_file_is_that_part(file: BinaryIO, pipe: Pipe) -> None:
    assert Download(file, pipe, 100, 1000).body() == CONTENT[100:1100]


def test_head_and_an_empty_part_send_nothing(file: BinaryIO, pipe: Pipe) -> None:
    assert Download(file, pipe, method="HEAD").body() == b""
    assert Download(file, pipe, 5, 0).body() == b""


def test_a_file_that_has_shrunk_cuts_the_connection(file: BinaryIO, pipe: Pipe) -> None:
    download = Download(file, pipe, len(CONTENT) - 10, 20)
    assert download.body() == CONTENT[-10:]
    assert [str(error) for error in download.errors] == ["the file ended 10 bytes early"]
    assert download.client.transport.lost


def test_a_client_that_leaves_ends_the_sending(file: BinaryIO, pipe: Pipe) -> None:
    download = Download(file, pipe)
    assert len(download.server.loop.writers) == 1
    download.client.vanish()
    assert download.server.cancelled == ["/"]
    assert download.server.loop.writers == {}


def test_the_file_waits_for_what_was_written_before_it(file: BinaryIO, pipe: Pipe) -> None:
    async def app(exchange: Exchange) -> None:
        exchange.start(200, PLAIN, 10)
        await exchange.write(b"hello")
        await exchange.send_file(file, 0, 5)
        exchange.finish()

    server = Server(app)
    client = server.connect(socket=pipe)
    client.transport.slow = True
    client.get()
    assert pipe.read() == b""
    client.read(10_000)
    assert client.received.endswith(b"hello")
    assert pipe.read() == CONTENT[:5]


def test_in_a_body_of_chunks_a_file_is_one_of_them(file: BinaryIO, pipe: Pipe) -> None:
    async def app(exchange: Exchange) -> None:
        exchange.start(200, PLAIN)
        await exchange.send_file(file, 0, 5)
        exchange.finish()

    client = Server(app).connect(socket=pipe).get()
    assert pipe.read() == CONTENT[:5]
    assert client.received.endswith(b"\r\n\r\n5\r\n\r\n0\r\n\r\n")  # without what sendfile wrote
