"""Measure how soon a killed worker's slot serves again, and the memory of a tree: `python benchmarks/respawn.py`.

The app imports numpy and FastAPI and answers the pid of the process that serves it.
"""

import argparse
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # a script finds its own folder only

from benchmarks.options import names, positive
from benchmarks.peers import PeerError, environment
from benchmarks.probe import ProbeError, ask
from benchmarks.process import Running, StartError, free_port, prepare, running, wait_idle
from benchmarks.report import machine, publish, versions
from benchmarks.servers import HEAVY
from benchmarks.table import Bar, bars_line, markdown
from benchmarks.tree import process_tree, pss_bytes

BASE = "prefork"  # whose bars these are
REQUEST = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
REQUESTS = 100  # before memory is read
MEMORY_WORKERS = 4
RESPAWN_BAR_MS = 50.0
MEMORY_BAR_MB = 150.0  # MB of 10^6 bytes
ANSWER_SECONDS = 5.0  # a connection that the dying worker took along must not hold up the next one
AGAIN_SECONDS = 30.0  # until a slot that does not serve again is given up
RETRY_SECONDS = 0.001  # the resolution of a respawn time
PAUSE_SECONDS = 2.0  # from serving again to the next kill

# One worker, so that the slot is unambiguous; uvicorn supervises only from two on, there any new pid counts.
RESPAWN_WORKERS = {"uvicorn": 2}
# granian stops altogether when a worker dies within 5.5 s of the last respawn.
PAUSES = {"granian": 6.0}

Row = tuple[list[str], float]  # cells, and the figure that the bar is about


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line; `only` is a list of known names."""
    parser = argparse.ArgumentParser(description="Measure respawn time and memory with an app that is slow to import.")
    parser.add_argument("--kills", type=positive, default=10, help="per server, default 10")
    parser.add_argument("--only", type=names(list(HEAVY)), default=list(HEAVY), metavar="SERVER,..")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="append the report to a file")
    return parser.parse_args(words)


def ask_pid(port: int) -> int:
    """The pid that answers a new connection. Raises ProbeError, OSError."""
    (answer,) = ask(port, REQUEST, seconds=ANSWER_SECONDS)
    if answer.status != 200 or not answer.body.isdigit():
        raise ProbeError(f"answered {answer.status} {answer.body[:40]!r} instead of a pid")
    return int(answer.body)


def serving(name: str, workers: int) -> AbstractContextManager[Running]:
    """A started server; StartError on entering if it does not start."""
    server, port = HEAVY[name], free_port()
    return running(server.command(port, workers), port, server.folder, server.environment)


def serves_again(server: Running) -> float:
    """Kill the worker that answers, and return the seconds until a process answers that was not there before.

    Raises StartError if none does.
    """
    pid = ask_pid(server.port)
    before = set(process_tree(server.pid))
    if pid not in before:
        raise ProbeError(f"pid {pid} is not of this server")
    start = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    while time.monotonic() - start < AGAIN_SECONDS:
        try:
            if ask_pid(server.port) not in before:
                return time.monotonic() - start
        except OSError:
            pass  # refused or reset: nobody serves now
        time.sleep(RETRY_SECONDS)
    raise StartError(f"no new worker answered within {AGAIN_SECONDS:.0f} s of a kill")


def respawn(name: str, kills: int) -> Row:
    """One server's row of respawn times."""
    workers, times = RESPAWN_WORKERS.get(name, 1), []
    with serving(name, workers) as server:
        wait_idle(server.pid)
        ask_pid(server.port)
        for number in range(kills):
            time.sleep(PAUSES.get(name, PAUSE_SECONDS) if number else 0)
            times.append(1000 * serves_again(server))
            print(f"respawn {number + 1}/{kills} {name}: {times[-1]:.1f} ms", file=sys.stderr)
    figures = [f"{figure:.1f}" for figure in (median(times), min(times), max(times))]
    return [HEAVY[name].title, str(workers), str(kills), *figures], median(times)


def memory(name: str) -> Row:
    """One server's row of memory: read when every worker has imported the app and REQUESTS were answered."""
    with serving(name, MEMORY_WORKERS) as server:
        wait_idle(server.pid)
        for _ in range(REQUESTS):
            ask_pid(server.port)
        wait_idle(server.pid)
        processes, megabytes = len(process_tree(server.pid)), pss_bytes(server.pid) / 1e6
    print(f"memory {name}: {megabytes:.0f} MB", file=sys.stderr)
    return [HEAVY[name].title, str(MEMORY_WORKERS), str(processes), f"{megabytes:.0f}"], megabytes


def section(
    title: str, header: list[str], servers: Sequence[str], row: Callable[[str], Row], limit: float
) -> tuple[str, list[Bar]]:
    """One table of the report, and prefork's bar. A server that fails is a line below it."""
    rows, bars, failed = [], [], []
    for name in servers:
        try:
            cells, figure = row(name)
            bar = Bar(limit, figure)
            rows.append([*cells, *([f"≤ {limit:.0f}", bar.verdict()] if name == BASE else ["", ""])])
        except (PeerError, StartError, ProbeError, OSError) as error:
            failed.append(f"left out: {name}: {error}")
            bar = Bar(limit, None)
            print(failed[-1], file=sys.stderr)
        bars += [bar] if name == BASE else []
    return "\n\n".join([f"### {title}", markdown([*header, "bar", "reached"], rows), *failed]), bars


def main() -> int:
    """Print the report; 1 if the environment that all servers share cannot be made."""
    chosen = arguments()
    prepare()
    try:
        environment("heavy")
    except PeerError as error:
        print(error, file=sys.stderr)
        return 1
    respawns, respawn_bars = section(
        "SIGKILL of a worker → its slot serves again, app with numpy and FastAPI",
        ["server", "workers", "kills", "median ms", "fastest ms", "slowest ms"],
        chosen.only,
        lambda name: respawn(name, chosen.kills),
        RESPAWN_BAR_MS,
    )
    memories, memory_bars = section(
        f"Memory of the whole tree (PSS), same app, after {REQUESTS} requests",
        ["server", "workers", "processes", "MB"],
        chosen.only,
        memory,
        MEMORY_BAR_MB,
    )
    parts = [machine(), f"Packages: {versions(['heavy'])}.", respawns, memories]
    if bars := respawn_bars + memory_bars:
        parts.append(bars_line(bars))
    publish(parts, chosen.markdown)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
