"""`wsgi.errors`: what an app prints there becomes lines of the log."""

import logging
from collections.abc import Iterable
from threading import get_ident
from typing import Final

LINE_CHARACTERS: Final = 8192  # a line that never ends is logged in pieces of this length

_log = logging.getLogger("prefork.app")


class ErrorStream:
    """A text stream that all requests share. Each thread has its own unfinished line."""

    def __init__(self) -> None:
        self._begun: dict[int, str] = {}  # by thread

    def write(self, text: str) -> int:
        """Raises TypeError for what is no str."""
        if not isinstance(text, str):
            raise TypeError(f"wsgi.errors takes str, not {type(text).__qualname__}")
        *lines, rest = (self._begun.pop(get_ident(), "") + text).split("\n")
        for line in lines:
            _log.error("%s", line)
        if len(rest) >= LINE_CHARACTERS:
            _log.error("%s", rest)
        elif rest:
            self._begun[get_ident()] = rest
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Log the unfinished line of this thread too."""
        rest = self._begun.pop(get_ident(), "")
        if rest:
            _log.error("%s", rest)
