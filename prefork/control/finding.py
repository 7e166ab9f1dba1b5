"""Find a running server and connect to it: by the path of its socket, by its name, or because it is the only one."""

import os
import socket
import time
from collections.abc import Mapping
from contextlib import suppress

from prefork.control import address as addresses
from prefork.control.client import ANSWER_SECONDS, Client, peer_uid
from prefork.control.place import AUTO, NONE
from prefork.errors import CommandError

CONNECT_SECONDS = 5.0
AGAIN_SECONDS = 0.02  # to a socket whose backlog is full


def dial(
    name: str | None, control: str | None, environment: Mapping[str, str], seconds: float = ANSWER_SECONDS
) -> Client:
    """A connection to the server that `control` or `name` tells; with neither, to the only one of our user's. Raises
    CommandError. `seconds`: how long its answers may take."""
    if control == NONE:
        raise CommandError("the server has no control socket (control is none)")
    if control not in (None, AUTO):
        assert control is not None
        return Client(_connect(addresses.parse(control), own=os.geteuid() != 0), seconds)
    known = addresses.known(environment)
    if name is not None:
        if name not in known:
            raise CommandError(f"no server called {name} runs here{_others(known, environment)}")
        return Client(_connect(known[name], own=True), seconds)
    ends = _living(known)
    if len(ends) == 1:
        return Client(ends.popitem()[1], seconds)
    for end in ends.values():
        end.close()
    if ends:
        raise CommandError(f"{len(ends)} servers run here: {', '.join(ends)}; say which one with --name")
    raise CommandError(f"no server runs here{_others({}, environment)}")


def _living(known: Mapping[str, str]) -> dict[str, socket.socket]:
    """Connections to those that answer; the others were killed."""
    found = {}
    for name, address in known.items():
        with suppress(CommandError):
            found[name] = _connect(address, own=True)
    return found


def _others(known: Mapping[str, str], environment: Mapping[str, str]) -> str:
    ends = _living(known)
    for end in ends.values():
        end.close()
    if ends:
        return f"; there {'are' if len(ends) > 1 else 'is'} {', '.join(ends)}"
    folder = addresses.runtime_folder(environment)
    where = f"{folder} and " if folder is not None else ""
    return f" as uid {os.geteuid()} (looked in {where}{addresses.show(addresses.abstract('*'))}; see --control)"


def _connect(address: str, own: bool) -> socket.socket:
    """`own`: only to a server of our own user or root, for an abstract name may be anybody's."""
    end = socket.socket(socket.AF_UNIX)
    try:
        end.settimeout(CONNECT_SECONDS)
        _connect_patiently(end, address)
        if own and peer_uid(end) not in (0, os.geteuid()):
            raise CommandError(f"{addresses.show(address)} belongs to another user (uid {peer_uid(end)})")
    except OSError as error:
        end.close()
        if isinstance(error, ConnectionRefusedError | FileNotFoundError):
            raise CommandError(f"no server listens at {addresses.show(address)}") from None
        raise CommandError(f"cannot connect to {addresses.show(address)}: {error.strerror or error}") from None
    except CommandError:
        end.close()
        raise
    return end


def _connect_patiently(end: socket.socket, address: str) -> None:
    """Wait for room in the backlog, as a Unix socket with a timeout does not (connect(2), EAGAIN). Raises OSError."""
    until = time.monotonic() + CONNECT_SECONDS
    while True:
        try:
            end.connect(address)
            return
        except BlockingIOError:
            if time.monotonic() >= until:
                raise
            time.sleep(AGAIN_SECONDS)
