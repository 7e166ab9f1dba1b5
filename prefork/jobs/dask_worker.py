"""A Dask worker's side of jobs: run one in a thread of it and send what comes of it. Others may run beside it.

The cluster's scheduler imports this module too, as it loads what it passes on; never the app's code.
"""

import asyncio
import logging
import pickle
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, wait
from contextvars import Context, ContextVar
from functools import cache
from typing import Any, Final, NamedTuple, cast

from prefork import __version__
from prefork.errors import OffloadError, Unsendable
from prefork.jobs import client, context, failures, hooks, payload, runner
from prefork.jobs.job import ITEMS
from prefork.jobs.payload import Payload
from prefork.jobs.references import name_of, subject
from prefork.jobs.runner import LetGo, Pace, Streamed, call_job
from prefork.settings import Settings
from prefork.system import log

LOOK_SECONDS: Final = 0.5  # between two looks whether a job that waits for its reader is still wanted
OVER_SECONDS: Final = 0.05  # between two looks whether a job that nobody wants is over: Dask tells nobody

# What a job says. Its last word is one of the first three.
RESULT: Final = "result"
ERROR: Final = "error"
NOT_RUN: Final = "not run"  # it was meant for a process that is gone
PROGRESS: Final = "progress"
STREAMS: Final = "streams"  # its items come in a queue, from now on
END: Final = b""  # of the items

Key = tuple[str, str, int]  # of a task: the name of the job's function, then what no other task has


class Parcel:
    """A payload as Dask carries it from process to process: large parts go beside the pickle, and are not copied."""

    __slots__ = ("_buffers", "_stream")

    def __init__(self, stream: Any, *buffers: Any) -> None:
        self._stream = stream
        self._buffers = buffers

    @classmethod
    def of(cls, whole: Payload) -> "Parcel":
        return cls(whole.pickle, *whole.buffers)

    def load(self) -> Any:
        """The value. Raises what its classes raise."""
        return payload.decode(self._stream, self._buffers)

    @property
    def nbytes(self) -> int:
        return sum(part.nbytes for part in self.parts)

    def __sizeof__(self) -> int:
        return self.nbytes  # what Dask goes by when it counts a worker's memory

    def __reduce__(self) -> tuple[type["Parcel"], tuple[Any, ...]]:
        """For arguments, which are part of a graph; pickled with protocol 5."""
        return Parcel, tuple(pickle.PickleBuffer(part) for part in self.parts)

    @property
    def parts(self) -> tuple[memoryview, ...]:
        return tuple(memoryview(part) for part in (self._stream, *self._buffers))


@cache
def register() -> None:
    """Let Dask carry results as their parts: on its way from a worker it pickles with protocol 4, which copies."""
    from distributed import protocol

    def serialize(parcel: Parcel) -> tuple[dict[str, Any], list[memoryview]]:
        return {"readonly": [part.readonly for part in parcel.parts]}, list(parcel.parts)

    def deserialize(header: dict[str, Any], frames: list[Any]) -> Parcel:
        parts = [memoryview(frame) for frame in frames]
        return Parcel(
            *(
                memoryview(bytearray(part)) if part.readonly and not readonly else part
                for part, readonly in zip(parts, header["readonly"], strict=True)
            )
        )

    either: Any = protocol
    either.dask_serialize.register(Parcel, serialize)
    either.dask_deserialize.register(Parcel, deserialize)


class Errand(NamedTuple):
    """What goes along with a job's call."""

    number: int  # of the job
    topic: str  # under which we report
    directory: str  # of the worker process that is meant
    most_bytes: int  # in a result
    log_format: str
    log_level: str


def run(errand: tuple[Any, ...], parcel: Parcel) -> tuple[str, Parcel, float]:
    """The task: run a job up to its last word. Returns its kind, its payload, and the seconds it ran."""
    from distributed import get_worker

    register()
    began = time.monotonic()
    about = Errand(*errand)
    worker: Any = get_worker()
    if worker.local_directory != about.directory:  # Dask ran it again: another process has taken the address
        return NOT_RUN, Parcel.of(payload.encode(None)), 0.0
    _this_process.prepare(about)
    kind, reply = _Task(worker, worker.get_current_task(), about).do(parcel)
    return kind, Parcel.of(reply), time.monotonic() - began


def version() -> str:
    """Ours, to be asked beside the tasks (`Client.run`)."""
    return __version__


async def wait_over(key: Key, dask_worker: Any) -> None:
    """Beside the tasks, too: return when one that was cancelled runs no more."""
    while key in dask_worker.state.tasks:  # noqa: ASYNC110 - Dask has no event for it
        await asyncio.sleep(OVER_SECONDS)


