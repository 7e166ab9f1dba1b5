"""An event loop's way to its actors: one link to the master, or outside of a server to a nursery, for all of them."""

import asyncio
import logging
import os
import pickle
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from typing import Any, Final

from msgspec.structs import replace

from prefork.children.actors import declared
from prefork.children.actors.calls import Call, Mailbox, What
from prefork.children.actors.crew import ActorHandle
from prefork.children.actors.declared import Spec
from prefork.children.home import Home
from prefork.core.backoff import Backoff
from prefork.errors import ActorNotStarted
from prefork.jobs import payload, references
from prefork.jobs.lending import Lent
from prefork.jobs.options import Terms
from prefork.messages import (
    ActorClosed,
    ActorFailed,
    ActorGone,
    ActorReady,
    ActorUp,
    EndActor,
    LeaveActor,
    Message,
    WantActor,
)

CLOSE_SECONDS: Final = 7.0  # more than an actor gets to end in order, and then to be killed
KILLED: Final = 9  # the wait status of what has died with its nursery

_log = logging.getLogger("prefork.actors")
_links: Final[dict[Home, "ActorLink"]] = {}


def link_of(home: Home) -> "ActorLink":
    """That of a home, made now if need be."""
    found = _links.get(home)
    if found is None:
        found = _links[home] = ActorLink(home)
    return found


def serve(home: Home) -> "ActorLink":
    """That of a worker's home: declared actors are known to its master, and its threads may call them."""
    declared.seal()
    link = _links[home] = ActorLink.of_worker = ActorLink(home, served=True)
    return link


@dataclass
class Order:
    """What an actor is asked for with: the class as it travels, where it is not declared."""

    message: WantActor
    descriptors: list[int]
    lent: Lent | None = None  # whose descriptors are among those

    def close(self) -> None:
        if self.descriptors:
            os.close(self.descriptors[0])


