"""What one job may use of its process: address space and CPU time (getrlimit(2))."""

import resource
import time
from contextlib import AbstractContextManager, nullcontext
from math import ceil
from typing import Final

from prefork.errors import Crashed
from prefork.system import process

UNLIMITED: Final[AbstractContextManager[None]] = nullcontext()


class Limits:
    """Set when a job begins, lifted when it ends. Too much memory raises Crashed, too much CPU time is SIGXCPU."""

    def __init__(self, name: str, memory: int, cpu_seconds: float) -> None:
        """`name` of the job's function; `memory` in bytes beyond what the process has now. 0 is no limit."""
        self._name = name
        self._memory = memory
        self._cpu_seconds = cpu_seconds

    def __enter__(self) -> None:
        if self._memory:
            _limit(resource.RLIMIT_AS, process.address_space_bytes() + self._memory)
        if self._cpu_seconds:
            _limit(resource.RLIMIT_CPU, ceil(time.process_time() + self._cpu_seconds))

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: object) -> None:
        if self._cpu_seconds:
            _limit(resource.RLIMIT_CPU, None)
        if self._memory:
            _limit(resource.RLIMIT_AS, None)
            if isinstance(error, MemoryError):
                reason = f"{self._name} needed more memory than its limit of {self._memory} bytes"
                raise Crashed(reason, cause="memory") from error


def _limit(what: int, most: int | None) -> None:
    """Set a soft limit, below the hard one; None lifts it up to that."""
    _, hard = resource.getrlimit(what)
    soft = hard if most is None else most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(what, (soft, hard))
