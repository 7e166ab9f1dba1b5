"""Load a server with light requests while clients keep CPU-heavy ones coming."""

import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.generator import LoadError, generate
from benchmarks.offload_figures import Mixed
from benchmarks.probe import ProbeError, ask, check_hello, read_answer
from benchmarks.process import free_port, running
from benchmarks.servers import PREFORK, UVICORN, Server
from benchmarks.wrk import MILLISECONDS, parse

WORKERS = 2
HEAVY_CLIENTS = 8
LIGHT_CONNECTIONS = 16
THINK_SCRIPT = Path(__file__).parent / "think.lua"
WARM_UP_SECONDS = 2  # pools start, heavy clients fill them
BACK_OFF_SECONDS = 0.05  # after an answer that is no success: a refusal costs the client a job's time
ANSWER_SECONDS = 30.0  # of a heavy request
LIGHT = b"GET /light HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
HEAVY = b"GET /heavy HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"

SERVERS = {
    "prefork": Server("prefork, offload=True", "pool", PREFORK + " --offload-max 1", "offload_prefork:app"),
    "uvicorn": Server("uvicorn, ProcessPoolExecutor, nice 5", "uvicorn", UVICORN, "offload_uvicorn:app"),
}


@dataclass
class Heavy:
    """What heavy clients saw: a time and a status for each answer, None for a connection that was lost."""

    seen: list[tuple[float, int | None]] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def count(self, start: float, end: float) -> tuple[int, int, int]:
        """Answers in a time: 200, 503, anything else."""
        statuses = [status for when, status in self.seen if start <= when < end]
        good, refused = statuses.count(200), statuses.count(503)
        return good, refused, len(statuses) - good - refused

    def client(self, port: int) -> None:
        """One client on one connection, until stopped."""
        while not self.stop.is_set():
            try:
                with (
                    socket.create_connection(("127.0.0.1", port), timeout=ANSWER_SECONDS) as connection,
                    connection.makefile("rb") as stream,
                ):
                    while not self.stop.is_set():
                        connection.sendall(HEAVY)
                        self.note(read_answer(stream).status)
            except (OSError, ProbeError):
                self.note(None)

    def note(self, status: int | None) -> None:
        """Remember an answer; appending is atomic."""
        self.seen.append((time.monotonic(), status))
        if status != 200:
            self.stop.wait(BACK_OFF_SECONDS)


@contextmanager
def heavy_clients(port: int) -> Iterator[Heavy]:
    """HEAVY_CLIENTS clients, each with one request under way at any time."""
    heavy = Heavy()
    threads = [threading.Thread(target=heavy.client, args=(port,), daemon=True) for _ in range(HEAVY_CLIENTS)]
    for thread in threads:
        thread.start()
    try:
        yield heavy
    finally:
        heavy.stop.set()
        for thread in threads:
            thread.join(ANSWER_SECONDS)


def light(port: int, seconds: int) -> tuple[float, float, float]:
    """Requests/s, p50 and p99 in ms of the light requests. LoadError where wrk saw an answer that is no success."""
    options = [f"-c{LIGHT_CONNECTIONS}", f"-d{seconds}s", "-s", str(THINK_SCRIPT)]
    text = generate(["wrk", "-t1", "--latency", *options, f"http://127.0.0.1:{port}/light"], seconds)
    report = parse(text)
    p50 = re.search(r"^\s*50%\s+([\d.]+)(us|ms|s|m|h)\s*$", text, re.MULTILINE)
    if p50 is None or (problem := report.problem()):
        raise LoadError(problem if p50 else "no 50% in wrk's report")
    return report.requests_per_second, float(p50[1]) * MILLISECONDS[p50[2]], report.p99_ms


def check(port: int) -> None:
    """Both endpoints answer what they should. Raises ProbeError, OSError."""
    (answer,) = ask(port, LIGHT)
    check_hello(answer)
    (answer,) = ask(port, HEAVY)
    if (answer.status, answer.body) != (200, b"done"):
        raise ProbeError(f"/heavy answered {answer.status} {answer.body[:80]!r}")


def measure(name: str, number: int, seconds: int) -> Mixed:
    """One round of one fresh server. Raises StartError, PeerError, ProbeError, OSError, LoadError."""
    server, port = SERVERS[name], free_port()
    with running(server.command(port, WORKERS), port, server.folder, server.environment):
        check(port)
        with heavy_clients(port) as heavy:
            light(port, WARM_UP_SECONDS)
            start = time.monotonic()
            per_second, p50, p99 = light(port, seconds)
            end = time.monotonic()
            good, refused, failed = heavy.count(start, end)
    return Mixed(name, number, per_second, p50, p99, good / (end - start), refused, failed)
