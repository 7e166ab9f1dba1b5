"""Dice on Quart."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.frameworks.site import Site, connection_of, serve
from tests.processes.patience import GUARD_SECONDS

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def site(folder: Path) -> Iterator[Site]:
    with serve("quart_dice:app", folder) as site:
        yield site


def test_dice_are_rolled(site: Site) -> None:
    roll = site.http.get("/rolls/3d6+2").json()
    assert len(roll["rolled"]) == 3
    assert all(1 <= one <= 6 for one in roll["rolled"])
    assert roll["total"] == sum(roll["rolled"]) + 2
    several = site.http.post("/rolls", json=["1d1", "2d1-1"]).json()
    assert [roll["total"] for roll in several] == [1, 1]


def test_the_page_rolls_too(site: Site) -> None:
    assert "<h1>Dice</h1>" in site.http.get("/").text
    assert "2d1+5: 1 + 1 = <strong>7</strong>" in site.http.post("/", data={"dice": "2d1+5"}).text


def test_many_rolls_are_streamed(site: Site) -> None:
    assert site.http.get("/rolls/1d1/2500").text == "1\n" * 2500


def test_what_is_no_dice_is_refused(site: Site) -> None:
    wrong = site.http.get("/rolls/6")
    assert (wrong.status_code, wrong.json()) == (400, {"error": "'6' is no dice; try 2d6+1"})
    assert site.http.post("/rolls", json={"a": 1}).status_code == 400
    assert site.http.post("/rolls", content=b"[").status_code == 400
    assert site.http.get("/rolls/1d6/1000000").status_code == 400
    assert site.http.get("/none").status_code == 404
    assert site.http.delete("/rolls/1d6").status_code == 405


def test_a_websocket_rolls_as_often_as_asked(site: Site) -> None:
    with site.socket("/rolls") as socket:
        for dice, total in (("1d1", "1"), ("6", "'6' is no dice; try 2d6+1"), ("3d1-1", "2")):
            socket.send(dice)
            assert socket.recv(GUARD_SECONDS) == total


def test_a_connection_is_kept_even_over_a_reload(site: Site) -> None:
    with site.client() as client:
        connections = {connection_of(client.get("/rolls/1d1")) for _ in range(3)}
        site.reload()
        connections |= {connection_of(client.get("/rolls/1d1")) for _ in range(3)}
    assert len(connections) == 1
