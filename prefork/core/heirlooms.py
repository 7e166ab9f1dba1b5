"""Decide what becomes of the listeners of a master when another takes over: which it keeps, and for which slot."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

OPERATORS: Final = -1  # in the place of a slot: control socket, admin server


@dataclass(frozen=True, slots=True)
class Heirloom:
    """A listener that is left to a new master, as its message tells of it."""

    number: int  # among those that are left
    bind: str  # what was asked for: `127.0.0.1:0`, `unix:/run/shop.sock`, `fd://3`
    slot: int  # whose worker accepts from it (balance kernel); 0 otherwise; OPERATORS if it serves no clients
    index: int  # of the listeners of a slot
    family: int  # of addresses
    shared: bool  # see `Listener`
    file: tuple[int, int, int] | None = None

    @classmethod
    def read(cls, fields: Mapping[str, object]) -> "Heirloom":
        """From a message. Raises ValueError when it is none, as from another version of prefork."""
        try:
            found = cls(**fields)  # type: ignore[arg-type]
            file = None if found.file is None else tuple(int(number) for number in found.file)
            numbers = (found.number, found.slot, found.index, found.family)
            if all(type(number) is int for number in numbers) and (file is None or len(file) == 3):
                return cls(*numbers[:1], str(found.bind), *numbers[1:], bool(found.shared), file)
        except (TypeError, ValueError):
            pass
        raise ValueError(f"not a listener: {fields!r}")


class Will:
    """The heirlooms that nobody has taken yet, by what they are bound to."""

    def __init__(self, heirlooms: Sequence[Heirloom]) -> None:
        self._first = [heirloom for heirloom in heirlooms if heirloom.slot == 0]
        self._operators = [heirloom for heirloom in heirlooms if heirloom.slot == OPERATORS]
        self._others = [heirloom for heirloom in heirlooms if heirloom.slot > 0]

    def take(self, bind: str) -> Heirloom | None:
        """The one that is bound to what the new master asks for. Two that ask for the same (a port 0) get one each."""
        return _take(self._first, bind)

    def take_operators(self, bind: str) -> Heirloom | None:
        """The same, of those that serve no clients."""
        return _take(self._operators, bind)

    def of_slots(self, taken: Sequence[Heirloom | None]) -> dict[int, list[Heirloom | None]]:
        """By slot from 1 on, the listeners beside those that were taken, in the same order; None where there is none.
        Only slots that have one at all."""
        found: dict[int, list[Heirloom | None]] = {}
        for slot in sorted({heirloom.slot for heirloom in self._others}):
            beside = {heirloom.index: heirloom for heirloom in self._others if heirloom.slot == slot}
            row = [None if first is None else beside.get(first.index) for first in taken]
            if any(row):
                found[slot] = row
        return found


def _take(heirlooms: list[Heirloom], bind: str) -> Heirloom | None:
    found = next((heirloom for heirloom in heirlooms if heirloom.bind == bind), None)
    if found is not None:
        heirlooms.remove(found)
    return found
