"""Offloaders that die under a job, or beside it: one job has crashed, and the others do not notice."""

import os
import signal

import pytest

from prefork.core.job import State
from prefork.errors import Crashed
from prefork.jobs.options import Offload
from prefork.jobs.payload import BIG_BYTES
from tests.jobs.backend import error, state
from tests.jobs.site import FIRST_PID, Make, Site

AGAIN = Offload(retries=5, idempotent=True)
BIG = b"x" * BIG_BYTES


@pytest.mark.parametrize(
    ("status", "out_of_memory", "cause", "number", "code", "words"),
    [
        (signal.SIGSEGV, False, "signal", signal.SIGSEGV, None, "signal SIGSEGV"),
        (signal.SIGSEGV | 0x80, False, "signal", signal.SIGSEGV, None, "signal SIGSEGV"),
        (signal.SIGKILL, False, "signal", signal.SIGKILL, None, "signal SIGKILL"),
        (3 << 8, False, "exit", None, 3, "exit status 3"),
        (0, False, "exit", None, 0, "exit status 0"),
        (signal.SIGXCPU, False, "cpu", signal.SIGXCPU, None, "it used more CPU time than its limit of 2 s"),
        (
            signal.SIGKILL,
            True,
            "memory",
            signal.SIGKILL,
            None,
            "signal SIGKILL, killed for lack of memory (out-of-memory kill in its cgroup)",
        ),
    ],
)
def test_a_crash_says_what_killed_the_process(
    site: Site, status: int, out_of_memory: bool, cause: str, number: int | None, code: int | None, words: str
) -> None:
    (far,) = site.booted()
    job = site.submit(options=Offload(cpu_seconds=2))
    far.take()
    site.die(far, status, out_of_memory)
    found = error(job)
    assert isinstance(found, Crashed)
    assert str(found) == f"tests.jobs.work.double crashed its process (pid {FIRST_PID + 1}): {words}"
    assert (found.cause, found.signal, found.exit_status) == (cause, number, code)


def test_a_crash_has_the_last_stack_down_to_the_apps_own_frames(site: Site) -> None:
    (far,) = site.booted()
    job = site.submit()
    far.take()
    os.write(
        far.stacks,
        b"Fatal Python error: Segmentation fault\n\nCurrent thread 0x00007f (most recent call first):\n"
        b'  File "/usr/lib/python3.11/ctypes/__init__.py", line 519 in string_at\n'
        b'  File "/app/app.py", line 7 in crash\n'
        b'  File "/prefork/jobs/runner.py", line 241 in call_job\n'
        b'  File "/prefork/jobs/runner.py", line 150 in _do\n'
        b'  File "/prefork/processes/offloader.py", line 70 in run_offloader\n\n'
        b"Extension modules: numpy (total: 1)\n",
    )
    site.die(far, signal.SIGSEGV)
    found = error(job)
    assert isinstance(found, Crashed)
    assert found.stack == (
        "Fatal Python error: Segmentation fault\n\nCurrent thread 0x00007f (most recent call first):\n"
        '  File "/usr/lib/python3.11/ctypes/__init__.py", line 519 in string_at\n'
        '  File "/app/app.py", line 7 in crash'
    )


def test_only_the_job_that_ran_has_crashed(make: Make) -> None:
    site = make(2)
    far = site.quick()
    jobs = [site.submit() for _ in range(3)]
    far.take()
    site.die(far)
    assert isinstance(error(jobs[0]), Crashed)
    assert [(state(job), job.deaths) for job in jobs[1:]] == [(State.WAITING, 0)] * 2
    other = site.boot(2)
    for job in jobs[1:]:
        assert other.take() == job.number
        site.returns(other, job.number, job.number)
        assert job.outcome.result() == job.number


def test_a_job_that_was_given_and_not_begun_survives_the_death_of_its_offloader(site: Site) -> None:
    (far,) = site.booted()
    job = site.submit()
    site.die(far)
    assert state(job) is State.WAITING
    assert site.boot(2).take() == job.number


@pytest.mark.parametrize("reports", [0, 1, 10])
def test_a_result_that_was_sent_before_the_death_counts(site: Site, reports: int) -> None:
    (far,) = site.booted()
    job = site.submit()
    number = far.take()
    for _ in range(reports):
        far.progress(number, 0.5)
    far.returns(number, "sent")
    site.spawner.on_gone(far.number, 9, False, "")  # heard of before the loop has read the channel
    site.gone.add(far.number)
    assert job.outcome.result() == "sent"


def test_an_idempotent_job_runs_again_elsewhere_but_not_a_third_time(site: Site) -> None:
    (far,) = site.booted()
    job = site.submit(options=AGAIN)
    far.take()
    site.die(far)
    assert state(job) is State.WAITING
    other = site.boot(2)
    assert other.take() == job.number
    site.die(other)
    assert isinstance(error(job), Crashed)
    assert site.orders == [1, 2]


def test_an_offloader_that_dies_without_a_job_is_told_of_and_not_replaced_for_nothing(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    (far,) = site.booted()
    site.die(far, signal.SIGKILL)
    (record,) = caplog.records
    assert record.getMessage() == (f"offloader 1 (pid {FIRST_PID + 1}) died while it had no job: signal SIGKILL")
    assert site.orders == [1]


def test_one_of_those_that_are_kept_at_least_is_replaced_when_it_dies(make: Make) -> None:
    site = make(2, offload_min=1)
    site.loop.call(site.pool.backend.start)
    far = site.boot(1)
    site.die(far)
    assert site.orders == [1, 2]


def test_the_death_of_one_that_is_unknown_changes_nothing(site: Site) -> None:
    site.loop.call(site.spawner.on_gone, 77, 9, False, "")
    site.loop.call(site.spawner.on_forked, 77, 1)
    assert site.orders == []
