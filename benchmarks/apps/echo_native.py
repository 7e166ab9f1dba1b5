"""A prefork App that sends every WebSocket message back as it came."""

from prefork import App, WebSocket

app = App()


@app.websocket("/")
async def echo(ws: WebSocket) -> None:
    """Text stays text."""
    await ws.accept()
    async for message in ws:
        await ws.send(message)
