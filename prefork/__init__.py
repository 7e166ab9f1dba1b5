"""prefork: a pre-fork HTTP server and framework for Python on Linux."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
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
    )

__version__ = "0.1.0"

__all__ = [
    "App",
    "Event",
    "EventStream",
    "FileResponse",
    "HTTPError",
    "JSONResponse",
    "Redirect",
    "Request",
    "Response",
    "StreamingResponse",
    "Upload",
    "__version__",
]


def __getattr__(name: str) -> object:
    # The framework is loaded when an app first asks for it (PEP 562): the master imports prefork, but never an app.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from prefork import web

    return getattr(web, name)
