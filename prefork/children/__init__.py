"""Children: programs, Python processes to talk to, actors, shared memory and threads, for async code."""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from prefork.children.actors.proxy import Actor as Actor
    from prefork.children.actors.proxy import actor as actor
    from prefork.children.actors.proxy import declare as declare
    from prefork.children.forks.events import Crashed as Crashed
    from prefork.children.forks.events import Disconnected as Disconnected
    from prefork.children.forks.events import Exited as Exited
    from prefork.children.forks.forking import ForkedChild as ForkedChild
    from prefork.children.forks.forking import fork as fork
    from prefork.children.forks.packets import WithFds as WithFds
    from prefork.children.forks.to_parent import parent as parent
    from prefork.children.memory.buffer import SharedBuffer as SharedBuffer
    from prefork.children.memory.counter import SharedCounter as SharedCounter
    from prefork.children.memory.lock import SharedLock as SharedLock
    from prefork.children.memory.names import shared as shared
    from prefork.children.programs.buffered import Done as Done
    from prefork.children.programs.buffered import exec as exec
    from prefork.children.programs.buffered import exec_file as exec_file
    from prefork.children.programs.limits import Limits as Limits
    from prefork.children.programs.spawning import DEVNULL as DEVNULL
    from prefork.children.programs.spawning import PIPE as PIPE
    from prefork.children.programs.spawning import STDOUT as STDOUT
    from prefork.children.programs.spawning import Program as Program
    from prefork.children.programs.spawning import spawn as spawn
    from prefork.children.threads import thread as thread

_ELSEWHERE: Final[dict[str, str]] = {  # public name: module
    "Actor": "prefork.children.actors.proxy",
    "actor": "prefork.children.actors.proxy",
    "declare": "prefork.children.actors.proxy",
    "Crashed": "prefork.children.forks.events",
    "Disconnected": "prefork.children.forks.events",
    "Exited": "prefork.children.forks.events",
    "ForkedChild": "prefork.children.forks.forking",
    "DEVNULL": "prefork.children.programs.spawning",
    "Done": "prefork.children.programs.buffered",
    "Limits": "prefork.children.programs.limits",
    "PIPE": "prefork.children.programs.spawning",
    "Program": "prefork.children.programs.spawning",
    "STDOUT": "prefork.children.programs.spawning",
    "WithFds": "prefork.children.forks.packets",
    "exec": "prefork.children.programs.buffered",
    "exec_file": "prefork.children.programs.buffered",
    "spawn": "prefork.children.programs.spawning",
    "fork": "prefork.children.forks.forking",
    "parent": "prefork.children.forks.to_parent",
    "SharedBuffer": "prefork.children.memory.buffer",
    "SharedCounter": "prefork.children.memory.counter",
    "SharedLock": "prefork.children.memory.lock",
    "shared": "prefork.children.memory.names",
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
