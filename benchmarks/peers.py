"""Get the programs to compare with: Python peers into environments of their own, Node, the floor in C."""

import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
PEERS = HERE / ".peers"
INSTALL_SECONDS = 600.0

SERVERS = {
    "uvicorn": ("uvicorn==0.54.0", "uvloop==0.23.0", "httptools==0.9.0"),
    "gunicorn": ("gunicorn==27.0.1", "uvloop==0.23.0"),
    "granian": ("granian==2.8.7", "uvloop==0.23.0"),
}
# Beside them where they are compared over more than hello.
MORE_SERVERS = {
    "fastpysgi": ("fastpysgi==0.6",),
    "uvicorn-websocket": (*SERVERS["uvicorn"], "websockets==17.4", "wsproto==1.3.2"),
    "uvicorn-starlette": (*SERVERS["uvicorn"], "starlette==1.10.0"),
}
# Pools of processes; "pool" is for prefork's own and the standard library's.
POOLS = {
    "pool": ("uvloop==0.23.0", "numpy==2.4.6"),
    "loky": ("loky==3.7.0", "cloudpickle==3.1.3", "uvloop==0.23.0", "numpy==2.4.6"),
    "pebble": ("pebble==5.2.3", "uvloop==0.23.0", "numpy==2.4.6"),
    "dirty": (*SERVERS["gunicorn"], "numpy==2.4.6"),
}
# Versions only, one environment a peer. "heavy" holds SERVERS and the app that is slow to import; "children" an app of
# a realistic size, for what it costs to start something from it.
PACKAGES = {
    **SERVERS,
    **MORE_SERVERS,
    **POOLS,
    "heavy": (*dict.fromkeys(sum(SERVERS.values(), ())), "fastapi==0.165.0", "numpy==2.4.6"),
    "children": ("uvloop==0.23.0", "fastapi==0.165.0", "numpy==2.4.6", "pandas==3.1.1"),
}
WITH_THIS_TREE = ("heavy", "pool", "children")
NODE_PACKAGES = {"piscina": "piscina@5.3.2"}
DEBIAN = {"wrk": "wrk", "node": "nodejs", "npm": "npm", "cc": "gcc libc6-dev", "openssl": "openssl"}


class PeerError(Exception):
    """A program that is compared with cannot be had here; the text says why."""


def program(home: str) -> list[str]:
    """The start of a command: "self" (this Python), "node", "floor", or a name in PACKAGES or NODE_PACKAGES.

    Installs or compiles what is missing. Raises PeerError.
    """
    match home:
        case "self":
            return [sys.executable]
        case "node":
            return [tool("node")]
        case "floor":
            return [str(compiled(HERE / "apps" / "floor.c"))]
        case _ if home in NODE_PACKAGES:
            node_modules(home)
            return [tool("node")]
        case _:
            return [str(environment(home))]


def tool(name: str) -> str:
    """The path of a program of the system. PeerError naming the package that has it."""
    path = shutil.which(name)
    if path is None:
        raise PeerError(f"{name} is not installed: apt-get install {DEBIAN[name]}")
    return path


def compiled(source: Path) -> Path:
    """The program of a file in C, compiled where the file is newer. Raises PeerError."""
    target = PEERS / source.stem
    if not target.exists() or target.stat().st_mtime < source.stat().st_mtime:
        PEERS.mkdir(exist_ok=True)
        run([tool("cc"), "-O2", "-o", str(target), str(source)])
    return target


def environment(name: str) -> Path:
    """The Python of a peer's virtual environment, which is made once and anew when its packages change."""
    folder = PEERS / name
    python, stamp = folder / "bin" / "python", folder / "installed.txt"
    packages = list(PACKAGES[name])
    wanted = "\n".join(packages)
    if name in WITH_THIS_TREE:
        packages += ["--editable", str(ROOT)]
        wanted += "\n" + (ROOT / "pyproject.toml").read_text()
    if stamp.exists() and stamp.read_text() == wanted:
        return python
    print(f"installing {' '.join(PACKAGES[name])}", file=sys.stderr)
    run([sys.executable, "-m", "venv", "--clear", str(folder)])
    run([str(python), "-m", "pip", "install", "--quiet", *packages])
    stamp.write_text(wanted)
    return python


def node_modules(name: str) -> Path:
    """The folder that require() finds a package of Node in, installed once and anew when its version changes.

    Raises PeerError.
    """
    folder, wanted = PEERS / name, NODE_PACKAGES[name]
    stamp = folder / "installed.txt"
    if not stamp.exists() or stamp.read_text() != wanted:
        print(f"installing {wanted}", file=sys.stderr)
        folder.mkdir(parents=True, exist_ok=True)
        run([tool("npm"), "install", "--prefix", str(folder), "--no-save", "--no-audit", "--no-fund", wanted])
        stamp.write_text(wanted)
    return folder / "node_modules"


def run(command: list[str]) -> None:
    """Run a step of an installation. PeerError with its last line if it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PeerError(f"{Path(command[0]).name}: {error}") from error
    if done.returncode != 0:
        lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise PeerError(f"{Path(command[0]).name} ended with {done.returncode}: {lines[-1] if lines else 'no output'}")
