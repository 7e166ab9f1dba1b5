"""Open the sockets the server listens on, and close them without leaving a trace."""

import contextlib
import ctypes
import logging
import os
import socket
import stat
import struct
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass, replace
from typing import Final

from prefork.errors import BindError
from prefork.settings import Address, InheritedAddress, TcpAddress, UnixAddress, parse_bind

SEND_SECONDS: Final = 60  # a client that takes no byte of its answer for so long is gone (nginx: send_timeout)
SYSTEMD_FIRST_FD: Final = 3  # sd_listen_fds(3)
MOST_PASSED: Final = 1024  # sockets from systemd; a larger number is a mistake

_SO_ATTACH_FILTER: Final = 26  # socket(7); Python does not name it
_DROP_SYN: Final = (  # a classic BPF program over a TCP header: code, jump if true, jump if false, operand
    (0x30, 0, 0, 13),  # load the byte of flags
    (0x45, 0, 1, 0x02),  # is SYN among them?
    (0x06, 0, 0, 0),  # keep nothing of the packet
    (0x06, 0, 0, 0xFFFFFFFF),  # keep all of it
)

_log = logging.getLogger("prefork.listeners")


@dataclass(slots=True)
class Loan:
    """Whether listeners that another server has left to us are still in its use, too."""

    lent: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class Listener:
    """A listening socket and where it listens, in words for people (`http://127.0.0.1:8000`)."""

    socket: socket.socket
    name: str
    shared: bool  # cannot be opened once more beside itself with SO_REUSEPORT
    file: tuple[int, int, int] | None = None  # device, inode and time of the socket file we made
    bind: str = ""  # what was asked for; the same for a master that takes over
    loan: Loan | None = None  # as long as it is lent, socket and file are another's

    def fileno(self) -> int:
        return self.socket.fileno()

    def close(self) -> None:
        self.socket.close()

    def refuse(self) -> None:
        """Begin no more connections: closing would reset those that come between the last accept and the close. A
        filter drops what begins one, so that the client tries again; handshakes on their way are completed."""
        if not self.shared and not self._lent:
            program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in _DROP_SYN))
            address = struct.pack("HP", len(_DROP_SYN), ctypes.addressof(program))
            self.socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, address)

    def unlink(self) -> None:
        """Remove our socket file, unless another server has put its own there."""
        if self.file is not None and not self._lent:
            path = self.name.removeprefix("unix:")
            with contextlib.suppress(OSError):
                if _identity(path) == self.file:
                    os.unlink(path)

    @property
    def _lent(self) -> bool:
        return self.loan is not None and self.loan.lent


def open_listeners(
    binds: list[str],
    backlog: int,
    reuse_port: bool,
    scheme: str = "http",
    left: Callable[[str], "Left | None"] = lambda bind: None,
) -> list[Listener]:
    """One listener per address; `scheme` is for the names of those on TCP; `left` gives the one that another master has
    left for an address, if any. Raises BindError naming the address; nothing stays then."""
    opened: list[Listener] = []
    try:
        for bind in binds:
            for address in _resolve(parse_bind(bind), bind):
                wanted = canonical(address)
                found = left(wanted)
                if found is None:
                    listener = replace(_open(address, bind, backlog, reuse_port), bind=wanted)
                else:
                    listener = take(found, wanted, backlog, reuse_port)
                if listener.name.startswith("http:"):
                    listener = replace(listener, name=scheme + listener.name.removeprefix("http"))
                opened.append(listener)
    except BaseException:
        for listener in opened:
            listener.unlink()
            listener.close()
        raise
    return opened


def open_beside(listener: Listener, backlog: int) -> Listener:
    """Another listener on the same address, with a backlog of its own (SO_REUSEPORT, socket(7))."""
    if listener.shared:
        return Listener(listener.socket.dup(), listener.name, True, bind=listener.bind)
    end = socket.socket(listener.socket.family, socket.SOCK_STREAM)
    try:
        _listen(end, listener.socket.getsockname(), backlog, True)
    except OSError as error:
        end.close()
        raise BindError(f"cannot bind {listener.name} once more: {_words(error)}") from error
    return Listener(end, listener.name, False, bind=listener.bind)


@dataclass(frozen=True, slots=True)
class Left:
    """A listener that another master has left to us: its descriptor, and what `Listener` tells of it."""

    descriptor: int
    family: int
    shared: bool
    file: tuple[int, int, int] | None
    loan: Loan


def take(left: Left, bind: str, backlog: int, reuse_port: bool) -> Listener:
    """A listener of another master's as ours. Connections that wait in its backlog wait on."""
    end = socket.socket(left.family, socket.SOCK_STREAM, 0, fileno=left.descriptor)
    _prepare(end, backlog)
    shared = left.shared or (reuse_port and not end.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT))
    name = f"unix:{_path(end)}" if end.family == socket.AF_UNIX else _tcp_name(end)
    return Listener(end, name, shared, left.file, bind, left.loan)


