"""Real forks for a test: each runs a function, and says by its exit code whether that returned."""

import os
import signal
import traceback
import warnings
from collections.abc import Callable
from types import TracebackType
from typing import Any


class Fork:
    """A child of the test. It is killed at the end of the `with` block, if it still lives."""

    def __init__(self, function: Callable[..., object], *args: Any) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of Python 3.12, about threads of other tests
            self.pid = os.fork()
        if not self.pid:
            code = 1
            try:
                function(*args)
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        self._code: int | None = None

    def wait(self) -> int:
        """Its exit code, negative for a signal."""
        if self._code is None:
            self._code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self._code

    def kill(self) -> None:
        if self._code is None:
            os.kill(self.pid, signal.SIGKILL)
            self.wait()

    def __enter__(self) -> "Fork":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()


class Signpost:
    """A pipe by which one process tells another that it has come so far."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()

    def reached(self) -> None:
        os.write(self._write, b"!")

    def wait(self) -> None:
        assert os.read(self._read, 1) == b"!"

    def close(self) -> None:
        os.close(self._read)
        os.close(self._write)
