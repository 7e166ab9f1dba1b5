"""The worker: one event loop that takes connections and serves HTTP until it is told to drain."""

import asyncio
import logging
import os
import signal
import socket
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final, NoReturn

import uvloop

from prefork.apps.application import Application
from prefork.children import home
from prefork.children.actors import declared
from prefork.children.actors.proxy import start_declared
from prefork.children.binding import REQUEST
from prefork.children.busy import busy_share
from prefork.errors import BootError, UsageError
from prefork.http.access import AccessLog
from prefork.http.arrival import Arrivals
from prefork.http.connection import Connection
from prefork.http.recorder import Recorder
from prefork.http.service import Service
from prefork.jobs.backends import make_backend, share
from prefork.jobs.client import install
from prefork.jobs.pool import Pool
from prefork.jobs.spawner import ChannelSpawner
from prefork.messages import (
    Accept,
    BootFailed,
    Describe,
    Drain,
    HandBack,
    Leave,
    LogLevel,
    Ready,
    ReloadFailed,
    ReloadMended,
    ReopenLogs,
    Room,
    Share,
    shorten,
)
from prefork.metrics import ours
from prefork.processes.app import make_app, show_failure
from prefork.processes.ask_shared import asking
from prefork.processes.describing import describe
from prefork.processes.places import adopt
from prefork.processes.sheet_keeper import SheetKeeper
from prefork.processes.start import WorkerStart
from prefork.processes.surroundings import limit_memory
from prefork.processes.wards import Wards
from prefork.system import channel as channels
from prefork.system import handoff, log, process
from prefork.system.channel import Channel, ChannelClosed
from prefork.system.handoff import Passed
from prefork.system.lines import LineFile
from prefork.system.runqueue import RunQueue
from prefork.system.scoreboard import ScoreboardWriter
from prefork.system.tls import ignore_malformed_names
from prefork.system.tracebacks import app_traceback

SHUTDOWN_SECONDS: Final = 2.0  # for the app's shutdown hooks, after the last connection
ACCEPT_BATCH: Final = 16  # connections a worker takes from its own listener per turn of the loop (balance kernel)

_log = logging.getLogger("prefork.worker")


def run_worker(start: WorkerStart, app: Application | None) -> NoReturn:
    """The life of a worker, in a fresh child of the mold. `app` is None when the worker is to import it itself."""
    process.die_with_parent(start.mold.master)
    process.become_child()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    process.reseed()
    process.watch_stacks(start.stacks)
    adopt(start.mold.ledger, start.place, start.generation)
    log.identify("worker", start.slot, start.generation)
    process.set_title(log.title("worker", start.slot, start.generation))
    channel = Channel.from_descriptor(start.channel)
    code = BootError.exit_code
    try:
        limit_memory(start.settings)
        if app is None:
            with asking(channel):
                app = make_app(start.mold)
            log.serve_root(start.mold.log_file, start.settings)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            code = runner.run(Worker(start, app, channel).run())
    except ChannelClosed:
        code = 1  # the master is gone
    except UsageError as error:
        channel.send(BootFailed(str(error), usage=True))
    except BootError as error:  # in the app's own words
        channel.send(BootFailed(shorten(str(error))))
    except BaseException as error:
        channel.send(BootFailed(shorten(app_traceback(error))))
    process.leave(code)


