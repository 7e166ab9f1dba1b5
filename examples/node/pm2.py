"""pm2's commands on a running server: README.md tells which of ours is which. `prefork serve pm2:app --app-dir
examples/node --workers 2`; RELEASE says what it answers, so that a reload shows.
"""

import asyncio
import logging
import os
from pathlib import Path

from prefork import App, Request

log = logging.getLogger("example")

RELEASE = Path(os.environ.get("RELEASE_FILE", "release.txt"))
release = RELEASE.read_text().strip() if RELEASE.exists() else "none"  # read at import: new with each reload

app = App()


@app.get("/")
async def index(request: Request) -> dict[str, object]:
    return {"release": release, "worker": os.getpid()}


@app.get("/slow")
async def slow(request: Request) -> str:
    """A request that a reload and a graceful stop wait for."""
    log.info("a slow request begins")
    await asyncio.sleep(float(request.query.get("seconds", "5")))
    return release


@app.on_shutdown
async def goodbye() -> None:
    """What `process.on("SIGINT")` is for in an app that pm2 runs."""
    log.info("a worker says goodbye")
