"""An example as its reader starts it: a real server tree over `examples/`, and clients that people use."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from websockets.sync.client import ClientConnection, connect

from tests.processes.patience import GUARD_SECONDS
from tests.processes.tree import CALM, Tree

EXAMPLES = Path(__file__).parents[2] / "examples"
BRISK = ("--disconnect-grace-seconds", "0")  # a stop does not wait for streams whose clients have left

PEER = os.environ.get("PREFORK_TEST_PEER")
"""The command of another server, which the same tests then drive: what fails there too is the example's own fault.
For example `python -m uvicorn --port {port} --app-dir {app_dir} {target}`."""


@dataclass(frozen=True)
class Site:
    """A running example, its own folder, and a keep-alive client of it."""

    url: str
    folder: Path
    http: httpx.Client
    tree: Tree

    def socket(self, path: str) -> ClientConnection:
        """A WebSocket, to be closed by the caller."""
        url = self.url.replace("http", "ws", 1) + path
        return connect(url, proxy=None, open_timeout=GUARD_SECONDS, close_timeout=GUARD_SECONDS)

    def reload(self) -> None:
        """Have the app imported afresh, and wait until no worker of before is left."""
        mark = self.tree.log.mark()
        self.tree.send_signal(signal.SIGHUP)
        self.tree.log.wait("has drained", mark, count=2)

    def client(self) -> httpx.Client:
        """Another client, with connections of its own."""
        return httpx.Client(base_url=self.url, timeout=GUARD_SECONDS, trust_env=False)


@contextmanager
def serve(target: str, folder: Path, *flags: str, app_dir: Path = EXAMPLES) -> Iterator[Site]:
    """Serve it by two workers. At the end it must stop in order, and must have nothing to complain of."""
    tree = Tree(folder)
    if PEER:
        with _peer(PEER, target, app_dir) as url:
            yield from _site(url, folder, tree)
        return
    try:
        tree.start(target, "--app-dir", str(app_dir), *CALM, *BRISK, *flags)
        yield from _site(tree.address, folder, tree)
        assert tree.stop() == 0
        ours = [record for record in tree.log.records if str(record.get("logger")).startswith("prefork")]
        complaints = [record for record in ours if record["level"] not in ("debug", "info")]
        assert not complaints, complaints
    finally:
        tree.close()
        print(tree.report())  # pytest shows it when a test failed


def _site(url: str, folder: Path, tree: Tree) -> Iterator[Site]:
    with httpx.Client(base_url=url, timeout=GUARD_SECONDS, trust_env=False) as http:
        yield Site(url, folder, http, tree)


def connection_of(response: httpx.Response) -> tuple[str, int]:
    """The client's end of the connection that it came by."""
    address: tuple[str, int] = response.extensions["network_stream"].get_extra_info("client_addr")
    return address


@contextmanager
def _peer(command: str, target: str, app_dir: Path) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = command.format(port=port, target=target, app_dir=app_dir).split()
    process = subprocess.Popen([sys.executable if word == "python" else word for word in words])
    url = f"http://127.0.0.1:{port}"
    transport = httpx.HTTPTransport(retries=8)  # connecting: with a pause that doubles from half a second
    with httpx.Client(transport=transport, trust_env=False) as client:
        client.get(url)
    try:
        yield url
    finally:
        process.terminate()
        process.wait(GUARD_SECONDS)
