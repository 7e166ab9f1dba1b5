"""Sites whose offloaders are played by hand, and real runners at the end of a channel: made, and cleared away."""

import gc
import os
from collections.abc import Iterator
from typing import Any

import pytest

from prefork.jobs import hooks, runner
from prefork.settings import Settings
from prefork.system import log
from tests.jobs import work
from tests.jobs.ends import Near, Start
from tests.jobs.site import Make, Site


@pytest.fixture
def make() -> Iterator[Make]:
    """Makes sites; when they have closed, not one descriptor is left."""
    before = set(os.listdir("/proc/self/fd"))
    sites: list[Site] = []

    def build(processes: int = 1, **settings: Any) -> Site:
        sites.append(Site(processes, **settings))
        return sites[-1]

    yield build
    for site in sites:
        site.close()
        assert site.loop.faults == []
    sites.clear()
    if not before.issuperset(os.listdir("/proc/self/fd")):
        gc.collect()
        assert before.issuperset(os.listdir("/proc/self/fd"))


@pytest.fixture
def site(make: Make) -> Site:
    return make()


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Starts a runner with such settings, and ends it."""
    monkeypatch.setattr(runner, "current", None)
    monkeypatch.setattr(hooks, "on_start", [])
    monkeypatch.setattr(hooks, "on_stop", [])
    work.kept.clear()
    made: list[Near] = []

    def begin(serve: bool = True, **settings: Any) -> Near:
        made.append(Near(Settings(offload_nice=0, **settings)))
        return made[-1].begin() if serve else made[-1]

    yield begin
    for near in made:
        near.close()
    work.kept.clear()
    log.working_on(None, None)


@pytest.fixture
def near(start: Start) -> Near:
    """A runner that serves."""
    return start()
