"""What some scenarios need on disk: a certificate, files to serve. Made anew for each run."""

from pathlib import Path
from random import Random

from benchmarks.peers import PEERS, run, tool

CERTIFICATE, KEY = PEERS / "certificate.pem", PEERS / "key.pem"
DAYS = 2  # that the certificate is valid: longer than any run
FILES = PEERS / "files" / "static"  # served as /static; apps/static_*.py know the folder
SIZES = {"16k.bin": 16 * 1024, "1m.bin": 1024 * 1024}


def make_certificate(certificate: Path = CERTIFICATE, key: Path = KEY) -> None:
    """A self-signed certificate for 127.0.0.1 on a key of P-256. Raises PeerError."""
    certificate.parent.mkdir(exist_ok=True)
    asked = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", str(DAYS)]
    named = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    run([tool("openssl"), "req", *asked, *named, "-keyout", str(key), "-out", str(certificate)])


def make_files() -> None:
    """The files of SIZES."""
    FILES.mkdir(parents=True, exist_ok=True)
    for name in SIZES:
        (FILES / name).write_bytes(contents(name))


def contents(name: str) -> bytes:
    """The bytes of a file: the same in every run, and not to be compressed."""
    return Random(name).randbytes(SIZES[name])
