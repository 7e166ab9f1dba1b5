"""Ask the master for commands from an event loop, over one end of a socket pair."""

import asyncio
import socket
from collections import deque
from collections.abc import Mapping
from typing import Final, cast

import msgspec
from msgspec import Raw, Struct

from prefork.control.wire import ANSWER_BYTES
from prefork.errors import CommandError

WAITING: Final = 32  # questions on one connection that have no answer yet; the next one is refused


class Silent(CommandError):
    """The master has not answered in time; it may still do what it was asked for."""


class _Answer(Struct):
    result: Raw = Raw(b"null")
    error: str | None = None


_decode = msgspec.json.Decoder(_Answer).decode


class AsyncClient(asyncio.Protocol):
    """One connection. Its questions are answered in their order; an answer that comes too late is dropped."""

    def __init__(self) -> None:
        self._waiting: deque[asyncio.Future[bytes]] = deque()
        self._pieces: list[bytes] = []
        self._length = 0
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @classmethod
    async def connect(cls, end: socket.socket) -> "AsyncClient":
        """Speak over a connected stream socket, which is ours from now on."""
        _, client = await asyncio.get_running_loop().create_unix_connection(cls, sock=end)
        return client

    @property
    def waiting(self) -> int:
        """How many questions have no answer yet."""
        return len(self._waiting)

    async def ask(self, command: str, arguments: Mapping[str, object], seconds: float | None) -> bytes:
        """Have a command done, however long it takes if `seconds` is None. Returns its result as JSON. Raises
        CommandError with the master's words, Silent."""
        if self.closed.done():
            raise Silent("the master has hung up")
        if len(self._waiting) >= WAITING:
            raise Silent(f"the master has {WAITING} commands to answer already")
        answer = asyncio.get_running_loop().create_future()
        self._waiting.append(answer)
        self._transport.write(msgspec.json.encode({"command": command, "arguments": arguments}) + b"\n")
        try:
            async with asyncio.timeout(seconds):
                said = _decode(await answer)
        except TimeoutError:
            raise Silent(f"the master did not answer within {seconds or 0:g} s") from None
        if said.error is not None:
            raise CommandError(said.error)
        return bytes(said.result)

    # -- what the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)  # uvloop's are no subclass of it

    def data_received(self, data: bytes) -> None:
        *ends, rest = data.split(b"\n")
        for end in ends:
            self._answered(b"".join([*self._pieces, end]))
            self._pieces, self._length = [], 0
        self._pieces.append(rest)
        self._length += len(rest)
        if self._length > 2 * ANSWER_BYTES:  # no answer is that long
            self._transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.closed.done():
            self.closed.set_result(None)
        while self._waiting:
            self._fail(self._waiting.popleft())

    def _answered(self, line: bytes) -> None:
        if self._waiting:
            answer = self._waiting.popleft()
            if not answer.done():
                answer.set_result(line)

    def _fail(self, answer: "asyncio.Future[bytes]") -> None:
        if not answer.done():
            answer.set_exception(Silent("the master has hung up"))
