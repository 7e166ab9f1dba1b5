"""The bookshelf on Litestar."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.frameworks.site import Site, serve
from tests.processes.patience import GUARD_SECONDS

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def site(folder: Path, environment: pytest.MonkeyPatch) -> Iterator[Site]:
    environment.setenv("SHELF_FOLDER", str(folder / "shelf"))
    with serve("litestar_shelf:app", folder) as site:
        yield site


def test_a_book_stands_on_the_shelf_of_every_worker(site: Site) -> None:
    added = site.http.post("/books", json={"title": "Emma", "author": "Jane Austen", "year": 1815})
    assert added.status_code == 201
    place = f"/books/{added.json()['id']}"
    for _ in range(2):
        with site.client() as client:
            assert client.get(place).json() == added.json()
    assert site.http.delete(place).status_code == 204
    assert site.http.delete(place).status_code == 404
    assert site.http.get(place).json() == {"status_code": 404, "detail": f"there is no book {place[7:]}"}


def test_a_wrong_book_is_refused(site: Site) -> None:
    refused = site.http.post("/books", json={"title": "", "author": "x", "year": 1})
    assert (refused.status_code, refused.json()["extra"][0]["key"]) == (400, "title")
    assert site.http.post("/books", content=b"{").status_code == 400
    assert site.http.get("/books?limit=0").status_code == 400
    assert site.http.get("/none").status_code == 404
    assert site.http.put("/books").status_code == 405


def test_a_file_of_books_goes_in_and_out(site: Site) -> None:
    rows = "".join(f'"Volume {number}, with a comma",Somebody,{1900 + number % 100}\r\n' for number in range(300))
    loaded = site.http.post("/books.csv", files={"data": ("books.csv", "title,author,year\r\n" + rows)})
    assert (loaded.status_code, loaded.json()) == (201, {"added": 300})
    assert site.http.get("/books.csv").text.endswith(rows)
    page = site.http.get("/books", params={"limit": 100}).json()
    assert len(page) == 100
    assert site.http.get("/books", params={"limit": 1, "after": page[0]["id"]}).json() == page[1:2]
    assert site.http.post("/books.csv", files={"data": ("x", "title\r\nonly\r\n")}).status_code == 400


def test_titles_are_looked_up_over_a_websocket(site: Site) -> None:
    for title in ("Dubliners", "dune", "Oblomov"):
        site.http.post("/books", json={"title": title, "author": "x", "year": 1900})
    with site.socket("/titles") as socket:
        for beginning, titles in (("du", ["Dubliners", "dune"]), ("dun", ["dune"]), ("x", [])):
            socket.send(beginning)
            assert json.loads(socket.recv(GUARD_SECONDS)) == titles


def test_its_interface_is_described(site: Site) -> None:
    assert "/books/{id}" in site.http.get("/schema/openapi.json").json()["paths"]
