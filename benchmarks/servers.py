"""How each server is started: one line of arguments a server, the same app behind all that are compared."""

from dataclasses import dataclass
from pathlib import Path

from benchmarks.fixtures import CERTIFICATE, FILES, KEY
from benchmarks.peers import HERE, ROOT, program

APPS = HERE / "apps"

PREFORK = "-m prefork serve {app} --workers {workers} --bind 127.0.0.1:{port}"
UVICORN = (
    "-m uvicorn {app} --port {port} --workers {workers} --no-access-log --log-level warning"
    " --loop uvloop --http httptools"
)
GUNICORN_ANY = "-m gunicorn {app} -w {workers} -b 127.0.0.1:{port} --log-level warning --no-control-socket"
GUNICORN = GUNICORN_ANY + " -k asgi"
GTHREAD = GUNICORN_ANY + " -k gthread --threads 8 --keep-alive 75"
GRANIAN_ANY = "-m granian {app} --port {port} --workers {workers} --loop uvloop --log-level warning"
GRANIAN = GRANIAN_ANY + " --no-ws"
FASTPYSGI = "fastpysgi_serve.py {app} {port} {workers}"
TLS_UVICORN = " --ssl-certfile {certificate} --ssl-keyfile {key}"
TLS_PREFORK = " --tls-cert {certificate} --tls-key {key}"


@dataclass(frozen=True)
class Server:
    """One server: what it is called, where its program comes from, how it is started."""

    title: str
    home: str  # see peers.program
    arguments: str  # with {app}, {port}, {workers}, {certificate}, {key}, {files}
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
        given = {"app": self.app, "port": port, "workers": workers}
        made = {"certificate": CERTIFICATE, "key": KEY, "files": FILES}
        return program(self.home) + [word.format(**given, **made) for word in self.arguments.split()]


HELLO = {
    "prefork": Server("prefork (native handler)", "self", PREFORK, "hello:handler"),
    "floor": Server("floor (epoll loop in C)", "floor", "{port}"),
    "uvicorn": Server("uvicorn (uvloop, httptools)", "uvicorn", UVICORN, "hello:asgi"),
    "gunicorn": Server("gunicorn (asgi worker, uvloop)", "gunicorn", GUNICORN, "hello:asgi"),
    "granian-asgi": Server("granian (asgi, uvloop)", "granian", GRANIAN + " --interface asgi", "hello:asgi"),
    "granian-rsgi": Server("granian (rsgi, uvloop)", "granian", GRANIAN + " --interface rsgi", "hello:rsgi"),
    "node": Server("Node (cluster)", "node", "node_cluster.js {port} {workers}"),
}

# The same server without what it counts by default: the difference is what counting costs.
COUNTING = {
    "prefork": HELLO["prefork"],
    "prefork-no-metrics": Server("prefork --no-metrics", "self", PREFORK + " --no-metrics", "hello:handler"),
}


def asgi(app: str) -> dict[str, Server]:
    """The same ASGI app behind every server that runs one."""
    return {
        "prefork": Server("prefork (asgi)", "self", PREFORK, app),
        "uvicorn": Server("uvicorn (uvloop, httptools)", "uvicorn", UVICORN, app),
        "gunicorn": Server("gunicorn (asgi worker, uvloop)", "gunicorn", GUNICORN, app),
        "granian-asgi": Server("granian (asgi, uvloop)", "granian", GRANIAN + " --interface asgi", app),
        "fastpysgi-asgi": Server("fastpysgi (asgi)", "fastpysgi", FASTPYSGI, app),
    }


WSGI = {
    "prefork": Server("prefork (wsgi)", "self", PREFORK + " --interface wsgi", "hello:wsgi"),
    "gunicorn-gthread": Server("gunicorn (gthread, 8 threads)", "gunicorn", GTHREAD, "hello:wsgi"),
    "granian-wsgi": Server("granian (wsgi)", "granian", GRANIAN + " --interface wsgi", "hello:wsgi"),
    "fastpysgi-wsgi": Server("fastpysgi (wsgi)", "fastpysgi", FASTPYSGI, "hello:wsgi"),
}

# uvicorn's default is its protocol on websockets' sans-I/O core.
WEBSOCKET = {
    "prefork": Server("prefork (asgi)", "self", PREFORK, "echo:asgi"),
    "prefork-native": Server("prefork (@app.websocket)", "self", PREFORK, "echo_native:app"),
    "uvicorn": Server("uvicorn (default: websockets-sansio)", "uvicorn-websocket", UVICORN, "echo:asgi"),
    "uvicorn-websockets": Server(
        "uvicorn (websockets)", "uvicorn-websocket", UVICORN + " --ws websockets", "echo:asgi"
    ),
    "uvicorn-wsproto": Server("uvicorn (wsproto)", "uvicorn-websocket", UVICORN + " --ws wsproto", "echo:asgi"),
    "gunicorn": Server("gunicorn (asgi worker, uvloop)", "gunicorn", GUNICORN, "echo:asgi"),
    "granian-asgi": Server("granian (asgi, uvloop)", "granian", GRANIAN_ANY + " --interface asgi", "echo:asgi"),
}

STATIC = {
    "prefork": Server("prefork (--static)", "self", PREFORK + " --static /static={files}", "hello:handler"),
    "prefork-native": Server("prefork (App.static)", "self", PREFORK, "static_native:app"),
    "starlette": Server("Starlette StaticFiles (uvicorn)", "uvicorn-starlette", UVICORN, "static_starlette:app"),
    "granian-asgi": Server(
        "granian (--static-path-mount)",
        "granian",
        GRANIAN + " --interface asgi --static-path-route /static --static-path-mount {files}",
        "hello:asgi",
    ),
}

TLS = {
    "prefork": Server("prefork (asgi)", "self", PREFORK + TLS_PREFORK, "hello:asgi"),
    "prefork-native": Server("prefork (native handler)", "self", PREFORK + TLS_PREFORK, "hello:handler"),
    "uvicorn": Server("uvicorn (uvloop, httptools)", "uvicorn", UVICORN + TLS_UVICORN, "hello:asgi"),
    "gunicorn": Server(
        "gunicorn (asgi worker, uvloop)",
        "gunicorn",
        GUNICORN + " --certfile {certificate} --keyfile {key}",
        "hello:asgi",
    ),
    "granian-asgi": Server(
        "granian (asgi, uvloop)",
        "granian",
        GRANIAN + " --interface asgi --ssl-certificate {certificate} --ssl-keyfile {key}",
        "hello:asgi",
    ),
}

HEAVY = {
    "prefork": Server("prefork", "heavy", PREFORK, "heavy:handler"),
    "gunicorn": Server("gunicorn", "heavy", GUNICORN, "heavy:asgi"),
    "gunicorn-preload": Server("gunicorn --preload", "heavy", GUNICORN + " --preload", "heavy:asgi"),
    "uvicorn": Server("uvicorn", "heavy", UVICORN, "heavy:asgi"),
    "granian": Server("granian", "heavy", GRANIAN + " --interface asgi --respawn-failed-workers", "heavy:asgi"),
}
