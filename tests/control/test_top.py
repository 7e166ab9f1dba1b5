"""`prefork top` in memory: what it works out from statuses, what it draws of them, what its keys do."""

import io
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from rich.console import Console, RenderableType

from prefork.control import quantities
from prefork.control.frames import Frame, Frames
from prefork.control.status import (
    ConnectionsStatus,
    EventStatus,
    JobsStatus,
    JobStatus,
    RequestStatus,
    ServerStatus,
    SlotStatus,
    WorkerStatus,
)
from prefork.control.top import lost, once, render
from prefork.control.top_keys import HELP, SORTS, Order, View, answered, decode, press, refused, sorted_rows
from tests.control import statuses
from tests.control.statuses import slot

BOUNDS = [0.001, 0.01, 0.1, 1.0]


def worker(slot: int, **changed: Any) -> WorkerStatus:
    usual: dict[str, Any] = {
        "connections": 16,
        "in_flight": 2,
        "oldest": 0.02,
        "lag": 0.001,
        "rss": 50 << 20,
        "cpu": 10.0,
    }
    return statuses.worker(slot, **usual | changed)


def status(now: float, workers: list[WorkerStatus], slots: list[SlotStatus], **changed: Any) -> ServerStatus:
    usual = {"bounds": BOUNDS, "started_at": 1000.0, "connections": ConnectionsStatus(open=32)}
    return statuses.status(now, workers=workers, slots=slots, **usual | changed)


def event(number: int, text: str, level: str = "info") -> EventStatus:
    return EventStatus(number=number, at=2000.0, level=level, source="prefork.supervisor", text=text)


def two_looks(*workers: WorkerStatus, **changed: Any) -> Frame:
    """Between them, two seconds: 200 requests of slot 0 and 100 of slot 1, a second of processor time each."""
    frames = Frames()
    before = [msgspec.structs.replace(one, cpu=one.cpu - 1.0) for one in workers]
    frames.take(status(2000.0, before, [slot(0, 1000, 5), slot(1, 500)]), [])
    after = [slot(0, 1200, 9, (100, 98, 2, 0, 0)), slot(1, 600, 0, (100, 0, 0, 0, 0))]
    frames.take(
        status(2002.0, list(workers), after, **changed), [event(1, "worker 0 (generation 1, pid 100) is ready")]
    )
    return frames.frame()


def shown(what: RenderableType, width: int = 80, height: int = 24) -> list[str]:
    console = Console(width=width, height=height, record=True, file=io.StringIO(), highlight=False)
    console.print(what)
    return console.export_text().splitlines()


# -- what it works out


def test_rates_percentiles_and_cpu_are_those_of_the_time_between_two_looks() -> None:
    frame = two_looks(worker(0), worker(1))
    assert [row.rate for row in frame.rows] == [100.0, 50.0]
    assert (frame.rate, frame.errors) == (150.0, 2.0)
    assert [row.p50 for row in frame.rows] == [0.001, 0.0005]
    assert frame.rows[0].p99 == 0.01
    assert [row.cpu for row in frame.rows] == [0.5, 0.5]


def test_with_one_look_there_are_no_rates() -> None:
    frames = Frames()
    frames.take(status(2000.0, [worker(0)], [slot(0, 1000)]), [])
    row = frames.frame().rows[0]
    assert (row.rate, row.p50, row.cpu) == (None, None, None)


def test_while_a_slot_has_two_workers_the_new_one_has_its_figures() -> None:
    frame = two_looks(worker(0, state="draining"), worker(0, pid=200, generation=2), worker(1))
    assert [row.rate for row in frame.rows] == [None, 100.0, 50.0]


def test_another_server_at_the_same_place_begins_anew() -> None:
    frames = Frames()
    assert not frames.take(status(2000.0, [worker(0)], [slot(0, 1000)]), [event(7, "old")])
    assert frames.take(status(2001.0, [worker(0)], [slot(0, 3)], started_at=2000.5), [])
    assert (frames.last_event, frames.frame().events, frames.frame().rate) == (0, [], None)


def test_memory_is_pss_where_it_can_be_read() -> None:
    frames = Frames()
    frames.take(status(2000.0, [worker(0), worker(1)], []), [])
    mixed = frames.frame(memory={100: 10 << 20, 101: None})
    assert ([row.memory for row in mixed.rows], mixed.proportional) == ([10 << 20, 50 << 20], False)
    assert frames.frame(memory={100: 10 << 20, 101: 11 << 20}).proportional


def test_what_is_kept_has_a_bound() -> None:
    frames = Frames()
    for number in range(1, 500):
        frames.take(status(2000.0 + number, [worker(0)], [slot(0, number)]), [event(number, "again")])
    assert len(frames.frame().events) == 200
    assert frames.frame().rate == 1.0


# -- what it draws


