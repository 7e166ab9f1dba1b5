"""The mixed load on prefork: a light endpoint on the loop, a heavy one in the worker's pool."""

from offload_jobs import spin

from prefork import App

app = App()


@app.get("/light")
async def light(request: object) -> str:
    """What most requests are."""
    return "Hello, world!"


@app.get("/heavy", offload=True)
def heavy(request: object) -> str:
    """A plain function, run in another process."""
    return spin()
