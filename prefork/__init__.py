"""prefork: a pre-fork HTTP server and framework for Python on Linux."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prefork.jobs.client import offload
    from prefork.jobs.hooks import on_offload_start, on_offload_stop
    from prefork.jobs.job import Job, Progress
    from prefork.jobs.options import Offload
    from prefork.processes.become import serve
    from prefork.processes.server import Server
    from prefork.web import (
        App,
        Event,
        EventStream,
        FileResponse,
        HTTPError,
        JSONResponse,
        Redirect,
        Request,
        Response,
        StreamingResponse,
        Upload,
        WebSocket,
        WebSocketClosed,
    )

__version__ = "0.1.0"

__all__ = [
    "App",
    "Event",
    "EventStream",
    "FileResponse",
    "HTTPError",
    "JSONResponse",
    "Job",
    "Offload",
    "Progress",
    "Redirect",
    "Request",
    "Response",
    "Server",
    "StreamingResponse",
    "Upload",
    "WebSocket",
    "WebSocketClosed",
    "__version__",
    "offload",
    "on_offload_start",
    "on_offload_stop",
    "serve",
]

_ELSEWHERE = {
    "Job": "prefork.jobs.job",
    "Offload": "prefork.jobs.options",
    "Progress": "prefork.jobs.job",
    "Server": "prefork.processes.server",
    "offload": "prefork.jobs.client",
    "on_offload_start": "prefork.jobs.hooks",
    "on_offload_stop": "prefork.jobs.hooks",
    "serve": "prefork.processes.become",
}


def __getattr__(name: str) -> object:
    # The framework is loaded when an app first asks for it (PEP 562): the master imports prefork, but never an app.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    if name == "offload":  # whose jobs are to know their request
        importlib.import_module("prefork.jobs.context").track_requests()
    return getattr(importlib.import_module(_ELSEWHERE.get(name, "prefork.web")), name)
