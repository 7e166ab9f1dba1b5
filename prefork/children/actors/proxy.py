"""Actors: objects of the app's classes that live in processes of their own, and are called from async code."""

import asyncio
import inspect
import math
import weakref
from collections.abc import AsyncGenerator, Callable, Coroutine
from difflib import get_close_matches
from functools import partial
from types import TracebackType
from typing import Any, Final, NoReturn, Self

from prefork.children.actors import declared
from prefork.children.actors.declared import Scope, Spec
from prefork.children.actors.link import ActorLink, Client, link_of, serve, start
from prefork.children.home import Home, home
from prefork.errors import ActorNotStarted, BootError, ChildError
from prefork.jobs import failures, payload
from prefork.jobs.references import name_of

TIMEOUT_SECONDS: Final = 30.0  # a call, unless the app says otherwise
MAILBOX: Final = 64  # calls that wait
MOST: Final = 1024  # processes of an actor


def declare(
    cls: type[Any],
    /,
    *args: Any,
    count: int = 1,
    scope: Scope = "server",
    timeout: float = TIMEOUT_SECONDS,
    mailbox: int = MAILBOX,
    **kwargs: Any,
) -> "Actor":
    """An actor that is there as long as the app is: `count` processes, each with an object `cls(*args, **kwargs)`.

    Call it while the app is imported, at the top level of a module. `scope` "server": shared by all workers; "worker":
    each worker has its own. `timeout` is in seconds a call, from its submission; 0 for no limit. `mailbox`: so many
    calls may wait in each worker, then QueueFull (503). Raises TypeError, ValueError for what cannot be so,
    RuntimeError once the app serves.
    """
    if declared.sealed():
        raise RuntimeError(
            "an actor is declared while the app is imported; use `await children.actor(...)` from now on"
        )
    if scope not in ("server", "worker"):
        raise ValueError(f'scope={scope!r}: an actor has the scope "server" or "worker"')
    spec = _spec(cls, args, kwargs, count, scope, timeout, mailbox)
    declared.specs.append(spec)
    return Actor(spec, len(declared.specs) - 1)


async def actor(
    cls: type[Any],
    /,
    *args: Any,
    count: int = 1,
    timeout: float = TIMEOUT_SECONDS,
    mailbox: int = MAILBOX,
    **kwargs: Any,
) -> "Actor":
    """An actor of this event loop's own, from now until it is closed: `await actor.close()`, or `async with`.

    As `declare`, otherwise; the class must be at the top level of a module, and the arguments must be what pickle can
    carry. One that nobody can reach any more is closed. Raises ActorNotStarted when the class raises, Unsendable,
    TypeError, ValueError.
    """
    spec = _spec(cls, args, kwargs, count, "worker", timeout, mailbox)
    client = await start(link_of(home()), spec, None)
    found = Actor(spec, None, client)
    weakref.finalize(found, client.abandon).atexit = False
    return found


async def start_declared(of: Home) -> None:
    """In a worker that boots: start what is declared, or find it started. Raises BootError in the app's own words."""
    link = serve(of)
    starts = (start(link, spec, index) for index, spec in enumerate(declared.specs))
    clients = await asyncio.gather(*starts, return_exceptions=True)
    for index, client in enumerate(clients):
        if isinstance(client, ActorNotStarted):
            raise BootError(str(client))
        if isinstance(client, BaseException):
            raise client
        link.declared[index] = client


class Actor:
    """An actor as app code has it. Its methods are those of the class, to be awaited: `await model.predict(x)`.

    They raise what the method raises, with the traceback over there as the cause; or QueueFull, Timeout, Crashed,
    Unsendable (all OffloadError). A method is a plain def. A generator's items: `async for x in model.stream.method()`.
    The names `stream`, `blocking`, `start` and `close` are the actor's own; a class can have a method `close`, which
    runs when its process ends in order.
    """

    def __init__(self, spec: Spec, index: int | None, client: Client | None = None) -> None:
        self._spec = spec
        self._index = index
        self._own = client  # of one that was made at run time
        self.stream = Streams(self)
        self.blocking = Blocking(self)

    def __repr__(self) -> str:
        return f"<Actor {self._spec.name}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"{self!r} cannot be sent elsewhere: what is declared at import is known to every worker")

    def __getattr__(self, name: str) -> Callable[..., Coroutine[Any, Any, Any]]:
        if name.startswith("_"):
            raise AttributeError(name)
        if inspect.isgeneratorfunction(_method(self._spec.cls, name)):
            raise TypeError(f"{self._spec.name}.{name} is a generator: `async for item in actor.stream.{name}(...)`")
        call = partial(self._call, name)
        self.__dict__[name] = call  # the next time it is found at once
        return call

    async def start(self) -> None:
        """Wait until it has started; for a declared one outside of a prefork server, which else does with its first
        call. Raises ActorNotStarted."""
        await asyncio.shield(self._client().started)

    async def close(self) -> None:
        """Accept no more calls, end those that wait with Cancelled, and wait until its processes have ended: each
        finishes the call in hand and runs `close()` of the class. Raises RuntimeError for one that is declared."""
        if self._own is None:
            raise RuntimeError(f"{self!r} is declared, and is closed with the server")
        await self._own.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        return await self._client().call(name, args, kwargs)

    def _client(self) -> Client:
        """That of the running loop. Raises RuntimeError, ChildError."""
        if self._own is not None:
            return self._open(self._own)
        if declared.forbidden():
            raise ChildError(f"{self!r}: {declared.forbidden()}")
        assert self._index is not None
        link = link_of(home())
        client = link.declared.get(self._index)
        if client is None or (client.closing and not link.served):
            client = link.declared[self._index] = link.connect(self._spec, self._index)
        return self._open(client)

    def _open(self, client: Client) -> Client:
        """Raises ChildError for one that is not."""
        if client.failure:
            raise ActorNotStarted(self._spec.name, client.failure)
        if client.closing:
            raise ChildError(f"{self!r} is closed")
        return client


