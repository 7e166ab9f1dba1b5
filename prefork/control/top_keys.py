"""What a key does in `prefork top`: the view it changes, and the command it gives. No terminal here."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from prefork.control.frames import Frame, Row

Sort = Literal["slot", "requests", "in flight", "p99", "lag", "cpu", "memory"]

SORTS: Final[tuple[Sort, ...]] = ("slot", "requests", "in flight", "p99", "lag", "cpu", "memory")
ESCAPE: Final = "escape"

# What terminals send (console_codes(4)); in "application mode" arrows come with an O.
_SEQUENCES: Final = {
    "\x1b[A": "up",
    "\x1b[B": "down",
    "\x1bOA": "up",
    "\x1bOB": "down",
    "\x1b[5~": "page up",
    "\x1b[6~": "page down",
    "\x1b[H": "home",
    "\x1b[F": "end",
    "\r": "enter",
    "\n": "enter",
    "\x03": "q",  # where the terminal makes no signal of it
    "\x1b": ESCAPE,
}


@dataclass(frozen=True, slots=True)
class Order:
    """A command to be given to the server."""

    command: str
    arguments: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked before something is done, and what each answer orders. Any other key: nothing."""

    text: str
    answers: Mapping[str, Order]


@dataclass(frozen=True, slots=True)
class Text:
    """A page to read, in the place of the frame."""

    title: str
    lines: Sequence[str]
    offset: int = 0


@dataclass(frozen=True, slots=True)
class View:
    """How the frame is looked at."""

    sort: Sort = "slot"
    selected: int = 0  # slot
    question: Question | None = None
    text: Text | None = None
    said: str = ""  # what became of the last command
    bad: bool = False  # it was refused
    quit: bool = False


HELP: Final = Text(
    "Keys",
    (
        "up, down   select a worker",
        "o          sort by the next column: " + ", ".join(SORTS),
        "s          show the Python stacks of the selected worker and its offloaders",
        "k          kill or retire the selected worker (asks)",
        "r          reload: import the app afresh, replace the workers one by one (asks)",
        "+ -        one worker more, one less",
        "q          quit: the server goes on",
        "",
        "In a text: up, down, page up, page down, home, end; q or escape closes it.",
        "",
        "LAG is how late an event loop came round, the most of the last second or two;",
        "of a stalled worker, for how long it has been silent. P50 and P99 are of the",
        "last 10 s. MEM is PSS: what is shared by several processes counts in parts",
        "(RSS where it cannot be read).",
    ),
)


def decode(data: bytes) -> list[str]:
    """The keys in what came from the terminal, by name. Sequences that we do not know are dropped."""
    keys, text = [], data.decode("utf-8", "replace")
    while text:
        known = next((sequence for sequence in _SEQUENCES if text.startswith(sequence)), None)
        if known == "\x1b" and len(text) > 1 and text[1] in "[O":
            end = next((index for index, sign in enumerate(text[2:], 2) if "@" <= sign <= "~"), len(text) - 1)
            text = text[end + 1 :]
            continue
        keys.append(text[0] if known is None else _SEQUENCES[known])
        text = text[len(known or " ") :]
    return keys


def press(view: View, key: str, frame: Frame | None, height: int) -> tuple[View, Order | None]:
    """The view after a key, and what is to be done. `height` is the terminal's, in lines."""
    if view.text is not None:
        return replace(view, text=_scroll(view.text, key, height)), None
    if view.question is not None:
        return replace(view, question=None), view.question.answers.get(key)
    if key in ("q", "Q"):
        return replace(view, quit=True), None
    view = replace(view, said="", bad=False)
    if key in ("?", "h"):
        return replace(view, text=HELP), None
    if frame is None:
        return view, None
    if key == "o":
        return replace(view, sort=SORTS[(SORTS.index(view.sort) + 1) % len(SORTS)]), None
    if key in ("up", "down"):
        return replace(view, selected=_next_slot(view, frame, -1 if key == "up" else 1)), None
    return _command(view, key, frame)


def answered(view: View, order: Order, result: object) -> View:
    """The view after a command was done. `result` is its decoded JSON."""
    if order.command == "stacks":
        found = result if isinstance(result, list) else []
        lines = [line for one in found for line in (one["name"], *one["text"].splitlines(), "")]
        title = f"Stacks of slot {order.arguments['slot']}"
        return replace(view, said="", text=Text(title, lines or ["There are none."]))
    done = result.get("done") if isinstance(result, dict) else None
    return replace(view, said=f"{order.command}: {done or 'done'}", bad=False)


def refused(view: View, order: Order, words: str) -> View:
    """The view after a command was not done."""
    return replace(view, said=f"{order.command}: {words}", bad=True)


def sorted_rows(frame: Frame, sort: Sort) -> list[int]:
    """Indexes of the frame's rows in the order of the view: the most first, or by slot."""
    measures: dict[str, Callable[[Row], float | None]] = {
        "requests": lambda row: row.rate,
        "in flight": lambda row: row.worker.in_flight,
        "p99": lambda row: row.p99,
        "lag": lambda row: row.lag,
        "cpu": lambda row: row.cpu,
        "memory": lambda row: row.memory,
    }
    indexes = list(range(len(frame.rows)))
    if sort == "slot":
        return indexes
    measure = measures[sort]
    return sorted(indexes, key=lambda index: -(measure(frame.rows[index]) or 0.0))


def _command(view: View, key: str, frame: Frame) -> tuple[View, Order | None]:
    slot, status = view.selected, frame.status
    if key == "r":
        return replace(view, question=Question("Reload the app? y/n", {"y": Order("reload")})), None
    if key in ("+", "-"):
        more = 1 if key == "+" else -1
        if status.low == status.high:
            return view, Order("scale", {"workers": str(max(1, status.wanted + more))})
        return view, Order("scale", {"workers": f"{status.low}:{max(status.low, status.high + more)}"})
    if key == "s":
        return replace(view, said=f"stacks of slot {slot} ..."), Order("stacks", {"slot": slot})
    if key == "k":
        answers = {"r": Order("retire", {"slot": slot}), "k": Order("kill", {"slot": slot})}
        text = f"Worker {slot}: r retire (loses nothing), k kill (loses its requests), any other key: neither"
        return replace(view, question=Question(text, answers)), None
    return view, None


def _next_slot(view: View, frame: Frame, step: int) -> int:
    """The slot of the row above or below, in the order that is seen."""
    slots = list(dict.fromkeys(frame.rows[index].worker.slot for index in sorted_rows(frame, view.sort)))
    if not slots:
        return view.selected
    if view.selected not in slots:
        return slots[0]
    return slots[min(max(slots.index(view.selected) + step, 0), len(slots) - 1)]


def _scroll(text: Text, key: str, height: int) -> Text | None:
    page = max(1, height - 3)
    last = max(0, len(text.lines) - page)
    if key in ("q", "Q", ESCAPE, "enter", "?"):
        return None
    steps = {"up": -1, "down": 1, "page up": -page, "page down": page, " ": page, "home": -len(text.lines)}
    step = last if key == "end" else steps.get(key, 0)
    return replace(text, offset=min(max(text.offset + step, 0), last))
