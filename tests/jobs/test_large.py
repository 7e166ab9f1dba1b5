"""Large arguments and results of jobs: through arenas, in threads, and whole whatever happens meanwhile."""

import errno
import os

import pytest

from prefork.core.job import State
from prefork.errors import Cancelled, Unsendable
from prefork.jobs import local, wire
from prefork.jobs.crew import SHRINK_SECONDS
from prefork.jobs.local import RETRY_SECONDS, SLOW_SECONDS
from prefork.jobs.options import Offload
from prefork.jobs.payload import BIG_BYTES
from tests.jobs import work
from tests.jobs.backend import error, state
from tests.jobs.site import Make, Site

AGAIN = Offload(retries=5, idempotent=True)
BIG = b"x" * BIG_BYTES


def test_large_arguments_go_through_an_arena_that_is_sent_once(site: Site) -> None:
    (far,) = site.booted()
    flags = []
    for count in (1, 3, 2):
        job = site.submit(work.size_of, BIG * count, bytearray(BIG))
        message = far.read_now()
        assert message is not None
        assert message.value[1] == (BIG * count, BIG)
        flags.append(message.flags)
        site.returns(far, job.number, count)
        assert job.outcome.result() == count
    assert flags == [wire.IN_ARENA | wire.NEW_ARENA, wire.IN_ARENA, wire.IN_ARENA]


def test_large_results_come_through_an_arena(site: Site) -> None:
    (far,) = site.booted()
    for count in (1, 3, 2):
        job = site.submit()
        site.returns(far, far.take(), BIG * count)
        assert job.outcome.result() == BIG * count


def test_an_arena_that_the_job_keeps_is_not_written_again(site: Site) -> None:
    (far,) = site.booted()
    for _ in range(2):
        job = site.submit(work.keep, bytearray(BIG))
        message = far.read_now()
        assert message is not None
        assert message.flags & wire.NEW_ARENA
        site.returns(far, job.number, flags=wire.KEPT)


def test_arguments_too_large_for_the_arena_are_refused_by_name_and_the_offloader_goes_on(make: Make) -> None:
    site = make(1, offload_arena=1 << 20)
    (far,) = site.booted()
    job = site.submit(work.size_of, bytes(1 << 20))
    assert isinstance(error(job), Unsendable)
    assert str(error(job)).startswith("the arguments of tests.jobs.work.size_of: ")
    job = site.submit(work.size_of, bytes((1 << 20) - 1000))
    assert far.take() == job.number


def test_lack_of_memory_for_arguments_is_the_jobs_error(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int, length: int) -> None:
        raise OSError(28, "No space left on device")

    (far,) = site.booted()
    monkeypatch.setattr(os, "ftruncate", refuse)
    job = site.submit(work.size_of, BIG)
    assert "tests.jobs.work.size_of: no memory for its arguments: " in str(error(job))
    monkeypatch.undo()
    job = site.submit(work.size_of, BIG)
    assert far.take() == job.number


