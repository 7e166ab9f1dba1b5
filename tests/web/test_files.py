"""Files as responses."""

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from prefork.system.open_file import OpenFile
from prefork.web import FileResponse, HTTPError, Request
from prefork.web.parts import ONE_WRITE_BYTES
from tests.web.fake_exchange import FakeExchange, Pairs, ask

CONTENT = bytes(range(100))
MODIFIED = 1_700_000_000


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "data.bin"
    path.write_bytes(CONTENT)
    os.utime(path, (MODIFIED, MODIFIED))
    return path


def fetch(path: Any, method: str = "GET", headers: Pairs = (), **options: Any) -> FakeExchange:
    async def handler(request: Request) -> FileResponse:
        return FileResponse(path, **options)

    return ask(handler, method, headers=headers)


def test_whole_file(file: Path) -> None:
    exchange = fetch(file)
    assert (exchange.status, exchange.body, exchange.length) == (200, CONTENT, 100)
    assert exchange.headers["content-type"] == "application/octet-stream"
    assert exchange.headers["accept-ranges"] == "bytes"
    assert exchange.headers["last-modified"] == "Tue, 14 Nov 2023 22:13:20 GMT"
    assert exchange.headers["etag"].strip('"').endswith("-64")


def test_head_tells_the_length(file: Path) -> None:
    exchange = fetch(file, "HEAD")
    assert (exchange.status, exchange.body, exchange.length) == (200, b"", 100)


def test_part_of_a_file(file: Path) -> None:
    exchange = fetch(file, headers=[("Range", "bytes=10-19")])
    assert (exchange.status, exchange.body, exchange.length) == (206, CONTENT[10:20], 10)
    assert exchange.headers["content-range"] == "bytes 10-19/100"


def test_large_file_is_not_read_into_memory(tmp_path: Path) -> None:
    content = os.urandom(ONE_WRITE_BYTES + 1)
    path = tmp_path / "large.bin"
    path.write_bytes(content)
    exchange = fetch(path)
    assert (exchange.body, exchange.length) == (content, len(content))
    assert exchange.file_pieces == [(0, len(content))]
    exchange = fetch(path, headers=[("Range", "bytes=1-")])
    assert exchange.body == content[1:]
    assert exchange.file_pieces == []
    assert fetch(path, "HEAD").length == len(content)


def test_several_parts_of_a_file(tmp_path: Path, file: Path) -> None:
    for size in (100, 3 * ONE_WRITE_BYTES):
        content = os.urandom(size)
        path = tmp_path / "some.txt"
        path.write_bytes(content)
        middle = size // 2
        exchange = fetch(path, headers=[("Range", f"bytes={middle}-{size - 2}, 0-9")])
        assert exchange.status == 206
        assert exchange.length == len(exchange.body)
        kind, _, boundary = exchange.headers["content-type"].partition("; boundary=")
        assert kind == "multipart/byteranges"
        assert "content-range" not in exchange.headers
        type_line = b"content-type: text/plain; charset=utf-8\r\n"
        expected = b""
        for first, last in ((middle, size - 2), (0, 9)):
            expected += b"\r\n--%b\r\n" % boundary.encode()
            expected += type_line + b"content-range: bytes %d-%d/%d\r\n\r\n" % (first, last, size)
            expected += content[first : last + 1]
        assert exchange.body == expected[2:] + b"\r\n--%b--\r\n" % boundary.encode()
        if size > 100:
            assert exchange.file_pieces == [(middle, size - 1 - middle), (0, 10)]


def test_condition_that_fails_is_412(file: Path) -> None:
    exchange = fetch(file, headers=[("If-Match", '"other"')])
    assert (exchange.status, exchange.text) == (412, "Precondition Failed\n")


def test_file_that_is_cut_while_it_is_read_is_no_whole_one(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def shortened(self: OpenFile, offset: int, count: int, *, wait: bool) -> bytes:
        raise EOFError("the file ended 1 bytes early")

    monkeypatch.setattr(OpenFile, "read", shortened)
    assert fetch(file).status == 500


def test_part_that_does_not_exist(file: Path) -> None:
    exchange = fetch(file, headers=[("Range", "bytes=100-")])
    assert (exchange.status, exchange.body) == (416, b"")
    assert exchange.headers["content-range"] == "bytes */100"


def test_unchanged_file_is_not_sent_again(file: Path) -> None:
    etag = fetch(file).headers["etag"]
    exchange = fetch(file, headers=[("If-None-Match", etag)])
    assert (exchange.status, exchange.body) == (304, b"")
    assert exchange.headers["etag"] == etag
    assert "content-type" not in exchange.headers
    file.write_bytes(CONTENT + b"!")
    assert fetch(file, headers=[("If-None-Match", etag)]).status == 200


def test_other_status_is_sent_whole_whatever_the_conditions(file: Path) -> None:
    exchange = fetch(file, headers=[("If-None-Match", "*"), ("Range", "bytes=0-1")], status=404)
    assert (exchange.status, exchange.body) == (404, CONTENT)


def test_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "empty.txt"
    path.touch()
    exchange = fetch(path, headers=[("Range", "bytes=0-1")])
    assert (exchange.status, exchange.body, exchange.length) == (200, b"", 0)


def test_path_that_leads_to_no_file_is_404(tmp_path: Path, file: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "loop").symlink_to("loop")
    for path in (
        *(tmp_path / "none", tmp_path, tmp_path / "fifo", tmp_path / "loop", file / "below"),
        *(f"{file}\0", "x" * 300),
    ):
        exchange = fetch(path)
        assert (exchange.status, exchange.text) == (404, "Not Found\n"), path


@pytest.mark.parametrize(
    ("name", "content_type"),
    [
        ("a.html", "text/html; charset=utf-8"),
        ("a.png", "image/png"),
        ("a.json", "application/json"),
        ("a.tar.gz", "application/gzip"),
        ("a.svgz", "application/gzip"),
        ("a.txt.bz2", "application/octet-stream"),
        ("a.unknown", "application/octet-stream"),
        ("a", "application/octet-stream"),
    ],
)
def test_content_type_follows_the_name(name: str, content_type: str) -> None:
    assert FileResponse(name).headers["content-type"] == content_type
    assert FileResponse("other", filename=name).headers["content-type"] == content_type
    assert FileResponse(name, content_type="a/b").headers["content-type"] == "a/b"


@pytest.mark.parametrize(
    ("filename", "expected"),
    [
        ("plain name.txt", 'attachment; filename="plain name.txt"'),
        ("naïve €.txt", "attachment; filename=\"na_ve _.txt\"; filename*=UTF-8''na%C3%AFve%20%E2%82%AC.txt"),
        ('a"b\\.txt', "attachment; filename=\"a_b_.txt\"; filename*=UTF-8''a%22b%5C.txt"),
        ("a\r\nb", "attachment; filename=\"a__b\"; filename*=UTF-8''a%0D%0Ab"),
        ("50%41", "attachment; filename=\"50_41\"; filename*=UTF-8''50%2541"),
    ],
)
def test_download_name(filename: str, expected: str) -> None:
    assert FileResponse("x", filename=filename).headers["content-disposition"] == expected


def test_name_without_download(file: Path) -> None:
    response = FileResponse(file, filename="a.txt", disposition="inline")
    assert response.headers["content-disposition"] == 'inline; filename="a.txt"'


def test_missing_file_raises_before_anything_is_sent() -> None:
    exchange = FakeExchange()
    with pytest.raises(HTTPError, match="404"):
        asyncio.run(FileResponse("/none").send(exchange))
    assert not exchange.started
