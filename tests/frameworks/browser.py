"""A headless Chromium, driven over its DevTools protocol: it opens a page, evaluates scripts and takes a picture.

https://chromedevtools.github.io/devtools-protocol/ has the methods.
"""

import base64
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

from tests.processes.patience import GUARD_SECONDS
from tests.processes.stream import Stream, words

CHROMIUM = Path("/usr/bin/chromium")
PICTURE_BYTES = 16 * 1024 * 1024
FLAGS = (
    "--headless",
    "--no-sandbox",  # root has none
    "--disable-gpu",
    "--disable-dev-shm-usage",  # in a container /dev/shm is too small
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
    "--no-proxy-server",
    "--window-size=800,600",
    "--remote-debugging-port=0",
)


class Page:
    """One tab, by its connection to the browser."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._asked = 0
        self._session: dict[str, str] = {}
        target = self._ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = {"sessionId": self._ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]}
        self._ask("Page.enable")

    def open(self, url: str) -> None:
        """Go there, and wait until it is loaded."""
        self._ask("Page.navigate", url=url)
        while self._receive().get("method") != "Page.loadEventFired":
            pass

    def evaluate(self, script: str) -> Any:
        """The value of an expression; of a promise, what it comes to. AssertionError when it raises."""
        found = self._ask("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def resize(self, width: int, height: int) -> None:
        """The size of what is seen, in CSS pixels."""
        self._ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def screenshot(self, path: Path) -> None:
        """Write what is seen, as PNG."""
        path.write_bytes(base64.b64decode(self._ask("Page.captureScreenshot")["data"]))

    def _ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._asked += 1
        question = {"id": self._asked, "method": method, "params": parameters, **self._session}
        self._connection.send(json.dumps(question))
        while (answer := self._receive()).get("id") != self._asked:
            pass  # an event that nobody waits for
        assert "result" in answer, answer
        result: dict[str, Any] = answer["result"]
        return result

    def _receive(self) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(self._connection.recv(GUARD_SECONDS))
        return message


@contextmanager
def browser(profile: Path) -> Iterator[Page]:
    """A fresh browser that keeps its things in `profile`, with one page. All of its processes end with it."""
    log_read, log_write = os.pipe()
    process = subprocess.Popen(
        [str(CHROMIUM), *FLAGS, f"--user-data-dir={profile}"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=log_write,
        start_new_session=True,
    )
    os.close(log_write)
    log = Stream(log_read, lambda: "\n".join(map(words, log.records)))
    try:
        url = log.wait(r"DevTools listening on (\S+)")[1]
        with connect(url, proxy=None, max_size=PICTURE_BYTES, open_timeout=GUARD_SECONDS) as connection:
            yield Page(connection)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(GUARD_SECONDS)
        log.wait_end()
