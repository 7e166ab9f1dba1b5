"""Jobs on a Dask cluster: a real scheduler and two real workers, on this machine."""

import array
import asyncio
import logging
import re
import socket
import subprocess
import sys
import traceback
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import distributed
import pytest

from prefork.errors import Cancelled, Crashed, OffloadError, QueueFull, Timeout, Unsendable, UsageError
from prefork.jobs import context, dask, dask_cluster, dask_worker
from prefork.jobs.client import offload
from prefork.jobs.dask import DaskBackend
from prefork.jobs.dask_worker import NOT_RUN, Errand, Parcel
from prefork.jobs.failures import RemoteTraceback
from prefork.jobs.job import ITEMS, Progress
from prefork.jobs.payload import encode_call
from tests.jobs.dask_programs import ROOT, DaskCluster, Program, entered, failure, has_threads, jobs_on, on_loop
from tests.jobs.dask_work import (
    Refused,
    add_hook,
    count_and_fail,
    count_for_ever,
    count_lag,
    count_to,
    double,
    hooked,
    make_lock,
    negate,
    nest,
    refuse,
    report_for_ever,
    say,
    say_at_gate,
    tenant,
    three_steps,
    visit,
)
from tests.processes.gate import Gate
from tests.processes.patience import PATIENCE

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def shared_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaskCluster]:
    cluster = DaskCluster(tmp_path_factory.mktemp("dask"))
    try:
        cluster.add_workers(2)
        yield cluster
    finally:
        cluster.close()


@pytest.fixture
def cluster(shared_cluster: DaskCluster) -> Iterator[DaskCluster]:
    """Two workers of one thread, also after tests that end some."""
    yield shared_cluster
    shared_cluster.add_workers(2 - len(shared_cluster.workers))


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    gate = Gate(tmp_path)
    yield gate
    gate.close()


# -- results and errors


@on_loop
async def test_a_job_returns_what_its_function_returns(cluster: DaskCluster) -> None:
    async with jobs_on(cluster.address):
        assert await offload(double, 4, plus=1) == 9


@on_loop
async def test_an_exception_keeps_its_type_its_fields_and_the_traceback_it_had_there(cluster: DaskCluster) -> None:
    async with jobs_on(cluster.address):
        error = await failure(offload(refuse))
    assert isinstance(error, Refused)
    assert (error.code, error.reason, str(error)) == (7, "no", "7: no")
    assert isinstance(error.__cause__, RemoteTraceback)
    assert 'raise Refused(7, "no")' in str(error.__cause__)
    assert "distributed" not in str(error.__cause__)


@on_loop
async def test_an_exception_has_no_frames_of_another_process_but_in_its_cause(cluster: DaskCluster) -> None:
    async with jobs_on(cluster.address):
        error = await failure(offload(int, "seven"))
    assert isinstance(error, ValueError)
    assert "dask_worker" not in "".join(traceback.format_tb(error.__traceback__))
    assert isinstance(error.__cause__, RemoteTraceback)


@on_loop
async def test_a_result_that_cannot_be_pickled_is_an_error_that_names_the_function(cluster: DaskCluster) -> None:
    async with jobs_on(cluster.address):
        with pytest.raises(Unsendable, match=r"dask_work\.make_lock returned _thread\.lock"):
            await offload(make_lock)


@on_loop
async def test_every_one_of_many_jobs_gets_its_own_reply(cluster: DaskCluster) -> None:
    async with jobs_on(cluster.address, offload_queue=200):
        assert await asyncio.gather(*(offload(double, n) for n in range(200))) == [2 * n for n in range(200)]


@on_loop
async def test_a_large_array_goes_there_and_back_and_can_be_written(cluster: DaskCluster) -> None:
    values = memoryview(array.array("d", range(1_250_000)))
    async with jobs_on(cluster.address):
        result = await offload(negate, values)
        assert (result.format, result.nbytes) == ("d", 10_000_000)
        result[0] = 0.0
        assert result == values


