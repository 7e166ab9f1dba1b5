"""Endpoints that run as jobs: the request goes to an offloader, the response comes back, whole or piece by piece."""

import asyncio
import contextlib
import copy
import inspect
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from itertools import chain
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

from prefork.jobs.client import Offloading
from prefork.jobs.context import origin
from prefork.jobs.job import Job
from prefork.jobs.options import Offload
from prefork.jobs.payload import why_not
from prefork.jobs.references import name_of, runs_its_argument
from prefork.jobs.runner import Streamed
from prefork.web.events import EventStream
from prefork.web.handlers import check_handler, is_async
from prefork.web.headers import FieldTuple
from prefork.web.request import Request
from prefork.web.response import Response, as_response
from prefork.web.routing import Endpoint
from prefork.web.streaming import StreamingResponse

if TYPE_CHECKING:
    from prefork.web.app import App


def offloaded(handler: Callable[..., Any], options: Offload) -> Endpoint:
    """An endpoint that runs `handler`, a plain def or a generator, in an offloader. Raises TypeError for another."""
    check_handler(handler, "request", generators=True)
    if is_async(handler):
        raise TypeError(f"{name_of(handler)}: an offloaded endpoint is a plain def, not async")
    offload = Offloading(options)

    async def call(request: Request) -> Response:
        body = await request.body()
        origin.set(request)
        job = offload.submit(answer, (handler, Carried.of(request), body), {}, stream=True)
        try:
            streams, first = await job.receive()
        except asyncio.CancelledError:
            job.cancel()
            raise
        if streams:
            first.content = Items(job)
        return _whole(*first) if type(first) is tuple else first

    return call


def _whole(status: int, fields: FieldTuple, body: bytes) -> Response:
    """A response made anew from its parts."""
    response = Response(body, status)
    response.fields = fields
    return response


class Carried(NamedTuple):
    """A request on its way to an offloader, without its body."""

    method: str
    target: bytes
    fields: list[tuple[bytes, bytes]]
    scheme: str
    client: tuple[str, int] | None
    id: str
    path_params: dict[str, Any]
    mount_path: str
    state: dict[str, Any]
    left_out: dict[str, str]  # of the state: what cannot be sent, and why

    @classmethod
    def of(cls, request: Request) -> "Carried":
        exchange = request.exchange
        state = dict(vars(request.state)) if hasattr(request, "_state") else {}
        left_out = {name: reason for name, value in state.items() if (reason := why_not(value)) is not None}
        return cls(
            exchange.method,
            exchange.target,
            exchange.fields,
            exchange.scheme,
            exchange.client,
            request.id,
            request.path_params,
            request.mount_path,
            {name: value for name, value in state.items() if name not in left_out},
            left_out,
        )


class CarriedState(SimpleNamespace):
    """`request.state` in an offloader: what could be sent of it."""

    def __init__(self, values: dict[str, Any], left_out: dict[str, str]) -> None:
        super().__init__(**values)
        object.__setattr__(self, "_left_out", left_out)

    def __getattr__(self, name: str) -> Any:
        left_out: dict[str, str] = object.__getattribute__(self, "__dict__").get("_left_out", {})
        if name in left_out:
            raise AttributeError(f"request.state.{name} has not come along to the offloader: {left_out[name]}")
        raise AttributeError(f"request.state has no {name!r}")


class CarriedExchange:
    """The exchange of a request in an offloader: it can be read; the worker writes the response."""

    started = finished = False

    def __init__(self, head: Carried, body: bytes) -> None:
        self.method = head.method
        self.target = head.target
        self.fields = head.fields
        self.scheme = head.scheme
        self.client = head.client
        self.has_body = bool(body)

    def limit_body(self, most: int) -> None:
        """The worker has seen to it."""

    async def read(self) -> bytes:
        """The body is in the request already."""
        return b""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(f"exchange.{name} is the worker's: an offloaded endpoint returns its response")


root: "App | None" = None  # in an offloader: the app that its endpoints belong to


@runs_its_argument
def answer(handler: Callable[[Request], Any], head: Carried, body: bytes) -> Any:
    """Run an endpoint in an offloader. Returns a plain Response as its parts, another as it is, or a stream that
    begins with its response."""
    request = Request(CarriedExchange(head, body))
    request.carried(body, head.id, head.path_params, head.mount_path, CarriedState(head.state, head.left_out), root)
    result = handler(request)
    if inspect.isgenerator(result):
        result = _streaming(result)
    response = as_response(result, handler)
    if isinstance(response, StreamingResponse | EventStream):
        content, response = response.content, copy.copy(response)
        response.content = ()
        return response if head.method == "HEAD" else Streamed(chain((response,), _each(content)))
    if type(response) is Response:
        return response.status, response.fields, response.body
    return response


def _streaming(pieces: Iterator[Any]) -> Response:
    """What a generator sends: text if its first piece is a str. It runs up to there, so that it may still fail."""
    first = next(pieces, b"")
    kind = "text/plain" if isinstance(first, str) else None
    return StreamingResponse(chain((first,), pieces) if first else pieces, content_type=kind)


def _each(content: Iterable[Any] | AsyncIterable[Any]) -> Iterator[Any]:
    """The items of either kind of iterator; an asynchronous one gets a loop of its own."""
    if not isinstance(content, AsyncIterable):
        yield from content
        return
    iterator: AsyncIterator[Any] = aiter(content)
    with asyncio.Runner() as loop:
        while True:
            try:
                item = loop.run(_next(iterator))
            except StopAsyncIteration:
                return
            yield item


async def _next(iterator: AsyncIterator[Any]) -> Any:
    return await anext(iterator)


class Items:
    """The pieces that come from a job. The job is ended with the last reference to this."""

    def __init__(self, job: Job) -> None:
        self._job = job

    def __aiter__(self) -> "Items":
        return self

    async def __anext__(self) -> Any:
        try:
            more, item = await self._job.receive()
        except asyncio.CancelledError:
            self._job.cancel()
            raise
        if not more:
            raise StopAsyncIteration
        return item

    async def aclose(self) -> None:
        """Nobody wants the rest."""
        self._job.abandon()

    def __del__(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            # The garbage collector may run in any thread.
            self._job.outcome.get_loop().call_soon_threadsafe(self._job.cancel)
