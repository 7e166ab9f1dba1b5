"""Tell what kind of app an object is, and put it behind the one interface that a worker runs."""

import inspect
from typing import Any, Literal

from prefork.apps.application import Application
from prefork.apps.native import AppApplication, HandlerApplication
from prefork.children.binding import track_if_used
from prefork.settings import Settings
from prefork.web.app import App
from prefork.web.handlers import check_handler

Interface = Literal["native", "asgi", "wsgi"]

BY_PARAMETERS: dict[int, Interface] = {1: "native", 2: "wsgi", 3: "asgi"}  # (request), (environ, start_response), …
NEEDED = "an App, a handler(request), an ASGI or a WSGI app is needed"


def as_application(found: Any, settings: Settings) -> Application:
    """The app behind the interface that the setting names, or its signature. TypeError says what it is instead."""
    track_if_used()
    interface = interface_of(found) if settings.interface == "auto" else settings.interface
    if interface == "asgi":
        from prefork.apps.asgi import AsgiApplication  # here, so that a worker holds only what its app needs

        return AsgiApplication(_callable(found), settings)
    if interface == "wsgi":
        from prefork.apps.wsgi import WsgiApplication

        return WsgiApplication(_callable(found), settings)
    if isinstance(found, App):
        return AppApplication(found, settings)
    check_handler(_callable(found), "request")
    return HandlerApplication(found, settings)


def interface_of(found: Any) -> Interface:
    """What an object is, by the arguments it has to be called with. TypeError as above."""
    if isinstance(found, App):
        return "native"
    required, most = _parameters(_callable(found))
    if required == 0 and most is None:
        raise TypeError(f"it is a callable with any number of arguments; {NEEDED}: say which with --interface")
    if required == 0 and most == 1:
        return "native"  # handler(request=None)
    interface = BY_PARAMETERS.get(required)
    if interface is None:
        raise TypeError(f"it is a callable with {required} arguments; {NEEDED}")
    return interface


def _parameters(function: Any) -> tuple[int, int | None]:
    """How many positional arguments a callable needs, and how many it takes (None: any number)."""
    try:
        parameters = _signature(function).parameters.values()
    except ValueError:  # one of C, which does not tell
        return 0, None
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    any_number = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    return sum(p.default is p.empty for p in positional), None if any_number else len(positional)


def _signature(function: Any) -> inspect.Signature:
    try:
        return inspect.signature(function)
    except TypeError:  # `__call__` is among its slots, as with Sentry's middleware, and inspect looks at the class
        return inspect.signature(function.__call__)


def takes(function: Any, count: int) -> bool:
    """Whether a callable can be called with `count` positional arguments; true if it does not tell."""
    try:
        _signature(function).bind(*range(count))
    except TypeError:
        return False
    except ValueError:
        pass
    return True


def _callable(found: Any) -> Any:
    if inspect.isclass(found):
        raise TypeError("it is a class; write its name with () to make an instance")
    if not callable(found):
        raise TypeError(f"it is of type {type(found).__qualname__}; {NEEDED}")
    return found
