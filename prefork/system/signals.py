"""Turn signals into bytes that a selector can wait for. Handlers do nothing else."""

import os
import signal
from collections.abc import Iterable


def _woken(number: int, frame: object) -> None:
    """The interpreter has already written the number to the wake-up descriptor."""


class SignalQueue:
    """The signals that have arrived, in order. Readable when there are some."""

    def __init__(self, numbers: Iterable[signal.Signals]) -> None:
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        self._before = {number: signal.signal(number, _woken) for number in numbers}
        self._mask = signal.pthread_sigmask(signal.SIG_UNBLOCK, self._before)  # whoever started us may block some

    def fileno(self) -> int:
        return self._read

    def drain(self) -> list[signal.Signals]:
        try:
            return [signal.Signals(number) for number in os.read(self._read, 4096)]
        except BlockingIOError:
            return []

    def close(self) -> None:
        """Give the signals back to whoever had them."""
        signal.set_wakeup_fd(-1)
        for number, handler in self._before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)
        os.close(self._read)
        os.close(self._write)
