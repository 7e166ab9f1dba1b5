"""Run one scenario on one pool in a process of its own, and read the lines it prints."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from benchmarks.peers import ROOT, node_modules, program
from benchmarks.printed import Outcome, ProgramError, parse, printed
from benchmarks.probe import ask
from benchmarks.process import free_port, running
from benchmarks.servers import APPS

EXTRA_SECONDS = 60.0  # beyond a scenario's own time: start, warm-up, the end of the pool
PREFORK_POOL = {  # one process; a queue and a wait that 1,000 jobs at once fit into
    "PREFORK_OFFLOAD_MIN": "1",
    "PREFORK_OFFLOAD_MAX": "1",
    "PREFORK_OFFLOAD_QUEUE": "1000",
    "PREFORK_OFFLOAD_WAIT_SECONDS": "600",
}
DIRTY = (
    "-m gunicorn offload_dirty:asgi -k asgi -w 1 -b 127.0.0.1:{port} --timeout 300 --log-level warning"
    " --no-control-socket --dirty-app offload_dirty:Jobs --dirty-workers 1"
)


@dataclass(frozen=True)
class Way:
    """A pool, and a way to call it."""

    pool: str
    title: str
    home: str  # see peers.program
    way: str = "asyncio"  # or "direct": each result is waited for in a call that blocks
    caller: str = "asyncio (uvloop)"  # in words
    options: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)


WAYS = {
    "prefork": Way("prefork", "prefork", "pool", environment=PREFORK_POOL),
    "ppe": Way("ppe", "ProcessPoolExecutor", "pool"),
    "ppe-direct": Way("ppe", "ProcessPoolExecutor", "pool", "direct", "a plain script"),
    "loky": Way("loky", "loky", "loky"),
    "loky-direct": Way("loky", "loky", "loky", "direct", "a plain script"),
    "pebble": Way("pebble", "pebble", "pebble"),
    "pebble-direct": Way("pebble", "pebble", "pebble", "direct", "a plain script"),
    "gunicorn": Way("gunicorn", "gunicorn dirty arbiter", "dirty", caller="its ASGI worker"),
    "gunicorn-direct": Way("gunicorn", "gunicorn dirty arbiter", "dirty", "direct", "its worker, blocking"),
    "piscina": Way("piscina", "Piscina (1 thread)", "piscina", caller="Node"),
}
ONE_AT_A_TIME = ("gunicorn-direct",)  # cannot have jobs in flight
# A crash is seen alike from both ways. In Node it depends on what crashes: see apps/offload_piscina.js.
CRASH_WAYS = {
    **{name: way for name, way in WAYS.items() if way.way == "asyncio"},
    "piscina": Way("piscina", "Piscina (process.exit in the thread)", "piscina", options=("exit",)),
    "piscina-kill": Way("piscina", "Piscina (SIGKILL, as elsewhere)", "piscina", options=("kill",)),
}


def command(way: Way, scenario: str, seconds: int) -> list[str]:
    """The program of a pool that needs no server. Raises PeerError."""
    if way.pool == "piscina":
        return [*program(way.home), "offload_piscina.js", scenario, str(seconds), *way.options]
    return [*program(way.home), "offload_callers.py", way.pool, way.way, scenario, str(seconds)]


def environment(way: Way) -> dict[str, str]:
    """What a pool's program is told beyond its arguments: prefork is measured from this tree."""
    if way.pool == "piscina":
        return {"NODE_PATH": str(node_modules(way.home))}
    return {"PYTHONPATH": str(ROOT), **way.environment}


def measure(way: Way, scenario: str, seconds: int) -> Outcome:
    """Run a scenario in fresh processes, and end all of them. Raises PeerError, StartError, OSError."""
    if way.pool == "gunicorn":
        return served(way, scenario, seconds)
    return printed(command(way, scenario, seconds), environment(way), seconds + EXTRA_SECONDS)


def value(way: Way, scenario: str, seconds: int) -> float:
    """The one figure of a scenario. ProgramError if there is none; also raises what `measure` raises."""
    outcome = measure(way, scenario, seconds)
    if outcome.problem or not outcome.lines or "value" not in outcome.lines[0]:
        raise ProgramError(outcome.problem or f"printed no figure: {outcome.lines!r}")
    return float(outcome.lines[0]["value"])


def served(way: Way, scenario: str, seconds: int) -> Outcome:
    """Run it inside gunicorn's worker: a dirty arbiter is called from nowhere else."""
    port = free_port()
    arguments = DIRTY.format(port=port).split()
    with running([*program(way.home), *arguments], port, APPS, environment(way)):
        request = f"GET /{scenario}/{way.way}/{seconds} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
        (answer,) = ask(port, request.encode(), seconds=seconds + EXTRA_SECONDS)
    lines = parse(answer.body)
    return Outcome(lines, None if answer.status == 200 else f"answered {answer.status}: {lines!r}")
