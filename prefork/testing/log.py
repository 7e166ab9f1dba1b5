"""The log of a server that a test has started: read as it comes, kept, and waited for."""

import json
import os
import re
import threading
from collections.abc import Callable


class Log:
    """The lines that come from a pipe, until the last process that writes to it is gone."""

    def __init__(self, descriptor: int) -> None:
        """Reads in a thread: what nobody reads would make the server wait, or be dropped."""
        self.messages: list[str] = []
        self.ended = False
        self._lines: list[str] = []
        self._news = threading.Condition()
        self._thread = threading.Thread(target=self._read, args=(descriptor,), name="prefork-log", daemon=True)
        self._thread.start()

    def __str__(self) -> str:
        return "\n".join(self._lines)

    def wait(self, there: Callable[[], bool], seconds: float) -> bool:
        """Wait until the messages so far make `there()` true, or there will be no more. Returns whether it is."""
        with self._news:
            self._news.wait_for(lambda: self.ended or there(), timeout=seconds)
            return there()

    def find(self, pattern: str, since: int = 0) -> list[re.Match[str]]:
        """All messages from the one of index `since` that match."""
        return [match for message in self.messages[since:] if (match := re.search(pattern, message))]

    def wait_end(self, seconds: float) -> bool:
        """Wait until every process that could write is gone. Returns whether they are."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _read(self, descriptor: int) -> None:
        with os.fdopen(descriptor, "rb") as pipe:
            for raw in pipe:
                line, message = _readable(raw.decode("utf-8", "replace").rstrip("\n"))
                with self._news:
                    self._lines.append(line)
                    self.messages.append(message)
                    self._news.notify_all()
        with self._news:
            self.ended = True
            self._news.notify_all()


def _readable(line: str) -> tuple[str, str]:
    """A line of the server's JSON log as people read it, and its message; what the app prints is both as it is."""
    try:
        record = json.loads(line)
        message = str(record["message"])
    except (ValueError, KeyError, TypeError):
        return line, line
    who = " ".join(str(record[key]) for key in ("role", "slot") if key in record)
    text = "\n".join(filter(None, (message, record.get("traceback")))).replace("\n", "\n    ")
    return f"{record.get('time', '')} {record.get('level', ''):7} {who} {record.get('logger', '')}: {text}", message
