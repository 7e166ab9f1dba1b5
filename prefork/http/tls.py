"""What is known of a connection's TLS session, in the words of ASGI's TLS extension."""

import ssl
from functools import cached_property, lru_cache
from typing import Any, Final

# Attribute types that RFC 4514, 3 wants by a short name; OpenSSL tells them by their long ones.
_SHORT_NAMES: Final = {
    "commonName": "CN",
    "localityName": "L",
    "stateOrProvinceName": "ST",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "countryName": "C",
    "streetAddress": "STREET",
    "domainComponent": "DC",
    "userId": "UID",
}
_ESCAPED: Final = frozenset('"+,;<>\\')
_UTF8_STRING: Final = b"\x0c"  # the tag of its encoding
_CONTEXTS: Final = 64  # whose ciphers are remembered: as many as there are certificates, about


class Tls:
    """A TLS session. Everything is found out when it is first asked for."""

    def __init__(self, session: ssl.SSLObject) -> None:
        self._session = session

    def as_extension(self) -> dict[str, Any]:
        """`scope["extensions"]["tls"]`, a dict of one's own."""
        return {
            "server_cert": self.server_cert,
            "client_cert_chain": list(self.client_cert_chain),
            "client_cert_name": self.client_cert_name,
            "client_cert_error": None,  # a client whose certificate is no good does not come this far
            "tls_version": self.version,
            "cipher_suite": self.cipher_suite,
        }

    @cached_property
    def server_cert(self) -> str | None:
        """The certificate we have shown, in PEM."""
        return getattr(self._session.context, "server_cert", None)

    @cached_property
    def client_cert_chain(self) -> tuple[str, ...]:
        """The client's certificate in PEM, then what it sent with it, as far as this Python tells (3.13)."""
        leaf = self._session.getpeercert(binary_form=True)
        if leaf is None:
            return ()
        chain = getattr(self._session, "get_unverified_chain", lambda: [leaf])()
        return tuple(ssl.DER_cert_to_PEM_cert(certificate) for certificate in chain)

    @cached_property
    def client_cert_name(self) -> str | None:
        """The subject of the client's certificate (RFC 4514); None without one."""
        found: Any = self._session.getpeercert()
        return distinguished_name(found["subject"]) if found else None

    @cached_property
    def version(self) -> int | None:
        """Such as 0x0304 for TLS 1.3."""
        version = self._session.version()
        return int(ssl.TLSVersion[version.replace(".", "_")]) if version in ("TLSv1.2", "TLSv1.3") else None

    @cached_property
    def cipher_suite(self) -> int | None:
        """Its number in IANA's registry."""
        found = self._session.cipher()
        return _suites(self._session.context).get(found[0]) if found is not None else None


@lru_cache(maxsize=_CONTEXTS)
def _suites(context: ssl.SSLContext) -> dict[str, int]:
    """The numbers of a context's ciphers, by OpenSSL's names."""
    return {str(cipher["name"]): int(cipher["id"]) & 0xFFFF for cipher in context.get_ciphers()}


def distinguished_name(subject: tuple[tuple[tuple[str, str], ...], ...]) -> str:
    """A subject as `getpeercert` gives it, as RFC 4514 writes it: the last part first."""
    return ",".join("+".join(_attribute(kind, value) for kind, value in part) for part in reversed(subject))


def _attribute(kind: str, value: str) -> str:
    if kind[:1].isdigit():  # a type without a name: its value is written as it is encoded (RFC 4514, 2.4)
        data = value.encode()
        return f"{kind}=#{(_UTF8_STRING + _der_length(len(data)) + data).hex()}"
    return f"{_SHORT_NAMES.get(kind, kind)}={_escape(value)}"


def _der_length(length: int) -> bytes:
    if length < 0x80:
        return bytes((length,))
    digits = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((0x80 | len(digits),)) + digits


def _escape(value: str) -> str:
    """RFC 4514, 2.4; control characters in hexadecimal too, so that no log and no header breaks."""
    written = []
    for at, char in enumerate(value):
        if ord(char) < 0x20 or char == "\x7f":
            written.append(f"\\{ord(char):02x}")
        elif char in _ESCAPED or (char == "#" and at == 0) or (char == " " and at in (0, len(value) - 1)):
            written.append("\\" + char)
        else:
            written.append(char)
    return "".join(written)
