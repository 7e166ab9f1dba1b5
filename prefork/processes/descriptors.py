"""How many connections a worker may hold, given the limit on open descriptors."""

import logging
from typing import Final

from prefork.settings import Settings
from prefork.system import cgroup, process

RESERVED_DESCRIPTORS: Final = 128  # of a process, for what is no connection
OFFLOADER_DESCRIPTORS: Final = 8  # of a worker, for each of its offloaders: channel, stacks, arenas
CHILD_DESCRIPTORS: Final = 5  # of a worker, for each program: three pipes, a pidfd, and one more while it starts

_log = logging.getLogger("prefork.master")


def affordable_connections(settings: Settings) -> int:
    """As many as are wanted, if the limit allows; it is raised as far as it can be. Warns when it does not."""
    wanted = settings.max_connections
    limit = settings.max_descriptors or process.raise_descriptor_limit()
    offloaders = cgroup.usable_cpus() if settings.offload_max == "auto" else settings.offload_max
    others = OFFLOADER_DESCRIPTORS * offloaders + CHILD_DESCRIPTORS * settings.max_children
    most = max(1, min(wanted, limit - RESERVED_DESCRIPTORS - others))
    if most < wanted:
        _log.warning(
            "max_connections is %d, but the limit on open descriptors is %d: using %d (see ulimit -n)",
            wanted,
            limit,
            most,
        )
    return most
