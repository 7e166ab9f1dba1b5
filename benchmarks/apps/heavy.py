"""An app that is slow to import: numpy and FastAPI. It answers the pid of the process that serves it."""

import os

import numpy
from fastapi import FastAPI
from fastapi.responses import PlainTextResponse

TABLE = numpy.arange(1000)  # the import is used, as an app would

asgi = FastAPI()


@asgi.get("/", response_class=PlainTextResponse)
async def pid() -> str:
    """What the peers serve."""
    return str(os.getpid())


async def handler(request: object) -> str:
    """What prefork serves natively, with the same modules imported."""
    return str(os.getpid())
