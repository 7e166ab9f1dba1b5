"""An app that counts, wherever its code runs, and tells what all processes have counted."""

import os
import signal
import time

from prefork import App, Request, Response, children, metrics, offload
from prefork.errors import Crashed

app = App()

orders = metrics.counter("orders", "Orders, by where they were counted.", ["where"])
last = metrics.gauge("last_order", "When the last one came.", across="max")
sizes = metrics.histogram("order_size", "Items.", buckets=(1, 10))


@app.get("/")
async def home(request: Request) -> str:
    return "home"


@app.get("/users/{id:int}")
async def user(request: Request) -> Response:
    number: int = request.path_params["id"]
    return Response(f"user {number}", 200 if number % 10 else 404)


@app.post("/orders")
async def order(request: Request) -> Response:
    return Response(await request.body(), 201)


@app.get("/fails")
async def fails(request: Request) -> Response:
    return Response("no", 503)


@app.get("/metrics")
async def tell(request: Request) -> Response:
    openmetrics = "openmetrics" in request.headers.get("accept", "")
    return Response(metrics.text(openmetrics), content_type="text/plain")


# -- where code of an app runs


def count(where: str, size: float) -> None:
    orders.labels(where).inc()
    last.set(time.time())
    sizes.observe(size)


def crash() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Till:
    """An actor."""

    def count(self) -> None:
        count("actor", 100)


till = app.actor(Till)


@app.get("/everywhere")
async def everywhere(request: Request) -> str:
    count("worker", 1)
    await offload(count, "offloader", 5)
    await till.count()
    child = await children.fork(count, "child", 7)
    await child.wait()
    try:
        await offload(crash)
    except Crashed:
        return "crashed"
    return "lives"