class Client:
    """One actor as one event loop sees it."""

    def __init__(self, link: "ActorLink", order: Order, spec: Spec) -> None:
        settings = link.home.settings
        self.number = order.message.number
        self.started: asyncio.Future[None] = link.home.loop.create_future()
        self.ended: asyncio.Future[None] = link.home.loop.create_future()
        self.closing = False
        self.failure = ""  # why it cannot start
        self.order = order
        self._name = spec.name
        self.link = link
        terms = Terms(spec.timeout, settings.children_grace_seconds, 0, False, 0, 0, 0.0, 0)
        settings = replace(
            settings, offload_queue=spec.mailbox, offload_wait_seconds=inf, offload_min=spec.count, offload_nice=0
        )
        self.calls = Mailbox(settings, terms, spec.count, self, order.message.name)

    def call(self, what: What, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
        """Raises what `Mailbox.call` does."""
        return self.calls.call(what, f"{self._name}.{what}", args, kwargs)

    def open(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
        """The first call of a stream. Raises what `Mailbox.call` does."""
        return self.calls.open(method, f"{self._name}.{method}", args, kwargs)

    def end(self, process: int, grace: float, began: float) -> None:
        self.link.send(EndActor(self.number, process, grace, began))

    async def close(self, wait: bool = True) -> None:
        """Accept no more calls, and let its processes end, if they are ours alone. `wait` until they have."""
        if not self.closing:
            self.closing = True
            await self.calls.close()
            self.link.send(LeaveActor(self.number))
        if wait:
            with suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_SECONDS):
                    await asyncio.shield(self.ended)
        self.link.forget(self)

    def abandon(self) -> None:
        """Nobody can call it any more. In whatever thread that is found out."""
        loop = self.link.home.loop
        if not self.closing and not loop.is_closed():
            loop.call_soon_threadsafe(lambda: loop.create_task(self.close()))

    # -- what the link reports

    def hear(self, message: Message, descriptors: list[int]) -> None:
        if isinstance(message, ActorUp) and not self.closing:
            self.calls.backend.join(ActorHandle(message, descriptors))
            descriptors.clear()
        elif isinstance(message, ActorGone):
            self.calls.backend.gone(message.process, message.status, message.out_of_memory, "")
        elif isinstance(message, ActorReady):
            if not self.started.done():
                self.started.set_result(None)
        elif isinstance(message, ActorFailed):
            self.failed(message.reason)
        elif isinstance(message, ActorClosed) and not self.ended.done():
            self.ended.set_result(None)

    def failed(self, reason: str) -> None:
        """It cannot start, or not again. Whoever asks for it anew begins anew."""
        self.failure = reason
        error = ActorNotStarted(self._name, reason)
        for call in list(self.calls.jobs.values()):
            self.calls.raised(call, error, 0.0)
        if not self.started.done():
            self.started.set_exception(error)
            self.started.exception()  # looked at: whoever waits gets it, and it is in the log
        self.closing = True
        self.lost()
        self.link.forget(self)
        self.link.home.loop.create_task(self.calls.close())

    def lost(self) -> None:
        """All its processes have died with who had forked them."""
        for number in self.calls.backend.numbers():
            self.calls.backend.gone(number, KILLED, False, "")
        if self.closing and not self.ended.done():
            self.ended.set_result(None)


class ActorLink:
    """The actors of one home."""

    of_worker: "ActorLink | None" = None  # in a worker

    def __init__(self, home: Home, served: bool = False) -> None:
        """`served`: by a worker, whose mold has the declared ones too."""
        self.home = home
        self.served = served
        self.declared: dict[int, Client] = {}  # by index
        self._clients: dict[int, Client] = {}
        self._number = 0
        self._backoff = Backoff()
        home.on_close.append(self._close)

    def connect(self, spec: Spec, index: int | None) -> Client:
        """Ask for an actor: one that is declared, or one of our own. Raises Unsendable, OSError."""
        self._number += 1
        if index is None or not self.served:
            order = self._pack(spec)
        else:
            order = Order(WantActor(self._number, spec.name, spec.count, spec.scope == "server", index), [])
        self._listen(spec)
        client = self._clients[self._number] = Client(self, order, spec)
        self.send(order.message, order.descriptors)
        return client

    def send(self, message: Message, descriptors: Sequence[int] = ()) -> None:
        self.home.spawner("actor").send(message, descriptors)

    @property
    def clients(self) -> Iterable[Client]:
        """The actors that are connected, or about to be."""
        return tuple(self._clients.values())

    def forget(self, client: Client) -> None:
        """It is closed."""
        if self._clients.pop(client.number, None) is not None:
            client.order.close()

    def _pack(self, spec: Spec) -> Order:
        """The class and its arguments in a memfd, for who is to make it. Raises Unsendable, OSError."""
        references.check_named(spec.cls, "an actor")
        whole = payload.encode_call(spec.cls, spec.name, spec.args, spec.kwargs, None)
        descriptor = os.memfd_create("prefork-actor", os.MFD_CLOEXEC)
        with open(descriptor, "wb", closefd=False) as file:
            pickle.dump((whole.pickle, [bytes(buffer) for buffer in whole.buffers]), file, 5)
        message = WantActor(self._number, spec.name, spec.count, shared=False)
        return Order(message, [descriptor, *whole.descriptors], whole.lent)

    def _listen(self, spec: Spec) -> None:
        spawner = self.home.spawner("actor", [spec.cls.__module__])
        spawner.on_message, spawner.on_lost = self._hear, self._lost

    def _hear(self, message: Message, descriptors: list[int]) -> None:
        if isinstance(message, ActorUp | ActorGone | ActorReady | ActorFailed | ActorClosed):
            client = self._clients.get(message.number)
            if client is not None:
                client.hear(message, descriptors)
            for descriptor in descriptors:  # of one that nobody wants any more
                os.close(descriptor)

    def _lost(self, reason: str) -> None:
        """The nursery is gone. What had started is wanted anew, from another."""
        _log.error("actors are gone: %s", reason)
        delay = self._backoff.died(None, self.home.loop.time())
        for client in list(self._clients.values()):
            if not client.started.done():
                client.failed(reason)
                continue
            client.lost()
            if not client.closing:
                self.home.loop.call_later(delay, self._want_again, client)

    def _want_again(self, client: Client) -> None:
        if not client.closing:
            self.send(client.order.message, client.order.descriptors)

    async def _close(self) -> None:
        wait = not self.served  # a worker need not stay for what its master minds
        await asyncio.gather(*(client.close(wait) for client in list(self._clients.values())))
        _links.pop(self.home, None)


async def start(link: ActorLink, spec: Spec, index: int | None) -> Client:
    """Ask for an actor, and wait until it has started. Raises ActorNotStarted, Unsendable, OSError."""
    client = link.connect(spec, index)
    try:
        await asyncio.shield(client.started)
    except asyncio.CancelledError:
        link.home.loop.create_task(client.close())
        raise
    return client
