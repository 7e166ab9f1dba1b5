"""`prefork.serve`: a program of one's own becomes `prefork serve`, with its app as the target.

It is replaced (execv(2)) and keeps its pid: signals, exit status, descriptors and service managers see one process.
The master has to be a fresh interpreter, because what this one has imported every mold would find imported: a reload
would serve the old code.
"""

import asyncio
import atexit
import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any, NoReturn

from prefork.errors import UsageError
from prefork.processes.target_of import target_of
from prefork.settings import SETTINGS

_IMPORTING = "<frozen importlib."
_GUARD = 'put it below `if __name__ == "__main__":`'


def serve(app: object, **settings: Any) -> NoReturn:
    """Serve `app` with a tree of processes, as the command `prefork serve` does; this program ends with it.

    `app` is a target such as "main:app", or the object itself, which must be a global of a module: workers import that
    module, once more if it is the main one. `settings` are those of the command and rank as its flags do; `config`
    names a file. Functions registered with `atexit` run before; nothing after this call does. Exit codes are the
    command's.

    Raises UsageError for an app without a name, an unknown setting, within an event loop, while a module is imported,
    and beside threads that do not end by themselves.
    """
    _refuse_here()
    named = target_of(app)
    if named.app_dir is not None:
        settings.setdefault("app_dir", named.app_dir)
    flags = to_flags(settings)
    if not os.access(sys.executable or "", os.X_OK):
        raise UsageError(f"serve() needs the Python interpreter, and sys.executable is {sys.executable!r}")
    for descriptor in _passed_on(settings):
        with contextlib.suppress(OSError):  # it is not open, as the command will say
            os.set_inheritable(descriptor, True)
    atexit._run_exitfuncs()
    for stream in filter(None, (sys.stdout, sys.stderr)):
        with contextlib.suppress(OSError):  # nobody reads it any more
            stream.flush()
    interpreter = [sys.executable, *subprocess._args_from_interpreter_flags()]  # type: ignore[attr-defined]
    # -P: a script does not import from the working folder either.
    os.execv(sys.executable, [*interpreter, "-P", "-m", "prefork", "serve", *flags, "--", named.target])


def to_flags(settings: dict[str, Any]) -> list[str]:
    """Settings as flags of the command; None and empty lists give none. Raises UsageError for an unknown name."""
    flags = []
    for name, value in settings.items():
        setting = SETTINGS.get(name)
        if setting is None and name != "config":
            raise UsageError(f"serve() has no setting {name}{_hint(name)}")
        if value is None:
            continue
        flag = "--config" if setting is None else setting.flag
        if setting is not None and setting.kind == "list":
            flags += [f"{flag}={item}" for item in _items(value)]
        elif setting is not None and setting.kind == "switch" and value in (True, False):
            flags.append(flag if value else setting.off_flag)
        else:
            flags.append(f"{flag}={value}")
    return flags


def _items(value: Any) -> Iterable[Any]:
    """Those of a list, however it was given."""
    if isinstance(value, str):
        return value.split(",")
    return value if isinstance(value, Iterable) else [value]


def _hint(name: str) -> str:
    if name in ("host", "port"):
        return '; say bind="HOST:PORT"'
    close = get_close_matches(name, SETTINGS, n=2)
    return f"; did you mean {' or '.join(close)}?" if close else ""


def _refuse_here() -> None:
    """Raise UsageError where this process cannot be replaced."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        pass
    else:
        raise UsageError("serve() was called within an event loop; there, use `async with prefork.Server(app)`")
    frame = sys._getframe(1)
    while frame.f_back is not None:
        frame = frame.f_back
        # A worker, or a child of multiprocessing, imports the main module under another name.
        if frame.f_code.co_filename.startswith(_IMPORTING) or frame.f_globals.get("__name__") == "__mp_main__":
            raise UsageError(f"serve() was called while its module is imported, as workers do; {_GUARD}")
    if threading.current_thread() is not threading.main_thread():
        raise UsageError("serve() was called in a thread; the main thread is the one that can become the server")
    lasting = [t.name for t in threading.enumerate() if t is not threading.main_thread() and not t.daemon]
    if lasting:
        raise UsageError(
            f"serve() would end threads of this program ({', '.join(lasting)}); start them in the app's on_startup"
        )


def _passed_on(settings: dict[str, Any]) -> list[int]:
    """The descriptors that the settings name."""
    texts = map(str, _items(settings.get("bind") or []))
    numbers = [text.removeprefix("fd://") for text in texts if text.startswith("fd://")]
    if isinstance(settings.get("ready_fd"), int):
        numbers.append(str(settings["ready_fd"]))
    return [int(number) for number in numbers if number.isdigit()]
