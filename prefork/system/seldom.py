"""Log what strangers can cause as often as they like, but not as often as that."""

import logging
import time
from typing import Final

INTERVAL_SECONDS: Final = 10.0


class Seldom:
    """One line per interval; the next one tells how many were left out."""

    def __init__(self, log: logging.Logger, level: int) -> None:
        self._log = log
        self._level = level
        self._quiet_until = 0.0
        self._left_out = 0

    def __call__(self, message: str) -> None:
        now = time.monotonic()
        if now < self._quiet_until:
            self._left_out += 1
            return
        self._quiet_until = now + INTERVAL_SECONDS
        more = f" ({self._left_out} more like this before)" if self._left_out else ""
        self._left_out = 0
        self._log.log(self._level, "%s%s", message, more)
