"""How an exchange ends whose app raised: what the client gets, and what the log says."""

import asyncio

from prefork.errors import Disconnected, RequestError, ResponseError
from prefork.web.exchange import Exchange
from prefork.web.failures import failure_response, log_failure
from prefork.web.recovery import as_http_error
from prefork.web.request import Request


def end_failed(exchange: Exchange, error: BaseException, debug: bool, request: Request | None = None) -> None:
    """End an exchange whose handling raised `error`. Called within the `except` that caught it; raises again what is
    not the app's failure but the end of its task. `request` is what the app had of it, if it is one of ours."""
    if isinstance(error, GeneratorExit):
        raise  # the one being handled; there may be no loop any more
    if isinstance(error, asyncio.CancelledError):
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        # Otherwise nobody cancelled this request: the handler awaited something that was cancelled.
    if isinstance(error, Disconnected):
        exchange.abort()
        return
    if isinstance(error, RequestError):
        exchange.fail(error)
        return
    request = request or Request(exchange)
    if exchange.finished:
        log_failure(request, error, "failed after its response had ended")
    elif exchange.started:
        log_failure(request, error, "failed within its response, which is cut")
        exchange.abort()
    elif (answer := as_http_error(error)) is not None:
        try:
            response = answer.response()
            exchange.respond(response.status, response.fields, response.body)
        except ResponseError as second:
            end_failed(exchange, second, debug, request)
    else:
        log_failure(request, error)
        response = failure_response(error, debug, exchange)
        exchange.respond(response.status, response.fields, response.body)
