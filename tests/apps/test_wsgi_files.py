"""wsgi.file_wrapper: files go out by sendfile, everything else is read."""

import gzip
import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from prefork.http.exchange import Exchange
from tests.apps.wsgi_apps import CLOSE, PLAIN, Environ, StartResponse
from tests.apps.wsgi_server import WsgiServer


def test_file_wrapper_sends_from_the_position_by_sendfile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789" * 100_000)
    opened: list[io.BufferedReader] = []

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", PLAIN)
        file = path.open("rb")
        opened.append(file)
        file.read(3)
        return environ["wsgi.file_wrapper"](file, 10)  # type: ignore[no-any-return]

    sent: list[tuple[int, int]] = []
    original = Exchange.send_file

    async def send_file(self: Exchange, file: Any, offset: int, count: int) -> None:
        sent.append((offset, count))
        assert not file.closed
        await original(self, file, offset, count)

    monkeypatch.setattr(Exchange, "send_file", send_file)
    with WsgiServer(app) as server:
        reply = server.get()
        assert server.client().get("/", "connection: close\r\n").text == reply.text
    assert reply.text == ("0123456789" * 100_000)[3:]
    assert sent == [(3, 999_997)] * 2
    assert all(file.closed for file in opened)


def test_file_wrapper_at_the_end_of_a_file_sends_nothing(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", PLAIN)
        file = path.open("rb")
        file.seek(0, 2)
        return environ["wsgi.file_wrapper"](file)  # type: ignore[no-any-return]

    with WsgiServer(app) as server:
        client = server.client()
        for _ in range(2):
            assert client.get("/").text == ""


@pytest.mark.parametrize(("declared", "expected"), [("4", "0123"), ("10", "0123456789")])
def test_file_wrapper_keeps_to_a_declared_length(tmp_path: Path, declared: str, expected: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Length", declared)])
        return environ["wsgi.file_wrapper"](path.open("rb"))  # type: ignore[no-any-return]

    with WsgiServer(app) as server:
        assert server.get().text == expected
        assert "content-length: " + declared in server.exchange(b"HEAD / HTTP/1.1\r\nhost: a\r\n" + CLOSE).decode()


def test_file_wrapper_reads_what_has_no_descriptor_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "file.gz"
    with gzip.open(path, "wb") as file:
        file.write(b"unpacked " * 5)

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", PLAIN)
        wrapper = environ["wsgi.file_wrapper"]
        if environ["PATH_INFO"] == "/memory":
            return wrapper(io.BytesIO(b"in memory"), 4)  # type: ignore[no-any-return]
        return wrapper(gzip.open(path, "rb"), 4)  # type: ignore[no-any-return]  # closed by the wrapper

    with WsgiServer(app) as server:
        assert b"".join(_chunks(server, "/memory")) == b"in memory"
        assert b"".join(_chunks(server, "/gzip")) == b"unpacked " * 5


def _chunks(server: WsgiServer, path: str) -> Iterator[bytes]:
    """The body of an answer, whether it came in chunks or with a length."""
    answer = server.exchange(f"GET {path} HTTP/1.1\r\nhost: a\r\n".encode() + CLOSE)
    head, _, rest = answer.partition(b"\r\n\r\n")
    if b"content-length" in head:
        yield rest
        return
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        yield rest[: int(size, 16)]
        rest = rest[int(size, 16) + 2 :]


def test_a_file_shorter_than_declared_is_500(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Length", "11")])
        return environ["wsgi.file_wrapper"](path.open("rb"))  # type: ignore[no-any-return]

    with WsgiServer(app) as server:
        assert server.get().status == 500
    assert "declared Content-Length 11, and gave a file with 10 bytes" in caplog.text
