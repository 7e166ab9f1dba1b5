"""The loads that servers are compared under, with the bars that prefork is to reach."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

from benchmarks import echo
from benchmarks.fixtures import contents, make_certificate, make_files
from benchmarks.loads import CONNECTIONS, Echoes, Load, Requests
from benchmarks.peers import HERE, compiled
from benchmarks.probe import check
from benchmarks.servers import COUNTING, HELLO, STATIC, TLS, WEBSOCKET, WSGI, Server, asgi

PIPELINED = 16  # requests a write
PIPELINE_SCRIPT = HERE / "pipeline.lua"
POST_BYTES = 1_000_000
POST_SCRIPT = HERE / "post.lua"
MESSAGE_BYTES = 64

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


def nothing() -> None:
    """Most scenarios need nothing on disk."""


@dataclass(frozen=True)
class Scenario:
    """One comparison. `bars` are the highest ratios of CPU per request, prefork to that server, in one run; `extra` the
    most µs of CPU a request that prefork may take more than that server."""

    name: str
    title: str
    load: Load
    servers: Mapping[str, Server]
    bars: Mapping[str, float]
    workers: Mapping[str, int] = field(default_factory=dict)  # where it is not 1
    extra: Mapping[str, float] = field(default_factory=dict)
    prepare: Callable[[], object] = nothing  # makes what load and servers need; raises PeerError


SCENARIOS = (
    Scenario(
        "hello",
        f"hello: {CONNECTIONS} keep-alive connections",
        Requests(),
        COUNTING | HELLO,
        {"floor": 1.9, "uvicorn": 0.6, "granian-rsgi": 0.65},
        extra={"prefork-no-metrics": 0.5},
    ),
    Scenario(
        "browser",
        f"hello with a browser's headers: {len(BROWSER_FIELDS)} more fields",
        Requests(fields=BROWSER_FIELDS),
        HELLO,
        {"uvicorn": 0.6},
    ),
    Scenario(
        "pipelined",
        f"{PIPELINED} pipelined requests a write (wrk has no latency for these)",
        Requests(script=PIPELINE_SCRIPT, pipelined=PIPELINED),
        HELLO,
        {"uvicorn": 0.3},
    ),
    Scenario(
        "connection",
        "connection per request: prefork (round-robin) and Node with 2 workers, uvicorn with 1",
        Requests(fields=(("Connection", "close"),), closes=True),
        {name: HELLO[name] for name in ("prefork", "floor", "uvicorn", "node")},
        {"uvicorn": 0.8, "node": 0.4},
        workers={"prefork": 2, "node": 2},
    ),
    Scenario(
        "asgi",
        "hello in ASGI",
        Requests(),
        asgi("hello:asgi"),
        {"uvicorn": 0.7, "granian-asgi": 0.75, "fastpysgi-asgi": 0.8},
    ),
    Scenario(
        "asgi-browser",
        f"hello in ASGI with a browser's headers: {len(BROWSER_FIELDS)} more fields",
        Requests(fields=BROWSER_FIELDS),
        asgi("hello:asgi"),
        {"uvicorn": 0.7},
    ),
    Scenario(
        "post",
        "a body of 1 MB to an ASGI app, which answers with its length",
        Requests(
            script=POST_SCRIPT,
            body=b"x" * POST_BYTES,
            expect=partial(check, kind="text/plain", body=str(POST_BYTES).encode()),
        ),
        asgi("post:asgi"),
        {"uvicorn": 0.9},
    ),
    Scenario("wsgi", "hello in WSGI", Requests(), WSGI, {"gunicorn-gthread": 0.35}),
    Scenario(
        "websocket",
        f"WebSocket: echo of {MESSAGE_BYTES} bytes of text, {CONNECTIONS} connections, one message in flight on each",
        Echoes(MESSAGE_BYTES),
        WEBSOCKET,
        {"uvicorn": 0.8},
        prepare=partial(compiled, echo.SOURCE),
    ),
    *(
        Scenario(
            f"static-{name}",
            f"a file of {size}",
            Requests(
                path=f"/static/{name}.bin",
                expect=partial(check, kind="application/octet-stream", body=contents(f"{name}.bin")),
            ),
            STATIC,
            {"starlette": 0.6},
            prepare=make_files,
        )
        for name, size in (("16k", "16 KiB"), ("1m", "1 MiB"))
    ),
    Scenario(
        "tls",
        "hello over TLS 1.3, keep-alive",
        Requests(tls=True),
        TLS,
        {"uvicorn": 0.8},
        prepare=make_certificate,
    ),
)
