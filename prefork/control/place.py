"""A server's name and its control socket: claimed when it starts to serve, given up when it ends or is succeeded."""

import errno
import fcntl
import logging
import os
import socket
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final

from prefork.control import address as addresses

AUTO: Final = "auto"
NONE: Final = "none"
BACKLOG: Final = 128
LOCK_ROUNDS, LOCK_SECONDS = 10, 0.02
NAMESAKES: Final = 9  # servers of one name: main, main-2 … main-9

_log = logging.getLogger("prefork.control")


class Taken(Exception):
    """A server that lives listens there."""


@dataclass(frozen=True, slots=True)
class Socket:
    """A listening control socket and, if it is in the file system, which file it is."""

    address: str
    listener: socket.socket
    file: tuple[int, int] | None = None  # device and inode


class ControlPlace:
    """The name, and the socket, if one could be made."""

    def __init__(self, name: str, found: Socket | None = None) -> None:
        self.name = name
        self._socket = found

    @property
    def listener(self) -> socket.socket | None:
        """To be served."""
        return None if self._socket is None else self._socket.listener

    @property
    def address(self) -> str | None:
        """Where it is, for people."""
        return None if self._socket is None else addresses.show(self._socket.address)

    def close(self) -> None:
        """Give the socket up, and remove its file, unless it is another's by now."""
        found, self._socket = self._socket, None
        if found is None:
            return
        if found.file is not None and _file(found.address) == found.file:
            with suppress(OSError):
                os.unlink(found.address)
        found.listener.close()


def claim(control: str, name: str, environment: Mapping[str, str]) -> ControlPlace:
    """Make the socket that the setting `control` asks for. Whatever is in the way, the server runs on without it: the
    log tells. A name that another server has gets a number."""
    if control == NONE:
        return ControlPlace(name)
    if control != AUTO:
        return _claim_path(control, name)
    folder = addresses.runtime_folder(environment, make=True)
    if folder is not None:
        try:
            return _first_free(name, lambda candidate: _in_folder(addresses.path_in(folder, candidate)))
        except OSError as error:
            _log.debug("no control socket in %s: %s", folder, error.strerror or error)
    try:
        return _first_free(name, lambda candidate: _abstract(addresses.abstract(candidate)))
    except OSError as error:
        _log.debug("there is no control socket: %s", error.strerror or error)
        return ControlPlace(name)


def is_taken(control: str, name: str, environment: Mapping[str, str]) -> bool:
    """Whether a server that lives has the very socket that `claim` would try first."""
    folder = addresses.runtime_folder(environment)
    if control == NONE:
        return False
    if control != AUTO:
        address = addresses.parse(control)
    else:
        address = addresses.abstract(name) if folder is None else addresses.path_in(folder, name)
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(address)
        except BlockingIOError:  # its backlog is full
            return True
        except OSError:
            return False
    return True


def _claim_path(path: str, name: str) -> ControlPlace:
    address = addresses.parse(path)
    try:
        found = _abstract(address) if address.startswith("\0") else _in_folder(os.path.abspath(address))
    except Taken:
        _log.warning("there is no control socket: another server has %s", path)
        return ControlPlace(name)
    except OSError as error:
        _log.warning("there is no control socket: %s: %s", path, (error.strerror or str(error)).lower())
        return ControlPlace(name)
    return ControlPlace(name, found)


def _first_free(name: str, make: Callable[[str], Socket]) -> ControlPlace:
    """The socket of the first of these names that nobody has. Raises OSError when that cannot be made."""
    for number in range(1, NAMESAKES + 1):
        ending = f"-{number}" if number > 1 else ""
        candidate = name[: addresses.NAME_CHARACTERS - len(ending)] + ending
        with suppress(Taken):
            found = make(candidate)
            if number > 1:
                _log.info("a server called %s runs already: this one is called %s (see --name)", name, candidate)
            return ControlPlace(candidate, found)
    _log.warning("there is no control socket: %d servers called %s run already (see --name)", NAMESAKES, name)
    return ControlPlace(name)


def _abstract(address: str) -> Socket:
    """Raises Taken, OSError."""
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise Taken from None
        raise
    return Socket(address, listener)


def _in_folder(path: str) -> Socket:
    """A socket file of mode 0600, in the place of one whose server is gone. Raises Taken, OSError."""
    with _alone_in(os.path.dirname(path)):
        if os.path.lexists(path):
            _remove_stale(path)
        listener = socket.socket(socket.AF_UNIX)
        try:
            os.fchmod(listener.fileno(), 0o600)  # so the file has this mode from the start
            listener.bind(path)
            os.chmod(path, 0o600)
            listener.listen(BACKLOG)
        except OSError:
            listener.close()
            raise
    return Socket(path, listener, _file(path))


def _remove_stale(path: str) -> None:
    """Raises Taken when somebody listens there, OSError when it is no socket or not ours to remove."""
    if not stat.S_ISSOCK(os.lstat(path).st_mode):
        raise FileExistsError(errno.EEXIST, "there is another file")
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except BlockingIOError:  # it has a backlog, and that is full
            pass
    raise Taken


@contextmanager
def _alone_in(folder: str) -> Iterator[None]:
    """Keep other servers from taking a stale socket's place meanwhile. One that hangs there is not waited for long."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for _ in range(LOCK_ROUNDS):
            with suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            time.sleep(LOCK_SECONDS)  # before the server's loop begins
        yield
    finally:
        os.close(descriptor)


def _file(path: str) -> tuple[int, int] | None:
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
