"""What is logged when an app fails, and what the client gets to see of it."""

import logging
from collections.abc import Callable

from prefork.system.tracebacks import app_traceback
from prefork.web.error_page import accepts_html, error_page, last_line, request_section
from prefork.web.exchange import Exchange
from prefork.web.request import Request
from prefork.web.response import Response

_UNKEPT = {"cache-control": "no-store"}

logger = logging.getLogger("prefork.app")
on_failure: Callable[[BaseException], None] | None = None  # told of each, with --otel


def log_failure(request: Request, error: BaseException, what: str = "failed") -> None:
    """One record with the traceback, the request's id, method and path."""
    if on_failure is not None:
        on_failure(error)
    logger.error("request %s: %s %s %s", request.id, request.method, request.path, what, exc_info=error)


def failure_response(error: BaseException, debug: bool, exchange: Exchange | None = None) -> Response:
    """A 500 that tells nothing; with `debug` the traceback: for a browser, if `exchange` asks for HTML, as a page that
    shows the request too."""
    if not debug:
        return Response("Internal Server Error\n", 500)
    text = app_traceback(error)
    if exchange is None or not accepts_html(exchange.fields):
        body = text.encode(errors="backslashreplace")
        return Response(body, 500, _UNKEPT, content_type="text/plain; charset=utf-8")
    page = error_page(last_line(text), text, request_section(exchange))
    return Response(page, 500, _UNKEPT, content_type="text/html; charset=utf-8")
