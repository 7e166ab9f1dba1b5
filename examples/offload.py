"""CPU-heavy work beside light requests: `prefork serve offload:app --app-dir examples`, then open the page.

What computes runs in offloaders: processes of their own, forked from the imported app, with a bounded queue, a deadline
that kills, and an answer (503, 504, 500) when it cannot be done. `/pulse` stays quick all the while.
"""

import logging
import os
import struct
import time
import zlib
from collections.abc import AsyncIterator, Iterator
from contextvars import ContextVar

from prefork import App, Event, EventStream, HTTPError, Offload, Request, Response, offload

log = logging.getLogger("example")

app = App()
visitor: ContextVar[str] = ContextVar("visitor", default="somebody")
offload.carry(visitor)  # jobs see it as it was when they were submitted

PALETTE: list[bytes] = []


@app.on_offload_start
def prepare() -> None:
    """Once in each offloader: here a palette; in life a model, or a connection to a database."""
    PALETTE.extend(bytes((min(255, 9 * n % 256), min(255, 5 * n % 256), min(255, 60 + 3 * n))) for n in range(64))
    PALETTE.append(bytes(3))


@app.middleware
async def remember_visitor(request: Request, call_next):  # type: ignore[no-untyped-def]
    visitor.set(request.query.get("name", "somebody"))
    return await call_next(request)


# -- whole endpoints


@app.get("/fractal/{n:int}", offload=True)
def fractal(request: Request) -> Response:
    """A plain def that computes: one word moves it off the event loop."""
    n = request.path_params["n"]
    if not 8 <= n <= 1000:
        raise HTTPError(422, "between 8 and 1000 pixels, please")
    return Response(png(n, [row(n, y) for y in range(n)]), content_type="image/png")


@app.get("/report", offload=Offload(timeout=5, retries=1, idempotent=True, memory="512M"))
def report(request: Request) -> Iterator[str]:
    """A generator streams to the client. It is tried again if its process dies before anything was sent."""
    log.info("a report for %s", visitor.get())
    yield "number,primes below\n"
    for number in range(1000, 10_001, 1000):
        yield f"{number},{primes_below(number)}\n"


# -- from a handler of your own


@app.get("/primes/{n:int}")
async def primes(request: Request) -> dict[str, object]:
    """One call. Arguments and result are pickled; what raises there raises here."""
    n = request.path_params["n"]
    return {"below": n, "primes": await offload(primes_below, n), "computed_by": await offload(os.getpid)}


@app.get("/quick/{n:int}")
async def quick(request: Request) -> dict[str, object]:
    """The same with other options: half a second, before the others. Too slow is 504, by itself."""
    return {"primes": await offload.using(timeout=0.5, priority=10)(primes_below, request.path_params["n"])}


@app.get("/squares")
async def squares(request: Request) -> list[int]:
    """Many calls, in order, a few at a time."""
    return [result async for result in offload.map(slow_square, range(20))]


@app.get("/progress")
async def progress(request: Request) -> EventStream:
    """Watch a job: its reports as server-sent events, and its result at the end."""
    job = offload.start(long_work, 40)

    async def events() -> AsyncIterator[Event]:
        async for fraction, note in job.progress():
            yield Event({"fraction": fraction, "note": note}, event="progress")
        yield Event(await job, event="done")

    return EventStream(events())


@app.get("/rows")
async def rows(request: Request) -> EventStream:
    """A generator in an offloader, item by item; when the browser leaves, it is ended."""
    return EventStream({"data": item} async for item in offload.stream(countdown, 5))


@app.get("/pulse")
async def pulse(request: Request) -> dict[str, float]:
    """What must stay quick."""
    return {"time": time.time()}


# -- what computes: ordinary functions at the top level of a module


def primes_below(limit: int) -> int:
    return sum(all(number % divisor for divisor in range(2, int(number**0.5) + 1)) for number in range(2, limit))


def slow_square(number: int) -> int:
    primes_below(2000)
    return number * number


def long_work(steps: int) -> str:
    for step in range(1, steps + 1):
        primes_below(12_000)
        offload.progress(step / steps, f"step {step} of {steps}")
    return f"done by process {os.getpid()}"


def countdown(start: int) -> Iterator[int]:
    for number in range(start, -1, -1):
        primes_below(20_000)
        yield number


def row(n: int, y: int) -> bytes:
    """One line of the Mandelbrot set, as PNG wants it: filter type 0, then RGB."""
    pixels = [b"\0"]
    for x in range(n):
        c, z, count = complex(x / n * 3 - 2.2, y / n * 3 - 1.5), 0j, 0
        while count < 64 and abs(z) <= 2:
            z, count = z * z + c, count + 1
        pixels.append(PALETTE[count])
    return b"".join(pixels)


def png(n: int, lines: list[bytes]) -> bytes:
    """A square image (RFC 2083)."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", n, n, 8, 2, 0, 0, 0)
    parts = [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(b"".join(lines))), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@app.get("/")
async def page(request: Request) -> Response:
    return Response(PAGE, content_type="text/html")


PAGE = """<!doctype html><meta charset=utf-8><title>prefork offload</title>
<style>
  body { font: 1rem/1.5 system-ui; max-width: 46rem; margin: 2rem auto; padding: 0 1rem; color-scheme: light dark }
  img { width: 120px; height: 120px; margin: 4px; background: #8883; border-radius: 6px }
  progress { width: 100% } code { font-size: 1.1em }
</style>
<h1>Heavy work, light requests</h1>
<p>Each picture is computed by <code>/fractal/240</code> in an offloader. Meanwhile <code>/pulse</code>, answered by the
event loop, takes <b id=pulse>…</b> ms (worst of the last 20: <b id=worst>…</b> ms).
<p id=pictures></p>
<p><progress id=bar value=0></progress><br><span id=note>waiting for its turn</span>
<script>
  for (let i = 0; i < 8; i++) pictures.insertAdjacentHTML("beforeend", `<img src="/fractal/240?${i}" alt="">`)
  const source = new EventSource("/progress")
  source.addEventListener("progress", event => {
    const { fraction, note: text } = JSON.parse(event.data)
    bar.value = fraction; note.textContent = text
  })
  source.addEventListener("done", event => { note.textContent = event.data; source.close() })
  const times = []
  setInterval(async () => {
    const start = performance.now()
    await (await fetch("/pulse")).json()
    times.push(performance.now() - start); if (times.length > 20) times.shift()
    pulse.textContent = times.at(-1).toFixed(1); worst.textContent = Math.max(...times).toFixed(1)
  }, 200)
</script>
"""
