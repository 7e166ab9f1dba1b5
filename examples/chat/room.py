"""A chat room that is the same in every worker, though they share no memory: what is said is passed on by socket."""

import asyncio
import json
import socket
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

NAME_LENGTH = 40
TEXT_LENGTH = 2000  # the whole message fits one datagram
REMEMBERED = 20  # messages that a newcomer is shown
UNHEARD = 100  # messages that wait for one slow listener; then the oldest is lost


@dataclass(frozen=True)
class Message:
    id: str
    name: str
    text: str


def message_from(data: Any) -> Message:
    """A new message from what a client sent. Raises ValueError with the reason."""
    name, text = (data.get("name"), data.get("text")) if isinstance(data, dict) else (None, None)
    if not isinstance(name, str) or not 1 <= len(name) <= NAME_LENGTH:
        raise ValueError(f"a name of 1 to {NAME_LENGTH} characters is needed")
    if not isinstance(text, str) or not 1 <= len(text) <= TEXT_LENGTH:
        raise ValueError(f"a text of 1 to {TEXT_LENGTH} characters is needed")
    return Message(uuid4().hex, name, text)


class Room:
    """One worker's end of the room. Open it where a loop runs, after the fork: in a lifespan."""

    def __init__(self, folder: Path) -> None:
        """`folder` is where the workers meet: one socket each."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.recent: deque[Message] = deque(maxlen=REMEMBERED)
        self._listeners: set[asyncio.Queue[Message]] = set()
        self._folder = folder
        self._path = folder / f"{uuid4().hex[:12]}.sock"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind(str(self._path))
        asyncio.get_running_loop().add_reader(self._socket, self._hear)

    def say(self, message: Message) -> None:
        """To everyone, here and in the other workers."""
        self._tell(message)
        datagram = json.dumps(asdict(message)).encode()
        for other in self._folder.glob("*.sock"):
            if other != self._path:
                try:
                    self._socket.sendto(datagram, str(other))
                except BlockingIOError:
                    pass  # that worker is far behind; it misses this one
                except (ConnectionRefusedError, FileNotFoundError):
                    other.unlink(missing_ok=True)  # that worker is gone

    @contextmanager
    def listen(self) -> Iterator[asyncio.Queue[Message]]:
        """A queue with all that is said from now on."""
        queue: asyncio.Queue[Message] = asyncio.Queue(UNHEARD)
        self._listeners.add(queue)
        try:
            yield queue
        finally:
            self._listeners.discard(queue)

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()
        self._path.unlink(missing_ok=True)

    def _hear(self) -> None:
        self._tell(Message(**json.loads(self._socket.recv(64 * 1024))))

    def _tell(self, message: Message) -> None:
        self.recent.append(message)
        for queue in self._listeners:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(message)
