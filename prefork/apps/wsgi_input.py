"""`wsgi.input` of a request whose body has not arrived yet: read in the app's thread, fed by the event loop."""

import asyncio
import io
from collections import deque
from threading import Lock
from typing import TYPE_CHECKING, BinaryIO, Final, cast

from prefork.errors import Disconnected, RequestError
from prefork.http.exchange import Exchange

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

AHEAD_BYTES: Final = 64 * 1024  # read before the app asks; past it the body waits in the connection, then in the kernel
BUFFER_BYTES: Final = 64 * 1024  # of one hand-over to `readline`


class BodyError(RequestError, OSError):
    """Reading the request's body failed, by the client's fault. What `wsgi.input` raises; frameworks expect OSError."""


class BodyStream(io.RawIOBase):
    """The body as it comes, in a thread. Nothing is read before the app asks, so that a client that waits for
    `100 Continue` is told only then; from then on a bounded piece is read ahead."""

    def __init__(self, exchange: Exchange) -> None:
        super().__init__()
        self.most = exchange.body.most if exchange.body is not None else 0  # bytes; more than that is an error
        self.refusal: RequestError | None = None  # why the body was not read to its end
        self._exchange = exchange
        self._loop = asyncio.get_running_loop()
        self._pieces: deque[bytes] = deque()  # b"" is the end
        self._error: RequestError | Disconnected | None = None
        self._put = 0  # bytes; written by the loop only
        self._got = 0  # bytes; written by the thread only
        self._piece = memoryview(b"")  # what the thread has begun to read
        self._ended = False
        self._news = Lock()  # held, but for the moment between news and reading it
        self._news.acquire()
        self._wanted = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def buffered(self) -> BinaryIO:
        """It, with `read`, `readline`, `readlines` and iteration."""
        return cast(BinaryIO, _Buffered(self, BUFFER_BYTES))

    # -- in the app's thread

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        """Wait for bytes; 0 at the end. Raises BodyError (400, 408, 413), Disconnected."""
        if not self._piece and not self._ended:
            piece = self._next_piece()
            self._ended = not piece
            self._piece = memoryview(piece)
        target = memoryview(buffer).cast("B")
        count = min(len(target), len(self._piece))
        target[:count] = self._piece[:count]
        self._piece = self._piece[count:]
        return count

    def _next_piece(self) -> bytes:
        while not self._pieces:
            error = self._error
            if isinstance(error, RequestError):
                raise BodyError(error.status, error.reason)
            if error is not None:
                raise Disconnected(str(error))
            self._ask(self._want)
            self._news.acquire()
        piece = self._pieces.popleft()
        was_full = self._put - self._got >= AHEAD_BYTES
        self._got += len(piece)
        if was_full:
            self._ask(self._wanted.set)
        return piece

    def _ask(self, what: object) -> None:
        try:
            self._loop.call_soon_threadsafe(what)  # type: ignore[arg-type]  # a method of ours
        except RuntimeError:  # the loop is closed
            raise Disconnected("the server has stopped") from None

    # -- on the event loop

    def stop(self) -> None:
        """The request is over: whoever reads on gets Disconnected."""
        if self._task is not None:
            self._task.cancel()
        if self._error is None:
            self._error = Disconnected("the request is over")
        self._tell()

    def _want(self) -> None:
        """The thread waits."""
        if self._error is not None:
            self._tell()
        elif self._task is None:
            self._task = self._loop.create_task(self._feed(), name="wsgi-input")
        else:
            self._wanted.set()

    async def _feed(self) -> None:
        try:
            piece = b"."
            while piece:
                piece = await self._exchange.read()
                self._put += len(piece)
                self._pieces.append(piece)
                self._tell()
                while self._put - self._got >= AHEAD_BYTES:
                    self._wanted.clear()
                    if self._put - self._got >= AHEAD_BYTES:  # the thread may have read on before we cleared
                        await self._wanted.wait()
        except RequestError as error:
            self.refusal = self._error = error
            self._tell()
        except Disconnected as error:
            self._error = error
            self._tell()

    def _tell(self) -> None:
        if self._news.locked():
            self._news.release()


class _Buffered(io.BufferedReader):
    """What is asked for is allocated before it is read. Some ask for all there is by a huge number."""

    raw: BodyStream

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(-1 if size is None or size > self.raw.most else size)
