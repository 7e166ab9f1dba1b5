"""The shop on FastAPI, asyncpg and a PostgreSQL of its own."""

import json
import subprocess
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.frameworks.site import EXAMPLES, Site, serve

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(not any(Path("/usr/lib/postgresql").glob("*/bin/initdb")), reason="PostgreSQL is not installed"),
]

SCRIPT = str(EXAMPLES / "example-db.sh")


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    """Its URL. Not in pytest's folder: root's cluster runs as another user, who cannot go there."""
    with TemporaryDirectory(prefix="prefork-db-") as folder:
        started = subprocess.run([SCRIPT, "start", folder], stdout=subprocess.PIPE, text=True, check=True)
        try:
            yield started.stdout.strip()
        finally:
            subprocess.run([SCRIPT, "stop", folder], check=True)


@pytest.fixture(scope="module")
def site(database: str, folder: Path, environment: pytest.MonkeyPatch) -> Iterator[Site]:
    environment.setenv("DATABASE", database)
    with serve("fastapi_postgres:app", folder) as site:
        yield site


def test_items_are_kept(site: Site) -> None:
    added = site.http.post("/items", json={"name": "Teapot", "stock": 3})
    assert added.status_code == 201
    for _ in range(2):  # on both workers
        with site.client() as client:
            assert added.json() in client.get("/items").json()
    assert site.http.post("/items", json={"name": "Teapot", "stock": 3}).status_code == 409
    assert site.http.post("/items", json={"name": "", "stock": -1}).status_code == 422


def test_nothing_is_sold_twice(site: Site) -> None:
    id = site.http.post("/items", json={"name": "Kettle", "stock": 10}).json()["id"]

    def buy(_: int) -> int:
        with site.client() as client:
            return client.post(f"/items/{id}/sales").status_code

    with ThreadPoolExecutor(8) as buyers:
        assert Counter(buyers.map(buy, range(24))) == {201: 10, 409: 14}
    assert site.http.post("/items/0/sales").status_code == 404


def test_a_sale_is_heard_from_every_worker(site: Site) -> None:
    id = site.http.post("/items", json={"name": "Cup", "stock": 2}).json()["id"]
    with ExitStack() as stack:
        clients = [stack.enter_context(site.client()) for _ in range(2)]
        streams = [stack.enter_context(client.stream("GET", "/events")).iter_lines() for client in clients]
        for lines in streams:
            assert next(lines) == "event: stock"
        sold = site.http.post(f"/items/{id}/sales").json()
        for lines in streams:
            assert next(line for line in lines if line == "event: sold")
            assert json.loads(next(lines).removeprefix("data: ")) == sold
