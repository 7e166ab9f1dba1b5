"""How many workers there is work for: one more under load, one fewer when idle, and never to and fro."""

from collections.abc import Callable
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st

from prefork.core import autoscale
from prefork.core.autoscale import Autoscale, Load, Verdict
from prefork.settings import Settings

SETTINGS = Settings()  # up: 75 % busy for 3 s; down: the others below 40 % for 60 s
MOST = 100
BOOT = 0.5  # seconds until a worker that was started serves


class Server:
    """A simulated one. `work` is the CPU that requests need at a time, in whole workers."""

    def __init__(self, low: int, high: int, settings: Settings = SETTINGS) -> None:
        self.low, self.high = low, high
        self.wanted = low
        self.now = 1000.0
        self.work: Callable[[float], float] = lambda _: 0.0
        self.waiting = self.open = 0
        self.verdicts: list[tuple[float, Verdict]] = []
        self._autoscale = Autoscale(settings)
        self._period = autoscale.period(settings)
        self._serve_from = [self.now] * low

    @property
    def changes(self) -> list[int]:
        """The numbers of workers it was scaled to."""
        numbers = [self.low, *(verdict.workers for _, verdict in self.verdicts)]
        return [number for before, number in pairwise(numbers) if number != before]

    def run(self, seconds: float) -> "Server":
        end = self.now + seconds
        while self.now < end:
            self.now += self._period
            workers = sum(serves <= self.now for serves in self._serve_from)
            busy = min(self.work(self.now - 1000.0), float(workers))
            load = Load(self.now, workers, busy, self.waiting, self.open, MOST)
            verdict = self._autoscale.look(load, self.wanted, self.low, self.high)
            if verdict is not None:
                assert self.low <= verdict.workers <= self.high
                self.verdicts.append((self.now, verdict))
                self.wanted = verdict.workers
                del self._serve_from[self.wanted :]
                self._serve_from += [self.now + BOOT] * (self.wanted - len(self._serve_from))
        return self


def constant(work: float) -> Callable[[float], float]:
    return lambda _: work


def test_busy_workers_get_another_after_the_time_it_takes_and_not_before() -> None:
    server = Server(2, 4)
    server.work = constant(2.0)
    assert server.run(SETTINGS.scale_up_seconds - 0.25).changes == []
    assert server.run(0.75).changes == [3]
    assert server.verdicts[0][1].words == "workers were 100% busy for 3 s (--scale-up-share 0.75)"


@pytest.mark.parametrize("seconds", [0.001, 0.1, 0.15])
def test_a_time_that_is_shorter_than_between_two_looks_is_kept_too(seconds: float) -> None:
    server = Server(1, 2, Settings(scale_up_seconds=seconds))
    server.work = constant(1.0)
    assert server.run(1.0).changes == [2]


@pytest.mark.parametrize(("share", "changes"), [(0.74, []), (0.76, [3])])
def test_the_share_is_the_bound(share: float, changes: list[int]) -> None:
    server = Server(2, 4)
    server.work = constant(2 * share)
    assert server.run(30).changes == changes


def test_the_effect_of_one_more_is_seen_before_the_next() -> None:
    server = Server(1, 8)
    server.work = constant(8.0)
    server.run(60)
    times = [at for at, _ in server.verdicts][:7]
    assert server.changes == [2, 3, 4, 5, 6, 7, 8]
    assert all(later - sooner >= BOOT + SETTINGS.scale_up_seconds for sooner, later in pairwise(times))


def test_at_the_limit_it_says_once_why_nothing_more_is_done() -> None:
    server = Server(1, 2)
    server.work = constant(9.0)
    server.run(120)
    assert [verdict.workers for _, verdict in server.verdicts] == [2, 2]
    assert server.verdicts[1][1].words.endswith("(--scale-up-share 0.75), but there may be no more than 2")


def test_idle_workers_go_one_by_one_down_to_the_least() -> None:
    server = Server(1, 3)
    server.work = lambda t: 3.0 if t < 20 else 0.0
    server.run(20)
    assert server.wanted == 3
    server.run(400)
    assert server.changes == [2, 3, 2, 1]
    first, second, _ = (at for at, verdict in server.verdicts if "would be" in verdict.words)
    assert first - 1020 >= SETTINGS.scale_down_seconds
    assert second - first >= SETTINGS.scale_down_seconds
    assert server.verdicts[-1][1].words == (
        "one worker would be 0% busy, for 60 s (--scale-down-share 0.4), but there may be no fewer than 1"
    )


