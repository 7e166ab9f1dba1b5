"""WebSockets: `/echo`, `/pid`; `/count` waits at the gate, then counts what came."""

import asyncio
import os
import socket

from prefork import App, Request, WebSocket

app = App()


@app.get("/who")
async def who(request: Request) -> str:
    return str(os.getpid())


@app.websocket("/echo")
async def echo(ws: WebSocket) -> None:
    await ws.accept(ws.subprotocols[0] if ws.subprotocols else None)
    async for message in ws:
        await ws.send(message)


@app.websocket("/pid")
async def pid(ws: WebSocket) -> None:
    await ws.accept()
    await ws.send(str(os.getpid()))
    async for _ in ws:
        pass


@app.websocket("/count")
async def count(ws: WebSocket) -> None:
    await ws.accept()
    reader, writer = await asyncio.open_unix_connection("gate")
    await reader.read()
    writer.close()
    received = 0
    async for message in ws:
        if message == "how many?":
            await ws.send(str(received))
        received += len(message)


@app.get("/connections")
async def connections(request: Request) -> str:
    """How many TCP connections of clients this process has open."""
    found = 0
    for name in os.listdir("/proc/self/fd"):
        try:
            with socket.socket(fileno=os.dup(int(name))) as end:
                found += end.family == socket.AF_INET and bool(end.getpeername())
        except OSError:
            pass  # no socket, or not connected
    return str(found)
