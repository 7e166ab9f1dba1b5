"""Take the pictures of the dashboard and of `prefork top`: `make pictures`. It needs Chromium, and four minutes.

A real server (examples/offload.py) answers real clients; meanwhile it is reloaded, one worker is stopped for a while
and another is killed. Writes docs/dashboard.png and docs/top.svg.
"""

import asyncio
import base64
import io
import os
import random
import re
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from prefork.cli.top import Server  # noqa: E402
from prefork.control.finding import dial  # noqa: E402
from prefork.control.frames import Frame  # noqa: E402
from prefork.control.top import render  # noqa: E402
from prefork.control.top_keys import Order, View  # noqa: E402
from tests.frameworks.browser import Page, browser  # noqa: E402

DOCS = ROOT / "docs"
SECONDS = float(os.environ.get("PICTURES_SECONDS", "240"))  # of load, before the pictures
CLIENTS = 24
PAUSE_SECONDS = 0.1  # of a client between two requests, on average
WORKERS = 3
PATHS = ["/pulse"] * 80 + ["/primes/5000"] * 4 + ["/fractal/64"] * 3
WIDTH = 1280
MARGIN = 10
COLUMNS, LINES = 100, 24


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        control, port, admin = str(Path(folder, "control")), free_port(), free_port()
        server = subprocess.Popen(
            [
                *(sys.executable, "-m", "prefork", "serve", "offload:app", "--app-dir", str(ROOT / "examples")),
                *("--workers", str(WORKERS), "--bind", f"127.0.0.1:{port}", "--admin", f"127.0.0.1:{admin}"),
                *("--name", "shop", "--control", control, "--log-level", "warning", "--balance", "least-connections"),
            ],
            cwd=ROOT,
        )
        try:
            take(control, port, f"http://127.0.0.1:{admin}/", Path(folder))
        finally:
            server.terminate()
            server.wait(60)


def take(control: str, port: int, page_url: str, folder: Path) -> None:
    asked = Server(lambda: dial(None, control, os.environ, 30.0))
    wait_for(lambda: ready(asked))
    load = threading.Thread(target=lambda: asyncio.run(clients(port, SECONDS + 30)), daemon=True)
    load.start()
    live_through_it(asked)
    with browser(folder / "profile") as page:
        page.resize(WIDTH, 1000)
        page.open(page_url)
        settle(page)
        page.evaluate("document.documentElement.style.scrollbarWidth = 'none'")
        page.resize(WIDTH, int(page.evaluate("$('runtimes').getBoundingClientRect().bottom")) + MARGIN)
        settle(page)
        page.screenshot(folder / "whole.png")
        shrink(page, folder / "whole.png", DOCS / "dashboard.png")
    asked.look()
    time.sleep(3)
    draw_top(asked.look())
    asked.close()


def live_through_it(asked: Server) -> None:
    """What an operator sees in four minutes that are not so good."""
    time.sleep(SECONDS * 0.35)
    asked.order(Order("reload"))
    time.sleep(SECONDS * 0.25)
    stopped = worker_pid(asked.look(), 1)
    os.kill(stopped, signal.SIGSTOP)
    time.sleep(4)
    os.kill(stopped, signal.SIGCONT)
    time.sleep(SECONDS * 0.2)
    os.kill(worker_pid(asked.look(), 2), signal.SIGKILL)
    time.sleep(SECONDS * 0.2)


def settle(page: Page) -> None:
    """Until the page has drawn, and its jobs and requests are there to be seen."""
    page.evaluate(
        """new Promise(done => {
          const began = performance.now();
          const look = () => {
            const busy = model.jobs.length && model.requests.length > 1;
            if (model.samples.length && (busy || performance.now() - began > 10000)) setTimeout(done, 200);
            else setTimeout(look, 20);
          };
          look();
        })"""
    )


