"""Requests to apps whose endpoints run as jobs: in a thread, but for that as in an offloader."""

import asyncio
import pickle
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from prefork.apps.native import AppApplication
from prefork.jobs import client, failures, payload
from prefork.jobs.job import Job
from prefork.jobs.pool import Pool
from prefork.jobs.runner import Streamed
from prefork.settings import Settings
from prefork.web import App
from tests.web.fake_exchange import FakeExchange, Pairs, serve

Run = Callable[[Job], None]


class ThreadBackend:
    """Runs each job at once; what goes there and comes back is pickled."""

    processes = 4

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self.woken = asyncio.Event()
        self.jobs: list[Job] = []  # all that were taken
        self.ended: list[Job] = []

    def start(self) -> None: ...

    def wake(self) -> None:
        self.woken.set()
        while (job := self._pool.take()) is not None:
            self.jobs.append(job)
            self.run(job)

    def run(self, job: Job) -> None:
        self._pool.loop.run_in_executor(None, self._run, job)

    def end(self, job: Job) -> None:
        self.ended.append(job)

    def pause(self, job: Job) -> None: ...

    def resume(self, job: Job) -> None: ...

    async def close(self) -> None: ...

    def _run(self, job: Job) -> None:
        try:
            function, args, kwargs, _ = payload.decode(job.payload.pickle, job.payload.buffers)
            value = function(*args, **kwargs)
            if type(value) is Streamed:
                for item in value.items:
                    self._tell(self._pool.add_item, job, _there_and_back(item))
                value = None
            self._tell(self._pool.returned, job, _there_and_back(value), 0.1)
        except Exception as error:
            failure = pickle.loads(pickle.dumps(failures.take(error)))
            self._tell(self._pool.raised, job, failures.restore(failure), 0.1)

    def _tell(self, what: Callable[..., None], *args: Any) -> None:
        try:
            self._pool.loop.call_soon_threadsafe(what, *args)
        except RuntimeError:  # the loop is closed: nobody listens any more
            pass


def _there_and_back(value: Any) -> Any:
    sent = payload.encode_result(value, "app.f")
    return payload.decode(sent.pickle, [bytearray(buffer) for buffer in sent.buffers])


class Held(ThreadBackend):
    """Takes jobs and runs none."""

    def run(self, job: Job) -> None: ...


class Idle(ThreadBackend):
    """Takes no job."""

    def wake(self) -> None:
        self.woken.set()


@asynccontextmanager
async def pool_of(
    make: Callable[[Pool], ThreadBackend] = ThreadBackend, **settings: Any
) -> AsyncIterator[tuple[Pool, ThreadBackend]]:
    """The running loop's pool for jobs."""
    made: list[ThreadBackend] = []

    def backend(pool: Pool) -> ThreadBackend:
        made.append(make(pool))
        return made[0]

    pool = Pool(Settings(**settings), backend)
    client.install(pool)
    try:
        yield pool, made[0]
    finally:
        client.uninstall(pool)
        await pool.close()


def ask_offloaded(
    app: App,
    method: str = "GET",
    path: str = "/",
    headers: Pairs = (),
    body: bytes = b"",
) -> FakeExchange:
    """What an App does with one request while its jobs run."""
    exchange = FakeExchange(method, path, headers, body)

    async def main() -> None:
        async with pool_of():
            await serve(app, exchange)

    asyncio.run(main())
    return exchange


def start_serving(app: App, exchange: FakeExchange) -> "asyncio.Task[None]":
    """Serve one exchange as a task."""
    return asyncio.create_task(AppApplication(app, Settings())(exchange))
