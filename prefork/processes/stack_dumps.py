"""Have live processes write their Python stacks, and collect them: the command `stacks`.

faulthandler writes them in a signal handler of its own, in C, so a blocked event loop or a long job does not matter.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from prefork.control.later import Later
from prefork.control.status import StackStatus
from prefork.processes.stacks import QUIET_SECONDS, StacksLog, StacksPipe
from prefork.system import process

LIMIT_SECONDS: Final = 2.0  # for all of them together; one that is stopped writes nothing
LOOK_SECONDS: Final = 0.02  # nothing tells when a file grows
TEXT_BYTES: Final = 64 * 1024  # of one process
_OURS: Final = ("in call_job", "in run_offloader", "in run_actor")
SILENT: Final = "(it did not write its stacks: it is stopped, or the machine is too busy)"


@dataclass(frozen=True, slots=True)
class Source:
    """A process, and where its faulthandler writes: a worker's pipe, or a file that others have for its last words."""

    slot: int | None
    role: str
    pid: int
    name: str
    pipe: StacksPipe | None = None
    file: int | None = None  # descriptor


@dataclass(eq=False)
class _Dump:
    """One that was asked for."""

    source: Source
    file: int | None = None  # a duplicate, which is ours: the number of the other one may soon mean something else
    begin: int = 0  # size of the file before
    size: int = 0
    grew_at: float = 0.0
    text: str | None = None


class StackDumps:
    """Those that are being collected."""

    def __init__(self, log: StacksLog) -> None:
        self._log = log
        self._asked: list[tuple[float, list[_Dump], Later]] = []

    def ask(self, sources: list[Source], now: float) -> Later:
        """Have them written; who asks while another waits for the same process gets the same. The answer is a list of
        StackStatus, within LIMIT_SECONDS."""
        later = Later()
        under_way = {dump.source.pid: dump for _, dumps, _ in self._asked for dump in dumps if dump.text is None}
        dumps = [under_way.get(source.pid) or self._begin(source, now) for source in sources]
        self._asked.append((now + LIMIT_SECONDS, dumps, later))
        return later

    def tick(self, now: float) -> None:
        """Look for what has come."""
        for asked in list(self._asked):
            until, dumps, later = asked
            for dump in dumps:
                if dump.text is None and dump.file is not None:
                    _look(dump, dump.file, now)
            if now >= until or all(dump.text is not None for dump in dumps):
                self._asked.remove(asked)
                also_of_others = {dump for _, others, _ in self._asked for dump in others}
                for dump in dumps:
                    if dump not in also_of_others:
                        self._end(dump)
                later.settle([_status(dump) for dump in dumps])

    def deadlines(self, now: float) -> Iterator[float]:
        """When `tick` has something to do."""
        if self._asked:
            yield now + LOOK_SECONDS

    def _begin(self, source: Source, now: float) -> _Dump:
        dump = _Dump(source, grew_at=now)
        if source.pipe is not None:
            self._log.divert(source.pipe, self._keep(dump))
        elif source.file is not None:
            dump.file = os.dup(source.file)
            dump.begin = dump.size = os.fstat(dump.file).st_size
        process.send_signal(source.pid, process.STACKS_SIGNAL)
        return dump

    def _end(self, dump: _Dump) -> None:
        if dump.text is None and dump.source.pipe is not None:
            self._log.divert(dump.source.pipe, None)
        if dump.file is not None:
            os.close(dump.file)

    def _keep(self, dump: _Dump) -> Callable[[str], None]:
        def keep(text: str) -> None:
            dump.text = text

        return keep


def _look(dump: _Dump, file: int, now: float) -> None:
    size = os.fstat(file).st_size
    if size != dump.size:
        dump.size, dump.grew_at = size, now
    elif size > dump.begin and now >= dump.grew_at + QUIET_SECONDS:
        dump.text = _above_ours(os.pread(file, TEXT_BYTES, dump.begin).decode("utf-8", "replace"))
        # It is no last word: whoever reads this file when the process dies must not find it.
        os.ftruncate(file, dump.begin)
        os.lseek(file, dump.begin, os.SEEK_SET)


def _above_ours(text: str) -> str:
    """Without the frames from those down that only run the app's: they belong to the mold and the master too."""
    lines: list[str] = []
    inside = False
    for line in text.strip().splitlines():
        inside = line.startswith("  File ") and (inside or line.endswith(_OURS))
        if not inside:
            lines.append(line)
    return "\n".join(lines)


def _status(dump: _Dump) -> StackStatus:
    source = dump.source
    text = SILENT if dump.text is None else dump.text
    return StackStatus(slot=source.slot, role=source.role, pid=source.pid, name=source.name, text=text)
