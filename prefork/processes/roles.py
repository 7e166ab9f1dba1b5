"""What a process that is forked for a worker becomes, by the role in the order."""

from collections.abc import Callable
from typing import Final, NoReturn

from prefork.processes.offloader import run_offloader
from prefork.processes.owned_start import OwnedStart

Become = Callable[[OwnedStart, Callable[[], None]], NoReturn]

ROLES: Final[dict[str, Become]] = {
    "offloader": run_offloader,
}
