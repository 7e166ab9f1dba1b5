"""Read one certificate with its key, and try it as a client would; what is wrong with it is one clear line.

The trial is a handshake in memory. It tells the names and dates of a certificate by the public parts of `ssl` alone.
"""

import re
import ssl
import time
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from prefork.errors import UsageError
from prefork.settings import Settings

# Of TLS 1.2, in this order: forward secrecy and AEAD (RFC 9325, 4.2). Those of TLS 1.3 are all of that kind.
CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"
PROTOCOLS: Final = ("http/1.1",)  # ALPN

_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_KEY = re.compile(rb"-----BEGIN ([A-Z ]*)PRIVATE KEY-----")
_ENCRYPTED = re.compile(rb"-----BEGIN ENCRYPTED PRIVATE KEY-----|Proc-Type: *4, *ENCRYPTED")
_NO_CHECK_TIME: Final = 0x200000  # X509_V_FLAG_NO_CHECK_TIME: the dates are looked at here, in better words
_REASONS: Final = {
    "KEY_VALUES_MISMATCH": "it is not the key of the certificate in {}",
    "KEY_TYPE_MISMATCH": "it is not the key of the certificate in {}",
    "NO_CERTIFICATE_ASSIGNED": "it is not the key of the certificate in {}",  # one of another kind
    "EE_KEY_TOO_SMALL": "the key of the certificate in {} is too short to be safe",
    "CA_MD_TOO_WEAK": "the certificate in {} is signed with a digest that is not safe",
}


class CertificateContext(ssl.SSLContext):
    """A context that knows what it shows: `server_cert`, in PEM."""

    server_cert: str = ""


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate that can be shown, and the names it is for, in lower case: `a.example`, `*.a.example`."""

    context: CertificateContext
    names: tuple[str, ...]


class Locked(Exception):
    """OpenSSL asks for the password of a key."""


def read_certificate(cert: str, key: str, settings: Settings) -> Certificate:
    """The certificate in the file `cert` with its `key`, ready to be shown. Raises UsageError."""
    chain = _CERTIFICATE.findall(_read("tls_cert", cert).decode("latin-1"))
    if not chain:
        raise UsageError(f"tls_cert: {cert}: there is no certificate in PEM in it")
    _check_key(key)
    context = _context(settings)
    _load(context, cert, key)
    context.server_cert = chain[0] + "\n"
    shown = _try(context.server_cert, cert, key, settings)
    _check_dates(cert, shown["notBefore"], shown["notAfter"])
    names = tuple(value.lower() for kind, value in shown.get("subjectAltName", ()) if kind == "DNS")
    return Certificate(context, names)


def _read(setting: str, path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise UsageError(f"{setting}: cannot read {path}: {(error.strerror or str(error)).lower()}") from None


def _check_key(path: str) -> None:
    data = _read("tls_key", path)
    if not _KEY.search(data):
        raise UsageError(f"tls_key: {path}: there is no private key in PEM in it")
    if _ENCRYPTED.search(data):
        _refuse_encrypted(path)


def _refuse_encrypted(path: str) -> NoReturn:
    raise UsageError(f"tls_key: {path}: the key is encrypted, and nobody is there to type a password: decrypt the file")


def _load(context: ssl.SSLContext, cert: str, key: str) -> None:
    def locked() -> str:
        raise Locked  # without a callback OpenSSL would ask on the terminal

    try:
        context.load_cert_chain(cert, key, locked)
    except Locked:
        _refuse_encrypted(key)
    except ssl.SSLError as error:
        words = _REASONS.get(error.reason or "")
        raise UsageError(
            f"tls_key: {key}: {words.format(cert)}" if words else f"tls_cert: {cert} with {key}: {_words(error)}"
        ) from None
    except OSError as error:  # it was there a moment ago
        raise UsageError(f"tls_cert: cannot read {cert} or {key}: {(error.strerror or str(error)).lower()}") from None


def _words(error: ssl.SSLError) -> str:
    return (error.reason or str(error)).replace("_", " ").lower()


def _context(settings: Settings) -> CertificateContext:
    """What all certificates have in common. Raises UsageError."""
    context = _server_context(settings)
    context.set_alpn_protocols(PROTOCOLS)
    context.options |= ssl.OP_NO_RENEGOTIATION
    if settings.tls_ca is not None:
        authorities = _read("tls_ca", settings.tls_ca).decode("latin-1")
        try:
            context.load_verify_locations(cadata="\n".join(_CERTIFICATE.findall(authorities)))
        except (ssl.SSLError, ValueError):
            raise UsageError(f"tls_ca: {settings.tls_ca}: there are no certificates in PEM in it") from None
    modes = {"none": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}
    context.verify_mode = modes[settings.tls_client_auth]
    return context


def _server_context(settings: Settings) -> CertificateContext:
    context = CertificateContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.set_ciphers(settings.tls_ciphers or CIPHERS)
    except ssl.SSLError:
        raise UsageError(f"tls_ciphers: OpenSSL knows no cipher in {settings.tls_ciphers!r}") from None
    return context


def _try(leaf: str, cert: str, key: str, settings: Settings) -> dict[str, Any]:
    """What a client that trusts this very certificate sees of it, as `getpeercert` tells. Raises UsageError."""
    ours = _server_context(settings)
    _load(ours, cert, key)
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    theirs.check_hostname = False
    theirs.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | _NO_CHECK_TIME
    theirs.load_verify_locations(cadata=leaf)
    to_us, to_them = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = ours.wrap_bio(to_us, to_them, server_side=True)
    client = theirs.wrap_bio(to_them, to_us)
    try:
        for end in (client, server, client):  # hello, hello and certificate, verdict
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                pass
        return dict(client.getpeercert() or {})
    except ssl.SSLCertVerificationError as error:
        raise UsageError(f"tls_cert: {cert}: clients would refuse it: {error.verify_message}") from None
    except (ssl.SSLError, ValueError) as error:
        words = _words(error) if isinstance(error, ssl.SSLError) else str(error)
        raise UsageError(f"tls_cert: {cert}: a handshake with it fails: {words}") from None


def _check_dates(path: str, begins: str, ends: str) -> None:
    """Dates as `getpeercert` gives them: `Jan  5 09:34:43 2018 GMT`."""
    now = time.time()
    if ssl.cert_time_to_seconds(ends) < now:
        raise UsageError(f"tls_cert: {path}: the certificate expired on {_date(ends)}")
    if ssl.cert_time_to_seconds(begins) > now:
        raise UsageError(f"tls_cert: {path}: the certificate is not valid before {_date(begins)}")


def _date(text: str) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(ssl.cert_time_to_seconds(text)))
