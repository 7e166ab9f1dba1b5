"""Ask the kernel how many connections wait in the backlog of a listening socket.

For TCP that is in tcp(7)'s TCP_INFO, whose `tcpi_unacked` is the length of the accept queue while a socket listens; for
Unix sockets sock_diag(7) tells, where the kernel has it.
"""

import os
import socket
import struct
from typing import Final

_UNACKED = struct.Struct("24xI")  # struct tcp_info: 8 bytes, then words, of which it is the fifth

_NETLINK_SOCK_DIAG: Final = 4
_SOCK_DIAG_BY_FAMILY: Final = 20
_NLM_F_REQUEST: Final = 1
_SHOW_QUEUE: Final = 0x10  # UDIAG_SHOW_RQLEN
_QUEUE: Final = 4  # UNIX_DIAG_RQLEN
_ANY: Final = 0xFFFFFFFF
_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence number, port
_REQUEST = struct.Struct("=BBHIIIII")  # struct unix_diag_req: family, protocol, padding, states, inode, what, cookie
_ANSWER = struct.Struct("=BBBxIII")  # struct unix_diag_msg: family, type, state, inode, cookie
_ATTRIBUTE = struct.Struct("=HH")  # struct nlattr: length, type
_COUNT = struct.Struct("=I")  # struct unix_diag_rqlen, its first word
_ANSWER_BYTES: Final = 4096


def waiting(listener: socket.socket) -> int:
    """How many connections may be accepted; 0 when the kernel does not tell."""
    try:
        if listener.family == socket.AF_UNIX:
            return _unix(os.fstat(listener.fileno()).st_ino)
        return int(_UNACKED.unpack(listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _UNACKED.size))[0])
    except (OSError, struct.error):
        return 0


def _unix(inode: int) -> int:
    request = _REQUEST.pack(socket.AF_UNIX, 0, 0, _ANY, inode, _SHOW_QUEUE, _ANY, _ANY)
    header = _HEADER.pack(_HEADER.size + len(request), _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, _NETLINK_SOCK_DIAG) as kernel:
        kernel.send(header + request)  # the kernel has answered when this returns
        answer = kernel.recv(_ANSWER_BYTES)
    length, kind, *_ = _HEADER.unpack_from(answer)
    if kind != _SOCK_DIAG_BY_FAMILY:
        return 0  # an error
    at = _HEADER.size + _ANSWER.size
    while at + _ATTRIBUTE.size <= length:
        size, name = _ATTRIBUTE.unpack_from(answer, at)
        if name == _QUEUE:
            return int(_COUNT.unpack_from(answer, at + _ATTRIBUTE.size)[0])
        at += max(_ATTRIBUTE.size, (size + 3) & ~3)
    return 0
