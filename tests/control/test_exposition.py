"""What /metrics tells beyond what was counted: processes, memory, processor time, requests in flight."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator

import msgspec
import pytest

from prefork.control.exposition import PROPORTIONAL_SECONDS, Exposition
from prefork.control.status import ServerStatus
from prefork.metrics.families import Numbers
from prefork.system import ledger
from prefork.system.ledger import Ledger, Tenant


@pytest.fixture
def book() -> Iterator[Ledger]:
    descriptor = ledger.create()
    yield Ledger(descriptor)
    os.close(descriptor)


def status() -> ServerStatus:
    worker = {"slot": 0, "generation": 1, "pid": 1, "age": 1, "beat_age": 0, "connections": 1, "oldest": 0, "busy": 0}
    worker |= {"lag": 0, "rss": 0, "cpu": 0}
    return msgspec.convert(
        {
            **{"name": "a", "version": "1", "target": "a:b", "pid": 1, "state": "ready", "generation": 1, "cpus": 1},
            **{"started_at": 0, "now": 0, "wanted": 1, "low": 1, "high": 1, "addresses": [], "admin": None},
            **{"bounds": [], "slots": [], "connections": {}, "jobs": {}},
            "molds": [{"generation": 1, "pid": os.getppid(), "ready": True, "age": 1}],
            "workers": [
                {**worker, "state": "draining", "in_flight": 2},
                {**worker, "state": "ready", "in_flight": 3},
                {**worker, "slot": 1, "state": "ready", "in_flight": 0},
            ],
        },
        ServerStatus,
    )


def look(
    exposition: Exposition, state: ServerStatus | None, now: float = 0.0
) -> dict[str, dict[tuple[str, ...], Numbers]]:
    return {family.declaration.name: family.series for family in exposition.families(state, now)}


def test_the_masters_word_counts_where_it_has_one(book: Ledger) -> None:
    book.place(0).let(Tenant(os.getpid(), "master", -1, -1))
    book.place(1).let(Tenant(os.getpid(), "worker", 0, 1))
    exposition = Exposition(book)
    alone = look(exposition, None)
    assert alone["prefork_processes"] == {("master", "running"): [1], ("worker", "running"): [1]}
    assert "prefork_requests_in_flight" not in alone
    told = look(exposition, status())
    assert told["prefork_requests_in_flight"] == {("0",): [5.0], ("1",): [0.0]}
    assert told["prefork_processes"] == {
        ("master", "running"): [1],
        ("worker", "ready"): [2],
        ("worker", "draining"): [1],
        ("mold", "ready"): [1],
    }
    assert set(told["prefork_process_resident_bytes"]) == {("master", ""), ("worker", "0"), ("mold", "")}


def test_processor_time_never_falls_when_a_process_ends(book: Ledger) -> None:
    exposition = Exposition(book)
    burn = "import time\nwhile time.process_time() < 0.05: pass\nprint(flush=True)\ninput()"
    seen = []
    for _ in range(2):
        with subprocess.Popen([sys.executable, "-c", burn], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            assert child.stdin is not None
            child.stdout.readline()
            book.place(0).let(Tenant(child.pid, "offloader", 3, 1))
            seen.append(look(exposition, None)["prefork_process_cpu_seconds_total"]["offloader", "3"][0])
            child.stdin.close()
        book.place(0).clear()
        seen.append(look(exposition, None)["prefork_process_cpu_seconds_total"]["offloader", "3"][0])
    assert seen == sorted(seen)
    assert seen[0] >= 0.04
    assert seen[-1] >= 0.08


def test_proportional_memory_is_looked_up_now_and_then(book: Ledger) -> None:
    exposition = Exposition(book)
    book.place(0).let(Tenant(os.getpid(), "worker", 0, 1))
    first = look(exposition, None, now=100.0)["prefork_process_proportional_bytes"]
    assert first["worker", "0"][0] > 1024 * 1024
    book.place(0).let(Tenant(os.getpid(), "worker", 1, 1))
    assert look(exposition, None, now=99.9 + PROPORTIONAL_SECONDS)["prefork_process_proportional_bytes"] == first
    later = look(exposition, None, now=100.0 + PROPORTIONAL_SECONDS)["prefork_process_proportional_bytes"]
    assert set(later) == {("worker", "1")}


def test_a_scrape_is_cheap_enough_for_many(book: Ledger) -> None:
    book.place(0).let(Tenant(os.getpid(), "master", -1, -1))
    exposition = Exposition(book)
    exposition.text(False, status(), 0.0)
    began = time.process_time()
    for _ in range(50):
        exposition.text(True, status(), 0.0)
    assert time.process_time() - began < 2.5
