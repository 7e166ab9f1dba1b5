"""What a metric is: its kind, what it is called, and how it stands in a row of the ledger."""

import json
import math
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import IntEnum
from typing import Final

# Seconds, from what a small handler takes to what a client waits for.
SECONDS: Final = (0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
MOST_BUCKETS: Final = 100
MOST_LABELS: Final = 16
HELP_CHARACTERS: Final = 500

_NAME: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
OURS: Final = "prefork_"
_TOTAL: Final = "_total"


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

    @property
    def shape(self) -> tuple[Kind, tuple[str, ...], tuple[float, ...]]:
        """What must be the same where numbers are to be summed."""
        return self.kind, self.labels, self.buckets

    @property
    def base(self) -> str:
        """Its name without the _total that the samples of a counter have, whether it was declared with one or not."""
        return self.name.removesuffix(_TOTAL) if self.kind is Kind.COUNTER else self.name

    @property
    def samples(self) -> list[str]:
        """Every name that it takes where it is read."""
        endings = {
            Kind.COUNTER: ("", _TOTAL, "_created"),
            Kind.GAUGE: ("",),
            Kind.HISTOGRAM: ("", "_bucket", "_count", "_sum", "_created"),
        }[self.kind]
        return [self.base + ending for ending in endings]

    def encode(self) -> bytes:
        return json.dumps(asdict(self), separators=(",", ":")).encode()

    @classmethod
    def decode(cls, text: bytes) -> "Declaration":
        """Raises ValueError, TypeError or KeyError for what is none."""
        fields = json.loads(text)
        fields |= {"labels": tuple(fields["labels"]), "buckets": tuple(fields["buckets"]), "kind": Kind(fields["kind"])}
        return cls(**fields)


def upper_bounds(buckets: Iterable[float]) -> tuple[float, ...]:
    """Buckets as they are declared. What is beyond the last is counted in any case, so inf may be left out."""
    bounds = tuple(map(float, buckets))
    return bounds[:-1] if bounds and bounds[-1] == math.inf else bounds


def check(declaration: Declaration, ours: bool) -> None:
    """Raises ValueError for what cannot be a metric; names that begin with prefork_ are ours."""
    name = declaration.name
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name of a metric: letters, digits and _, no digit first")
    if name.startswith(OURS) is not ours:
        raise ValueError(f"metric {name}: names that begin with {OURS} are prefork's own")
    if declaration.kind is not Kind.COUNTER and name.endswith(_TOTAL):
        raise ValueError(f"metric {name}: names that end with {_TOTAL} are those of counters")
    if not declaration.base:
        raise ValueError(f"metric {name}: a name is more than {_TOTAL}")
    if not isinstance(declaration.help, str) or len(declaration.help) > HELP_CHARACTERS:
        raise ValueError(f"metric {name}: the help is a text of at most {HELP_CHARACTERS} characters")
    if len(declaration.labels) > MOST_LABELS:
        raise ValueError(f"metric {name}: more than {MOST_LABELS} labels")
    for label in declaration.labels:
        if not isinstance(label, str) or not _NAME.fullmatch(label) or label.startswith("__"):
            raise ValueError(f"metric {name}: {label!r} cannot be a label")
        if label in ("le", "quantile"):
            raise ValueError(f"metric {name}: {label!r} cannot be a label; it stands for something else")
    if len(set(declaration.labels)) < len(declaration.labels):
        raise ValueError(f"metric {name}: two labels have the same name")
    if declaration.kind is Kind.HISTOGRAM:
        _check_buckets(name, declaration.buckets)
    if declaration.across not in ("sum", "max", "min"):
        raise ValueError(f"metric {name}: across is sum, max or min")


def _check_buckets(name: str, buckets: tuple[float, ...]) -> None:
    if not buckets or not all(map(math.isfinite, buckets)) or list(buckets) != sorted(set(buckets)):
        raise ValueError(f"metric {name}: buckets are numbers that ascend, at least one")
    if len(buckets) > MOST_BUCKETS:
        raise ValueError(f"metric {name}: more than {MOST_BUCKETS} buckets")
