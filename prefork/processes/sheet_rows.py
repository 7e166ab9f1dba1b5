"""What stands on a worker's sheet: its jobs and children, with times instead of ages, so that it need not be rewritten
while nothing happens."""

from typing import Final

import msgspec
from msgspec import Struct, field

from prefork.system.sheet import TEXT_BYTES

JOBS: Final = 200
CHILDREN: Final = 500
TEXT_CHARACTERS: Final = 100  # of a name


class JobRow(Struct, array_like=True, frozen=True):
    """Times are monotonic seconds; `given_at` is 0 while it waits."""

    number: int
    name: str
    state: str
    submitted_at: float
    given_at: float
    pid: int | None
    actor: str
    request: str | None = None  # its id


class ChildRow(Struct, array_like=True, frozen=True):
    """A program (role `program`), of which the master knows nothing, or a fork (`child`), whose name it does not know:
    what both call it is its number."""

    role: str
    number: int
    pid: int | None
    name: str


class Rows(Struct, array_like=True, frozen=True):
    """All of it."""

    jobs: list[JobRow] = field(default_factory=list)
    children: list[ChildRow] = field(default_factory=list)


_encoder, _decoder = msgspec.json.Encoder(), msgspec.json.Decoder(Rows)


def encode(rows: Rows) -> bytes:
    """As it stands there; with names that take more room than they should, without what does not fit."""
    text = _encoder.encode(rows)
    while len(text) > TEXT_BYTES:
        rows = Rows(rows.jobs[: len(rows.jobs) // 2], rows.children[: len(rows.children) // 2])
        text = _encoder.encode(rows)
    return text


def decode(text: bytes) -> Rows:
    """What stands there; nothing, where that is not ours."""
    try:
        return _decoder.decode(text) if text else Rows()
    except msgspec.DecodeError:
        return Rows()
