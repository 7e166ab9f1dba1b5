"""The loads that servers are compared under, with the bars that prefork is to reach."""

from dataclasses import dataclass, field
from pathlib import Path

CONNECTIONS = 64  # enough to keep one core busy, few enough that every server holds them easily
PIPELINED = 16  # requests a write
PIPELINE_SCRIPT = Path(__file__).parent / "pipeline.lua"

# What a browser behind a proxy sends beyond Host: 12 fields, the cookie of 90 bytes.
BROWSER_FIELDS = (
    ("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
    ("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
    ("Accept-Encoding", "gzip, deflate, br, zstd"),
    ("Accept-Language", "en-GB,en;q=0.7,de;q=0.3"),
    ("Cache-Control", "no-cache"),
    ("Cookie", "session=" + "5f2b" * 16 + "; theme=dark; at=1"),
    ("Sec-Fetch-Dest", "document"),
    ("Sec-Fetch-Mode", "navigate"),
    ("Sec-Fetch-Site", "none"),
    ("Upgrade-Insecure-Requests", "1"),
    ("X-Forwarded-For", "203.0.113.7, 198.51.100.12"),
    ("X-Request-Id", "0b7f3c52-6f0e-4d39-9a51-5d1f4f9d2c10"),
)


@dataclass(frozen=True)
class Scenario:
    """One load. `bars` are the highest ratios of CPU per request, prefork to that server, in one run."""

    name: str
    title: str
    servers: tuple[str, ...]
    bars: dict[str, float]
    fields: tuple[tuple[str, str], ...] = ()
    wrk: tuple[str, ...] = ()
    pipelined: int = 1  # requests a write
    closes: bool = False  # a connection carries one request
    workers: dict[str, int] = field(default_factory=dict)  # where it is not 1

    def request(self) -> bytes:
        """The bytes of one write of wrk: what the probe sends before the load does."""
        fields = (("Host", "127.0.0.1"), *self.fields)
        head = "GET / HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields)
        return (head + "\r\n").encode() * self.pipelined

    def wrk_options(self) -> list[str]:
        """Options of wrk beyond threads, connections and duration."""
        return [*self.wrk, *(part for name, value in self.fields for part in ("-H", f"{name}: {value}"))]


EVERY_SERVER = ("prefork", "floor", "uvicorn", "gunicorn", "granian-asgi", "granian-rsgi", "node")

SCENARIOS = (
    Scenario(
        "hello",
        f"hello: {CONNECTIONS} keep-alive connections",
        EVERY_SERVER,
        {"floor": 1.9, "uvicorn": 0.6, "granian-rsgi": 0.65},
    ),
    Scenario(
        "browser",
        f"hello with a browser's headers: {len(BROWSER_FIELDS)} more fields",
        EVERY_SERVER,
        {"uvicorn": 0.6},
        fields=BROWSER_FIELDS,
    ),
    Scenario(
        "pipelined",
        f"{PIPELINED} pipelined requests a write (wrk has no latency for these)",
        EVERY_SERVER,
        {"uvicorn": 0.3},
        wrk=("-s", str(PIPELINE_SCRIPT)),
        pipelined=PIPELINED,
    ),
    Scenario(
        "connection",
        "connection per request: prefork (round-robin) and Node with 2 workers, uvicorn with 1",
        ("prefork", "floor", "uvicorn", "node"),
        {"uvicorn": 0.8, "node": 0.4},
        fields=(("Connection", "close"),),
        closes=True,
        workers={"prefork": 2, "node": 2},
    ),
)
