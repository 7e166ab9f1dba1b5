"""A real server tree for one test: started in a folder and process group of its own, watched, and always ended."""

import fcntl
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prefork.control.finding import dial
from tests.processes.client import Client, Reply, fetch
from tests.processes.patience import GUARD_SECONDS
from tests.processes.proc import Process, children, look
from tests.processes.stream import Stream, words

ROOT = Path(__file__).parents[2]
APPS = Path(__file__).parent / "apps"
CALM = ("--stall-seconds", "3600", "--hang-seconds", "0")  # for promises that hold as long as nobody stalls
REPORT_LINES = 80
READY_BYTES = 4096  # the line is one write of at most PIPE_BUF bytes, so one read gets all of it


class Tree:
    """`prefork serve` as an operator runs it. Readiness comes on --ready-fd, the log on a pipe, death as its end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.addresses: list[str] = []
        self.announced_workers: list[int] = []  # pids
        self.master = 0  # pid
        self._process: subprocess.Popen[bytes] | None = None
        self._clients: list[Client] = []

    # -- start

    def start(
        self,
        target: str = "faults:app",
        *flags: str,
        workers: int = 2,
        command: Sequence[str] = (),
        pass_fds: Sequence[int] = (),
    ) -> None:
        """Start, and wait until the first generation serves. See `launch`."""
        self.launch(target, *flags, workers=workers, command=command, pass_fds=pass_fds)
        ready, _, _ = select.select([self._ready], [], [], GUARD_SECONDS)
        line = self._ready.read(READY_BYTES) if ready else None
        if not line:
            raise AssertionError(f"the server did not start\n{self.report()}")
        said = json.loads(line)
        self.addresses = said["addresses"]
        self.announced_workers = said["workers"]
        self.master = self._find_master() if command else said["master"]

    def launch(
        self,
        target: str,
        *flags: str,
        workers: int = 2,
        command: Sequence[str] = (),
        pass_fds: Sequence[int] = (),
    ) -> None:
        """Start without waiting. The target's module is in the server's folder, or one of `apps`. Flags come last, so
        they win; `command` is put before the server's own."""
        local = (self.folder / (target.partition(":")[0] + ".py")).exists()
        ready_read, ready_write = _pipe()
        self._ready = os.fdopen(ready_read, "rb", buffering=0)
        log_read, log_write = _pipe()
        output_read, output_write = _pipe()
        bind = [] if "--bind" in flags or "--config" in flags else ["--bind", "127.0.0.1:0"]
        self._process = subprocess.Popen(
            [
                *command,
                *(sys.executable, "-m", "prefork", "serve", target),
                *("--app-dir", str(self.folder if local else APPS)),
                *("--workers", str(workers), *bind),
                *("--log-format", "json", "--ready-fd", str(ready_write)),
                *flags,
            ],
            cwd=self.folder,
            env=_environment(self.folder),
            stdin=subprocess.DEVNULL,
            stdout=output_write,
            stderr=log_write,
            pass_fds=(ready_write, *pass_fds),
            start_new_session=True,
        )
        self.master = self._process.pid
        for descriptor in (ready_write, log_write, output_write):
            os.close(descriptor)
        self.log = Stream(log_read, self.report)
        self.output = Stream(output_read, self.report)

    def write(self, name: str, text: str) -> None:
        """Put a file into the server's folder."""
        (self.folder / name).write_text(text)

    # -- ask

    @property
    def address(self) -> str:
        return self.addresses[0]

    def get(self, path: str, fields: str = "") -> Reply:
        """Ask once, on a connection of its own."""
        return fetch(self.address, path, fields)

    def client(self) -> Client:
        """A connection that is closed with the tree."""
        client = Client(self.address)
        self._clients.append(client)
        return client

    def asking(self, path: str) -> Client:
        """A connection on which `path` was asked for; its answer may take a while."""
        client = self.client()
        client.send(path)
        return client

    def processes(self, role: str) -> list[Process]:
        """The master's children of a role, `worker` or `mold`, by title."""
        return sorted((p for p in children(self.master) if p.role == role), key=lambda process: process.title)

    def worker(self, slot: int) -> int:
        """The pid of the worker that was last reported ready in a slot."""
        pattern = rf"worker {slot} \(generation \d+, pid (\d+)\) is ready"
        self.log.wait(pattern)
        return int(self.log.find(pattern)[-1][1])

    def slot(self, pid: int) -> int:
        """The slot of a worker that has been ready."""
        return int(self.log.wait(rf"worker (\d+) \(generation \d+, pid {pid}\) is ready")[1])

    def wait_ready(self, slot: int, since: int) -> int:
        """Wait until a worker of this slot is reported ready. Returns its pid."""
        return int(self.log.wait(rf"worker {slot} \(generation \d+, pid (\d+)\) is ready", since)[1])

    def command(self, name: str, **arguments: object) -> Any:
        """Have a command done through the control socket. Returns its result; raises CommandError."""
        with dial(None, str(self.control_socket()), {}) as client:
            return client.ask(name, **arguments)

    def control_socket(self) -> Path:
        """Of the only server in this folder."""
        (found,) = (self.folder / "run" / "prefork").glob("*.sock")
        return found

    # -- end

    def send_signal(self, number: signal.Signals) -> None:
        """To the master."""
        os.kill(self.master, number)

    def send_signal_to_all(self, number: signal.Signals) -> None:
        """To every process of the tree, as a terminal or a service manager does."""
        os.killpg(self.master, number)

    def wait_exit(self) -> int:
        """Wait until the master and every process of the tree is gone. Returns the exit code, negative for a signal."""
        assert self._process is not None
        try:
            code = self._process.wait(GUARD_SECONDS)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the master does not end\n{self.report()}") from None
        self.log.wait_end()
        self.output.wait_end()
        return code

    def stop(self) -> int:
        """Stop it gracefully. Returns the exit code."""
        self.send_signal(signal.SIGTERM)
        return self.wait_exit()

    def wait_first_exit(self) -> int:
        """Wait until the process that was started is gone; another master may serve by then. Returns the exit code."""
        assert self._process is not None
        return self._process.wait(GUARD_SECONDS)

    def close(self) -> None:
        """End whatever is left of it, at once."""
        self.close_clients()
        if self._process is None:
            return
        self._ready.close()
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.wait_exit()

    def close_clients(self) -> None:
        """Close all connections to it."""
        for client in self._clients:
            client.close()

    def report(self) -> str:
        """The evidence: processes, and the end of the log."""
        if self._process is None:
            return "it was not started"
        master = look(self.master)
        lines = [f"{p.pid} {p.title} {p.state}" for p in [*([master] if master else []), *children(self.master)]]
        for record in self.log.records[-REPORT_LINES:]:
            lines.append(f"{record.get('time', '')} {record.get('role', '')} {words(record)}")
        return "\n".join(lines)

    def _find_master(self) -> int:
        """Behind a command that forks, the master is its only child; behind one that becomes it, it is itself."""
        assert self._process is not None
        pid = self._process.pid
        found = look(pid)
        return pid if found is not None and found.role == "master" else children(pid)[0].pid


def _pipe() -> tuple[int, int]:
    """Both ends above the numbers a launcher gives to sockets it passes."""
    ends = os.pipe()
    high = tuple(fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 20) for end in ends)
    for end in ends:
        os.close(end)
    return high[0], high[1]


def _environment(folder: Path) -> Mapping[str, str]:
    ours = {name: value for name, value in os.environ.items() if not name.startswith("PREFORK_")}
    runtime = folder / "run"  # for the control socket
    runtime.mkdir(mode=0o700, exist_ok=True)
    ours["XDG_RUNTIME_DIR"] = str(runtime)
    # No bytecode: a test changes an app's code within the second that its timestamp can tell.
    return {**ours, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
