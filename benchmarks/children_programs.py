"""Run what measures children: in a plain program, in Node, or in a worker of a prefork server."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from benchmarks.peers import ROOT, program
from benchmarks.printed import Line, ProgramError, parse, printed
from benchmarks.probe import ask
from benchmarks.process import Running, free_port, running, wait_idle
from benchmarks.servers import APPS, PREFORK, Server
from benchmarks.tree import pss_bytes

HOME = "children"  # see peers.PACKAGES
EXTRA_SECONDS = 90.0  # beyond the time of all that a program measures: start, warm-up, the other side
HELD = 4  # idle processes of a kind, over which their memory is divided
SERVER = Server("prefork", HOME, PREFORK + f" --offload-max {HELD}", "children_app:app")
NODE = "node"
SCRIPT = "script"
WORKER = "worker"


@dataclass(frozen=True)
class Program:
    """Something that prints a line with a name and a value for each way that it measures."""

    kind: str  # SCRIPT, NODE, WORKER
    scenario: str
    parent: str = "heavy"  # of SCRIPT: or "small"
    loop: str = "uvloop"  # of SCRIPT: or "asyncio"
    prefix: str = ""  # to the names of its lines, where several programs measure the same

    def __str__(self) -> str:
        """What it is called on the way."""
        return " ".join([self.scenario, self.kind, *([self.parent, self.loop] if self.kind == SCRIPT else [])])


def values(what: Program, seconds: int) -> dict[str, float]:
    """What it found by name. Raises ProgramError, PeerError, StartError, ProbeError, OSError."""
    if what.kind == WORKER:
        with serving() as server:
            lines = asked(server, what.scenario, seconds)
    else:
        lines = told(what, seconds)
    return named(lines, what.prefix)


def named(lines: list[Line], prefix: str = "") -> dict[str, float]:
    """The values by name. ProgramError for a line that has none."""
    try:
        return {prefix + str(line["name"]): float(line["value"]) for line in lines}
    except KeyError as error:
        raise ProgramError(f"printed no {error.args[0]}: {lines!r:.200}") from None


def told(what: Program, seconds: int) -> list[Line]:
    """What a program of its own prints."""
    if what.kind == NODE:
        words = [*program(NODE), "children_node.js", what.scenario, str(seconds)]
        variables: Mapping[str, str] = {}
    else:
        words = [*program(HOME), "children_callers.py", what.parent, what.loop, what.scenario, str(seconds)]
        variables = {"PYTHONPATH": str(ROOT)}
    outcome = printed(words, variables, 10 * seconds + EXTRA_SECONDS)
    if outcome.problem or not outcome.lines:
        raise ProgramError(outcome.problem or "printed nothing")
    return outcome.lines


@contextmanager
def serving() -> Iterator[Running]:
    """A prefork server of one worker with the heavy app, which has nothing to do yet."""
    port = free_port()
    with running(SERVER.command(port, 1), port, APPS, {"PYTHONPATH": str(ROOT)}) as server:
        yield server


def asked(server: Running, path: str, number: int) -> list[Line]:
    """What a handler of the app measured. ProgramError where it failed."""
    request = f"GET /{path}/{number} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    (answer,) = ask(server.port, request.encode(), seconds=10 * number + EXTRA_SECONDS)
    if answer.status != 200:
        raise ProgramError(f"/{path} answered {answer.status} {answer.body[:200]!r}")
    return parse(answer.body)


def memory() -> dict[str, float]:
    """Bytes (PSS of the whole tree) that one more idle process of each kind takes."""
    found = {}
    for tool in ("offload", "fork", "actor"):
        with serving() as server:
            asked(server, f"hold/{tool}", 1)  # the first one may start more than itself
            wait_idle(server.pid)
            before = pss_bytes(server.pid)
            asked(server, f"hold/{tool}", HELD if tool == "offload" else HELD - 1)
            wait_idle(server.pid)
            found[tool] = (pss_bytes(server.pid) - before) / (HELD - 1)
    return found
