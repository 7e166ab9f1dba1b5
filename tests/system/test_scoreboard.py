"""What a worker writes into shared memory, as the master reads it."""

import os
from collections.abc import Iterator

import pytest

from prefork.system.scoreboard import PEAK_SECONDS, InFlight, Scoreboard, ScoreboardWriter, create, size

CONNECTIONS = 2


@pytest.fixture
def board() -> Iterator[tuple[Scoreboard, ScoreboardWriter]]:
    descriptor = create(CONNECTIONS)
    reader, writer = Scoreboard(descriptor, CONNECTIONS), ScoreboardWriter(descriptor, CONNECTIONS)
    os.close(descriptor)  # the mappings stay
    yield reader, writer
    reader.close()


def head(target: str, method: str = "GET") -> bytes:
    return f"{method} {target} HTTP/1.1\r\nHost: a\r\nCookie: secret\r\n\r\n".encode("latin-1")


def test_fresh_memory_says_nothing(board: tuple[Scoreboard, ScoreboardWriter]) -> None:
    reader, _ = board
    assert (reader.last_beat, reader.accepted, reader.closed, reader.requests) == (0.0, 0, 0, 0)
    assert reader.in_flight(now=10.0) == []


def test_heartbeat_and_counters_are_read_as_written(board: tuple[Scoreboard, ScoreboardWriter]) -> None:
    reader, writer = board
    writer.count_accepted()
    writer.count_lost()
    index = writer.opened()
    writer.began(index, 13.0, head("/"))
    writer.answered(index, None)
    writer.closed(index)
    writer.beat(12.5)  # requests are published with the heartbeat
    assert (reader.last_beat, reader.accepted, reader.closed, reader.requests) == (12.5, 1, 2, 1)


def test_a_request_is_in_flight_from_its_beginning_to_its_end(board: tuple[Scoreboard, ScoreboardWriter]) -> None:
    reader, writer = board
    index = writer.opened()
    assert reader.in_flight(10.0) == []
    writer.began(index, 10.0, head("/a?b=c", "POST"))
    assert reader.in_flight(12.0) == [InFlight("POST /a?b=c", 2.0)]
    writer.answered(index, None)
    assert reader.in_flight(12.0) == []


def test_a_connection_that_closes_takes_its_request_with_it(board: tuple[Scoreboard, ScoreboardWriter]) -> None:
    reader, writer = board
    index = writer.opened()
    writer.began(index, 10.0, head("/"))
    writer.closed(index)
    assert reader.in_flight(12.0) == []
    assert reader.requests == 0


def test_requests_in_flight_are_listed_oldest_first(board: tuple[Scoreboard, ScoreboardWriter]) -> None:
    reader, writer = board
    young, old = writer.opened(), writer.opened()
    writer.began(young, 11.0, head("/young"))
    writer.began(old, 10.0, head("/old"))
    assert [record.request for record in reader.in_flight(12.0)] == ["GET /old", "GET /young"]


def test_a_record_is_used_again_and_forgets_its_longer_predecessor(
    board: tuple[Scoreboard, ScoreboardWriter],
) -> None:
    reader, writer = board
    index = writer.opened()
    writer.began(index, 10.0, head("/long" * 10))
    writer.closed(index)
    assert writer.opened() == index
    writer.began(index, 11.0, head("/s"))
    assert reader.in_flight(11.0) == [InFlight("GET /s", 0.0)]


def test_a_long_target_is_cut_to_what_a_record_holds(board: tuple[Scoreboard, ScoreboardWriter]) -> None:
    reader, writer = board
    index = writer.opened()
    writer.began(index, 10.0, head("/" + "x" * 8000))
    (record,) = reader.in_flight(10.0)
    assert record.request.startswith("GET /xxx")
    assert 100 <= len(record.request) < 128


def test_bytes_beyond_ascii_in_a_target_are_shown(board: tuple[Scoreboard, ScoreboardWriter]) -> None:
    reader, writer = board
    writer.began(writer.opened(), 10.0, head("/\xe9"))
    assert reader.in_flight(10.0)[0].request == "GET /\xe9"


def test_connections_past_the_last_record_share_one_and_spoil_no_other(
    board: tuple[Scoreboard, ScoreboardWriter],
) -> None:
    reader, writer = board
    own = [writer.opened() for _ in range(CONNECTIONS)]
    overflow = [writer.opened() for _ in range(3)]
    assert len({*own, *overflow}) == CONNECTIONS + 1
    for number, index in enumerate([*own, *overflow]):
        writer.began(index, 10.0 + number, head(f"/{number}"))
    assert [record.request for record in reader.in_flight(20.0)] == ["GET /0", "GET /1", "GET /4"]
    for index in [*overflow, *own]:
        writer.closed(index)
    assert reader.in_flight(20.0) == []
    assert reader.closed == CONNECTIONS + 3
    assert sorted(writer.opened() for _ in range(CONNECTIONS)) == sorted(own)  # the shared one is nobody's own


def test_a_worker_reports_room_only_while_the_master_waits_for_it(
    board: tuple[Scoreboard, ScoreboardWriter],
) -> None:
    reader, writer = board
    reports: list[str] = []
    writer.on_room = lambda: reports.append("room")
    writer.closed(writer.opened())
    assert reports == []
    reader.wait_for_room(True)
    writer.closed(writer.opened())
    assert reports == ["room"]
    reader.wait_for_room(False)
    writer.closed(writer.opened())
    assert reports == ["room"]


def test_memory_holds_one_record_more_than_connections() -> None:
    assert size(CONNECTIONS + 1) - size(CONNECTIONS) == size(1) - size(0)
    descriptor = create(CONNECTIONS)
    assert os.fstat(descriptor).st_size == size(CONNECTIONS)
    os.close(descriptor)


def test_a_peak_of_the_lag_is_seen_by_who_looks_seldom(board: tuple[Scoreboard, ScoreboardWriter]) -> None:
    reader, writer = board
    writer.beat(100.0, lag=0.7)
    for beat in range(1, 6):
        writer.beat(100.0 + 0.25 * beat)
    assert (reader.lag, reader.lag_peak) == (0.0, 0.7)  # PEAK_SECONDS later
    for beat in range(6, 11):
        writer.beat(100.0 + 0.25 * beat, lag=0.1)
    assert (reader.lag, reader.lag_peak) == (0.1, 0.1)  # twice as late it is forgotten
    assert PEAK_SECONDS == 5 * 0.25