def test_none_is_let_go_whose_work_would_make_the_others_busy() -> None:
    server = Server(1, 4)
    server.work = lambda t: 3.0 if t < 20 else 1.3  # 1.3 / 3 is more than 0.4; 1.3 / 2 is less than 0.75
    server.run(1000)
    assert server.wanted == 4
    server.work = constant(1.1)  # 1.1 / 3 is less than 0.4, 1.1 / 2 is more
    assert server.run(1000).wanted == 3


def test_a_short_burst_changes_nothing() -> None:
    server = Server(2, 8)
    server.work = lambda t: 2.0 if t % 30 < 2 else 0.1
    assert server.run(600).changes == []


def test_bursts_that_come_again_keep_the_workers_they_need() -> None:
    server = Server(1, 4)
    server.work = lambda t: 3.5 if t % 40 < 15 else 0.0
    server.run(120)
    peak = server.wanted
    server.run(1200)
    assert server.wanted == peak
    assert server.changes == sorted(server.changes)  # none was ever let go


@pytest.mark.parametrize("every", [1.0, 3.0, 6.0, 20.0, 45.0])
def test_load_that_swings_does_not_make_the_number_swing(every: float) -> None:
    server = Server(1, 8)
    server.work = lambda t: 5.0 if t % every < every / 2 else 0.5
    server.run(300)
    settled = len(server.changes)
    server.run(1800)
    assert len(server.changes) - settled <= 1


@hypothesis(max_examples=30)  # each is ten minutes of a server
@given(st.floats(0, 10), st.floats(0, 0.3), st.integers(0, 1000))
def test_a_steady_load_with_noise_leads_to_a_steady_number(work: float, noise: float, seed: int) -> None:
    random = Random(seed)
    server = Server(1, 6)
    server.work = lambda _: max(0.0, work * (1 + random.uniform(-noise, noise)))
    server.run(400)
    before = server.wanted
    server.run(200)
    assert abs(server.wanted - before) <= 1
    ups = [b > a for a, b in zip([1, *server.changes], server.changes, strict=False)]
    assert ups == sorted(ups, reverse=True)  # up to what is needed; if one is let go, no other comes for it


def test_connections_that_wait_get_a_worker_though_nobody_is_busy() -> None:
    server = Server(1, 4)
    server.waiting = 7
    server.run(3.5)
    assert server.changes == [2]
    assert server.verdicts[0][1].words == "connections have waited for 3 s, now 7"


def test_connections_that_wait_for_a_moment_do_not() -> None:
    server = Server(1, 4)
    for _ in range(20):
        server.waiting = 7
        server.run(2)
        server.waiting = 0
        server.run(0.25)
    assert server.changes == []


def test_full_workers_get_another_which_is_let_go_only_when_the_others_have_room_to_spare() -> None:
    server = Server(1, 4)
    server.open = MOST - 1
    assert server.run(30).changes == []
    server.open = MOST
    server.run(30)
    assert server.changes == [2]
    assert server.verdicts[0][1].words == "workers were full for 3 s, with 100 connections (--max-connections 100)"
    server.open = 76
    server.run(300)
    assert server.wanted == 2
    server.open = 75
    server.run(300)
    assert server.wanted == 1


def test_nothing_is_decided_while_a_wanted_worker_is_missing() -> None:
    scaling = Autoscale(SETTINGS)
    for quarter in range(400):
        assert scaling.look(Load(quarter / 4, 2, 2.0, 9, 0, MOST), 3, 1, 8) is None


def test_workers_on_trial_share_the_work_and_are_not_counted_among_the_wanted() -> None:
    scaling = Autoscale(SETTINGS)
    verdicts = [scaling.look(Load(quarter / 4, 3, 3.0, 0, 0, MOST), 2, 2, 8) for quarter in range(14)]
    assert [verdict.workers for verdict in verdicts if verdict] == [3]


def test_a_moment_without_one_worker_does_not_begin_all_anew() -> None:
    scaling = Autoscale(SETTINGS)
    verdicts = [
        scaling.look(Load(quarter / 4, 1 if quarter % 4 == 3 else 2, 2.0, 0, 0, MOST), 2, 2, 8) for quarter in range(14)
    ]
    assert [verdict.workers for verdict in verdicts if verdict] == [3]


def test_after_a_gap_everything_is_measured_afresh() -> None:
    scaling = Autoscale(SETTINGS)
    assert scaling.look(Load(0.0, 2, 2.0, 0, 0, MOST), 2, 2, 8) is None
    assert scaling.look(Load(100.0, 2, 2.0, 0, 0, MOST), 2, 2, 8) is None


def test_one_number_of_measurements_is_kept_whatever_the_settings() -> None:
    for seconds in (0.001, 0.5, 3.0, 60.0, 604_800.0):
        settings = Settings(scale_up_seconds=seconds)
        assert autoscale.period(settings) >= 0.1
        assert seconds / autoscale.period(settings) <= autoscale.SAMPLES