@on_loop
async def test_a_payload_beyond_the_limit_is_refused_on_either_side(cluster: DaskCluster) -> None:
    async with jobs_on(cluster.address, offload_arena=1 << 20):
        with pytest.raises(Unsendable, match=r"the arguments of .*\.len: 1100\d\d\d bytes are more than offload_arena"):
            await offload(len, bytes(1_100_000))
        with pytest.raises(Unsendable, match=r"the result of .*\.bytes: 1100\d\d\d bytes are more than offload_arena"):
            await offload(bytes, 1_100_000)


@on_loop
async def test_code_that_the_workers_do_not_have_is_an_error_that_says_so(
    cluster: DaskCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "only_here.py").write_text("def work(): pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    import only_here  # type: ignore[import-not-found]

    async with jobs_on(cluster.address):
        words = r"only_here\.work: Dask worker tcp://\S+ cannot load it: .*No module named 'only_here'; the cluster's"
        with pytest.raises(OffloadError, match=words):
            await offload(only_here.work)


@on_loop
async def test_a_job_within_a_job_is_refused(cluster: DaskCluster) -> None:
    async with jobs_on(cluster.address):
        with pytest.raises(OffloadError, match="within a job: a Dask worker runs jobs, and submits none"):
            await offload(nest)


@on_loop
async def test_workers_that_have_another_version_get_no_jobs(
    cluster: DaskCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dask_cluster, "__version__", "9.9")
    async with jobs_on(cluster.address, threads=1):
        for _ in range(2):
            with pytest.raises(OffloadError, match=r"double: Dask worker .* cannot run jobs: .* here it is 9\.9"):
                await offload(double, 1)


def test_a_missing_package_is_named_with_what_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(UsageError, match=r"distributed.*pip install 'prefork\[dask\]'"):
        DaskBackend(SimpleNamespace(), "tcp://127.0.0.1:1")  # type: ignore[arg-type]


# -- the rules of the queue


@on_loop
async def test_no_more_jobs_run_than_there_are_threads_and_no_more_wait_than_may(
    cluster: DaskCluster, gate: Gate, tmp_path: Path
) -> None:
    async with jobs_on(cluster.address, offload_queue=1) as pool:
        jobs = [offload.start(visit, str(tmp_path)) for _ in range(3)]
        visitors = [await entered(gate), await entered(gate)]
        assert (pool.queue.running, len(pool.queue)) == (2, 1)
        with pytest.raises(QueueFull, match=r"1 jobs wait already \(offload_queue = 1\)"):
            offload.start(double, 1)
        assert gate.nobody_waits()
        for visitor in visitors:
            visitor.release()
        (await entered(gate)).release()
        assert {await job for job in jobs} == {worker.pid for worker in cluster.workers}


@on_loop
async def test_a_job_that_would_wait_too_long_is_refused(cluster: DaskCluster, gate: Gate, tmp_path: Path) -> None:
    async with jobs_on(cluster.address, offload_wait_seconds=1e-6):
        await offload(double, 1)  # now it is known how long jobs take
        jobs = [offload.start(visit, str(tmp_path)) for _ in range(2)]
        visitors = [await entered(gate), await entered(gate)]
        with pytest.raises(QueueFull, match="it would wait for about"):
            offload.start(double, 1)
        for visitor in visitors:
            visitor.release()
        await asyncio.gather(*jobs)


@on_loop
async def test_a_deadline_that_passes_while_a_job_waits_ends_it_unrun(
    cluster: DaskCluster, gate: Gate, tmp_path: Path
) -> None:
    async with jobs_on(cluster.address):
        jobs = [offload.start(visit, str(tmp_path)) for _ in range(2)]
        visitors = [await entered(gate), await entered(gate)]
        with pytest.raises(Timeout, match="could not begin within"):
            await offload.using(timeout=0.05)(visit, str(tmp_path))
        for visitor in visitors:
            visitor.release()
        await asyncio.gather(*jobs)
        assert gate.nobody_waits()


@on_loop
async def test_a_deadline_that_passes_while_a_job_runs_drops_its_reply_and_its_thread_is_free_when_it_is_over(
    cluster: DaskCluster, gate: Gate, tmp_path: Path
) -> None:
    async with jobs_on(cluster.address) as pool:
        late = offload.using(timeout=PATIENCE).start(visit, str(tmp_path))
        visitor = await entered(gate)
        with pytest.raises(Timeout, match="did not end within"):
            await late
        assert pool.backend.processes == 1  # of two: it still runs
        other = offload.start(visit, str(tmp_path))
        waits = offload.start(visit, str(tmp_path))
        first = await entered(gate)
        assert first.pid != visitor.pid
        assert len(pool.queue) == 1
        visitor.release()
        second = await entered(gate)  # so its thread has another
        assert second.pid == visitor.pid
        first.release()
        second.release()
        assert {await other, await waits} == {first.pid, second.pid}
        await has_threads(pool, 2)


@on_loop
async def test_a_cancelled_job_is_over_whether_it_waits_or_runs(
    cluster: DaskCluster, gate: Gate, tmp_path: Path
) -> None:
    async with jobs_on(cluster.address) as pool:
        running = [offload.start(visit, str(tmp_path)) for _ in range(2)]
        visitors = [await entered(gate), await entered(gate)]
        waits = offload.start(visit, str(tmp_path))
        for job in (waits, *running):
            job.cancel()
            assert isinstance(await failure(job), Cancelled)
        assert pool.queue.running == 0
        for visitor in visitors:
            visitor.release()
        assert await offload(double, 2) == 4
        assert gate.nobody_waits()


# -- what comes before the last word


@on_loop
async def test_the_items_of_a_stream_come_in_order_and_then_its_end_or_its_error(cluster: DaskCluster) -> None:
    async with jobs_on(cluster.address):
        assert [item async for item in offload.stream(count_to, 100)] == list(range(100))
        assert [item async for item in offload.stream(count_to, 0)] == []
        stream = offload.stream(count_and_fail, 3)
        assert [await anext(stream) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(Refused, match="no more"):
            await anext(stream)


@on_loop
async def test_a_stream_is_never_further_ahead_of_its_reader_than_its_bound(
    cluster: DaskCluster, tmp_path: Path
) -> None:
    path = tmp_path / "read"
    path.write_bytes(bytes(8))
    lags = []
    async with jobs_on(cluster.address):
        async for lag in offload.stream(count_lag, 150, str(path)):
            lags.append(lag)
            await asyncio.sleep(0.005)  # a slow reader
            with path.open("r+b") as file:
                file.write(len(lags).to_bytes(8, "little"))
    assert len(lags) == 150
    # ITEMS with its reader here, ITEMS in the queue, and one on its way on each side of that.
    assert ITEMS < max(lags) <= 2 * ITEMS + 3


@on_loop
async def test_a_stream_that_its_reader_leaves_ends_its_generator_and_frees_its_thread(
    cluster: DaskCluster, gate: Gate, tmp_path: Path
) -> None:
    async with jobs_on(cluster.address) as pool:
        stream = offload.stream(count_for_ever, str(tmp_path))
        assert [await anext(stream) for _ in range(3)] == [0, 1, 2]
        assert isinstance(stream, AsyncGenerator)
        await stream.aclose()
        (await entered(gate)).release()  # it is in its `finally`
        jobs = [offload.start(visit, str(tmp_path)) for _ in range(2)]
        visitors = [await entered(gate), await entered(gate)]
        await has_threads(pool, 2)
        for visitor in visitors:
            visitor.release()
        await asyncio.gather(*jobs)


@on_loop
async def test_progress_comes_as_reported_and_before_the_result(cluster: DaskCluster) -> None:
    async with jobs_on(cluster.address):
        job = offload.start(three_steps)
        reports = [report async for report in job.progress()]
        assert reports == [Progress(step / 3, f"step {step}") for step in (1, 2, 3)]
        assert await job == "done"


@on_loop
async def test_a_cancelled_job_ends_where_it_reports_progress(cluster: DaskCluster, gate: Gate, tmp_path: Path) -> None:
    async with jobs_on(cluster.address):
        job = offload.start(report_for_ever, str(tmp_path))
        (await entered(gate)).release()
        job.cancel()
        (await entered(gate)).release()


@on_loop
async def test_a_line_logged_in_a_job_names_it_and_its_request_and_carried_variables_are_there(
    cluster: DaskCluster, tmp_path: Path
) -> None:
    async with jobs_on(cluster.address):
        tenant.set("acme")
        token = context.origin.set(SimpleNamespace(id="8f2c"))
        pid = await offload(say, "an order")
        context.origin.reset(token)
    [worker] = [worker for worker in cluster.workers if worker.pid == pid]
    worker.wait_line(rf"warning dask \[{pid}\] job 1 request 8f2c shop: an order for acme$")


# -- what goes wrong


@on_loop
async def test_a_job_whose_worker_dies_is_not_run_again_and_costs_no_other(
    cluster: DaskCluster, gate: Gate, tmp_path: Path
) -> None:
    async with jobs_on(cluster.address) as pool:
        jobs = [offload.start(visit, str(tmp_path)) for _ in range(2)]
        victim, other = await entered(gate), await entered(gate)
        cluster.kill(victim.pid)
        other.release()
        results = await asyncio.gather(*jobs, return_exceptions=True)
        [crash] = [result for result in results if isinstance(result, BaseException)]
        assert isinstance(crash, Crashed)
        assert re.search(r"visit was lost with Dask worker tcp://\S+, and may have run in part", str(crash))
        assert other.pid in results
        assert await offload(double, 2) == 4
        await has_threads(pool, 1)
        assert gate.nobody_waits()


@on_loop
async def test_an_idempotent_job_is_tried_again_but_not_after_two_deaths_and_workers_that_come_get_jobs(
    cluster: DaskCluster, gate: Gate, tmp_path: Path
) -> None:
    async with jobs_on(cluster.address) as pool:
        job = offload.using(idempotent=True, retries=5).start(visit, str(tmp_path))
        first = await entered(gate)
        cluster.kill(first.pid)
        second = await entered(gate)
        assert second.pid != first.pid
        cluster.kill(second.pid)
        with pytest.raises(Crashed):
            await job
        waits = offload.start(double, 2)
        await asyncio.to_thread(cluster.add_workers, 1)
        assert await waits == 4
        assert len(pool.jobs) == 0
        assert gate.nobody_waits()


@on_loop
async def test_a_job_does_not_run_in_a_process_that_has_taken_the_address_of_its_worker(
    cluster: DaskCluster, gate: Gate, tmp_path: Path
) -> None:
    call = encode_call(visit, "visit", (str(tmp_path),), {}, None)
    errand = Errand(1, "topic", "/of/one/that/has/gone", 1 << 20, "text", "info")
    make_client: Any = distributed.Client
    async with make_client(cluster.address, asynchronous=True, set_as_default=False) as other:
        kind, _, _ = await other.submit(dask_worker.run, tuple(errand), Parcel.of(call))
    assert kind == NOT_RUN
    assert gate.nobody_waits()


def test_a_stream_whose_reader_is_killed_ends_its_generator(cluster: DaskCluster, gate: Gate, tmp_path: Path) -> None:
    script = f"""
import asyncio
from prefork.jobs.client import offload
from tests.jobs.dask_programs import jobs_on
from tests.jobs.dask_work import count_for_ever

async def main():
    async with jobs_on("{cluster.address}"):
        stream = offload.stream(count_for_ever, "{tmp_path}")
        print(await anext(stream), flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""
    with subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE) as reader:
        try:
            assert reader.stdout is not None
            assert reader.stdout.readline() == b"0\n"
        finally:
            reader.kill()
    gate.wait_entered().release()


@on_loop
async def test_what_dask_cannot_do_is_said_once(
    cluster: DaskCluster, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(dask, "_said", False)
    monkeypatch.setattr(logging.getLogger("prefork"), "propagate", True)
    for _ in range(2):
        async with jobs_on(cluster.address):
            await offload(double, 1)
    said = [line for line in caplog.messages if "cannot end a job that runs" in line]
    assert len(said) == 1
    assert cluster.address in said[0]


@on_loop
async def test_a_scheduler_that_is_not_there_fails_what_waits_and_is_used_when_it_comes(
    gate: Gate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dask_cluster, "CONNECT_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]
    address = f"tcp://127.0.0.1:{port}"
    async with jobs_on(address, threads=1) as pool:
        with pytest.raises(OffloadError, match=f"double: the Dask scheduler at {address} cannot be reached"):
            await offload(double, 2)

        cluster = await asyncio.to_thread(DaskCluster, tmp_path, port)
        try:
            await asyncio.to_thread(cluster.add_workers, 1, threads=2)
            await until_it_runs()
            await has_threads(pool, 2)

            await jobs_of_one_process(cluster.workers[0], gate, tmp_path)

            job = offload.start(visit, str(tmp_path))
            visitor = await entered(gate)
            cluster.kill_scheduler()
            with pytest.raises(Crashed, match=f"{address} (was lost|does not answer)"):
                await job
            visitor.release()
        finally:
            await asyncio.to_thread(cluster.close)

        # Dask may say itself that the worker is gone, before we see that it is.
        cluster = await asyncio.to_thread(
            DaskCluster, tmp_path, port, DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES="0"
        )
        try:
            await asyncio.to_thread(cluster.add_workers, 1)
            await until_it_runs()
            job = offload.start(visit, str(tmp_path))
            await entered(gate)
            cluster.kill(cluster.workers[0].pid)
            with pytest.raises(Crashed, match="visit was lost with Dask worker"):
                await job
        finally:
            await asyncio.to_thread(cluster.close)


async def until_it_runs() -> None:
    """Jobs fail as long as there is no scheduler, and wait as long as there is no worker."""
    while True:
        try:
            assert await offload(double, 2) == 4
        except OffloadError:
            continue
        return


async def jobs_of_one_process(worker: Program, gate: Gate, folder: Path) -> None:
    """Jobs that run in threads of one process are told apart, and its start hooks run once they are known."""
    tenant.set("both")
    jobs = [offload.start(say_at_gate, name, str(folder)) for name in ("one", "two")]
    visitors = [await entered(gate), await entered(gate)]
    for visitor in visitors:
        visitor.release()
    assert [await job for job in jobs] == [worker.pid, worker.pid]
    for job, name in zip(jobs, ("one", "two"), strict=True):
        worker.wait_line(rf" job {job.number} shop: {name} for both$")
    assert not await offload(hooked)
    await offload(add_hook)
    assert await offload(hooked)


@on_loop
async def test_closing_the_pool_ends_what_runs_and_leaves_no_client_behind(
    cluster: DaskCluster, gate: Gate, tmp_path: Path
) -> None:
    async with jobs_on(cluster.address):
        job = offload.start(visit, str(tmp_path))
        visitor = await entered(gate)
    assert isinstance(await failure(job), Cancelled)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    visitor.release()


def test_the_default_event_loop_will_do(cluster: DaskCluster) -> None:
    async def main() -> int:
        async with jobs_on(cluster.address):
            return await offload(double, 2)

    assert asyncio.run(main()) == 4
