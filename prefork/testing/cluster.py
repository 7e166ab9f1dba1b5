"""A real tree of processes for a test: started as an operator starts it, watched by its log, and always ended."""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
from typing import Any, Final

from prefork.errors import PreforkError, UsageError
from prefork.processes.addressed import Addressed
from prefork.processes.become import to_flags
from prefork.processes.target_of import target_of
from prefork.testing.log import Log

GUARD_SECONDS: Final = 60.0  # for what has no limit of its own in the server: it only guards against hanging
END_SECONDS: Final = 10.0  # for a fast stop, before everything is killed
READY_BYTES: Final = 64 * 1024  # of the line that says where it listens
_OURS: Final = ("log_file", "log_format", "log_level", "ready_fd")

_WORKER = r"worker \d+ \(generation \d+, pid (\d+)\)"


class ClusterError(PreforkError, AssertionError):
    """The server did not start, or did not do what it was told. Holds its log."""


class Cluster(Addressed):
    """`prefork serve` of one app. `url` and `addresses` tell where once it is ready, `pid` is the master's."""

    def __init__(self, target: object, *, workers: int = 2, **settings: Any) -> None:
        """`target` is module:name, or an app that is a global of its module; what this process can import, the server
        can. Settings are those of the command; by default it binds a free port. Raises UsageError."""
        for name in _OURS:
            if name in settings:
                raise UsageError(f"{name}: the log and the readiness of a cluster are its own to read")
        named = target_of(target)
        if named.app_dir is not None:
            settings.setdefault("app_dir", named.app_dir)
        settings = {"bind": "127.0.0.1:0", **settings, "workers": workers, "log_format": "json"}
        ready, write_ready = os.pipe()
        read_log, write_log = os.pipe()
        try:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "prefork", "serve"),
                    *to_flags({**settings, "ready_fd": write_ready, "log_level": "info", "log_file": "-"}),
                    named.target,
                ],
                env={
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
                    "PYTHONDONTWRITEBYTECODE": "1",  # a test may change a module within the second that files can tell
                },
                stdin=subprocess.DEVNULL,
                stdout=write_log,
                stderr=write_log,
                pass_fds=(write_ready,),
                start_new_session=True,  # Ctrl-C in the terminal is for pytest
            )
        except BaseException:
            os.close(ready)
            os.close(read_log)
            raise
        finally:
            os.close(write_ready)
            os.close(write_log)
        self.target = named.target
        self.pid = self._process.pid
        self.addresses: list[str] = []
        self._ready = os.fdopen(ready, "rb", buffering=0)
        self._log = Log(read_log)

    def __repr__(self) -> str:
        return f"<Cluster {self.target} {', '.join(self.addresses)} pid {self.pid}>"

    @property
    def workers(self) -> list[int]:
        """The pids of the workers that take requests."""
        ready = [int(match[1]) for match in self._log.find(rf"^{_WORKER} is ready")]
        return [pid for pid in ready if not self._leaves(pid)]

    @property
    def log(self) -> str:
        """What it has logged so far, and its app has printed."""
        return str(self._log)

    def wait_ready(self) -> None:
        """Wait until its workers serve. Raises ClusterError."""
        with self._ready:
            readable, _, _ = select.select([self._ready], [], [], GUARD_SECONDS)
            line = self._ready.read(READY_BYTES) if readable else None
        if not line:
            why = (
                f"ended with exit code {self._wait_exit()}" if readable else f"was not ready after {GUARD_SECONDS:g} s"
            )
            self.close()
            raise ClusterError(f"prefork serve {self.target} {why}; its log:\n{self.log}")
        said = json.loads(line)
        self.addresses = said["addresses"]
        # The line comes from the master itself, the log through a thread of ours.
        self._log.wait(lambda: len(self.workers) >= len(said["workers"]), GUARD_SECONDS)

    def reload(self) -> None:
        """Have it import the code afresh, and wait until no worker with the old code gets requests any more.

        Raises ClusterError when the new code cannot start: the old code goes on then.
        """
        old, since = self.workers, len(self._log.messages)
        self.send_signal(signal.SIGHUP)
        failed = "reload failed"
        self._log.wait(lambda: bool(self._log.find(failed, since)) or all(map(self._leaves, old)), GUARD_SECONDS)
        if self._log.find(failed, since) or not all(map(self._leaves, old)):
            raise ClusterError(f"the reload of {self.target} failed; its log:\n{self.log}")

    def send_signal(self, number: signal.Signals) -> None:
        """To the master."""
        self._process.send_signal(number)

    def stop(self) -> int:
        """Stop it gracefully and wait until every process of it is gone. Returns the exit code, also of an earlier end.
        Raises ClusterError when it does not end."""
        self.send_signal(signal.SIGTERM)
        return self._wait_exit()

    def close(self) -> None:
        """End whatever is left of it, fast."""
        if not self._ready.closed:
            self._ready.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.send_signal(signal.SIGINT)
            self._process.wait(END_SECONDS)
        if self._process.poll() is None or not self._log.wait_end(END_SECONDS):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            self._process.wait()
            self._log.wait_end(END_SECONDS)

    def _wait_exit(self) -> int:
        try:
            code = self._process.wait(GUARD_SECONDS)
        except subprocess.TimeoutExpired:
            raise ClusterError(f"prefork serve {self.target} does not end; its log:\n{self.log}") from None
        self._log.wait_end(GUARD_SECONDS)
        return code

    def _leaves(self, pid: int) -> bool:
        """Whether a worker gets no requests any more."""
        ends = r"(drains|has drained|died|is aborted|is killed)"
        return bool(self._log.find(rf"^worker \d+ \(generation \d+, pid {pid}\) {ends}"))
