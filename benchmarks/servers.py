"""How each server is started: one line of arguments a server, the same app behind all of them."""

from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers import HERE, ROOT, program

APPS = HERE / "apps"

PREFORK = "-m prefork serve {app} --workers {workers} --bind 127.0.0.1:{port}"
UVICORN = (
    "-m uvicorn {app} --port {port} --workers {workers} --no-access-log --log-level warning"
    " --loop uvloop --http httptools"
)
GUNICORN = "-m gunicorn {app} -k asgi -w {workers} -b 127.0.0.1:{port} --log-level warning --no-control-socket"
GRANIAN = "-m granian {app} --port {port} --workers {workers} --no-ws --loop uvloop --log-level warning"


@dataclass(frozen=True)
class Server:
    """One server: what it is called, where its program comes from, how it is started."""

    title: str
    home: str  # see peers.program
    arguments: str  # with {app}, {port}, {workers}
    app: str = ""

    @property
    def environment(self) -> dict[str, str]:
        """prefork is measured from this tree, installed or not."""
        return {"PYTHONPATH": str(ROOT)} if self.home == "self" else {}

    @property
    def folder(self) -> Path:
        """Where it is started, so that it finds the apps."""
        return APPS

    def command(self, port: int, workers: int) -> list[str]:
        """The whole command line. Raises PeerError if the program cannot be had."""
        filled = self.arguments.format(app=self.app, port=port, workers=workers)
        return program(self.home) + filled.split()


HELLO = {
    "prefork": Server("prefork (native handler)", "self", PREFORK, "hello:handler"),
    "floor": Server("floor (epoll loop in C)", "floor", "{port}"),
    "uvicorn": Server("uvicorn (uvloop, httptools)", "uvicorn", UVICORN, "hello:asgi"),
    "gunicorn": Server("gunicorn (asgi worker, uvloop)", "gunicorn", GUNICORN, "hello:asgi"),
    "granian-asgi": Server("granian (asgi, uvloop)", "granian", GRANIAN + " --interface asgi", "hello:asgi"),
    "granian-rsgi": Server("granian (rsgi, uvloop)", "granian", GRANIAN + " --interface rsgi", "hello:rsgi"),
    "node": Server("Node (cluster)", "node", "node_cluster.js {port} {workers}"),
}

HEAVY = {
    "prefork": Server("prefork", "heavy", PREFORK, "heavy:handler"),
    "gunicorn": Server("gunicorn", "heavy", GUNICORN, "heavy:asgi"),
    "gunicorn-preload": Server("gunicorn --preload", "heavy", GUNICORN + " --preload", "heavy:asgi"),
    "uvicorn": Server("uvicorn", "heavy", UVICORN, "heavy:asgi"),
    "granian": Server("granian", "heavy", GRANIAN + " --interface asgi --respawn-failed-workers", "heavy:asgi"),
}
