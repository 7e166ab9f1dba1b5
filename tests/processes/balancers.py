"""HAProxy and nginx as an operator runs them, with the configuration of `examples/deploy`, and machines behind them."""

import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from tests.processes.patience import GUARD_SECONDS
from tests.processes.proc import Death
from tests.processes.tree import CALM, ROOT, Tree

DEPLOY = ROOT / "examples" / "deploy"
FRONT = "127.0.0.9"  # the balancer's address; each machine has its own one in this network too


class Machine:
    """One of several servers that look alike: it comes back on the ports that it had."""

    def __init__(self, folder: Path, host: str) -> None:
        self.host = host
        self.tree = Tree(folder)
        self._flags: tuple[str, ...] = ()
        self._ports = "0", "0"
        self._trees = [self.tree]

    @property
    def address(self) -> str:
        return f"{self.host}:{self._ports[0]}"

    @property
    def admin_port(self) -> str:
        return self._ports[1]

    def start(self, *flags: str) -> None:
        self._flags = flags
        port, admin = self._ports
        binds = ("--bind", f"{self.host}:{port}", "--admin", f"{self.host}:{admin}")
        self.tree.start("faults:app", *binds, *flags, *CALM, workers=1)
        status = self.tree.command("status")
        self._ports = status["addresses"][0].rpartition(":")[2], status["admin"].rpartition(":")[2]

    def restart(self) -> set[str]:
        """As a deployment does: stop it in order, start another in its place. Returns its workers' pids."""
        assert self.tree.stop() == 0
        folder = self.tree.folder.with_name(f"{self.tree.folder.name}-again")
        folder.mkdir()
        self.tree = Tree(folder)
        self._trees.append(self.tree)
        self.start(*self._flags)
        return {str(pid) for pid in self.tree.announced_workers}

    def close(self) -> None:
        for tree in self._trees:
            tree.close()

    def report(self) -> str:
        return "\n".join(tree.report() for tree in self._trees)


class Balancer:
    """A daemon: its launcher returns when it listens, and leaves its pid in a file."""

    def __init__(self, folder: Path) -> None:
        self.address = f"http://{FRONT}:{free_port()}"
        self.folder = folder
        self._death: Death | None = None

    def start_haproxy(self, configuration: str) -> None:
        path = self.folder / "haproxy.cfg"
        path.write_text(configuration)
        self._launch(need("haproxy"), "-D", "-p", str(self.folder / "pid"), "-f", str(path))

    def start_nginx(self, configuration: str) -> None:
        path = self.folder / "nginx.conf"
        path.write_text(configuration)
        log = self.folder / "error.log"
        globals_ = f"pid {self.folder / 'pid'}; error_log {log};"
        self._launch(need("nginx"), "-e", str(log), "-p", str(self.folder), "-c", str(path), "-g", globals_)

    def close(self) -> None:
        if self._death is not None:
            os.kill(self._death.pid, signal.SIGTERM)
            self._death.wait()

    def _launch(self, *command: str) -> None:
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=GUARD_SECONDS)
        assert done.returncode == 0, done.stdout + done.stderr
        self._death = Death(int((self.folder / "pid").read_text()))


def need(program: str) -> str:
    """Its path; Debian has these in a folder that users do not look in. The test is skipped without it."""
    found = shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if found is None:
        pytest.skip(f"{program} is not installed")
    return found


def put(text: str, places: dict[str, str]) -> str:
    """A configuration with what a test has in the place of what an operator has. Each stands there, or it is stale."""
    for old, new in places.items():
        assert old in text, f"{old!r} is not in the example"
        text = text.replace(old, new)
    return text


def free_port() -> int:
    """Of an address that nobody else uses: only who picks one by chance could take it before us."""
    with socket.socket() as probe:
        probe.bind((FRONT, 0))
        port: int = probe.getsockname()[1]
    return port
