"""The place to drop files, on Flask."""

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from tests.frameworks.site import Site, connection_of, serve

pytestmark = pytest.mark.processes

DATA = bytes(range(256)) * 8192  # 2 MiB: more than one piece of anything


@pytest.fixture(scope="module")
def site(folder: Path, environment: pytest.MonkeyPatch) -> Iterator[Site]:
    environment.setenv("DROP_FOLDER", str(folder / "drop"))
    with serve("flask_drop:app", folder) as site:
        yield site


def drop(site: Site, name: str, data: bytes) -> int:
    return site.http.post("/files", files={"file": (name, data)}).status_code


def test_a_file_comes_back_whole_and_in_part(site: Site) -> None:
    assert drop(site, "data.bin", DATA) == 303
    assert '<a href="/files/data.bin">' in site.http.get("/").text
    whole = site.http.get("/files/data.bin")
    assert whole.content == DATA
    assert whole.headers["content-disposition"] == "attachment; filename=data.bin"
    part = site.http.get("/files/data.bin", headers={"range": "bytes=1000-1999"})
    assert (part.status_code, part.content) == (206, DATA[1000:2000])
    known = site.http.get("/files/data.bin", headers={"if-none-match": whole.headers["etag"]})
    assert (known.status_code, known.content) == (304, b"")
    assert site.http.head("/files/data.bin").headers["content-length"] == str(len(DATA))


def test_digests_are_streamed(site: Site) -> None:
    assert drop(site, "a.txt", b"tea") == 303
    sums = site.http.get("/SHA256SUMS")
    assert f"{sha256(b'tea').hexdigest()}  a.txt\n" in sums.text


def test_a_file_is_removed(site: Site) -> None:
    assert drop(site, "old.txt", b"x") == 303
    assert site.http.post("/files/old.txt/removal").status_code == 303
    assert site.http.get("/files/old.txt").status_code == 404
    assert site.http.post("/files/old.txt/removal").status_code == 404


def test_a_wrong_request_gets_a_page_that_says_why(site: Site) -> None:
    empty = site.http.post("/files")
    assert (empty.status_code, "choose a file first" in empty.text) == (400, True)
    large = site.http.post("/files", files={"file": ("large", bytes(11 * 1024 * 1024))})
    assert (large.status_code, "exceeds the capacity limit" in large.text) == (413, True)
    assert site.http.get("/files/..%2F..%2Fetc%2Fpasswd").status_code == 404
    assert site.http.put("/files").status_code == 405
    assert site.http.get("/").status_code == 200


def test_a_connection_is_kept_even_over_a_reload(site: Site) -> None:
    with site.client() as client:
        connections = {connection_of(client.get("/")) for _ in range(3)}
        site.reload()
        connections |= {connection_of(client.get("/")) for _ in range(3)}
    assert len(connections) == 1
