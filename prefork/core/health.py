"""Decide what to do about workers that are late: with booting, with their heartbeat, with draining, with dying."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from prefork.core.lifecycle import State
from prefork.core.roster import WorkerHandle
from prefork.settings import Settings

ABORT_SECONDS: Final = 1.0  # between SIGABRT, which dumps stacks once more, and SIGKILL
DRAIN_GRACE_SECONDS: Final = 3.0  # after the drain limit the worker cuts what is left and runs the app's shutdown hooks


@dataclass(frozen=True, slots=True)
class Stall:
    """Stop choosing this worker, take its unread connections back, dump its stacks."""

    handle: WorkerHandle
    late_seconds: float


@dataclass(frozen=True, slots=True)
class Recover:
    """Its heart beats again: it may be chosen."""

    handle: WorkerHandle
    stalled_seconds: float


@dataclass(frozen=True, slots=True)
class Abort:
    """It hangs: dump its stacks, SIGABRT."""

    handle: WorkerHandle
    reason: str


@dataclass(frozen=True, slots=True)
class Kill:
    """SIGKILL."""

    handle: WorkerHandle
    reason: str


Action = Stall | Recover | Abort | Kill


def examine(
    handles: Iterable[WorkerHandle], beats: Mapping[int, float], now: float, settings: Settings
) -> list[Action]:
    """What to do now. `beats` holds the last heartbeat by serial; all times are monotonic seconds."""
    actions = (_examine(handle, beats.get(handle.serial, 0.0), now, settings) for handle in handles)
    return [action for action in actions if action is not None]


def _examine(handle: WorkerHandle, beat: float, now: float, settings: Settings) -> Action | None:
    if handle.killed or handle.pid is None:
        return None
    if handle.aborted_at is not None:
        return Kill(handle, "it did not die of SIGABRT") if now >= handle.aborted_at + ABORT_SECONDS else None
    silent = now - max(beat, handle.ready_at or 0.0)
    if handle.state is State.BOOTING and now >= handle.ordered_at + settings.boot_seconds:
        return Abort(handle, f"it did not boot within {settings.boot_seconds:g} s")
    if handle.state is State.READY and silent >= settings.stall_seconds:
        return Stall(handle, silent)
    if handle.state is State.STALLED:
        if silent < settings.stall_seconds:
            return Recover(handle, silent)
        if settings.hang_seconds and silent >= settings.hang_seconds:
            return Abort(handle, f"its event loop has not turned for {silent:.1f} s")
    if handle.drain_until is not None and now >= handle.drain_until + DRAIN_GRACE_SECONDS:
        return Kill(handle, "it did not drain in time")
    return None


def deadlines(
    handles: Iterable[WorkerHandle], beats: Mapping[int, float], now: float, settings: Settings
) -> Iterator[float]:
    """When `examine` could next have something to say, should nothing else happen."""
    for handle in handles:
        beat = max(beats.get(handle.serial, 0.0), handle.ready_at or 0.0)
        if handle.killed:
            continue
        if handle.pid is None:  # the mold has not forked it: its supervisor's business
            yield handle.ordered_at + settings.boot_seconds
        elif handle.aborted_at is not None:
            yield handle.aborted_at + ABORT_SECONDS
        elif handle.state is State.BOOTING:
            yield handle.ordered_at + settings.boot_seconds
        elif handle.state is State.READY:
            yield beat + settings.stall_seconds
        elif handle.state is State.STALLED:
            yield now + settings.stall_seconds / 4  # nothing tells us of the next beat
        elif handle.drain_until is not None:
            yield handle.drain_until + DRAIN_GRACE_SECONDS
