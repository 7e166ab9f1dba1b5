"""The certificates this server shows: chosen by the name a client asks for, read anew when their files change."""

import os
import ssl
import sys
from collections.abc import Iterable
from itertools import repeat
from typing import TYPE_CHECKING, Final

from prefork.settings import Settings
from prefork.system.certificates import Certificate, CertificateContext, read_certificate

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

RETRY_LOOKS: Final = 60  # after which files that were no good are read again: their date may have come
Stamp = tuple[tuple[int, int, int, int] | None, ...]  # device, inode, time and size of each file; None: not there


class Certificates:
    """All of a server's certificates. What a connection began with it keeps; new ones get `context`."""

    def __init__(self, settings: Settings) -> None:
        """Reads the files. Raises UsageError naming the file and its setting."""
        self._settings = settings
        self._seen: Stamp = ()
        self._stamp = self._seen = self._look()  # of the files in use; of those that were seen last
        self._wait = 0  # looks before files that did not change are worth reading
        self.context = self._read()

    def renew(self) -> bool:
        """Read the files anew if they are others than those in use. Returns whether they are in use now.

        Raises UsageError when they are no good: those in use stay so.
        """
        stamp = self._look()
        if stamp == self._stamp:
            return False
        self._seen = stamp
        self._wait = RETRY_LOOKS
        self.context = self._read()
        self._stamp = stamp
        return True

    def settled(self) -> bool:
        """Whether to read the files: they are others than those in use, and did not change since this was asked last (a
        certificate and its key are seldom replaced in the same moment), or not for so long that it is worth a retry."""
        before, self._seen = self._seen, self._look()
        self._wait = self._wait - 1 if self._seen == before else 0
        return self._wait < 0 and self._seen != self._stamp

    def _look(self) -> Stamp:
        files = [*self._settings.tls_cert, *self._settings.tls_key]
        if self._settings.tls_ca is not None:
            files.append(self._settings.tls_ca)
        return tuple(map(_stamp, files, self._seen or repeat(None)))

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


def ignore_malformed_names() -> None:
    """Say nothing of names asked for that are no ASCII. Python's `ssl` refuses such a handshake, and tells of each with
    a traceback on stderr: any stranger could fill the log."""
    tell = sys.unraisablehook

    def hook(found: "UnraisableHookArgs") -> None:
        if found.exc_type is not UnicodeDecodeError or not isinstance(found.object, bytes):
            tell(found)

    sys.unraisablehook = hook


def _stamp(path: str, last: tuple[int, int, int, int] | None) -> tuple[int, int, int, int] | None:
    """`last`: what it was when we looked before."""
    try:
        found = os.stat(path)
    except PermissionError:  # in a folder of root's, from before we became another user (--user)
        return last
    except OSError:
        return None
    # Not the time of the content: a file that could not be read is mended by chmod(1), and copies may keep that time.
    return found.st_dev, found.st_ino, found.st_ctime_ns, found.st_size
