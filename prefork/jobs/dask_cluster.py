"""Stay connected to a Dask cluster, and know which workers it has."""

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Protocol

from prefork import __version__
from prefork.core.backoff import Backoff
from prefork.jobs import dask_worker

CONNECT_SECONDS: Final = 5.0  # for one attempt; a scheduler that is there answers in milliseconds
LOOK_SECONDS: Final = 2.0  # between two looks when nothing is heard; Dask's own clients look as often
ANSWER_SECONDS: Final = 30.0  # for the scheduler's answer: a busy one may hold its GIL for long
CLOSE_SECONDS: Final = 5.0  # for saying goodbye: distributed itself waits up to 2 s for a last word
ALL: Final = "all"  # the topic under which a scheduler reports workers that come and go

_log = logging.getLogger("prefork.offload")


@dataclass(eq=False)
class Worker:
    """A Dask worker, as its scheduler has described it."""

    address: str
    directory: str  # its own, as long as it lives: another process at the same address has another
    offered: int = 0  # threads
    given: int = 0  # jobs of ours that hold one
    checked: bool = False  # whether it can run jobs, or about to be
    ready: bool = False  # it can
    unfit: str = ""  # why it cannot

    @property
    def threads(self) -> int:
        """That may be given jobs."""
        return self.offered if self.ready else 0


class Listener(Protocol):
    """Who wants to know."""

    def connected(self) -> None:
        """There is a client."""

    def hear(self, said: bytes) -> None:
        """What one of our tasks has logged under the client's topic."""

    def changed(self, gone: list[Worker]) -> None:
        """The workers may have changed, and these have gone."""

    def lost(self, reason: str) -> None:
        """The connection has gone, and all that was asked through it."""

    def unreachable(self, reason: str) -> None:
        """There is nobody who could run jobs now. There may be again."""


class Cluster:
    """One scheduler and its workers."""

    def __init__(self, distributed: Any, address: str, listener: Listener) -> None:
        """`distributed` is the package."""
        self.address = address
        self.client: Any = None  # while there is a connection
        self.workers: dict[str, Worker] = {}  # by address
        self._distributed = distributed
        self._listener = listener
        self._id = ""  # of the scheduler
        self._news = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self._checks: set[asyncio.Task[None]] = set()
        self._closed = False

    def start(self) -> None:
        """Connect, in the background. Nothing if that was done."""
        if self._keeper is None and not self._closed:
            self._keeper = asyncio.get_running_loop().create_task(self._keep_connected())

    @property
    def unfit(self) -> str:
        """Why none of the workers can run jobs, when that is so."""
        reasons = [worker.unfit for worker in self.workers.values()]
        return reasons[0] if reasons and all(reasons) else ""

    def look(self) -> None:
        """Something has happened: see which workers are there."""
        self._news.set()

    def lose(self, reason: str) -> None:
        """The connection is of no use any more."""
        if self.client is not None:
            self.client = None
            self.workers = {}
            for check in self._checks:
                check.cancel()
            self._news.set()
            self._listener.lost(reason)

    async def close(self) -> None:
        connected = self.client is not None
        self._closed = True
        self.lose("it is closed")
        if self._keeper is not None:
            if connected:  # it comes to its end: an answer that is on its way would leave a socket behind
                await asyncio.wait([self._keeper], timeout=CLOSE_SECONDS)
            self._keeper.cancel()
            await asyncio.gather(self._keeper, *self._checks, return_exceptions=True)

    async def _keep_connected(self) -> None:
        loop = asyncio.get_running_loop()
        backoff = Backoff()
        while not self._closed:
            await asyncio.sleep(backoff.not_before - loop.time())
            try:
                client, identity = await self._connect()
            except Exception as error:  # whatever the transports raise
                delay = backoff.died(None, loop.time())
                reason = f"the Dask scheduler at {self.address} cannot be reached: {error or type(error).__name__}"
                _log.error("%s; next try in %.1f s", reason, delay)
                self._listener.unreachable(reason)
                continue
            since = loop.time()
            self.client, self._id = client, identity["id"]
            _log.info("connected to the Dask scheduler at %s", self.address)
            self._listener.connected()
            try:
                self.lose(await self._watch(client, identity))
            finally:
                await _close(client)
            backoff.died(loop.time() - since, loop.time())

    async def _connect(self) -> tuple[Any, Any]:
        """A client, and what its scheduler says."""
        client = self._distributed.Client(
            self.address, asynchronous=True, set_as_default=False, name="prefork", timeout=CONNECT_SECONDS
        )
        try:
            await client
            client.subscribe_topic(client.id, self._hear)
            client.subscribe_topic(ALL, lambda event: self.look())
            return client, await self._ask(client)
        except BaseException:
            await _close(client)
            raise

    async def _ask(self, client: Any) -> Any:
        async with asyncio.timeout(ANSWER_SECONDS):
            return await client.scheduler.identity()

    async def _watch(self, client: Any, identity: Any) -> str:
        """Follow the cluster as workers come and go. Returns when it is lost, and why."""
        while True:
            if identity["id"] != self._id:
                return f"the Dask scheduler at {self.address} was restarted"
            self._see(identity["workers"])
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._news.wait()
            if self.client is not client:
                return ""  # it was lost already
            self._news.clear()  # before we ask: what happens from now on asks for another look
            try:
                identity = await self._ask(client)
            except Exception as error:  # whatever the transports raise
                return f"the Dask scheduler at {self.address} does not answer: {error or type(error).__name__}"
            if self.client is not client:
                return ""

    def _see(self, found: Mapping[str, Mapping[str, Any]]) -> None:
        before, self.workers = self.workers, {}
        for address, facts in found.items():
            worker = before.get(address)
            if worker is None or worker.directory != facts["local_directory"]:
                worker = Worker(address, facts["local_directory"])
            worker.offered = facts["nthreads"] if facts["status"] == "running" else 0
            self.workers[address] = worker
            if not worker.checked:
                worker.checked = True
                check = asyncio.get_running_loop().create_task(self._check(self.client, worker))
                self._checks.add(check)
                check.add_done_callback(self._checks.discard)
        if before and not found:
            _log.warning("the Dask cluster at %s has no workers left; jobs wait", self.address)
        self._listener.changed([worker for worker in before.values() if self.workers.get(worker.address) is not worker])

    async def _check(self, client: Any, worker: Worker) -> None:
        """See that a worker can run jobs. One that cannot load what it is sent would end with the first."""
        try:
            found = await client.run(dask_worker.version, workers=[worker.address])
            there = found[worker.address]
            worker.unfit = f"it has prefork {there}; here it is {__version__}" if there != __version__ else ""
        except OSError:  # it has gone, or will be there in a moment
            worker.checked = False
            return
        except Exception as error:  # whatever an import raises
            worker.unfit = f"it needs prefork {__version__}: {type(error).__name__}: {error}"
        if worker.unfit:
            worker.unfit = f"Dask worker {worker.address} cannot run jobs: {worker.unfit}"
            _log.error("%s", worker.unfit)
        worker.ready = not worker.unfit
        if self.client is client:
            self._listener.changed([])

    def _hear(self, event: tuple[float, Any]) -> None:
        _, said = event
        if isinstance(said, bytes):  # Dask logs under the same topic, in its own ways
            self._listener.hear(said)


async def _close(client: Any) -> None:
    with suppress(Exception):  # the scheduler does not answer, or has gone
        for topic in (client.id, ALL):  # or it would complain that it cannot tell us that we have left
            client.unsubscribe_topic(topic)
    with suppress(Exception):  # as above
        await client.close(CLOSE_SECONDS)