class _Task:
    """A job that runs here."""

    def __init__(self, worker: Any, key: Key, errand: Errand) -> None:
        self._worker = worker
        self._key = key
        self._errand = errand
        self._told: tuple[float, str] | None = None  # progress that has not been sent
        self._pace = Pace()
        self.number = errand.number
        self.request: str | None = None

    def do(self, parcel: Parcel) -> tuple[str, Payload]:
        """Run the job up to its last word. Never raises."""
        name = self._key[0]
        try:
            function, args, kwargs, about = self._load(parcel, name)
            _this_process.run_start_hooks()
            name = name_of(subject(function, args))
            self.request = about.request if about else None
            inside = context.make(about.variables if about else {})
            inside.run(_here.set, self)
            value = call_job(inside, function, args, kwargs)
            if type(value) is Streamed:
                self._stream(value.items, inside, name)
                value = None
            return RESULT, self._encode(value, name, "result")
        except LetGo:
            return NOT_RUN, payload.encode(None)
        except BaseException as error:
            return ERROR, _failure(error)
        finally:
            if self._told is not None:
                self._tell()

    def progress(self, fraction: float, note: str) -> None:
        """Report how far the job has come; the latest report is kept when they come too fast. Ends the job when nobody
        wants it any more."""
        self._check_wanted()
        self._told = (fraction, note)
        if self._pace.allows():
            self._tell()

    def _load(self, parcel: Parcel, name: str) -> Any:
        try:
            return parcel.load()
        except Exception as error:
            raise OffloadError(
                f"{name}: Dask worker {self._worker.address} cannot load it: {type(error).__qualname__}: {error}; "
                "the cluster's workers need the app's code and all it imports, in the same versions as here"
            ) from error

    def _encode(self, value: Any, name: str, what: str) -> Payload:
        reply = payload.encode_result(value, name)
        check(reply, self._errand.most_bytes, f"the {what} of {name}")
        return reply

    def _wanted(self) -> bool:
        """Whether anybody waits for the job: Dask keeps the state of the task here."""
        task = self._worker.state.tasks.get(self._key)
        return task is not None and task.state != "cancelled"

    def _check_wanted(self) -> None:
        if not self._wanted():
            raise LetGo

    def _tell(self) -> None:
        told, self._told = self._told, None
        self._report(PROGRESS, told)

    def _report(self, kind: str, value: Any) -> None:
        self._worker.log_event(self._errand.topic, pickle.dumps((self._key[2], kind, value), 5))

    # -- a stream: its items go through a queue of the scheduler's, whose bound holds us up

    def _stream(self, items: Iterable[Any], inside: Context, name: str) -> None:
        iterator: Iterator[Any] = inside.run(iter, items)
        self._answer(self._ask("queue_create", maxsize=ITEMS))
        self._report(STREAMS, None)
        end = object()
        try:
            while (item := call_job(inside, next, (iterator, end), {})) is not end:
                self._put(pickle.dumps(Parcel.of(self._encode(item, name, "item")), 5))
                self._check_wanted()
        finally:
            try:
                if hasattr(iterator, "close"):
                    inside.run(iterator.close)
            finally:
                self._put(END)

    def _put(self, item: bytes) -> None:
        """Put an item into the queue; waits for room."""
        done = self._ask("queue_put", data=item)
        while not wait([done], LOOK_SECONDS).done:
            if not self._wanted():
                self._answer(self._ask("queue_get", batch=True))  # its reader is gone: nobody else makes room
        self._answer(done)

    def _ask(self, what: str, **arguments: Any) -> "Future[Any]":
        """Ask the scheduler about the queue."""
        asked = getattr(self._worker.scheduler, what)(name=queue_name(self._key[1:]), **arguments)
        return asyncio.run_coroutine_threadsafe(asked, self._worker.loop.asyncio_loop)

    def _answer(self, asked: "Future[Any]") -> None:
        try:
            asked.result()
        except OSError as error:  # the scheduler is gone, and this worker will be
            raise LetGo from error


def queue_name(task: tuple[str, int]) -> str:
    """Of the queue for the items of a task: the end of its key."""
    return "prefork-{}-{}".format(*task)


def check(whole: Payload, most: int, what: str) -> None:
    """Raises Unsendable when a payload is too large, or has shared memory in it."""
    if whole.lent is not None:
        raise Unsendable(f"{what}: shared memory stays on its machine; a Dask cluster may be on others; send a copy")
    needed = Parcel.of(whole).nbytes
    if needed > most:
        raise Unsendable(
            f"{what}: {needed} bytes are more than offload_arena = {most} allows; raise --offload-arena, or pass less "
            "(a path, a key)"
        )


def _failure(error: BaseException) -> Payload:
    try:
        return payload.encode(failures.take(error))
    except Exception:  # whatever the error's own methods may raise
        return payload.encode(failures.take(OffloadError(f"{type(error).__qualname__}, which cannot be told")))


# -- the process, in which threads run several jobs at once

_here: ContextVar[_Task | None] = ContextVar("prefork.dask.task", default=None)


class _Process:
    """What is done once in each process that runs jobs."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ready = False
        self._hooks_run = 0

    def prepare(self, errand: Errand) -> None:
        """Make it an offloader: it refuses jobs of its own, knows its jobs' progress, and names them in its logs."""
        with self._lock:
            if self._ready:
                return
            client.forbid("offload() within a job: a Dask worker runs jobs, and submits none; call the function itself")
            runner.current = self
            log.identify("dask")
            if not logging.getLogger("prefork").handlers:
                settings = Settings(log_format=cast(Any, errand.log_format), log_level=cast(Any, errand.log_level))
                handler = log.set_up(settings)
                assert handler.formatter is not None
                handler.setFormatter(_Lines(handler.formatter))
                log.serve_root(handler, settings)
            self._ready = True

    def run_start_hooks(self) -> None:
        """Run those that have not run: they come with the modules of functions. Raises OffloadError; then the next
        job tries again."""
        with self._lock:
            while self._hooks_run < len(hooks.on_start):
                hook: Callable[[], Any] = hooks.on_start[self._hooks_run]
                try:
                    hook()
                except Exception as error:
                    raise OffloadError(f"offload start hook {name_of(hook)} failed: {error!r}") from error
                self._hooks_run += 1

    def progress(self, fraction: float, note: str) -> None:
        """Of the job that calls."""
        task = _here.get()
        if task is not None:
            task.progress(fraction, note)


_this_process: Final = _Process()


class _Lines(logging.Formatter):
    """Lines that name the job which logs. One at a time: the handler holds its lock."""

    def __init__(self, plain: logging.Formatter) -> None:
        super().__init__()
        self._plain = plain

    def format(self, record: logging.LogRecord) -> str:
        task = _here.get()
        log.working_on(task.number if task else None, task.request if task else None)
        return self._plain.format(record)
