"""child_process.spawn: a program that streams. `prefork serve spawn:app --app-dir examples/node`, beside spawn.js.

curl -T big.iso http://127.0.0.1:8000/gzip >big.iso.gz
FILE=server.log prefork serve … ; curl -N http://127.0.0.1:8000/tail
"""

import os

from prefork import App, EventStream, Request, StreamingResponse, children

FILE = os.environ.get("FILE", "/var/log/syslog")

app = App()


@app.route("/gzip", ["PUT", "POST"], max_body=2**40)
async def compress(request: Request) -> StreamingResponse:
    """From the client through gzip and back, at the client's pace: neither body is ever in memory as a whole."""
    child = await children.spawn("gzip", "-c", stdin=request.stream(), check=True)
    return StreamingResponse(child.stdout, content_type="application/gzip")


@app.get("/tail")
async def tail(request: Request) -> EventStream:
    """Lines of a growing file as server-sent events. When the browser leaves, `tail` is ended."""
    child = await children.spawn("tail", "-n", "10", "-F", FILE)
    return EventStream(child.stdout.lines("utf-8"))