def test_a_frame_has_a_line_for_each_worker_and_fits_80_columns() -> None:
    lines = shown(render(two_looks(worker(0), worker(1, pid=4194304)), View(), 80, 24))
    assert all(len(line) <= 80 for line in lines)
    assert lines[0].startswith("shop  ● ready  generation 1  up 16m42s  2 of 2 workers ready  pid 99")
    assert lines[1].startswith("150 req/s  2 errors/s  750us p50")
    assert " ".join(lines[2].split()) == "SLOT STATE PID GEN REQ/S FLY CONN P50 P99 LAG CPU% MEM"
    assert " ".join(lines[3].split()) == "0 ● ready 100 1 100 2 16 1.0ms 10ms 1.0ms 50 50M"
    assert " ".join(lines[4].split()) == "1 ● ready 4194304 1 50 2 16 500us 990us 1.0ms 50 50M"
    assert any("worker 0 (generation 1, pid 100) is ready" in line for line in lines)
    assert lines[-1].startswith("o sort")


def test_a_stalled_worker_is_told_by_a_word_and_by_how_long_it_is_silent() -> None:
    lines = shown(render(two_looks(worker(0, state="stalled", beat_age=3.4), worker(1)), View(), 80, 24))
    assert "■ stalled" in lines[3]
    assert " 3.4s " in lines[3]


@pytest.mark.parametrize(("width", "height"), [(80, 24), (80, 10), (100, 30), (132, 50), (60, 8)])
def test_a_frame_never_takes_more_than_the_terminal_has(width: int, height: int) -> None:
    frame = two_looks(*(worker(number) for number in range(40)))
    busy = replace(
        frame,
        events=[event(number, "x" * 300 + "\nmore") for number in range(100)],
        requests=[RequestStatus(slot=0, pid=100, request="GET /" + "y" * 300, age=1.0)] * 50,
        jobs=[JobStatus(slot=0, number=1, name="z" * 300, state="running", age=2.0, runs=1.0)] * 50,
    )
    for selected in (0, 20, 39):
        lines = shown(render(busy, View(selected=selected), width, height, "the server hung up"), width, height)
        assert len(lines) < height
        assert all(len(line) <= width for line in lines)
        if height > 10:
            assert any(line.split()[:2] == [str(selected), "●"] for line in lines if line.split())


def test_a_wide_terminal_shows_more_columns() -> None:
    assert "OLDEST" not in shown(render(two_looks(worker(0)), View(), 80, 24))[2]
    assert "OLDEST" in shown(render(two_looks(worker(0)), View(), 110, 24), 110)[2]
    line = shown(render(two_looks(worker(0, retiring="max requests")), View(), 130, 24), 130)[3]
    assert "● retiring" in line
    assert "max requests" in line


def test_running_jobs_and_requests_in_flight_are_shown_with_their_age() -> None:
    frame = replace(
        two_looks(worker(0), jobs=JobsStatus(waiting=3, running=1, offloaders=2, ended={"done": 12, "failed": 0})),
        jobs=[JobStatus(slot=0, number=1, name="render", state="running", age=2.5, runs=2.4, pid=300, request="7f3a")],
        requests=[RequestStatus(slot=0, pid=100, request="GET /r", age=2.6)],
    )
    text = "\n".join(shown(render(frame, View(), 80, 24)))
    assert "OFFLOAD  1 running, 3 waiting, 2 offloaders; ended: 12 done" in text
    assert "2.5s  runs 2.4s    slot 0  pid 300  render  (request 7f3a)" in text
    assert "2.6s  slot 0  pid 100  GET /r" in text


def test_what_clients_and_apps_have_written_does_not_steer_the_terminal() -> None:
    frame = replace(
        two_looks(worker(0)),
        requests=[RequestStatus(slot=0, pid=100, request="GET /\x1b[2J[red]\x07", age=0.1)],
        events=[event(1, "[bold]\x1b]0;title\x07")],
    )
    lines = shown(render(frame, View(), 80, 24))
    assert any("GET /?[2J[red]" in line for line in lines)
    assert any("[bold]?]0;title" in line for line in lines)


def test_trouble_is_said_and_the_last_frame_stays() -> None:
    lines = shown(render(two_looks(worker(0)), View(), 80, 24, "the server hung up"))
    assert lines[2] == "✕ the server hung up; trying again. What is shown is from before."
    assert any("● ready" in line for line in lines[3:])
    assert shown(lost("there is no server"))[0] == "✕ there is no server; trying again."


def test_one_frame_to_print_has_everything() -> None:
    frame = two_looks(*(worker(number) for number in range(40)))
    lines = shown(once(frame, View(), 80))
    assert sum("● ready" in line for line in lines[1:]) == 40
    assert "o sort" not in lines[-1]


# -- what its keys do


def test_keys_are_read_as_terminals_send_them() -> None:
    assert decode(b"q\x1b[A\x1bOB\x1b[5~\x1b[1;5Cx\x1b") == ["q", "up", "down", "page up", "x", "escape"]
    assert decode("ü\r".encode()) == ["ü", "enter"]
    assert decode(b"\xff\x1b[") == ["�"]


