"""An app that starts a thread and opens a socket when it is imported: neither survives a fork as one would think."""

import errno
import os
import socket
import threading

from prefork import App, Request

app = App()

never = threading.Event()
threading.Thread(target=never.wait, name="stray-thread", daemon=True).start()
listener = socket.create_server(("127.0.0.1", 0))


@app.get("/who-listens", offload=True)
def who_listens(request: Request) -> list[str]:
    """In an offloader: what is behind the number of the socket, and whether the socket still works."""
    found = [os.readlink(f"/proc/self/fd/{listener.fileno()}")]
    try:
        listener.getsockname()
    except OSError as error:
        found.append(errno.errorcode[error.errno or 0])
    return found


@app.get("/who")
async def who(request: Request) -> str:
    return str(os.getpid())
