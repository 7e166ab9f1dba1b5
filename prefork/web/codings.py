"""Which content codings a client accepts, best first (RFC 9110, 12.5.3). No I/O here."""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NamedTuple


class Coding(NamedTuple):
    """A content coding, and how the name of a file ends that is compressed so."""

    name: bytes
    suffix: bytes


# The smallest result first: what a file was compressed for once is sent many times.
CODINGS: Final = (Coding(b"br", b".br"), Coding(b"zstd", b".zst"), Coding(b"gzip", b".gz"))

CACHED_VALUE_BYTES: Final = 128  # every browser's value is shorter, and there are few of them

_ITEM = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+)(?:[ \t]*;[ \t]*[qQ]=([01](?:\.[0-9]{0,3})?))?")


def accepted(fields: Sequence[tuple[bytes, bytes]]) -> tuple[Coding, ...]:
    """The codings that the request's fields allow and prefer to none, best first.

    Equal weights go by the order of CODINGS. A client that says nothing gets the file as it is.
    """
    values = [value for name, value in fields if name == b"accept-encoding"]
    if not values:
        return ()
    value = b",".join(values)
    return _cached(value) if len(value) <= CACHED_VALUE_BYTES else _parse(value)


def _parse(value: bytes) -> tuple[Coding, ...]:
    weights: dict[bytes, float] = {}
    for item in value.split(b","):
        match = _ITEM.fullmatch(item.strip(b" \t"))
        if match is not None:
            name = match[1].lower()
            weights[b"gzip" if name == b"x-gzip" else name] = min(1.0, float(match[2] or 1))
    others = weights.get(b"*", 0.0)
    least = weights.get(b"identity", 0.0)
    weighted = [(weights.get(coding.name, others), coding) for coding in CODINGS]
    wanted = [pair for pair in weighted if pair[0] > 0 and pair[0] >= least]
    return tuple(coding for _, coding in sorted(wanted, key=lambda pair: -pair[0]))


_cached = lru_cache(maxsize=256)(_parse)
