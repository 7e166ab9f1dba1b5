"""An answer to a command that is not there yet: it needs what other processes tell, or time."""

from collections.abc import Callable

from prefork.errors import CommandError


class Later:
    """Returned by a command that cannot answer at once. It is settled once, with a result or a CommandError."""

    def __init__(self) -> None:
        self.settled = False
        self._outcome: object = None
        self._then: Callable[[object], None] | None = None

    def settle(self, outcome: object) -> None:
        """Here is the result, or the CommandError. What comes after the first is dropped."""
        if self.settled:
            return
        self.settled, self._outcome = True, outcome
        if self._then is not None:
            self._then(outcome)

    def fail(self, error: CommandError) -> None:
        """It cannot be done."""
        self.settle(error)

    def then(self, call: Callable[[object], None]) -> None:
        """Have `call` called with the outcome: now, if it is there."""
        self._then = call
        if self.settled:
            call(self._outcome)
