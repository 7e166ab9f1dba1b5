"""Exit statuses of children whose fork is not reported yet: one may be reaped before its mold has told of it."""

from typing import Final

# Some are not ours at all: the programs of a worker that was killed come all at once, just when the next is forked.
# A tenth of a MB.
STRANGERS: Final = 2048


class Strangers:
    """The latest ones, by pid."""

    def __init__(self) -> None:
        self._statuses: dict[int, int] = {}

    def add(self, pid: int, status: int) -> None:
        """One was reaped, with `status` as waitpid gives it."""
        self._statuses[pid] = status
        if len(self._statuses) > STRANGERS:
            del self._statuses[next(iter(self._statuses))]

    def take(self, pid: int) -> int | None:
        """The status of one that turns out to be ours."""
        return self._statuses.pop(pid, None)

    def forget(self) -> None:
        """Nobody's fork is to be reported. Kept for longer, a number would be another's one day."""
        self._statuses.clear()
