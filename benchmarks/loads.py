"""The two kinds of load: HTTP requests by wrk, WebSocket messages by echo.c; each with its probe."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Protocol

from benchmarks import echo, wrk
from benchmarks.fixtures import CERTIFICATE
from benchmarks.generator import Report
from benchmarks.probe import Answer, ask, check_hello, trusting
from benchmarks.socket_probe import check_echo

CONNECTIONS = 64  # enough to keep one core busy, few enough that every server holds them easily


class Load(Protocol):
    """What a scenario does to a server."""

    unit: ClassVar[str]  # what is counted, in the singular

    @property
    def timed(self) -> bool:
        """The report's latency is that of one unit."""

    def check(self, port: int) -> None:
        """Ask once what the load will ask. Raises ProbeError unless the answer is right, OSError."""

    def run(self, port: int, seconds: int, pin: Callable[[], None]) -> Report:
        """Load for some seconds, in a process that `pin` sets up. Raises LoadError."""


@dataclass(frozen=True)
class Requests:
    """HTTP/1.1 over CONNECTIONS connections."""

    unit: ClassVar[str] = "request"

    path: str = "/"
    fields: tuple[tuple[str, str], ...] = ()
    script: Path | None = None  # of wrk
    body: bytes = field(default=b"", repr=False)  # POST, where there is one; the script sends the same
    pipelined: int = 1  # requests a write
    closes: bool = False  # a connection carries one request
    tls: bool = False
    expect: Callable[[Answer], None] = check_hello  # raises ProbeError

    @property
    def timed(self) -> bool:
        """wrk times whole writes; where they are pipelined it mostly reports 0 for them."""
        return self.pipelined == 1

    def request(self) -> bytes:
        """The bytes of one write of wrk: what the probe sends before the load does."""
        length = (("Content-Length", str(len(self.body))),) if self.body else ()
        fields = (("Host", "127.0.0.1"), *self.fields, *length)
        head = f"{'POST' if self.body else 'GET'} {self.path} HTTP/1.1\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in fields) + "\r\n"
        return (head.encode() + self.body) * self.pipelined

    def wrk_options(self) -> list[str]:
        """Options of wrk beyond threads, connections and duration."""
        script = ["-s", str(self.script)] if self.script else []
        return script + [part for name, value in self.fields for part in ("-H", f"{name}: {value}")]

    def check(self, port: int) -> None:
        """Raises ProbeError, OSError. A TLS server is to show our certificate and to speak 1.3."""
        tls = trusting(CERTIFICATE) if self.tls else None
        for answer in ask(port, self.request(), self.pipelined, self.closes, tls=tls):
            self.expect(answer)

    def run(self, port: int, seconds: int, pin: Callable[[], None]) -> Report:
        """Raises LoadError."""
        url = f"http{'s' * self.tls}://127.0.0.1:{port}{self.path}"
        return wrk.load(url, seconds, CONNECTIONS, self.wrk_options(), pin)


@dataclass(frozen=True)
class Echoes:
    """WebSocket text messages over CONNECTIONS connections, one in flight on each."""

    unit: ClassVar[str] = "message"
    timed: ClassVar[bool] = True

    message_bytes: int

    def check(self, port: int) -> None:
        """Raises ProbeError, OSError."""
        check_echo(port, self.message_bytes)

    def run(self, port: int, seconds: int, pin: Callable[[], None]) -> Report:
        """Raises LoadError."""
        return echo.load(port, seconds, CONNECTIONS, self.message_bytes, pin)
