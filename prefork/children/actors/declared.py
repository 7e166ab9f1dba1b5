"""What the app declares of actors at import, in order: the same in the mold and in all that it forks."""

from dataclasses import dataclass
from typing import Any, Final, Literal

Scope = Literal["server", "worker"]

_forbidden = ""
_sealed = False


@dataclass(frozen=True, slots=True)
class Spec:
    """An actor as it was asked for. `timeout` in seconds a call; `mailbox` calls wait in each worker."""

    cls: type[Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    count: int
    scope: Scope
    timeout: float
    mailbox: int

    @property
    def name(self) -> str:
        return f"{self.cls.__module__}.{self.cls.__qualname__}"


specs: Final[list[Spec]] = []


def seal() -> None:
    """The app is imported: what is declared from now on would not be known elsewhere."""
    global _sealed
    _sealed = True


def sealed() -> bool:
    return _sealed


def forbid(reason: str) -> None:
    """Declared actors cannot be reached from this process, for a reason."""
    global _forbidden
    _forbidden = reason


def forbidden() -> str:
    """Why they cannot; nothing if they can."""
    return _forbidden
