"""Turn what an app passes as a handler into something to await: `async def` runs on the loop, `def` in a thread."""

import asyncio
import functools
import inspect
from collections.abc import Callable
from typing import Any

from prefork.jobs.references import name_of
from prefork.web.request import Request
from prefork.web.routing import Endpoint
from prefork.web.threads import in_thread


def endpoint(handler: object, *parameters: str) -> Endpoint:
    """A coroutine function that runs `handler`. Raises TypeError if it is none, or cannot take `parameters`."""
    checked = check_handler(handler, *parameters)
    if is_async(checked):
        return checked
    return _in_thread(checked)


def check_handler(handler: object, *parameters: str, generators: bool = False) -> Callable[..., Any]:
    """The handler, if it can be called with `parameters`. Raises TypeError that says what is wrong."""
    if inspect.isclass(handler):
        raise TypeError(f"handler {name_of(handler)} is a class; pass a function or an instance")
    if not callable(handler):
        raise TypeError(f"a handler is a function, not {type(handler).__qualname__}")
    name = name_of(handler)
    if inspect.isasyncgenfunction(handler) or (inspect.isgeneratorfunction(handler) and not generators):
        raise TypeError(f"handler {name} is a generator; return StreamingResponse or EventStream of one instead")
    try:
        inspect.signature(handler).bind(*parameters)
    except TypeError:
        raise TypeError(f"handler {name} must take ({', '.join(parameters)})") from None
    except ValueError:
        pass  # a builtin that does not tell its parameters
    return handler


def is_async(handler: Callable[..., object]) -> bool:
    """Whether calling the handler gives a coroutine."""
    if isinstance(handler, functools.partial):
        return is_async(handler.func)
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(type(handler).__call__)


def _in_thread(handler: Callable[..., Any]) -> Endpoint:
    @functools.wraps(handler, updated=())
    async def call(request: Request, *arguments: Any) -> Any:
        request._loop = asyncio.get_running_loop()
        result = await in_thread(handler, request, *arguments)
        return await result if inspect.iscoroutine(result) else result

    return call
