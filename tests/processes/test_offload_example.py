"""examples/offload.py does what it says, under `prefork serve`."""

import json
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes.tree import CALM, Tree

pytestmark = pytest.mark.processes

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def example(tree: Tree) -> Iterator[Tree]:
    tree.start("offload:app", "--app-dir", str(EXAMPLES), *CALM)
    yield tree
    assert tree.stop() == 0


def test_a_whole_endpoint_computes_a_picture(example: Tree) -> None:
    client = example.client()
    client.send("/fractal/16")
    received = client.receive_until(b"IEND\xaeB`\x82")
    assert b"content-type: image/png" in received
    data = received[received.index(b"IDAT") + 4 : received.index(b"IEND") - 8]
    assert len(zlib.decompress(data)) == 16 * (1 + 3 * 16)
    assert example.get("/fractal/3").status == 422


def test_a_generator_streams_a_report(example: Tree) -> None:
    client = example.client()
    client.send("/report?name=Ann")
    assert b"10000,1229\n" in client.receive_until(b"0\r\n\r\n")
    line = example.log.wait("a report for Ann")
    assert line


def test_calls_give_results_in_order(example: Tree) -> None:
    assert json.loads(example.get("/primes/100").text)["primes"] == 25
    assert json.loads(example.get("/squares").text) == [number * number for number in range(20)]


def test_what_is_too_slow_is_504(example: Tree) -> None:
    assert json.loads(example.get("/quick/100").text) == {"primes": 25}
    assert example.get("/quick/100000000").status == 504


def test_events_tell_of_progress_and_of_rows(example: Tree) -> None:
    client = example.client()
    client.send("/progress")
    assert b'"note":"step 40 of 40"' in client.receive_until(b"event: done\ndata: done by process")
    client = example.client()
    client.send("/rows")
    assert client.receive_until(b"data: 0\n").count(b"data: ") == 6


def test_the_page_is_there(example: Tree) -> None:
    assert "Heavy work, light requests" in example.get("/").text
    assert example.get("/pulse").status == 200
