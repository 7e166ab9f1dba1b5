"""What a process that is forked for a worker becomes, by the role in the order."""

from collections.abc import Callable
from typing import Final, NoReturn

from prefork.processes.actor import run_actor
from prefork.processes.forked import run_child
from prefork.processes.offloader import run_offloader
from prefork.processes.owned_start import OwnedStart

Become = Callable[[OwnedStart, Callable[[], None]], NoReturn]

ROLES: Final[dict[str, Become]] = {
    "actor": run_actor,
    "offloader": run_offloader,
    "child": run_child,
}
