"""Send part of a file over a connection without copying it through Python (sendfile(2))."""

import asyncio
import errno
import os
from typing import TYPE_CHECKING, BinaryIO, Final

from prefork.errors import Disconnected

if TYPE_CHECKING:
    from prefork.http.connection import Connection

PIECE_BYTES: Final = 256 * 1024  # a call may wait for the disk; a piece is what the loop may wait for

_UNREACHABLE: Final = (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN)


async def send_file(connection: "Connection", file: BinaryIO, offset: int, count: int) -> int:
    """Send `count` bytes from `offset`. Returns how many the file had. Raises Disconnected; OSError for the file.

    uvloop has no sendfile, so we write to the socket beside its transport, once the transport has nothing left to
    write. The descriptor is a duplicate: the transport may close its own while we wait. What is to be encrypted has to
    go through Python.
    """
    if connection.encrypted:
        return await _copy(connection, file, offset, count)
    await connection.flushed()
    out = os.dup(connection.fileno())
    try:
        at, end = offset, offset + count
        while at < end:
            if connection.lost:
                raise Disconnected("the client left")
            try:
                sent = os.sendfile(out, file.fileno(), at, min(PIECE_BYTES, end - at))
            except BlockingIOError:
                await _writable(connection, out)
                continue
            except OSError as error:
                if isinstance(error, ConnectionError | TimeoutError) or error.errno in _UNREACHABLE:
                    raise Disconnected(f"the client left: {error.strerror}") from None
                raise  # the file is at fault: a broken disk, or what is no file
            if sent == 0:
                break
            at += sent
            await asyncio.sleep(0)  # others have their turn between pieces
        return at - offset
    finally:
        os.close(out)


async def _copy(connection: "Connection", file: BinaryIO, offset: int, count: int) -> int:
    at, end = offset, offset + count
    while at < end:
        await connection.drained()
        piece = os.pread(file.fileno(), min(PIECE_BYTES, end - at), at)
        if not piece:
            break
        connection.write(piece)
        at += len(piece)
        await asyncio.sleep(0)
    await connection.drained()
    return at - offset


async def _writable(connection: "Connection", descriptor: int) -> None:
    loop = connection.loop
    ready = asyncio.Event()
    loop.add_writer(descriptor, ready.set)
    connection.on_lost = ready.set
    try:
        await ready.wait()
    finally:
        loop.remove_writer(descriptor)
        connection.on_lost = None
