"""Children: programs, Python processes to talk to, actors, shared memory and threads, for async code."""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from prefork.children.actors import Actor as Actor
    from prefork.children.actors import actor as actor
    from prefork.children.actors import declare as declare
    from prefork.children.events import Crashed as Crashed
    from prefork.children.events import Disconnected as Disconnected
    from prefork.children.events import Exited as Exited
    from prefork.children.forking import ForkedChild as ForkedChild
    from prefork.children.forking import fork as fork
    from prefork.children.limits import Limits as Limits
    from prefork.children.packets import WithFds as WithFds
    from prefork.children.programs import Done as Done
    from prefork.children.programs import exec as exec
    from prefork.children.programs import exec_file as exec_file
    from prefork.children.shared_buffer import SharedBuffer as SharedBuffer
    from prefork.children.shared_counter import SharedCounter as SharedCounter
    from prefork.children.shared_lock import SharedLock as SharedLock
    from prefork.children.shared_names import shared as shared
    from prefork.children.spawning import DEVNULL as DEVNULL
    from prefork.children.spawning import PIPE as PIPE
    from prefork.children.spawning import STDOUT as STDOUT
    from prefork.children.spawning import Program as Program
    from prefork.children.spawning import spawn as spawn
    from prefork.children.threads import thread as thread
    from prefork.children.to_parent import parent as parent

_ELSEWHERE: Final[dict[str, str]] = {  # public name: module
    "Actor": "prefork.children.actors",
    "actor": "prefork.children.actors",
    "declare": "prefork.children.actors",
    "Crashed": "prefork.children.events",
    "Disconnected": "prefork.children.events",
    "Exited": "prefork.children.events",
    "ForkedChild": "prefork.children.forking",
    "DEVNULL": "prefork.children.spawning",
    "Done": "prefork.children.programs",
    "Limits": "prefork.children.limits",
    "PIPE": "prefork.children.spawning",
    "Program": "prefork.children.spawning",
    "STDOUT": "prefork.children.spawning",
    "WithFds": "prefork.children.packets",
    "exec": "prefork.children.programs",
    "exec_file": "prefork.children.programs",
    "spawn": "prefork.children.spawning",
    "fork": "prefork.children.forking",
    "parent": "prefork.children.to_parent",
    "SharedBuffer": "prefork.children.shared_buffer",
    "SharedCounter": "prefork.children.shared_counter",
    "SharedLock": "prefork.children.shared_lock",
    "shared": "prefork.children.shared_names",
    "thread": "prefork.children.threads",
}

__all__ = list(_ELSEWHERE)


def __getattr__(name: str) -> Any:
    # The server itself imports files of this package; an app that uses it asks for a public name (PEP 562). Its
    # requests are tracked from then on, so that a child knows whose it is.
    if name not in _ELSEWHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import_module("prefork.jobs.context").track_requests()
    return getattr(import_module(_ELSEWHERE[name]), name)
