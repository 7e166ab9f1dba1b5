"""Ask a running server through its control socket: what the commands of `prefork` do, blocking and with a limit."""

import json
import socket
import struct
from typing import Final, Self

from prefork.control.wire import ANSWER_BYTES
from prefork.errors import CommandError

ANSWER_SECONDS: Final = 30.0  # a command that waits for workers has less; a master that is that late hangs
READ_BYTES: Final = 256 * 1024

_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid (unix(7), SO_PEERCRED)


class Client:
    """A connection to a server. Raises CommandError for whatever goes wrong, in one line."""

    def __init__(self, end: socket.socket, seconds: float = ANSWER_SECONDS) -> None:
        """`end` is connected, and ours from now on."""
        end.settimeout(seconds)
        self._end = end
        self._seconds = seconds
        self._input = b""

    def ask(self, command: str, **arguments: object) -> object:
        """Have a command done. Returns its result as decoded JSON; an argument that is None is not given."""
        given = {name: value for name, value in arguments.items() if value is not None}
        return json.loads(self.ask_raw(command, given))["result"]

    def ask_raw(self, command: str, arguments: dict[str, object]) -> bytes:
        """The whole answer as it came, `{"result": …}`, for who decodes it to structs. Raises CommandError for
        `{"error": …}`."""
        line = json.dumps({"command": command, "arguments": arguments}).encode() + b"\n"
        try:
            try:
                self._end.sendall(line)
            except BrokenPipeError:
                pass  # it may have said why
            answer = self._read_line()
        except TimeoutError:
            raise CommandError(f"the server did not answer within {self._seconds:g} s") from None
        except OSError as error:
            raise CommandError(f"the server hung up: {error.strerror or error}") from None
        if answer.startswith(b'{"error"'):
            raise CommandError(str(json.loads(answer)["error"]))
        return answer

    def close(self) -> None:
        self._end.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read_line(self) -> bytes:
        pieces = [self._input]
        length = len(self._input)
        while b"\n" not in pieces[-1]:
            piece = self._end.recv(READ_BYTES)
            length += len(piece)
            if not piece:
                raise CommandError("the server hung up without an answer")
            if length > 2 * ANSWER_BYTES:
                raise CommandError("the server's answer has no end")
            pieces.append(piece)
        line, _, self._input = b"".join(pieces).partition(b"\n")
        return line


def peer_uid(end: socket.socket) -> int:
    """The uid of who listens at the other end (unix(7), SO_PEERCRED)."""
    return int(_CREDENTIALS.unpack(end.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))[1])
