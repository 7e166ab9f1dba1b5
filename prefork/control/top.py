"""Draw `prefork top`: a frame and how it is looked at, as something that rich prints. Signs and words, not colours
alone, tell states apart; texts of others are never read as markup."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from prefork.control.frames import Frame, Row
from prefork.control.quantities import count, duration, percent, size
from prefork.control.status import EventStatus
from prefork.control.top_keys import View, sorted_rows

STATES: Final = {  # sign and style
    "booting": ("◔", "cyan"),
    "ready": ("●", "green"),
    "stalled": ("■", "bold white on red"),
    "draining": ("▽", "magenta"),
    "stopping": ("▼", "magenta"),
}
LEVELS: Final = {"warning": ("▲", "yellow"), "error": ("✕", "bold red"), "critical": ("✕", "bold red")}
KEYS: Final = "o sort  s stacks  k kill/retire  r reload  +/- scale  ? help  q quit"
LATE_SECONDS: Final = 0.25  # a lag that is worth a colour
OLD_SECONDS: Final = 1.0
WIDE: Final = 100  # columns, from which there is room for more
WIDEST: Final = 120
JOBS: Final = 5  # lines at most, while events need room too
REQUESTS: Final = 4
EVENTS_ONCE: Final = 10
MOST: Final = 1000  # lines of a frame that is printed once


@dataclass(frozen=True, slots=True)
class Column:
    name: str
    width: int
    text: Callable[[Row], str]
    style: Callable[[Row], str] = lambda row: ""
    left: bool = False
    least: int = 0  # columns of the terminal


COLUMNS: Final = (
    Column("SLOT", 4, lambda row: str(row.worker.slot)),
    Column("STATE", 10, lambda row: _state(row), lambda row: STATES.get(row.worker.state, ("", ""))[1], left=True),
    Column("PID", 7, lambda row: str(row.worker.pid or "-")),
    Column("GEN", 3, lambda row: str(row.worker.generation), least=75),
    Column("REQ/S", 6, lambda row: count(row.rate)),
    Column("FLY", 4, lambda row: count(row.worker.in_flight), least=36),
    Column("CONN", 5, lambda row: count(row.worker.connections), least=71),
    Column("P50", 5, lambda row: duration(row.p50), least=65),
    Column("P99", 5, lambda row: duration(row.p99), least=48),
    Column("LAG", 5, lambda row: duration(row.lag), lambda row: _late(row.lag, LATE_SECONDS), least=42),
    Column("CPU%", 4, lambda row: "-" if row.cpu is None else f"{row.cpu * 100:.0f}", least=59),
    Column("MEM", 5, lambda row: size(row.memory), least=54),
    Column("OLDEST", 6, lambda row: _oldest(row), lambda row: _late(row.worker.oldest, OLD_SECONDS), least=WIDE),
    Column("UP", 6, lambda row: duration(row.worker.age), least=WIDE),
    Column("NOTE", 14, lambda row: _note(row), lambda row: "dim", left=True, least=WIDEST),
)


def render(frame: Frame, view: View, width: int, height: int, trouble: str = "") -> RenderableType:
    """A whole screen of `height` lines at most. `trouble`: why there is no newer frame."""
    if view.text is not None:
        return _page(view, height)
    head: list[Table | Text] = [_title(frame, width), _totals(frame, width)]
    if trouble:
        head.append(_line(Text(f"✕ {trouble}; trying again. What is shown is from before.", "bold red"), width))
    left = height - len(head) - 3  # the table's head, what is asked, and one line less: a full last line would scroll
    jobs = [_offload(frame, width), *_jobs(frame, width)]
    requests = _requests(frame, width)
    # Workers get what they need as far as the other parts keep some lines each.
    kept = min(left // 2, len(jobs) + len(requests) + 3)
    rows = _visible(frame, view, max(1, min(len(frame.rows), left - kept)))
    left -= len(rows) + len(jobs) + len(requests)
    events = _events(frame.events, max(0, left - 1))
    foot = _foot(view)
    body = [*head, _table(frame, view, rows, width), *jobs, *requests, *events]
    return Group(*_cut(body, len(rows), height - 2), foot)


def once(frame: Frame, view: View, width: int) -> RenderableType:
    """The same to be printed, as long as it is."""
    rows = sorted_rows(frame, view.sort)
    events = _events(frame.events, EVENTS_ONCE)
    head = [_title(frame, width), _totals(frame, width)]
    table = _table(frame, View(sort=view.sort, selected=-1), rows, width)
    return Group(
        *head, table, _offload(frame, width), *_jobs(frame, width, MOST), *_requests(frame, width, MOST), *events
    )


def lost(trouble: str) -> RenderableType:
    """The screen while nothing was seen yet."""
    return Group(Text(f"✕ {trouble}; trying again.", "bold red"), Text("q quit", "dim"))


def _title(frame: Frame, width: int) -> Text:
    status = frame.status
    sign, style = STATES.get(status.state, ("", ""))
    ready = sum(worker.state == "ready" for worker in status.workers)
    text = Text().append(status.name, "bold")
    text.append(f"  {sign} {'upgrading' if status.upgrading else status.state}", style)
    parts = [
        f"generation {status.generation}",
        f"up {duration(status.now - status.started_at)}",
        f"{ready} of {status.wanted} workers ready",
        f"pid {status.pid}",
        *status.addresses,
    ]
    if status.canary:
        trial = status.canary
        parts.insert(0, f"canary g{trial.generation} {percent(trial.share)} {duration(trial.left)}")
    text.append("  " + "  ".join(parts))
    return _line(text, width)


def _totals(frame: Frame, width: int) -> Text:
    connections = frame.status.connections
    text, gap = Text(), ""
    for value, name in (
        (count(frame.rate), "req/s"),
        (count(frame.errors), "errors/s"),
        (duration(frame.p50), "p50"),
        (duration(frame.p99), "p99"),
        (count(len(frame.requests)), "fly"),
        (count(connections.open), "conn"),
        ("-" if frame.cpu is None else f"{frame.cpu * 100:.0f}%", "cpu"),
        (size(frame.memory), "pss" if frame.proportional else "rss"),
    ):
        bad = name == "errors/s" and bool(frame.errors)
        text.append(gap).append(value, "bold red" if bad else "bold").append(f" {name}")
        gap = "  "
    if connections.waiting:
        text.append(f"  {connections.waiting} wait for a worker", "bold red")
    return _line(text, width)


def _table(frame: Frame, view: View, rows: list[int], width: int) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="dim", expand=False)
    columns = [column for column in COLUMNS if width >= column.least]
    for column in columns:
        table.add_column(
            column.name, width=column.width, justify="left" if column.left else "right", no_wrap=True, overflow="crop"
        )
    for index in rows:
        row = frame.rows[index]
        chosen = row.worker.slot == view.selected
        cells = [Text(column.text(row), "" if chosen else column.style(row)) for column in columns]
        table.add_row(*cells, style="reverse" if chosen else "")
    return table


def _visible(frame: Frame, view: View, room: int) -> list[int]:
    """As many rows as there is room for, the selected one among them."""
    indexes = sorted_rows(frame, view.sort)
    chosen = next((place for place, index in enumerate(indexes) if frame.rows[index].worker.slot == view.selected), 0)
    start = max(0, min(chosen - room // 2, len(indexes) - room))
    return indexes[start : start + room]


def _offload(frame: Frame, width: int) -> Text:
    jobs = frame.status.jobs
    text = Text().append("OFFLOAD  ", "dim")
    text.append(f"{jobs.running} running, {jobs.waiting} waiting, {jobs.offloaders} offloaders")
    ended = [f"{number:,} {how}" for how, number in jobs.ended.items() if number]
    if ended:
        text.append("; ended: " + ", ".join(ended))
    return _line(text, width)


def _jobs(frame: Frame, width: int, most: int = JOBS) -> list[Text]:
    lines = []
    for job in frame.jobs[:most]:
        runs = f"runs {duration(job.runs)}" if job.runs else job.state
        name = f"{job.actor}: {job.name}" if job.actor else job.name
        request = f"  (request {job.request})" if job.request else ""
        text = Text(f"{duration(job.age):>8}  {runs:<11}  slot {job.slot}  pid {job.pid or '-'}  {name}{request}")
        lines.append(_line(text, width))
    return lines + _more(len(frame.jobs) - most)


def _requests(frame: Frame, width: int, most: int = REQUESTS) -> list[Text]:
    if not frame.requests:
        return []
    lines = [Text("IN FLIGHT, the oldest first", "dim")]
    for request in frame.requests[:most]:
        text = Text().append(f"{duration(request.age):>8}", _late(request.age, OLD_SECONDS))
        text.append(f"  slot {request.slot}  pid {request.pid or '-'}  {request.request}")
        lines.append(_line(text, width))
    return lines + _more(len(frame.requests) - most)


def _more(number: int) -> list[Text]:
    return [Text(f"          and {number:,} more", "dim")] if number > 0 else []


def _events(events: list[EventStatus], room: int) -> list[Text]:
    if not room:
        return []
    lines = [Text("EVENTS", "dim")]
    for event in events[-room:]:
        first, _, rest = event.text.partition("\n")
        text = Text().append(time.strftime("%H:%M:%S", time.localtime(event.at)), "dim")
        sign, style = LEVELS.get(event.level, (" ", ""))
        text.append(f" {sign} {first}{' ...' if rest else ''}", style)
        lines.append(_plain(text))
    return lines


def _foot(view: View) -> Text:
    if view.question is not None:
        return _plain(Text(view.question.text, "bold yellow"))
    if view.said:
        return _plain(Text(view.said, "bold red" if view.bad else "bold green"))
    order = f"by {view.sort}  " if view.sort != "slot" else ""
    return _plain(Text(order + KEYS, "dim"))


def _page(view: View, height: int) -> RenderableType:
    assert view.text is not None
    text, room = view.text, max(1, height - 3)
    lines = [_plain(Text(line)) for line in text.lines[text.offset : text.offset + room]]
    last = min(len(text.lines), text.offset + room)
    place = f"lines {text.offset + 1} to {last} of {len(text.lines)}; q closes"
    return Group(_plain(Text(text.title, "bold")), *lines, Text(place, "dim"))


def _cut(body: list[Table | Text], rows: int, height: int) -> list[Table | Text]:
    """What fits: from the top, the table counted as its lines."""
    kept: list[Table | Text] = []
    for part in body:
        height -= rows + 1 if isinstance(part, Table) else 1
        if height < 0:
            break
        kept.append(part)
    return kept


def _line(text: Text, width: int) -> Text:
    """One line, its end cut away where the terminal ends."""
    _plain(text).truncate(width, overflow="ellipsis")
    return text


def _plain(text: Text) -> Text:
    text.no_wrap = True
    text.overflow = "ellipsis"
    # What others have written must not steer the terminal.
    if not text.plain.isprintable():
        text.plain = "".join(sign if sign.isprintable() else "?" for sign in text.plain)
    return text


def _state(row: Row) -> str:
    worker = row.worker
    sign = STATES.get(worker.state, ("?", ""))[0]
    return f"{sign} {'retiring' if worker.retiring and worker.state == 'ready' else worker.state}"


def _oldest(row: Row) -> str:
    return duration(row.worker.oldest) if row.worker.in_flight else "-"


def _note(row: Row) -> str:
    return ", ".join(filter(None, ["canary" if row.worker.canary else "", row.worker.retiring]))


def _late(seconds: float | None, limit: float) -> str:
    return "bold red" if seconds is not None and seconds >= limit else ""
