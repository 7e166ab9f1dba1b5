"""Children: programs, Python processes to talk to, actors, shared memory and threads, for async code."""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    pass

_ELSEWHERE: Final[dict[str, str]] = {}  # public name: module

__all__ = list(_ELSEWHERE)


def __getattr__(name: str) -> Any:
    # The server itself imports files of this package; an app that uses it asks for a public name (PEP 562). Its
    # requests are tracked from then on, so that a child knows whose it is.
    if name not in _ELSEWHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import_module("prefork.jobs.context").track_requests()
    return getattr(import_module(_ELSEWHERE[name]), name)