# The 256 colours that are met most, and for each pixel the index of the one that is nearest.
PALETTE = """(async () => {{
  const image = new Image();
  image.src = "data:image/png;base64,{picture}";
  await image.decode();
  const canvas = new OffscreenCanvas(image.width, image.height), pen = canvas.getContext("2d");
  pen.drawImage(image, 0, 0);
  const pixels = new Uint32Array(pen.getImageData(0, 0, image.width, image.height).data.buffer), met = new Map();
  for (const pixel of pixels) met.set(pixel, (met.get(pixel) ?? 0) + 1);
  const palette = [...met.entries()].sort((a, b) => b[1] - a[1]).slice(0, 256).map(([pixel]) => pixel);
  const parts = (pixel) => [pixel & 255, (pixel >> 8) & 255, (pixel >> 16) & 255];
  const far = (one, other) => parts(one).reduce((sum, part, n) => sum + (part - parts(other)[n]) ** 2, 0);
  const nearest = new Map();
  for (const pixel of met.keys()) {{
    let best = 0;
    palette.forEach((one, n) => {{ if (far(pixel, one) < far(pixel, palette[best])) best = n; }});
    nearest.set(pixel, best);
  }}
  const text = (bytes) => {{
    let all = "";
    for (let at = 0; at < bytes.length; at += 8192) all += String.fromCharCode(...bytes.slice(at, at + 8192));
    return btoa(all);
  }};
  return [image.width, image.height, text(palette.flatMap(parts)), text(Array.from(pixels, (one) => nearest.get(one)))];
}})()"""


def shrink(page: Page, source: Path, target: Path) -> None:
    """Write a PNG again with one byte a pixel."""
    width, height, *texts = page.evaluate(PALETTE.format(picture=base64.b64encode(source.read_bytes()).decode()))
    palette, pixels = map(base64.b64decode, texts)
    rows = b"".join(b"\0" + pixels[at : at + width] for at in range(0, len(pixels), width))
    parts = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),  # 8 bits, by palette
        (b"PLTE", palette),
        (b"IDAT", zlib.compress(rows, 9)),
        (b"IEND", b""),
    )
    chunks = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    )
    target.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))


def draw_top(frame: Frame) -> None:
    console = Console(
        width=COLUMNS, height=LINES, record=True, file=io.StringIO(), highlight=False, force_terminal=True,
        color_system="truecolor",
    )  # fmt: skip
    console.print(render(frame, View(selected=-1), COLUMNS, LINES))
    drawn = console.export_svg(title="prefork top")
    # The fonts of the reader's machine: nothing is fetched from elsewhere.
    drawn = re.sub(r" *@font-face \{.*?\}\n", "", drawn, flags=re.DOTALL)
    (DOCS / "top.svg").write_text(drawn.replace("Fira Code", "ui-monospace, DejaVu Sans Mono, Menlo, Consolas"))


async def clients(port: int, seconds: float) -> None:
    end = time.monotonic() + seconds
    await asyncio.gather(*(client(port, end) for _ in range(CLIENTS)))


async def client(port: int, end: float) -> None:
    """Asks on one connection, with pauses; after a loss on another one."""
    while time.monotonic() < end:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            for _ in range(50):
                await asyncio.sleep(random.expovariate(1 / PAUSE_SECONDS))
                writer.write(f"GET {random.choice(PATHS)} HTTP/1.1\r\nhost: shop\r\n\r\n".encode())
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0]))
            writer.close()
        except (OSError, asyncio.IncompleteReadError):
            await asyncio.sleep(0.1)


def ready(asked: Server) -> bool:
    try:
        return asked.look().status.state == "ready"
    except Exception:
        asked.close()
        return False


def worker_pid(frame: Frame, slot: int) -> int:
    pid = next(row.worker.pid for row in frame.rows if row.worker.slot == slot and row.worker.state == "ready")
    assert pid is not None
    return pid


def wait_for(fact: Callable[[], bool]) -> None:
    for _ in range(300):
        if fact():
            return
        time.sleep(0.1)
    raise SystemExit("the server did not start")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    main()
