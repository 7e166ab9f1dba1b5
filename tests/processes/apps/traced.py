"""An app whose requests, jobs and actor calls are traced; it has set up nothing itself."""

import time
from collections.abc import Iterator
from typing import Any

from opentelemetry import baggage, trace

from prefork import App, Offload, Request, offload

app = App()
tracer = trace.get_tracer("app")


def work(number: int) -> Any:
    with tracer.start_as_current_span("within the job"):
        return {"square": number * number, "tenant": baggage.get_baggage("tenant")}


def count(number: int) -> Iterator[str]:
    for index in range(number):
        with tracer.start_as_current_span("an item"):
            yield f"{index} "


def fail() -> None:
    raise ValueError("on purpose")


def sleep() -> None:
    time.sleep(3600)


class Greeter:
    def greet(self, name: str) -> str:
        with tracer.start_as_current_span("within the call"):
            return f"hello {name}"


greeter = app.actor(Greeter)


@app.get("/work/{number:int}")
async def get_work(request: Request) -> Any:
    with tracer.start_as_current_span("within the handler"):
        return await offload(work, request.path_params["number"])


@app.get("/fail")
async def get_fail(request: Request) -> None:
    await offload(fail)


@app.get("/late")
async def get_late(request: Request) -> None:
    await offload.using(Offload(timeout=0.05))(sleep)


@app.get("/count")
async def get_count(request: Request) -> str:
    return "".join([item async for item in offload.stream(count, 3)])


@app.get("/greet")
async def greet(request: Request) -> Any:
    return await greeter.greet("you")
