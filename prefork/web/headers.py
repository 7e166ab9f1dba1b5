"""Header fields by name, whatever their case: read-only for requests, changeable for responses."""

from collections.abc import Iterable, Iterator, Mapping, MutableMapping, Sequence
from typing import Protocol

from prefork.errors import ResponseError

FieldTuple = tuple[tuple[bytes, bytes], ...]
HeaderInput = Mapping[str, str] | Iterable[tuple[str, str]] | None


class Headers(Mapping[str, str]):
    """The header fields of a request. Values are latin-1 text (RFC 9110, 5.5).

    Read as a dict it gives the first field of a name; `get_all` gives every one.
    """

    __slots__ = ("_fields",)

    def __init__(self, fields: Sequence[tuple[bytes, bytes]]) -> None:
        self._fields = fields  # names in lower case

    def __getitem__(self, name: str) -> str:
        wanted = _key(name)
        for key, value in self._fields:
            if key == wanted:
                return value.decode("latin-1")
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(key.decode("latin-1") for key, _ in self._fields))

    def __len__(self) -> int:
        return len({key for key, _ in self._fields})

    def __repr__(self) -> str:
        return f"Headers({self.pairs()!r})"

    def get_all(self, name: str) -> list[str]:
        """The value of every field called `name`, in order."""
        wanted = _key(name)
        return [value.decode("latin-1") for key, value in self._fields if key == wanted]

    def pairs(self) -> list[tuple[str, str]]:
        """Every field in the order sent."""
        return [(key.decode("latin-1"), value.decode("latin-1")) for key, value in self._fields]


class HasFields(Protocol):
    fields: FieldTuple


class ResponseHeaders(MutableMapping[str, str]):
    """A response's header fields. Setting a name replaces its fields; `add` puts one more beside them."""

    __slots__ = ("_response",)

    def __init__(self, response: HasFields) -> None:
        self._response = response

    def __getitem__(self, name: str) -> str:
        return Headers(self._response.fields)[name]

    def __setitem__(self, name: str, value: str) -> None:
        field = encode_field(name, value)
        self._response.fields = (*self._without(field[0]), field)

    def __delitem__(self, name: str) -> None:
        kept = self._without(_key(name))
        if len(kept) == len(self._response.fields):
            raise KeyError(name)
        self._response.fields = kept

    def __iter__(self) -> Iterator[str]:
        return iter(Headers(self._response.fields))

    def __len__(self) -> int:
        return len(Headers(self._response.fields))

    def add(self, name: str, value: str) -> None:
        """One more field, also if there is one of that name. Raises ResponseError when it is not latin-1."""
        self._response.fields = (*self._response.fields, encode_field(name, value))

    def get_all(self, name: str) -> list[str]:
        """The value of every field called `name`, in order."""
        return Headers(self._response.fields).get_all(name)

    def _without(self, key: bytes) -> FieldTuple:
        return tuple(field for field in self._response.fields if field[0] != key)


def encode_field(name: str, value: str) -> tuple[bytes, bytes]:
    """One field as the exchange takes it, its name in lower case. Raises ResponseError when it is not latin-1 text.

    Forbidden bytes (CR, LF, NUL) are found by the exchange, for every response alike.
    """
    try:
        return name.lower().encode("ascii"), value.encode("latin-1")
    except (UnicodeEncodeError, AttributeError):
        raise ResponseError(f"response header {name!r}: {value!r} is not latin-1 text") from None


def encode_headers(headers: HeaderInput) -> FieldTuple:
    """Header fields from a dict or from pairs. Raises ResponseError when one is not latin-1 text."""
    if headers is None:
        return ()
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    return tuple(encode_field(name, value) for name, value in pairs)


def _key(name: str) -> bytes:
    return name.lower().encode("latin-1", "replace")
