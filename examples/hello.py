"""A first app: `prefork serve examples.hello:app`, or with --app-dir examples: `prefork serve hello:app`."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime

from prefork import App, Event, EventStream, Redirect, Request, StreamingResponse

app = App()


@app.get("/")
async def hello(request: Request) -> str:
    return "Hello, world!"


@app.get("/hello/{name}")
async def hello_name(request: Request) -> str:
    return f"Hello, {request.path_params['name']}!"


@app.get("/add/{a:int}/{b:int}")
async def add(request: Request) -> dict[str, int]:
    """Anything msgspec can encode is sent as JSON."""
    a, b = request.path_params["a"], request.path_params["b"]
    return {"a": a, "b": b, "sum": a + b}


@app.post("/echo")
async def echo(request: Request) -> object:
    """JSON in, the same JSON out; anything else is answered with 400."""
    return await request.json()


@app.get("/primes/{count:int}")
def primes(request: Request) -> list[int]:
    """A plain def: it runs in a thread, so the event loop goes on meanwhile."""
    return list(first_primes(min(request.path_params["count"], 1000)))


@app.get("/count")
async def count(request: Request) -> StreamingResponse:
    """Sent piece by piece: try curl -N."""

    async def lines() -> AsyncIterator[str]:
        for number in range(1, 6):
            yield f"{number}\n"
            await asyncio.sleep(0.5)

    return StreamingResponse(lines(), content_type="text/plain")


@app.get("/clock")
async def clock(request: Request) -> EventStream:
    """Server-sent events, until the client leaves: try curl -N, or new EventSource("/clock") in a browser."""

    async def ticks() -> AsyncIterator[Event]:
        while True:
            yield Event(datetime.now(UTC).isoformat(timespec="seconds"), event="tick")
            await asyncio.sleep(1)

    return EventStream(ticks())


@app.get("/home")
async def home(request: Request) -> Redirect:
    return Redirect("/")


def first_primes(count: int) -> Iterator[int]:
    found: list[int] = []
    number = 2
    while len(found) < count:
        if all(number % prime for prime in found):
            found.append(number)
            yield number
        number += 1
