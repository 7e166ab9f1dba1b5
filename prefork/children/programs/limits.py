"""What a program may use of the machine (getrlimit(2))."""

import resource
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Final

_RESOURCES: Final = {
    "memory": resource.RLIMIT_AS,
    "cpu_seconds": resource.RLIMIT_CPU,
    "files": resource.RLIMIT_NOFILE,
    "file_bytes": resource.RLIMIT_FSIZE,
    "processes": resource.RLIMIT_NPROC,
    "core_bytes": resource.RLIMIT_CORE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits for each process of a program; they cannot be raised by it. None: as ours. Raises ValueError below 0.

    `memory`: bytes of address space; what needs more gets an error from the kernel. `cpu_seconds`: SIGXCPU then, and
    SIGKILL a second later. `files`: descriptors open at a time. `file_bytes`: size of a file it writes; SIGXFSZ.
    `processes`: how many its user may have in all, threads too; not for root. `core_bytes`: size of a core dump.
    """

    memory: int | None = None
    cpu_seconds: int | None = None
    files: int | None = None
    file_bytes: int | None = None
    processes: int | None = None
    core_bytes: int | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            most = getattr(self, field.name)
            if most is not None and (not isinstance(most, int) or most < 0):
                raise ValueError(f"the limit {field.name} is a whole number of at least 0, not {most!r}")

    def __iter__(self) -> Iterator[tuple[str, int, int]]:
        """Name, number for prlimit(2) and value of each that is set."""
        for name, number in _RESOURCES.items():
            most = getattr(self, name)
            if most is not None:
                yield name, number, most

    def put_on(self, pid: int) -> None:
        """Set them for a process. Raises OSError and ValueError that name the limit."""
        for name, number, most in self:
            hard = most + 1 if number == resource.RLIMIT_CPU else most  # between SIGXCPU and SIGKILL
            try:
                resource.prlimit(pid, number, (most, hard))
            except (OSError, ValueError) as error:
                raise type(error)(f"the limit {name}={most} cannot be set: {error}") from None
