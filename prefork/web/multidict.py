"""Names with one or more values each: query parameters and form fields."""

from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

V = TypeVar("V")


class MultiDict(Mapping[str, V]):
    """Read as a dict it gives each name's first value; `get_all` and `pairs` give them all, in order."""

    __slots__ = ("_values",)

    def __init__(self, pairs: Iterable[tuple[str, V]] = ()) -> None:
        self._values: dict[str, list[V]] = {}
        for name, value in pairs:
            self._values.setdefault(name, []).append(value)

    def __getitem__(self, name: str) -> V:
        return self._values[name][0]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.pairs()!r})"

    def get_all(self, name: str) -> list[V]:
        """Every value of `name`, in order; an empty list if there is none."""
        return list(self._values.get(name, ()))

    def pairs(self) -> list[tuple[str, V]]:
        """Every name with every value, grouped by name."""
        return [(name, value) for name, values in self._values.items() for value in values]
