"""The framework: what app code imports. It knows exchanges, but neither sockets nor processes."""

from prefork.errors import WebSocketClosed
from prefork.web.app import App
from prefork.web.events import Event, EventStream
from prefork.web.files import FileResponse
from prefork.web.forms import Form, Upload
from prefork.web.headers import Headers
from prefork.web.http_error import HTTPError
from prefork.web.multidict import MultiDict
from prefork.web.request import Request
from prefork.web.response import JSONResponse, Redirect, Response
from prefork.web.streaming import StreamingResponse
from prefork.web.websocket import WebSocket

__all__ = [
    "App",
    "Event",
    "EventStream",
    "FileResponse",
    "Form",
    "HTTPError",
    "Headers",
    "JSONResponse",
    "MultiDict",
    "Redirect",
    "Request",
    "Response",
    "StreamingResponse",
    "Upload",
    "WebSocket",
    "WebSocketClosed",
]