class Worker:
    """A worker from its start-up hooks to its shutdown hooks."""

    def __init__(self, start: WorkerStart, app: Application, channel: Channel) -> None:
        settings = start.settings
        self._start = start
        self._app = app
        self._channel = channel
        self._queue = channels.adopt(start.queue)
        record = Recorder if settings.metrics else ScoreboardWriter
        if settings.otel:
            from prefork.apps.tracing import traced

            record = traced(record)
        self._board = record(start.scoreboard, start.mold.max_connections)
        os.close(start.scoreboard)
        self._listeners: list[socket.socket] = []
        lost = ours.lost_lines.labels("access")
        self._lines = LineFile(settings.access_log_file, lost.inc) if settings.access_log else None
        self._done = asyncio.Event()
        self._arriving: set[asyncio.Task[None]] = set()
        self._wards = Wards()
        self._runqueue = RunQueue()
        self._sheet: SheetKeeper | None = None  # until there is something to write down

    async def run(self) -> int:
        """Serve until drained. Returns the exit code; what the start-up hooks raise passes through."""
        self._loop = asyncio.get_running_loop()
        self._pool = self._make_pool()
        self._home = home.Home(self._loop, self._start.settings, lambda role, _: self._make_spawner(role))
        home.install(self._home)
        self._loop.set_default_executor(self._home.threads.executor)  # asyncio.to_thread is bounded too
        if declared.specs:
            await start_declared(self._home)
        await self._app.startup()
        self._service = Service(self._app.__call__, self._start.settings, self._board, self._access_log())
        self._arrivals = self._make_arrivals()
        # Without a factory the loop makes just these, and takes longer.
        make = self._loop.create_task if self._loop.get_task_factory() else partial(asyncio.Task, loop=self._loop)
        self._service.create_task = partial(make, name=REQUEST)
        self._sheet = SheetKeeper(self._start.sheet, self._pool, self._home)
        os.close(self._start.sheet)
        self._tick_seconds = min(self._start.settings.stall_seconds / 4, self._service.sweep_seconds)
        self._board.on_room = self._report_room
        self._loop.add_signal_handler(signal.SIGTERM, self._ask_to_leave)
        self._beat_at, self._beat_work = time.monotonic(), self._work()  # as of the last beat
        self._tick()
        self._loop.add_reader(self._queue, self._take_connections)
        self._listen(self._start.listeners)
        # Ready comes last: the master counts a ready worker as capacity at once and may retire the one it replaces.
        self._channel.send(Ready())
        await self._done.wait()
        await self._shut_down()
        return 0

    def _make_pool(self) -> Pool:
        """Where this worker's jobs go: offloaders that the master has the mold fork."""
        self._spawner = self._make_spawner("offloader")
        workers = self._start.mold.workers
        pool = Pool(self._start.settings, lambda pool: make_backend(pool, self._spawner, workers))
        install(pool)
        self._loop.add_reader(self._channel.fileno(), self._read_orders)
        self._loop.call_soon(self._read_orders)  # for what has come while the app was imported
        pool.backend.start()
        return pool

    def _make_spawner(self, role: str) -> ChannelSpawner:
        return ChannelSpawner(self._channel, self._loop, role)

    def _make_arrivals(self) -> Arrivals | None:
        """What comes before HTTP, if anything does."""
        start = self._start
        if not Arrivals.needed(start.settings):
            return None
        ignore_malformed_names()
        return Arrivals(self._service, start.settings, start.mold.certificates, speaks=start.slot == 0)

    def _access_log(self) -> AccessLog | None:
        if self._lines is None:
            return None
        slot, generation = self._start.slot, self._start.generation
        if self._start.settings.log_format == "json":
            fields = {"role": "worker", "slot": slot, "generation": generation, "pid": os.getpid()}
            return AccessLog(self._lines.add, fields)
        return AccessLog(self._lines.add, f"worker {slot} g{generation} [{os.getpid()}]")

    def _tick(self) -> None:
        self._loop.call_later(self._tick_seconds, self._tick)  # first: a fault below must not stop the heart
        self._beat()
        self._service.sweep()
        if self._arrivals is not None:
            self._arrivals.tick(time.monotonic())
        if self._lines is not None:
            self._lines.flush()

    def _beat(self) -> None:
        """Tell that the loop turns, how late it came round, and how much of the time it was at work."""
        now, work = time.monotonic(), self._work()
        past = now - self._beat_at
        late = max(0.0, past - self._tick_seconds)
        # A loop that comes round late was held up by a call that blocks; threads may all wait for something else.
        busy = max((work - self._beat_work) / past, late / past, busy_share()) if past > 0 else 0.0
        self._board.beat(now, late, min(1.0, busy))
        if self._sheet is not None:
            self._sheet.beat()
        self._beat_at, self._beat_work = now, work

    def _work(self) -> float:
        """Seconds so far that this process was at work, or would have been if others had left it a processor."""
        return time.process_time() + self._runqueue.waited()

    # -- connections

    def _take_connections(self) -> bool:
        """Take one message's worth from the hand-out queue. Returns whether there was one."""
        batch = handoff.take(self._queue)
        arrived = [passed for passed in batch if passed.descriptor != handoff.LOST]
        for passed in arrived:
            self._open(passed)
        if len(arrived) < len(batch):
            self._lose(len(batch) - len(arrived))
        return bool(batch)

    def _lose(self, count: int) -> None:
        """Connections did not reach us: app code has opened more than `affordable_connections` leaves it."""
        for _ in range(count):
            self._board.count_lost()
        ours.refused_connections.labels("lost").inc(count)
        _log.error("%d connections are lost: too many open files; lower --max-connections, or see ulimit -n", count)

    def _listen(self, descriptors: Sequence[int]) -> None:
        """Accept by ourselves from the listeners of our slot (balance kernel)."""
        for index, (family, descriptor) in enumerate(zip(self._start.mold.families, descriptors, strict=False)):
            self._listeners.append(socket.socket(family, socket.SOCK_STREAM, 0, fileno=descriptor))
            self._loop.add_reader(self._listeners[index], self._accept_connections, index)

    def _accept_connections(self, index: int) -> None:
        """Accept by ourselves from our slot's own listener (balance kernel)."""
        for _ in range(ACCEPT_BATCH):
            if len(self._service.connections) + len(self._arriving) >= self._start.mold.max_connections:
                self._pause_accepting(index)
                return
            try:
                connection, _ = self._listeners[index].accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:  # out of descriptors or memory; the backlog keeps it
                _log.warning("cannot accept connections for now: %s", error.strerror)
                self._pause_accepting(index)
                return
            self._board.count_accepted()
            ours.accepted.inc()
            self._open(Passed(connection.detach(), index, time.monotonic()))

    def _pause_accepting(self, index: int) -> None:
        """Until the next tick that finds room. The listener stays readable: to be called again at once would spin."""
        self._loop.remove_reader(self._listeners[index])
        self._loop.call_later(self._tick_seconds, self._listen_again, index)

    def _listen_again(self, index: int) -> None:
        if not self._service.draining:
            self._loop.add_reader(self._listeners[index], self._accept_connections, index)

    def _open(self, passed: Passed) -> None:
        task = self._loop.create_task(self._connect(passed))
        self._arriving.add(task)
        task.add_done_callback(self._arriving.discard)

    async def _connect(self, passed: Passed) -> None:
        family = self._start.mold.families[passed.listener]
        end = socket.socket(family, socket.SOCK_STREAM, 0, fileno=passed.descriptor)
        try:
            if self._arrivals is None:
                make = partial(self._service.connection, passed.listener, accepted_at=passed.accepted_at)
                await self._loop.connect_accepted_socket(make, end)
            else:
                await self._arrivals.receive(end, passed.listener, passed.accepted_at)
        except OSError as error:
            end.close()
            self._board.count_lost()
            ours.refused_connections.labels(self._arrivals.refusal(error) if self._arrivals else "gone").inc()
            _log.debug("a connection was gone before it was opened: %s", error)

    def _hand_back(self, connection: Connection) -> bool:
        return self._channel.send(HandBack(connection.listener), [connection.fileno()])

    # -- orders

    def _read_orders(self) -> None:
        try:
            while received := self._channel.receive():
                order, descriptors = received
                if isinstance(order, Drain):
                    self._drain(order)
                elif isinstance(order, ReopenLogs):
                    self._start.mold.log_file.reopen()
                    if self._lines is not None:
                        self._lines.reopen()
                elif isinstance(order, Accept):
                    self._listen(descriptors)
                elif isinstance(order, LogLevel):
                    log.set_level(self._start.mold.log_file, order.level)
                elif isinstance(order, Share):
                    share(self._pool, order.workers)
                elif isinstance(order, Describe):
                    describe(self._channel, order.number, self._service, self._start.slot)
                elif isinstance(order, ReloadFailed | ReloadMended):
                    show_failure(self._app, order.traceback if isinstance(order, ReloadFailed) else "")
                else:
                    self._wards.hear(order)
                    self._spawner.hear(order, descriptors)
                    self._home.hear(order, descriptors)
        except ChannelClosed:
            os._exit(1)  # the master is gone; the kernel is about to kill us anyway

    def _report_room(self) -> None:
        self._channel.send(Room())

    def _ask_to_leave(self) -> None:
        self._channel.send(Leave())

    def _drain(self, order: Drain) -> None:
        for listener in self._listeners:
            self._loop.remove_reader(listener)
        while self._take_connections():  # the last ones that were handed to us
            pass
        self._service.on_empty = self._finish_if_empty
        self._pool.on_empty = self._service.report_empty
        self._service.drain(self._hand_back if order.hand_back else None, order.seconds)
        if self._arrivals is not None and not order.hand_back:
            self._arrivals.stop()
        self._loop.call_later(order.seconds, self._cut)

    def _finish_if_empty(self) -> None:
        if self._pool.jobs:
            pass  # of tasks that no request waits for; the pool tells when they are over
        elif unfinished := [*self._arriving, *self._requests()]:
            unfinished[0].add_done_callback(lambda _: self._service.report_empty())
        else:
            self._done.set()

    def _requests(self) -> list["asyncio.Task[Any]"]:
        """Those that are not over: an app may go on after its answer, or for a while after its client has left."""
        return [task for task in asyncio.all_tasks(self._loop) if task.get_name() == REQUEST]

    def _cut(self) -> None:
        """The drain limit has passed: what is still open is cut, and its handlers are cancelled."""
        answered = len(self._requests()) - sum(c.in_progress is not None for c in self._service.connections)
        if answered > 0:
            _log.warning("cancelled at the drain limit: what requests go on with after their answer (%d)", answered)
        self._service.cut()
        self._done.set()

    async def _shut_down(self) -> None:
        try:
            async with asyncio.timeout(SHUTDOWN_SECONDS):
                await self._app.shutdown()
        except TimeoutError:
            _log.warning("the app's shutdown hooks did not end within %g s", SHUTDOWN_SECONDS)
        except Exception:
            _log.exception("the app's shutdown hooks failed")
        for what, close in (("offloaders", self._pool.close), ("children", self._home.close)):
            try:
                async with asyncio.timeout(SHUTDOWN_SECONDS):
                    await close()
            except TimeoutError:
                _log.warning("%s did not end within %g s and are ended", what, SHUTDOWN_SECONDS)
        self._loop.set_default_executor(ThreadPoolExecutor(1))  # else its close waits for what hangs in a thread
        if self._lines is not None:
            self._lines.close(SHUTDOWN_SECONDS)
