"""What a metric is: its kind, what it is called, and how it stands in a row of the ledger."""

import json
import re
from dataclasses import asdict, dataclass
from enum import IntEnum
from typing import Final

# Seconds, from what a small handler takes to what a client waits for.
SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

_NAME: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_OURS: Final = "prefork_"


class Kind(IntEnum):
    """Of a row. Counters and histograms only grow; a gauge is what its process says now."""

    DECLARATION = 0
    COUNTER = 1
    GAUGE = 2
    HISTOGRAM = 3


@dataclass(frozen=True, slots=True)
class Declaration:
    """One metric. `buckets` are upper bounds, ascending; `across` says how the gauges of several processes become
    one: sum, max or min."""

    kind: Kind
    name: str
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    across: str = "sum"

    @property
    def words(self) -> int:
        """Numbers of each series: a value; a value and whether it is set; a count for each bucket and for what is
        beyond, then the sum."""
        return {Kind.COUNTER: 1, Kind.GAUGE: 2, Kind.HISTOGRAM: len(self.buckets) + 2}[self.kind]

    def encode(self) -> bytes:
        return json.dumps(asdict(self), separators=(",", ":")).encode()

    @classmethod
    def decode(cls, text: bytes) -> "Declaration":
        fields = json.loads(text)
        fields |= {"labels": tuple(fields["labels"]), "buckets": tuple(fields["buckets"]), "kind": Kind(fields["kind"])}
        return cls(**fields)


def check(declaration: Declaration, ours: bool) -> None:
    """Raises ValueError for what cannot be a metric; names that begin with prefork_ are ours."""
    name = declaration.name
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name of a metric: letters, digits and _, no digit first")
    if name.startswith(_OURS) is not ours:
        raise ValueError(f"metric {name}: names that begin with {_OURS} are prefork's own")
    for label in declaration.labels:
        if not _NAME.fullmatch(label) or label.startswith("__") or label in ("le", "quantile"):
            raise ValueError(f"metric {name}: {label!r} cannot be a label")
    if len(set(declaration.labels)) < len(declaration.labels):
        raise ValueError(f"metric {name}: two labels have the same name")
    buckets = declaration.buckets
    if declaration.kind is Kind.HISTOGRAM and (not buckets or list(buckets) != sorted(set(buckets))):
        raise ValueError(f"metric {name}: buckets are numbers that ascend, at least one")
    if declaration.across not in ("sum", "max", "min"):
        raise ValueError(f"metric {name}: across is sum, max or min")
