"""A server that tests make up, as its master would tell of it."""

from typing import Any

import msgspec

from prefork.control.status import ConnectionsStatus, JobsStatus, ServerStatus, SlotStatus, WorkerStatus

BOUNDS = [0.01, 0.1, 1.0]


def worker(slot: int = 0, **changed: Any) -> WorkerStatus:
    usual = WorkerStatus(
        slot=slot,
        generation=1,
        pid=100 + slot,
        state="ready",
        age=60.0,
        beat_age=0.1,
        connections=0,
        in_flight=0,
        oldest=0.0,
        busy=0.0,
        lag=0.0,
        rss=0,
        cpu=0.0,
    )
    return msgspec.structs.replace(usual, **changed)


def slot(number: int = 0, requests: int = 0, errors: int = 0, buckets: tuple[int, ...] = (0, 0, 0, 0)) -> SlotStatus:
    return SlotStatus(slot=number, requests=requests, errors=errors, seconds=0.0, buckets=list(buckets), restarts=0)


def status(now: float = 1000.0, **changed: Any) -> ServerStatus:
    usual = ServerStatus(
        name="shop",
        version="1.0",
        target="shop:app",
        pid=99,
        state="ready",
        generation=1,
        started_at=900.0,
        now=now,
        cpus=2,
        wanted=2,
        low=2,
        high=2,
        addresses=["http://127.0.0.1:8000"],
        admin=None,
        bounds=BOUNDS,
        workers=[worker(0), worker(1)],
        slots=[slot(0), slot(1)],
        molds=[],
        connections=ConnectionsStatus(),
        jobs=JobsStatus(),
    )
    return msgspec.structs.replace(usual, **changed)
