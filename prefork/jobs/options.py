"""What may be said of a job: its deadline, its limits, its rank. What is not said, the settings say."""

from dataclasses import dataclass, fields
from typing import NamedTuple

from prefork.settings import SETTINGS, Settings
from prefork.settings.values import from_file

# From an option to its setting.
_SETTING = {
    "timeout": "offload_timeout_seconds",
    "grace": "offload_grace_seconds",
    "retries": "offload_retries",
    "idempotent": "offload_idempotent",
    "priority": "offload_priority",
    "memory": "offload_memory",
    "cpu_seconds": "offload_cpu_seconds",
    "nice": "offload_nice",
}


class Terms(NamedTuple):
    """The options of one job, settings filled in. Times in seconds, memory in bytes; 0 is no limit."""

    timeout: float
    grace: float
    retries: int
    idempotent: bool
    priority: int
    memory: int
    cpu_seconds: float
    nice: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Offload:
    """Options of a job or of an offloaded endpoint; each that is None is as the settings say (`--offload-…`).

    timeout: seconds from submission to result, 0 for no limit. grace: seconds between SIGTERM and SIGKILL when it is
    ended. retries: how often it is tried again when its process dies, if it is idempotent. priority: the highest goes
    first. memory: address space beyond what the process had before, in bytes or as "512M". cpu_seconds: CPU time,
    rounded up to whole seconds. nice: niceness, 0 to 19.

    Raises ValueError for a value out of bounds, and for retries of a job that is not idempotent.
    """

    timeout: float | None = None
    grace: float | None = None
    retries: int | None = None
    idempotent: bool | None = None
    priority: int | None = None
    memory: int | str | None = None
    cpu_seconds: float | None = None
    nice: int | None = None

    def __post_init__(self) -> None:
        for option in fields(self):
            value = getattr(self, option.name)
            if value is None:
                continue
            try:
                object.__setattr__(self, option.name, from_file(SETTINGS[_SETTING[option.name]], value))
            except ValueError as error:
                raise ValueError(f"Offload({option.name}={value!r}): {error}") from None
        if self.retries and not self.idempotent:
            raise ValueError("Offload(retries=…) is for jobs that may run twice: say idempotent=True as well")

    def terms(self, settings: Settings) -> Terms:
        """These options, and for the others what the settings say."""
        chosen = (getattr(self, option) for option in _SETTING)
        declared = (getattr(settings, name) for name in _SETTING.values())
        return Terms(*(own if own is not None else given for own, given in zip(chosen, declared, strict=True)))
