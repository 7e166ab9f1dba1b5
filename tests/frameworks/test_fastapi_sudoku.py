"""Sudoku on FastAPI, which offloads what computes."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.frameworks.site import Site, serve
from tests.processes.patience import GUARD_SECONDS

pytestmark = pytest.mark.processes

SOLVED = "534678912672195348198342567859761423426853791713924856961537284287419635345286179"
HOPELESS = "12345678." + "........9" + "." * 63  # the last cell of the first row can be no digit


@pytest.fixture(scope="module")
def site(folder: Path) -> Iterator[Site]:
    with serve("fastapi_sudoku:app", folder) as site:
        yield site


def puzzle(site: Site, name: str) -> str:
    grid: str = site.http.get(f"/puzzles/{name}").json()["grid"]
    return grid


def test_a_puzzle_is_solved_in_another_process(site: Site) -> None:
    solution = site.http.post("/solutions", json={"grid": puzzle(site, "easy")})
    assert (solution.status_code, solution.json()["grid"]) == (200, SOLVED)


def test_others_are_answered_while_it_computes(site: Site) -> None:
    cruel = puzzle(site, "cruel")
    answered = 0
    with ThreadPoolExecutor(1) as threads:
        solution = threads.submit(httpx.post, f"{site.url}/solutions", json={"grid": cruel}, timeout=GUARD_SECONDS)
        while not solution.done():
            with site.client() as client:  # on each worker in turn
                assert client.get("/check", params={"grid": cruel}).status_code == 200
            answered += not solution.done()
        assert "." not in solution.result().json()["grid"]
    assert answered >= 10  # a worker that computes itself answers none


def test_what_cannot_be_solved_is_refused(site: Site) -> None:
    no = site.http.post("/solutions", json={"grid": HOPELESS})
    assert (no.status_code, no.json()) == (422, {"detail": "it has no solution"})
    assert site.http.post("/solutions", json={"grid": "11" + "." * 79}).status_code == 422
    wrong = site.http.post("/solutions", json={"grid": "12"})
    assert wrong.json()["detail"][0]["type"] == "string_pattern_mismatch"
    assert site.http.post("/solutions", content=b"{").status_code == 422
    assert site.http.get("/puzzles/none").status_code == 404
    assert site.http.get("/solutions").status_code == 405


def test_a_game_is_checked_move_by_move(site: Site) -> None:
    with site.socket("/play") as socket:
        for grid, conflicts, complete in [
            (SOLVED, [], True),
            ("." + SOLVED[1:], [], False),
            ("11" + "." * 79, [0, 1], False),
        ]:
            socket.send(json.dumps({"grid": grid}))
            assert json.loads(socket.recv(GUARD_SECONDS)) == {"conflicts": conflicts, "complete": complete}
        socket.send("hello")
        assert "error" in json.loads(socket.recv(GUARD_SECONDS))


def test_its_interface_is_described(site: Site) -> None:
    assert set(site.http.get("/openapi.json").json()["paths"]) == {"/solutions", "/puzzles/{name}", "/check"}
    assert "swagger" in site.http.get("/docs").text
