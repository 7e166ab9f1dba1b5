"""A client on a raw socket with TLS on it, or with a PROXY header before everything."""

import ssl

from tests.processes.client import Client


class SecureClient(Client):
    """One connection. The handshake is made at once. Raises ssl.SSLError, OSError."""

    def __init__(
        self,
        address: str,
        context: ssl.SSLContext,
        name: str | None = None,
        before: bytes = b"",
        wait: bool = False,
    ) -> None:
        """`name` is the one to ask for; `before` is sent in the clear, first; `wait`: not before `shake_hands`."""
        super().__init__(plain(address))
        self._context = context
        self._name = name
        try:
            self._socket.sendall(before)
            if not wait:
                self.shake_hands()
        except BaseException:
            self._socket.close()
            raise

    def shake_hands(self) -> None:
        self._socket = self._context.wrap_socket(self._socket, server_hostname=self._name)

    @property
    def session(self) -> ssl.SSLSocket:
        assert isinstance(self._socket, ssl.SSLSocket)
        return self._socket

    def receive_all(self) -> bytes:
        """What comes until the server closes."""
        received, self._received = bytearray(self._received), b""
        while piece := self._socket.recv(1 << 20):
            received += piece
        return bytes(received)

    @property
    def shown(self) -> str:
        """The first name of the certificate that the server showed."""
        found = self.session.getpeercert()
        assert found is not None
        return str(found["subjectAltName"][0][1])


class RawClient(Client):
    """One connection on which anything may be sent."""

    def __init__(self, address: str, first: bytes = b"") -> None:
        super().__init__(plain(address))
        self.send_raw(first)

    def send_raw(self, data: bytes) -> None:
        self._socket.sendall(data)


def plain(address: str) -> str:
    """The address for those who do not mind what is spoken there."""
    return address.replace("https://", "http://")
