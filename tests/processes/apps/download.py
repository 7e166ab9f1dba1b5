"""An app that sends one large file, `content` in the server's folder."""

import os

from prefork import App, FileResponse, Request

app = App()


@app.get("/content")
async def content(request: Request) -> FileResponse:
    return FileResponse("content")


@app.get("/who")
async def who(request: Request) -> str:
    return str(os.getpid())