class Streams:
    """`actor.stream`: the generator methods."""

    def __init__(self, actor: Actor) -> None:
        self._actor = actor

    def __getattr__(self, name: str) -> Callable[..., AsyncGenerator[Any, None]]:
        if name.startswith("_"):
            raise AttributeError(name)
        _method(self._actor._spec.cls, name)
        return partial(self._stream, name)

    async def _stream(self, name: str, *args: Any, **kwargs: Any) -> AsyncGenerator[Any, None]:
        client = self._actor._client()
        opened = call = client.open(name, args, kwargs)
        ended = False
        try:
            while not ended:
                page = await call
                ended = page.ended
                for item in page.pickles:
                    yield payload.decode(item)
                for item in page.last:
                    yield item
                if page.failure is not None:
                    raise failures.restore(page.failure)
                if not ended:
                    call = client.calls.more(opened)
        finally:
            if not ended:
                client.calls.close_stream(opened)


class Blocking:
    """`actor.blocking`: the methods for code in a thread, such as a WSGI app: they wait, and give the result."""

    def __init__(self, actor: Actor) -> None:
        self._actor = actor

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("_"):
            raise AttributeError(name)
        return partial(self._wait, getattr(self._actor, name))

    def _wait(self, call: Callable[..., Coroutine[Any, Any, Any]], *args: Any, **kwargs: Any) -> Any:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            pass
        else:
            raise RuntimeError(f"{self._actor!r}.blocking is for threads; on the event loop, await the method itself")
        own = self._actor._own
        link: ActorLink | None = ActorLink.of_worker if own is None else own.link
        if link is None:
            raise RuntimeError(f"{self._actor!r}.blocking needs a worker of prefork, whose event loop makes the call")
        return asyncio.run_coroutine_threadsafe(call(*args, **kwargs), link.home.loop).result()


def _spec(
    cls: type[Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    count: int,
    scope: Scope,
    timeout: float,
    mailbox: int,
) -> Spec:
    """Raises TypeError, ValueError."""
    if not inspect.isclass(cls):
        raise TypeError(f"an actor is made from a class, not from {name_of(cls)}")
    if not (isinstance(count, int) and 1 <= count <= MOST):
        raise ValueError(f"count={count!r}: an actor has from 1 to {MOST} processes")
    if not (math.isfinite(timeout) and timeout >= 0):
        raise ValueError(f"timeout={timeout!r}: it is a number of seconds, 0 for no limit")
    if not (isinstance(mailbox, int) and mailbox >= 0):
        raise ValueError(f"mailbox={mailbox!r}: it is how many calls may wait, 0 or more")
    return Spec(cls, args, kwargs, count, scope, float(timeout), mailbox)


def _method(cls: type[Any], name: str) -> Any:
    """The function of a method. Raises AttributeError where there is none to call, TypeError for an async one."""
    found = getattr(cls, name, None)
    if not callable(found):
        methods = [known for known in dir(cls) if not known.startswith("_") and callable(getattr(cls, known, None))]
        close = get_close_matches(name, methods, n=3)
        hint = f"; did you mean {' or '.join(close)}?" if close else ""
        raise AttributeError(f"{cls.__qualname__} has no method {name!r} that an actor can be called by{hint}")
    if inspect.iscoroutinefunction(found) or inspect.isasyncgenfunction(found):
        raise TypeError(f"{cls.__qualname__}.{name} is async def: an actor has no event loop; write it as a plain def")
    return found
