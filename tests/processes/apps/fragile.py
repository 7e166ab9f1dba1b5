"""An app whose start-up hook raises while there is a file `broken` in the server's folder."""

import os

from prefork import App, Request

app = App()


@app.on_startup
def connect() -> None:
    if os.path.exists("broken"):
        raise RuntimeError("no database on purpose")


@app.get("/who")
async def who(request: Request) -> str:
    return str(os.getpid())
