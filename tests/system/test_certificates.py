"""What is wrong with a certificate is one clear line, before anybody is shown it."""

import os
import ssl
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID

from prefork.errors import UsageError
from prefork.settings import Settings
from prefork.system.certificates import read_certificate
from prefork.system.tls import check
from tests.certificates import FUTURE, PAST, Folder


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def refusal(cert: str, key: str, settings: Settings | None = None) -> str:
    with pytest.raises(UsageError) as raised:
        read_certificate(cert, key, settings or Settings())
    text = str(raised.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize("kind", list(trustme.KeyType))
def test_a_good_one_is_ready_to_be_shown(folder: Folder, kind: trustme.KeyType) -> None:
    cert, key = folder.make("a", "A.example", "*.a.example", "127.0.0.1", kind=kind)
    found = read_certificate(cert, key, Settings())
    assert found.names == ("a.example", "*.a.example")
    assert Path(cert).read_text().startswith(found.context.server_cert)
    assert found.context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert found.context.verify_mode == ssl.CERT_NONE


def test_only_ciphers_with_forward_secrecy_and_aead_are_offered(folder: Folder) -> None:
    context = read_certificate(*folder.make("a", "a.example"), Settings()).context
    for cipher in context.get_ciphers():
        assert cipher["aead"]
        assert str(cipher["name"]).startswith(("TLS_", "ECDHE-"))


def test_other_ciphers_can_be_chosen(folder: Folder) -> None:
    pair = folder.make("a", "a.example")
    context = read_certificate(*pair, Settings(tls_ciphers="AES128-GCM-SHA256")).context
    names = [cipher["name"] for cipher in context.get_ciphers()]
    assert [name for name in names if not str(name).startswith("TLS_")] == ["AES128-GCM-SHA256"]
    assert refusal(*pair, Settings(tls_ciphers="NOTHING")) == "tls_ciphers: OpenSSL knows no cipher in 'NOTHING'"


def test_a_file_that_is_not_there(folder: Folder) -> None:
    cert, key = folder.make("a", "a.example")
    assert refusal("/no/a.pem", key) == "tls_cert: cannot read /no/a.pem: no such file or directory"
    assert refusal(cert, "/no/a.key") == "tls_key: cannot read /no/a.key: no such file or directory"
    assert refusal(cert, key, Settings(tls_ca="/no/ca.pem", tls_client_auth="required")) == (
        "tls_ca: cannot read /no/ca.pem: no such file or directory"
    )
    assert refusal(str(folder.path), key) == f"tls_cert: cannot read {folder.path}: is a directory"


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_a_file_that_may_not_be_read(folder: Folder) -> None:
    cert, key = folder.make("a", "a.example")
    os.chmod(key, 0)
    assert refusal(cert, key) == f"tls_key: cannot read {key}: permission denied"


def test_files_that_are_no_pem(folder: Folder) -> None:
    cert, key = folder.make("a", "a.example")
    junk = folder.path / "junk"
    junk.write_bytes(bytes(range(256)))
    assert refusal(str(junk), key) == f"tls_cert: {junk}: there is no certificate in PEM in it"
    assert refusal(key, key) == f"tls_cert: {key}: there is no certificate in PEM in it"
    assert refusal(cert, str(junk)) == f"tls_key: {junk}: there is no private key in PEM in it"
    assert refusal(cert, cert) == f"tls_key: {cert}: there is no private key in PEM in it"
    settings = Settings(tls_ca=str(junk), tls_client_auth="required")
    assert refusal(cert, key, settings) == f"tls_ca: {junk}: there are no certificates in PEM in it"


def test_pem_that_holds_rubbish(folder: Folder) -> None:
    cert, key = folder.make("a", "a.example")
    Path(cert).write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    assert refusal(cert, key).startswith(f"tls_cert: {cert} with {key}: ")


def test_the_key_of_another_certificate(folder: Folder) -> None:
    cert, _ = folder.make("a", "a.example")
    for kind in trustme.KeyType:
        _, other = folder.make("b", "a.example", kind=kind)
        assert refusal(cert, other) == f"tls_key: {other}: it is not the key of the certificate in {cert}"


@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
def test_an_encrypted_key_is_refused_and_nobody_is_asked_for_a_password(folder: Folder, form: PrivateFormat) -> None:
    cert, key = folder.make("a", "a.example")
    plain = load_pem_private_key(Path(key).read_bytes(), None)
    Path(key).write_bytes(plain.private_bytes(Encoding.PEM, form, BestAvailableEncryption(b"secret")))
    assert refusal(cert, key).startswith(f"tls_key: {key}: the key is encrypted")


def test_one_that_has_expired_or_is_not_valid_yet(folder: Folder) -> None:
    old = folder.make("old", "a.example", until=PAST)
    assert refusal(*old) == f"tls_cert: {old[0]}: the certificate expired on 2020-01-02 03:04:05 UTC"
    new = folder.make("new", "a.example", since=FUTURE, until=FUTURE.replace(year=2121))
    assert refusal(*new) == f"tls_cert: {new[0]}: the certificate is not valid before 2120-01-01 00:00:00 UTC"


def test_one_that_signed_itself_is_good_unless_it_is_for_clients(folder: Folder) -> None:
    good = folder.make_selfsigned("good", "a.example", ExtendedKeyUsageOID.SERVER_AUTH)
    assert read_certificate(*good, Settings()).names == ("a.example",)
    bad = folder.make_selfsigned("bad", "a.example", ExtendedKeyUsageOID.CLIENT_AUTH)
    assert refusal(*bad) == f"tls_cert: {bad[0]}: clients would refuse it: unsuitable certificate purpose"


def test_every_pair_is_checked(folder: Folder) -> None:
    good, bad = folder.make("a", "a.example"), folder.make("b", "b.example", until=PAST)
    check(Settings())
    check(Settings(tls_cert=[good[0]], tls_key=[good[1]]))
    with pytest.raises(UsageError, match=r"b\.pem: the certificate expired"):
        check(Settings(tls_cert=[good[0], bad[0]], tls_key=[good[1], bad[1]]))