def test_a_large_call_that_cannot_be_sent_for_now_is_sent_later(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(end: object, message: bytes, descriptor: int | None = None) -> None:
        raise OSError(errno.ETOOMANYREFS, "Too many references: cannot splice")

    (far,) = site.booted()
    monkeypatch.setattr(wire, "send", refuse)
    job = site.submit(work.size_of, BIG)
    assert state(job) is State.WAITING
    monkeypatch.undo()
    site.loop.advance(RETRY_SECONDS)
    message = far.read_now()
    assert message is not None
    assert (message.number, message.value[1]) == (job.number, (BIG,))


@pytest.fixture
def in_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every copy through an arena is made in a thread, which a test lets run."""
    monkeypatch.setattr(local, "QUICK_BYTES", 0)


@pytest.mark.usefixtures("in_threads")
def test_many_bytes_are_copied_in_a_thread_while_others_go_on(make: Make) -> None:
    site = make(2)
    far, other = site.booted(2)
    large, small = site.submit(work.size_of, BIG), site.submit()
    assert far.read_now() is None
    assert other.take() == small.number
    site.returns(other, small.number, "small")
    assert small.outcome.result() == "small"
    site.loop.finish_thread()
    assert far.take() == large.number
    far.returns(large.number, BIG)
    site.loop.run()
    assert not large.outcome.done()
    site.loop.finish_thread()
    assert large.outcome.result() == BIG


@pytest.mark.usefixtures("in_threads")
def test_what_an_offloader_says_next_does_not_overtake_a_large_item(site: Site) -> None:
    (far,) = site.booted()
    job = site.submit(work.count, 3, stream=True)
    number = far.take()
    far.item(number, BIG)
    far.item(number, "small")
    far.returns(number, "end")
    site.loop.run()
    assert not job.outcome.done()
    site.loop.finish_thread()
    assert site.loop.result(job.receive()) == (True, BIG)
    assert site.loop.result(job.receive()) == (True, "small")
    assert site.loop.result(job.receive()) == (False, "end")


@pytest.mark.parametrize("threads", [False, True])
@pytest.mark.parametrize("word", ["item", "progress", "returns", "raises"])
def test_an_offloader_is_told_when_what_is_in_its_arena_has_been_read_and_not_before(
    site: Site, monkeypatch: pytest.MonkeyPatch, threads: bool, word: str
) -> None:
    (far,) = site.booted()
    if threads:
        monkeypatch.setattr(local, "QUICK_BYTES", 0)
    job = site.submit(work.count, 3, stream=True)
    number = far.take()
    if word == "progress":
        far.progress(number, 0.5, "x" * BIG_BYTES)
    elif word == "raises":
        far.raises(number, LookupError("x" * BIG_BYTES))
    elif word == "returns":
        far.returns(number, BIG)
    else:
        far.item(number, BIG)
    site.loop.run()
    if threads:
        assert far.read_now() is None
        site.loop.finish_thread()
    message = far.read_now()
    assert message is not None
    assert (message.kind, message.number) == (wire.READ, 1)
    assert (repr(error(job))[:12] == "LookupError(") if word == "raises" else job.outcome.done() == (word == "returns")


def test_a_word_that_an_arena_was_read_is_not_lost_with_the_jobs_that_are_taken_back(site: Site) -> None:
    far = site.quick()
    site.submit()
    site.returns(far, far.take(), BIG)
    job, _ = site.submit(), site.submit()
    site.loop.advance(2 * SLOW_SECONDS)
    read, given = far.read_now(), far.read_now()
    assert read is not None
    assert given is not None
    assert (read.kind, read.number) == (wire.READ, 1)
    assert (given.kind, given.number) == (wire.JOB, job.number)
    assert far.read_now() is None


@pytest.mark.usefixtures("in_threads")
@pytest.mark.parametrize("end", ["cancelled", "timed out"])
def test_a_job_that_is_over_while_its_arguments_are_copied_is_not_given(site: Site, end: str) -> None:
    (far,) = site.booted()
    job = site.submit(work.size_of, BIG, options=Offload(timeout=5))
    if end == "cancelled":
        job.cancel()
    else:
        site.loop.advance(5)
    assert state(job).value == end
    waiting = site.submit()
    assert far.read_now() is None
    site.loop.finish_thread()
    assert site.spawner.ended == []
    assert far.take() == waiting.number
    assert site.orders == [1]


@pytest.mark.usefixtures("in_threads")
def test_an_offloader_that_dies_while_arguments_are_copied_leaves_the_job_for_another(site: Site) -> None:
    (far,) = site.booted()
    job = site.submit(work.size_of, BIG)
    site.die(far)
    site.loop.finish_thread()
    assert state(job) is State.WAITING
    assert job.deaths == 0
    other = site.boot(2)
    site.loop.finish_thread()
    assert other.take() == job.number


@pytest.mark.usefixtures("in_threads")
def test_a_large_result_of_one_that_has_died_counts(site: Site) -> None:
    (far,) = site.booted()
    job = site.submit()
    far.returns(far.take(), BIG)
    site.loop.run()
    site.die(far)
    assert not job.outcome.done()
    site.loop.finish_thread()
    assert job.outcome.result() == BIG


@pytest.mark.usefixtures("in_threads")
def test_a_job_that_is_cancelled_while_its_result_is_copied_stays_cancelled(site: Site) -> None:
    (far,) = site.booted()
    job = site.submit()
    far.returns(far.take(), BIG)
    site.loop.run()
    job.cancel()
    site.loop.finish_thread()
    assert isinstance(error(job), Cancelled)
    waiting = site.submit()
    reachable = [far, *(site.boot(number) for number in site.orders[1:])]
    assert [each.given() for each in reachable].count([waiting.number]) == 1


def test_a_large_call_that_was_given_and_not_begun_is_given_anew_when_its_offloader_dies(site: Site) -> None:
    (far,) = site.booted()
    job = site.submit(work.size_of, BIG)
    site.die(far)
    assert state(job) is State.WAITING
    message = site.boot(2).read_now()
    assert message is not None
    assert message.value[1] == (BIG,)


def test_a_large_call_is_whole_when_it_is_tried_again(site: Site) -> None:
    (far,) = site.booted()
    job = site.submit(work.size_of, BIG, options=AGAIN)
    far.take()
    site.die(far)
    message = site.boot(2).read_now()
    assert message is not None
    assert message.number == job.number
    assert message.value[1] == (BIG,)


def test_arenas_that_are_not_used_give_their_memory_back_and_are_used_again(site: Site) -> None:
    (far,) = site.booted()
    held = []

    def use() -> None:
        job = site.submit(work.size_of, BIG * 16)
        site.returns(far, far.take(), BIG * 16)
        assert job.outcome.result() == BIG * 16
        held.append(memory_of_arenas())

    use()
    site.loop.advance(SHRINK_SECONDS * 0.9)
    assert memory_of_arenas() == held[0] >= 32 * BIG_BYTES
    site.loop.advance(SHRINK_SECONDS)
    assert memory_of_arenas() == 0
    use()
    assert held[1] == held[0]


def memory_of_arenas() -> int:
    """Bytes that all arenas of this process hold, each counted once."""
    sizes = {}
    for name in os.listdir("/proc/self/fd"):
        path = f"/proc/self/fd/{name}"
        try:
            if "prefork-arena" in os.readlink(path):
                found = os.stat(path)
                sizes[found.st_ino] = found.st_blocks * 512
        except OSError:  # the one it took to list them
            continue
    return sum(sizes.values())
