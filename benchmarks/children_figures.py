"""The figures on children: what measures each, the rows of its table, and what is compared with what."""

from dataclasses import dataclass

from benchmarks.children_programs import NODE, SCRIPT, WORKER, Program

AT_ONCE = 16  # apps/children_scenarios.py starts as many
LOOPS = ("uvloop", "asyncio")
PARENTS = {"heavy": "90 MB", "small": "40 MB"}  # resident, about


@dataclass(frozen=True)
class Row:
    """A row of a table: the name of its samples, two cells of words, and the row that it is compared with."""

    name: str
    title: str
    how: str
    base: str


@dataclass(frozen=True)
class Figure:
    """One figure, and who gives it."""

    title: str
    unit: str
    factor: float  # from what programs print to the unit
    form: str
    programs: tuple[Program, ...]
    rows: tuple[Row, ...]


def exec_rows() -> tuple[Row, ...]:
    """Each way beside the other, in each surroundings."""
    rows = []
    for parent, size in PARENTS.items():
        for loop in LOOPS:
            for count in (1, AT_ONCE):
                place = f"{parent} {loop} "
                how = f"{size}, {loop}, {count} at a time"
                base = f"{place}prefork {count}"
                rows.append(Row(base, "children.exec_file", how, base))
                rows.append(Row(f"{place}asyncio {count}", "asyncio.create_subprocess_exec", how, base))
    return tuple(rows)


def stream_rows() -> tuple[Row, ...]:
    """Under each loop."""
    rows = []
    for loop in LOOPS:
        rows.append(Row(f"{loop} prefork", "children.spawn", loop, f"{loop} prefork"))
        rows.append(Row(f"{loop} asyncio", "asyncio's stream, 64 KiB a read", loop, f"{loop} prefork"))
    return tuple(rows)


PIPE_ROWS = (
    Row("pipe", "multiprocessing.Pipe", "send and receive in the executor, one after the other", "actor"),
    Row("pipe-ask", "multiprocessing.Pipe", "both in one call of the executor", "actor"),
)

FIGURES = {
    "exec": Figure(
        "`true`, its output read, by the size of the program that starts it",
        "ms",
        1e3,
        ".2f",
        tuple(Program(SCRIPT, "exec", parent, loop, f"{parent} {loop} ") for parent in PARENTS for loop in LOOPS),
        exec_rows(),
    ),
    "stream": Figure(
        "1 GiB from `head -c 1G /dev/zero` to nowhere",
        "GB/s",
        1e-9,
        ".2f",
        tuple(Program(SCRIPT, "stream", "heavy", loop, f"{loop} ") for loop in LOOPS),
        stream_rows(),
    ),
    "fork": Figure(
        "From the start of a process of the heavy app to its first message",
        "ms",
        1e3,
        ".1f",
        (Program(WORKER, "fork"), Program(SCRIPT, "spawn"), Program(NODE, "fork")),
        (
            Row("fork", "children.fork", "in a handler", "fork"),
            Row("multiprocessing", "multiprocessing, spawn", "a plain program", "fork"),
            Row("node", "Node's child_process.fork", "an empty app", "fork"),
        ),
    ),
    "message": Figure(
        "A small message there and back, one in flight",
        "µs",
        1e6,
        ".0f",
        (Program(SCRIPT, "message"), Program(NODE, "message")),
        (
            Row("fork", "children.fork", "send and receive", "actor"),
            Row("actor", "children.actor", "a call", "actor"),
            *PIPE_ROWS,
            Row("node", "Node's child.send", "and its answer", "actor"),
        ),
    ),
    "array": Figure(
        "An array of 100 MB there, its sum back",
        "ms",
        1e3,
        ".1f",
        (Program(SCRIPT, "array"),),
        (
            Row("actor", "children.actor", "a call", "actor"),
            Row("fork", "children.fork", "send and receive", "actor"),
            Row("offload", "offload", "a job", "actor"),
            *PIPE_ROWS,
        ),
    ),
}

TOOLS = {  # of the table that tells which tool to take: names of samples, and words
    "async": "`await` of a coroutine",
    "thread": "`children.thread`",
    "offload": "`offload`",
    "actor": "an actor of a worker",
    "server": "an actor of all workers",
    "fork": "`children.fork`",
    "exec_file": "`children.exec_file`",
    "exec": "`children.exec`",
    "spawn": "`children.spawn`",
    "counter": "`SharedCounter.add`",
}
