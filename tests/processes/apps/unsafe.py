"""An app that starts a thread and opens a socket when it is imported: neither survives a fork as one would think."""

import os
import socket
import threading

from prefork import App, Request

app = App()

never = threading.Event()
threading.Thread(target=never.wait, name="stray-thread", daemon=True).start()
listener = socket.create_server(("127.0.0.1", 0))


@app.get("/who")
async def who(request: Request) -> str:
    return str(os.getpid())