def canonical(address: Address) -> str:
    """What is asked for, in words that mean the same in whatever folder."""
    if isinstance(address, InheritedAddress):
        return f"fd://{address.fd}"
    if isinstance(address, UnixAddress):
        return f"unix:{os.path.abspath(address.path)}"
    return f"[{address.host}]:{address.port}" if ":" in address.host else f"{address.host}:{address.port}"


def systemd_binds(environment: MutableMapping[str, str]) -> list[str]:
    """The sockets systemd passed to this process, as `fd://N` (sd_listen_fds(3)); removes its variables. Warns of those
    that are not for us."""
    passed = environment.pop("LISTEN_FDS", "")
    meant_for = environment.pop("LISTEN_PID", "")
    for name in ("LISTEN_FDNAMES", "LISTEN_PIDFDID"):
        environment.pop(name, None)
    if not passed:
        return []
    if not (passed.isascii() and passed.isdigit()) or int(passed) > MOST_PASSED:
        _log.warning("LISTEN_FDS=%s is no number of sockets: none are taken from it", passed)
        return []
    if meant_for != str(os.getpid()):
        whom = f"process {meant_for}" if meant_for else "nobody (there is no LISTEN_PID)"
        _log.warning("LISTEN_FDS=%s is for %s, and we are %d: none are taken from it", passed, whom, os.getpid())
        return []
    return [f"fd://{SYSTEMD_FIRST_FD + number}" for number in range(int(passed))]


def _resolve(address: Address, bind: str) -> list[Address]:
    """A host name stands for each of its addresses, as `localhost` for 127.0.0.1 and ::1 (one of them for port 0)."""
    if not isinstance(address, TcpAddress):
        return [address]
    try:
        found = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_ADDRCONFIG
        )
    except OSError:
        try:
            found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        except OSError as error:
            raise BindError(f"cannot bind {bind}: {_words(error)}") from error
    hosts = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    return [TcpAddress(host, address.port) for host in (hosts if address.port else hosts[:1])]


def _open(address: Address, bind: str, backlog: int, reuse_port: bool) -> Listener:
    try:
        if isinstance(address, InheritedAddress):
            return _inherit(address.fd, bind, backlog)
        if isinstance(address, UnixAddress):
            return _open_unix(address.path, bind, backlog)
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        end = socket.socket(family, socket.SOCK_STREAM)
        try:
            if family == socket.AF_INET6:
                end.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # 0.0.0.0 may be bound beside [::]
            _listen(end, (address.host, address.port), backlog, reuse_port)
        except BaseException:
            end.close()
            raise
    except OSError as error:
        raise BindError(f"cannot bind {bind}: {_words(error)}") from error
    return Listener(end, _tcp_name(end), False)


def _listen(end: socket.socket, address: tuple[str, int] | str, backlog: int, reuse_port: bool) -> None:
    end.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if reuse_port:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    end.bind(address)
    _prepare(end, backlog)


def _prepare(end: socket.socket, backlog: int) -> None:
    if end.family != socket.AF_UNIX:
        # Accepted sockets inherit both, whoever accepts them. Without the first, keep-alive answers wait 40 ms for an
        # ACK; without the second, what a client does not read is kept as long as it likes (tcp(7)).
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, SEND_SECONDS * 1000)
    end.setblocking(False)
    end.listen(backlog)


def _inherit(descriptor: int, bind: str, backlog: int) -> Listener:
    try:
        end = socket.socket(fileno=os.dup(descriptor))
    except OSError as error:
        raise BindError(f"cannot use {bind}: {_words(error)}") from error
    if end.type != socket.SOCK_STREAM or end.family not in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX):
        end.close()
        raise BindError(f"cannot use {bind}: it is not a TCP or Unix stream socket")
    _prepare(end, backlog)
    name = f"unix:{_path(end)}" if end.family == socket.AF_UNIX else _tcp_name(end)
    return Listener(end, name, True)


def _open_unix(path: str, bind: str, backlog: int) -> Listener:
    """A socket file left by a server that is gone is replaced; one that answers is not ours to take."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            raise BindError(f"cannot bind {bind}: there is a file of that name that is no socket")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.setblocking(False)
            try:
                with contextlib.suppress(BlockingIOError):  # its backlog is full
                    probe.connect(path)
            except (ConnectionRefusedError, FileNotFoundError):
                os.unlink(path)
            else:
                raise BindError(f"cannot bind {bind}: another server listens there")
    end = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        end.bind(path)
        _prepare(end, backlog)
    except BaseException:
        end.close()
        raise
    return Listener(end, f"unix:{path}", True, _identity(path))


def _identity(path: str) -> tuple[int, int, int]:
    found = os.stat(path)
    return found.st_dev, found.st_ino, found.st_mtime_ns  # the number of a removed inode is soon used again


def _path(end: socket.socket) -> str:
    name = end.getsockname()
    return name.decode() if isinstance(name, bytes) else str(name)


def _tcp_name(end: socket.socket) -> str:
    host, port = end.getsockname()[:2]
    return f"http://[{host}]:{port}" if end.family == socket.AF_INET6 else f"http://{host}:{port}"


def _words(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
