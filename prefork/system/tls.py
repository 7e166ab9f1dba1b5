"""The certificates this server shows: chosen by the name a client asks for, read anew when their files change."""

import os
import ssl
from collections.abc import Iterable

from prefork.settings import Settings
from prefork.system.certificates import Certificate, CertificateContext, read_certificate

Stamp = tuple[tuple[int, int, int, int] | None, ...]  # device, inode, time and size of each file; None: not there


class Certificates:
    """All of a server's certificates. What a connection began with it keeps; new ones get `context`."""

    def __init__(self, settings: Settings) -> None:
        """Reads the files. Raises UsageError naming the file and its setting."""
        self._settings = settings
        self._stamp = self._seen = self._look()
        self.context = self._read()

    def renew(self) -> bool:
        """Read the files anew if they are others than those in use. Returns whether they are in use now.

        Raises UsageError, once for each change, when they are no good: those in use stay so.
        """
        stamp = self._look()
        if stamp == self._stamp:
            return False
        self._stamp = self._seen = stamp
        self.context = self._read()
        return True

    def settled(self) -> bool:
        """Whether the files are others than those in use, and did not change since this was asked last: a certificate
        and its key are seldom replaced in the same moment."""
        stamp = self._look()
        settled = stamp == self._seen and stamp != self._stamp
        self._seen = stamp
        return settled

    def _look(self) -> Stamp:
        files = [*self._settings.tls_cert, *self._settings.tls_key]
        if self._settings.tls_ca is not None:
            files.append(self._settings.tls_ca)
        return tuple(_stamp(path) for path in files)

    def _read(self) -> CertificateContext:
        settings = self._settings
        pairs = zip(settings.tls_cert, settings.tls_key, strict=True)
        certificates = [read_certificate(cert, key, settings) for cert, key in pairs]
        return choosing(certificates)


class Names:
    """Which certificate is for a name: the first that has it, else the first with a wildcard for it (RFC 9525, 6.3)."""

    def __init__(self, certificates: Iterable[Certificate]) -> None:
        self._contexts: dict[str, CertificateContext] = {}
        for certificate in certificates:
            for name in certificate.names:
                self._contexts.setdefault(name, certificate.context)

    def find(self, name: str) -> CertificateContext | None:
        name = name.lower().rstrip(".")
        first, _, rest = name.partition(".")
        return self._contexts.get(name) or (self._contexts.get(f"*.{rest}") if first else None)


def choosing(certificates: list[Certificate]) -> CertificateContext:
    """The context that begins every handshake: it shows the first certificate unless another has the name asked for."""
    default = certificates[0].context
    if len(certificates) > 1:
        names = Names(certificates)

        def choose(session: ssl.SSLObject | ssl.SSLSocket, name: str | None, _: ssl.SSLContext) -> None:
            found = names.find(name) if name else None
            if found is not None:
                session.context = found

        default.sni_callback = choose
    return default


def check(settings: Settings) -> None:
    """Whether the server could show its certificates now. Raises UsageError."""
    if settings.tls_cert:
        Certificates(settings)


def _stamp(path: str) -> tuple[int, int, int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size
