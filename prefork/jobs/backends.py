"""Choose where jobs run, as the settings say."""

from prefork.errors import UsageError
from prefork.jobs.crew import Spawner
from prefork.jobs.local import LocalBackend
from prefork.jobs.pool import Backend, Pool
from prefork.settings import Settings
from prefork.system import cgroup


def make_backend(pool: Pool, spawner: Spawner, workers: int) -> Backend:
    """The backend of a pool that is one of `workers` on this machine. Raises UsageError."""
    settings = pool.settings
    if settings.offload_backend == "dask":
        if settings.offload_address is None:
            raise UsageError("offload_backend = dask needs offload_address, such as tcp://scheduler:8786")
        from prefork.jobs.dask import DaskBackend

        return DaskBackend(pool, settings.offload_address)
    return LocalBackend(pool, spawner, processes(settings, workers))


def share(pool: Pool, workers: int) -> None:
    """From now on the pool is one of so many `workers` on this machine."""
    if isinstance(pool.backend, LocalBackend):
        pool.backend.limit(processes(pool.settings, workers))


def processes(settings: Settings, workers: int) -> int:
    """The most offloaders of one of `workers`."""
    if settings.offload_max == "auto":
        return max(1, cgroup.usable_cpus() // workers)
    return settings.offload_max