def test_sort_goes_through_all_columns_and_back() -> None:
    frame, view = two_looks(worker(0), worker(1, lag=0.5)), View()
    for sort in (*SORTS[1:], SORTS[0]):
        view, order = press(view, "o", frame, 24)
        assert (view.sort, order) == (sort, None)
    assert sorted_rows(frame, "lag") == [1, 0]
    assert sorted_rows(frame, "requests") == [0, 1]


def test_arrows_select_the_next_row_that_is_seen() -> None:
    frame = two_looks(worker(0), worker(1, lag=0.5))
    assert press(View(), "down", frame, 24)[0].selected == 1
    assert press(View(selected=1), "down", frame, 24)[0].selected == 1
    assert press(View(sort="lag", selected=1), "down", frame, 24)[0].selected == 0
    assert press(View(selected=7), "up", frame, 24)[0].selected == 0


def test_reload_kill_and_retire_ask_first() -> None:
    frame = two_looks(worker(0), worker(1))
    for key, answer, order in (
        ("r", "y", Order("reload")),
        ("k", "k", Order("kill", {"slot": 1})),
        ("k", "r", Order("retire", {"slot": 1})),
    ):
        asking, nothing = press(View(selected=1), key, frame, 24)
        assert nothing is None
        assert asking.question is not None
        assert asking.question.text[:12] in "\n".join(shown(render(frame, asking, 80, 24)))
        assert press(asking, answer, frame, 24) == (View(selected=1), order)
        assert press(asking, "n", frame, 24) == (View(selected=1), None)


def test_plus_and_minus_scale_by_one() -> None:
    frame = two_looks(worker(0))
    assert press(View(), "+", frame, 24)[1] == Order("scale", {"workers": "3"})
    assert press(View(), "-", frame, 24)[1] == Order("scale", {"workers": "1"})
    one = two_looks(worker(0), wanted=1, low=1, high=1)
    assert press(View(), "-", one, 24)[1] == Order("scale", {"workers": "1"})
    between = two_looks(worker(0), low=2, high=3)
    assert press(View(), "+", between, 24)[1] == Order("scale", {"workers": "2:4"})
    assert press(View(), "-", between, 24)[1] == Order("scale", {"workers": "2:2"})


def test_stacks_are_a_page_that_scrolls_and_closes() -> None:
    view, order = press(View(selected=1), "s", two_looks(worker(1)), 24)
    assert order == Order("stacks", {"slot": 1})
    stacks = [{"name": "worker 1", "text": "\n".join(f"line {number}" for number in range(100))}]
    reading = answered(view, order, stacks)
    lines = shown(render(two_looks(worker(1)), reading, 80, 24))
    assert lines[:3] == ["Stacks of slot 1", "worker 1", "line 0"]
    assert len(lines) < 24
    end = press(reading, "end", None, 24)[0]
    assert "line 99" in "\n".join(shown(render(two_looks(worker(1)), end, 80, 24)))
    assert press(end, "page down", None, 24)[0] == end
    assert press(end, "q", None, 24)[0] == View(selected=1)


def test_what_became_of_a_command_is_shown_until_the_next_key() -> None:
    frame, order = two_looks(worker(0)), Order("reload")
    done = answered(View(), order, {"done": "the app is imported afresh"})
    assert shown(render(frame, done, 80, 24))[-1] == "reload: the app is imported afresh"
    failed = refused(View(), order, "the server stops")
    assert shown(render(frame, failed, 80, 24))[-1] == "reload: the server stops"
    assert press(failed, "x", frame, 24) == (View(), None)


def test_help_and_quit_need_no_server() -> None:
    assert press(View(), "?", None, 24)[0].text == HELP
    assert press(View(), "q", None, 24)[0].quit
    assert press(View(), "r", None, 24) == (View(), None)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "-"), (0, "0ms"), (0.0000001, "1us"), (0.0009994, "999us"), (0.0009996, "1.0ms"), (0.00994, "9.9ms"),
     (0.00996, "10ms"), (0.9994, "999ms"), (0.9996, "1.0s"), (9.94, "9.9s"), (9.96, "10s"), (59.4, "59s"),
     (59.6, "1m00s"), (3599.6, "1h00m"), (90000, "1d01h")],
)  # fmt: skip
def test_durations_take_five_columns(seconds: float | None, text: str) -> None:
    assert quantities.duration(seconds) == text


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0"), (0.25, "0.2"), (3, "3"), (9999, "9,999"), (9999.6, "10.0k"), (999_960, "1.0M")]
)
def test_counts_take_six_columns(number: float, text: str) -> None:
    assert quantities.count(number) == text


def test_sizes_take_five_columns() -> None:
    assert [quantities.size(number) for number in (None, 5, 1536, 10 << 20, 3 << 29)] == [
        "-",
        "5B",
        "1.5k",
        "10M",
        "1.5G",
    ]
