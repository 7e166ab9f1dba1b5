"""Certificates for tests, made anew each time, and put into files as an operator would."""

import datetime
from pathlib import Path

import trustme
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

PAST, FUTURE = datetime.datetime(2020, 1, 2, 3, 4, 5), datetime.datetime(2120, 1, 1)


class Folder:
    """A folder with an authority's certificates in it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder
        self.authority = trustme.CA()
        self.authority.cert_pem.write_to_path(str(folder / "ca.pem"))

    def make(
        self,
        name: str,
        *hosts: str,
        since: datetime.datetime | None = None,
        until: datetime.datetime | None = None,
        kind: trustme.KeyType = trustme.KeyType.ECDSA,
    ) -> tuple[str, str]:
        """The paths of a certificate for `hosts` and of its key; files of that name are written over."""
        made = self.authority.issue_cert(*hosts, not_before=since, not_after=until, key_type=kind)
        return self.put(name, made)

    def put(self, name: str, made: trustme.LeafCert) -> tuple[str, str]:
        cert, key = self.path / f"{name}.pem", self.path / f"{name}.key"
        cert.write_bytes(b"".join(blob.bytes() for blob in made.cert_chain_pems))
        key.write_bytes(made.private_key_pem.bytes())
        return str(cert), str(key)

    def make_selfsigned(self, name: str, host: str, purpose: x509.ObjectIdentifier) -> tuple[str, str]:
        """As `make`, signed with its own key and for one purpose."""
        key = generate_private_key(SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
        now = datetime.datetime.now(datetime.UTC)
        made = (
            x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
            .sign(key, SHA256())
        )
        cert, key_path = self.path / f"{name}.pem", self.path / f"{name}.key"
        cert.write_bytes(made.public_bytes(Encoding.PEM))
        key_path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return str(cert), str(key_path)

    @property
    def ca(self) -> str:
        return str(self.path / "ca.pem")
