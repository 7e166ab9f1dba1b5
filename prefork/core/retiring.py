"""Decide when a worker has done enough: by requests answered, by time served, by memory held."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from prefork.core.lifecycle import State
from prefork.core.roster import Roster, WorkerHandle
from prefork.errors import CommandError
from prefork.settings import Settings

JITTER_SHARE: Final = 0.1  # of a limit, by chance on top of it, so that workers do not go together
MIB: Final = 1 << 20
BY_COMMAND: Final = "retire"


@dataclass(frozen=True, slots=True)
class Limits:
    """What one worker may reach; None: anything. Drawn once for each, when it is ready."""

    requests: int | None = None
    seconds: float | None = None
    rss: int | None = None  # bytes


@dataclass(frozen=True, slots=True)
class Used:
    """What was measured of one worker."""

    requests: int
    seconds: float  # since it was ready
    rss: int  # bytes


@dataclass(frozen=True, slots=True)
class Reached:
    """A limit that was reached: which one, and the numbers in words."""

    reason: str
    words: str


def limited(settings: Settings) -> bool:
    """Whether workers have limits at all."""
    return bool(settings.max_requests or settings.max_lifetime or settings.max_rss)


def draw(settings: Settings, chance: Callable[[], float], rss: int) -> Limits:
    """The limits of a worker that has become ready and holds `rss` bytes. `chance` gives numbers from 0 to below 1."""
    jitter = settings.max_requests_jitter
    more = int(settings.max_requests * JITTER_SHARE) if jitter == "auto" else jitter
    return Limits(
        requests=settings.max_requests + int(chance() * (more + 1)) if settings.max_requests else None,
        seconds=settings.max_lifetime * (1 + chance() * JITTER_SHARE) if settings.max_lifetime else None,
        rss=settings.max_rss if settings.max_rss and not hopeless(settings, rss) else None,
    )


def hopeless(settings: Settings, rss: int) -> bool:
    """Whether a worker that has just become ready holds too much already. So would the next: it would never end."""
    return 0 < settings.max_rss < rss


def reached(limits: Limits, used: Used, settings: Settings) -> Reached | None:
    """The first limit that a worker has reached."""
    if limits.requests is not None and used.requests >= limits.requests:
        return Reached("max-requests", f"{used.requests:,} requests (--max-requests {settings.max_requests})")
    if limits.seconds is not None and used.seconds >= limits.seconds:
        return Reached(
            "max-lifetime", f"{used.seconds:,.1f} s of service (--max-lifetime {settings.max_lifetime:.15g})"
        )
    if limits.rss is not None and used.rss > limits.rss:
        return Reached("max-rss", f"{mib(used.rss)} of memory (--max-rss {mib(settings.max_rss)})")
    return None


def mib(count: int) -> str:
    """Bytes as people read them."""
    return f"{count / MIB:,.1f} MiB"


def to_retire(roster: Roster, slot: int) -> WorkerHandle:
    """The worker that an operator means who wants that slot's replaced; none on trial. Raises CommandError if there is
    none."""
    if not 0 <= slot < roster.wanted:
        raise CommandError(f"there is no slot {slot}: the slots are 0 to {roster.wanted - 1}")
    trial = None if roster.canary is None else roster.canary.generation
    active = [handle for handle in roster.of_slot(slot) if handle.active and handle.generation != trial]
    if not active:
        raise CommandError(f"slot {slot} has no worker now; its next one is on its way")
    latest = max(active, key=lambda handle: handle.serial)
    if len(active) > 1 or latest.retiring:
        raise CommandError(f"the worker of slot {slot} is being replaced already")
    if latest.state is State.BOOTING:
        raise CommandError(f"the worker of slot {slot} is still booting")
    return latest
