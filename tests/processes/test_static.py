"""Folders before an app, served by a real tree: every byte is right, and nothing is left when a client leaves."""

import hashlib
import os
import time
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.processes.patience import GUARD_SECONDS
from tests.processes.proc import descriptors
from tests.processes.tree import Tree

pytestmark = pytest.mark.processes

SIZE = 1024 * 1024
HUGE = 64 * SIZE  # more than the kernel takes for a client that does not read


@pytest.fixture
def content() -> bytes:
    return os.urandom(SIZE)


@pytest.fixture
def folder(tmp_path: Path, content: bytes) -> Path:
    folder = tmp_path / "public"
    folder.mkdir()
    (folder / "large.bin").write_bytes(content)
    (folder / "small.txt").write_bytes(content[:1000])
    (folder / "app.js").write_text("plain")
    (folder / "app.js.gz").write_text("compressed")
    return folder


class Browser:
    """One connection, which must be kept."""

    def __init__(self, address: str) -> None:
        parts = urlsplit(address)
        assert parts.hostname is not None
        self._connection = HTTPConnection(parts.hostname, parts.port, timeout=GUARD_SECONDS)
        self._connection.connect()
        self._socket = self._connection.sock

    def ask(self, path: str, method: str = "GET", **fields: str) -> tuple[HTTPResponse, bytes]:
        headers = {name.replace("_", "-"): value for name, value in fields.items()}
        self._connection.request(method, path, headers=headers)
        response = self._connection.getresponse()
        body = response.read()
        assert self._connection.sock is self._socket, "the server closed the connection"
        return response, body

    def close(self) -> None:
        self._connection.close()


@pytest.fixture
def browser(tree: Tree, folder: Path) -> Iterator[Browser]:
    tree.start("faults:app", "--static", f"/assets={folder}", workers=1)
    browser = Browser(tree.address)
    yield browser
    browser.close()


def test_every_byte_is_right_and_the_connection_kept(browser: Browser, content: bytes) -> None:
    response, body = browser.ask("/assets/large.bin")
    assert (response.status, body == content) == (200, True)
    etag = str(response.headers["etag"])
    for path, whole in (("/assets/large.bin", content), ("/assets/small.txt", content[:1000])):
        response, body = browser.ask(path, "HEAD")
        assert (response.status, int(response.headers["content-length"]), body) == (200, len(whole), b"")
        for first, last in ((0, 0), (0, 99), (10, 998), (len(whole) - 1, len(whole) - 1), (1, len(whole) - 1)):
            response, body = browser.ask(path, range=f"bytes={first}-{last}")
            assert (response.status, body == whole[first : last + 1]) == (206, True)
            assert response.headers["content-range"] == f"bytes {first}-{last}/{len(whole)}"
        response, body = browser.ask(path, range="bytes=-100")
        assert body == whole[-100:]
        response, body = browser.ask(path, range=f"bytes={len(whole)}-")
        assert (response.status, body) == (416, b"")
        response, body = browser.ask(path)
        assert (response.status, body == whole) == (200, True)
    response, body = browser.ask("/assets/large.bin", if_none_match=etag)
    assert (response.status, body) == (304, b"")
    response, body = browser.ask("/assets/large.bin", range="bytes=0-9", if_range=etag)
    assert (response.status, body) == (206, content[:10])
    assert browser.ask("/assets/none")[0].status == 404
    assert browser.ask("/who")[0].status == 200


def test_file_put_together_from_its_parts(browser: Browser, content: bytes) -> None:
    step = 100_003
    parts = [
        browser.ask("/assets/large.bin", range=f"bytes={at}-{at + step - 1}")[1] for at in range(0, len(content), step)
    ]
    assert hashlib.sha256(b"".join(parts)).digest() == hashlib.sha256(content).digest()


def test_several_parts_in_one_response(browser: Browser, content: bytes) -> None:
    wanted = [(500_000, 900_000), (0, 9), (400_000, 400_000)]
    response, body = browser.ask("/assets/large.bin", range="bytes=" + ",".join(f"{a}-{b}" for a, b in wanted))
    assert response.status == 206
    boundary = response.headers["content-type"].partition("boundary=")[2].encode()
    *parts, end = (b"\r\n" + body).split(b"\r\n--" + boundary)[1:]
    assert end == b"--\r\n"
    for (first, last), part in zip(wanted, parts, strict=True):
        head, _, piece = part.partition(b"\r\n\r\n")
        assert f"content-range: bytes {first}-{last}/{SIZE}".encode() in head
        assert piece == content[first : last + 1]
    assert browser.ask("/who")[0].status == 200


def test_compressed_file_beside(browser: Browser) -> None:
    assert browser.ask("/assets/app.js")[1] == b"plain"
    response, body = browser.ask("/assets/app.js", accept_encoding="gzip, br")
    assert (body, response.headers["content-encoding"]) == (b"compressed", "gzip")


def test_client_that_leaves_in_the_middle_leaves_nothing_behind(tree: Tree, browser: Browser, folder: Path) -> None:
    path = folder / "huge.bin"
    path.touch()
    os.truncate(path, HUGE)
    worker = tree.announced_workers[0]
    browser.ask("/who")
    before = sorted(descriptors(worker))
    clients = [tree.asking("/assets/huge.bin") for _ in range(8)]
    for client in clients:
        client.receive_until(b"\r\n\r\n")
    assert descriptors(worker).count(str(path)) == len(clients)
    for number, client in enumerate(clients):
        client.reset() if number % 2 else client.close()
    end = time.monotonic() + GUARD_SECONDS
    while sorted(descriptors(worker)) != before:
        assert time.monotonic() < end, descriptors(worker)
        browser.ask("/who")  # the loop has turned: it may have heard of it now
    assert browser.ask("/assets/small.txt")[0].status == 200


def test_folder_before_an_asgi_app(tree: Tree, folder: Path) -> None:
    tree.write(
        "site_app.py",
        "async def app(scope, receive, send):\n"
        "    if scope['type'] == 'http':\n"
        "        await send({'type': 'http.response.start', 'status': 200, 'headers': []})\n"
        "        await send({'type': 'http.response.body', 'body': scope['path'].encode()})\n"
        "    else:\n"
        "        raise NotImplementedError(scope['type'])\n",
    )
    tree.start("site_app:app", "--static", f"/={folder}", workers=1)
    assert tree.get("/app.js").text == "plain"
    assert tree.get("/other").text == "/other"
    assert tree.get("/../app.js").text == "/../app.js"


def test_folder_that_does_not_exist_is_one_clear_line(tree: Tree, tmp_path: Path) -> None:
    tree.launch("faults:app", "--static", "/assets=none")
    assert tree.wait_exit() == 2
    assert tree.log.find(rf"static '/assets=none': there is no folder {tmp_path}/none")
    assert not tree.log.find("Traceback")
