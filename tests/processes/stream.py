"""The lines a server writes to a pipe, kept in order, with a way to wait for one that matches."""

import json
import os
import re
import threading
from collections.abc import Callable

from tests.processes.patience import GUARD_SECONDS


class Stream:
    """Reads a pipe until its end, which comes when the last process that holds it is gone."""

    def __init__(self, descriptor: int, report: Callable[[], str]) -> None:
        """`report` gives the evidence that a failed wait is to print."""
        self.records: list[dict[str, object]] = []  # a line that is no JSON becomes {"message": line}
        self._report = report
        self._ended = False
        self._news = threading.Condition()
        self._thread = threading.Thread(target=self._read, args=(descriptor,), daemon=True)
        self._thread.start()

    def mark(self) -> int:
        """The place to search from for what is logged from now on."""
        with self._news:
            return len(self.records)

    def wait(self, pattern: str, since: int = 0, count: int = 1) -> re.Match[str]:
        """The `count`-th message from `since` on that matches. AssertionError when the patience or the pipe ends."""
        with self._news:
            found = self._news.wait_for(
                lambda: len(self.find(pattern, since)) >= count or self._ended, timeout=GUARD_SECONDS
            )
        matches = self.find(pattern, since)
        if len(matches) < count:
            why = "the log has ended" if found else "patience has ended"
            raise AssertionError(f"{why}; {len(matches)} of {count} messages like {pattern!r}\n{self._report()}")
        return matches[count - 1]

    def find(self, pattern: str, since: int = 0) -> list[re.Match[str]]:
        """All messages so far, from `since` on, that match."""
        return [match for record in self.records[since:] if (match := re.search(pattern, words(record)))]

    def wait_end(self) -> None:
        """Wait until every process that could write here is gone."""
        self._thread.join(GUARD_SECONDS)
        if self._thread.is_alive():
            raise AssertionError(f"processes are left\n{self._report()}")

    def _read(self, descriptor: int) -> None:
        with os.fdopen(descriptor, "rb") as lines:
            for line in lines:
                record = _parse(line.decode("utf-8", "replace").rstrip("\n"))
                with self._news:
                    self.records.append(record)
                    self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()


def words(record: dict[str, object]) -> str:
    """Message and traceback of a log record."""
    return "\n".join(str(record[key]) for key in ("message", "traceback") if key in record)


def _parse(line: str) -> dict[str, object]:
    try:
        found = json.loads(line)
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {"message": line}
