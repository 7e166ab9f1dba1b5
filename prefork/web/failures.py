"""What is logged when an app fails, and what the client gets to see of it."""

import logging
import traceback

from prefork.web.request import Request
from prefork.web.response import Response

logger = logging.getLogger("prefork.app")


def log_failure(request: Request, error: BaseException, what: str = "failed") -> None:
    """One record with the traceback, the request's id, method and path."""
    logger.error("request %s: %s %s %s", request.id, request.method, request.path, what, exc_info=error)


def failure_response(error: BaseException, debug: bool) -> Response:
    """A 500 that tells nothing; with `debug` the traceback."""
    if debug:
        text = "".join(traceback.format_exception(error)).encode(errors="backslashreplace")
        return Response(text, 500, content_type="text/plain; charset=utf-8")
    return Response("Internal Server Error\n", 500)
