"""cluster: the server itself. `prefork serve cluster:app --app-dir examples/node --workers 4`, beside cluster.js.

There is nothing to write: the master forks the workers, hands connections out in turn, and replaces who dies. What is
left is what Node's primary does by messages: here, counting requests over all workers.
"""

import os

from prefork import App, Request, children

app = App()
hits = children.SharedCounter(app.shared("hits", 8))  # made at import, before the first fork: the same in all workers


@app.get("/")
async def index(request: Request) -> dict[str, int]:
    return {"worker": os.getpid(), "requests of all workers": hits.add()}


@app.get("/crash")
async def crash(request: Request) -> None:
    """One worker fewer, for some milliseconds."""
    os._exit(1)
