"""The certificates of a server: the right one for each name, and fresh ones when the files change."""

import os
import ssl
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme

from prefork.errors import UsageError
from prefork.settings import Settings
from prefork.system.tls import RETRY_LOOKS, Certificates
from tests.certificates import PAST, Folder
from tests.handshake import client_context, shake_hands


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def certificates(*pairs: tuple[str, str], **more: Any) -> Certificates:
    files: Any = {"tls_cert": [cert for cert, _ in pairs], "tls_key": [key for _, key in pairs]}
    return Certificates(Settings(**files, **more))


def shown(folder: Folder, context: ssl.SSLContext, name: str | None) -> str:
    """The first name of the certificate that a client gets who asks for `name`."""
    client, _ = shake_hands(context, client_context(folder.authority), name)
    found = client.getpeercert()
    assert found is not None
    return str(found["subjectAltName"][0][1])


@pytest.mark.parametrize(
    ("asked", "got"),
    [
        ("a.example", "a.example"),
        ("A.EXAMPLE", "a.example"),
        ("b.example", "b.example"),
        ("www.b.example", "*.b.example"),
        ("deep.www.b.example", "a.example"),
        ("api.b.example", "api.b.example"),
        ("unknown.example", "a.example"),
        (None, "a.example"),
    ],
)
def test_the_name_a_client_asks_for_chooses(folder: Folder, asked: str | None, got: str) -> None:
    names = ["a.example", "b.example", "*.b.example", "api.b.example"]
    pairs = [folder.make(str(number), name) for number, name in enumerate(names)]
    assert shown(folder, certificates(*pairs).context, asked) == got


def test_the_first_of_two_for_the_same_name_is_shown(folder: Folder) -> None:
    pairs = [folder.make("one", "a.example", "one.example"), folder.make("two", "b.example", "one.example")]
    assert shown(folder, certificates(*pairs).context, "one.example") == "a.example"


def test_http_1_1_is_agreed_upon(folder: Folder) -> None:
    context = certificates(folder.make("a", "a.example")).context
    theirs = client_context(folder.authority)
    theirs.set_alpn_protocols(["h2", "http/1.1"])
    client, _ = shake_hands(context, theirs, "a.example")
    assert client.selected_alpn_protocol() == "http/1.1"


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
def test_what_is_older_than_tls_1_2_is_refused(folder: Folder) -> None:
    context = certificates(folder.make("a", "a.example")).context
    theirs = client_context(folder.authority)
    theirs.set_ciphers("ALL:@SECLEVEL=0")
    theirs.minimum_version = theirs.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError):
        shake_hands(context, theirs, "a.example")


@pytest.mark.parametrize("auth", ["optional", "required"])
def test_a_client_certificate_must_be_good_if_there_is_one(folder: Folder, auth: str) -> None:
    server = certificates(folder.make("a", "a.example"), tls_ca=folder.ca, tls_client_auth=auth).context
    theirs = client_context(folder.authority)
    folder.authority.issue_cert("me@a.example").configure_cert(theirs)
    _, session = shake_hands(server, theirs, "a.example")
    assert session.getpeercert()
    trustme.CA().issue_cert("me@a.example").configure_cert(theirs)
    with pytest.raises(ssl.SSLError):
        shake_hands(server, theirs, "a.example")


def test_without_a_client_certificate_only_optional_lets_in(folder: Folder) -> None:
    pair = folder.make("a", "a.example")
    shake_hands(
        certificates(pair, tls_ca=folder.ca, tls_client_auth="optional").context, client_context(folder.authority)
    )
    with pytest.raises(ssl.SSLError, match="PEER_DID_NOT_RETURN_A_CERTIFICATE"):
        shake_hands(
            certificates(pair, tls_ca=folder.ca, tls_client_auth="required").context, client_context(folder.authority)
        )


def test_the_certificate_chosen_by_name_asks_for_the_clients_too(folder: Folder) -> None:
    pairs = [folder.make("a", "a.example"), folder.make("b", "b.example")]
    server = certificates(*pairs, tls_ca=folder.ca, tls_client_auth="required").context
    with pytest.raises(ssl.SSLError, match="PEER_DID_NOT_RETURN_A_CERTIFICATE"):
        shake_hands(server, client_context(folder.authority), "b.example")
    theirs = client_context(folder.authority)
    folder.authority.issue_cert("me@a.example").configure_cert(theirs)
    shake_hands(server, theirs, "b.example")


def test_files_that_did_not_change_are_not_read_again(folder: Folder) -> None:
    found = certificates(folder.make("a", "a.example"))
    before = found.context
    assert not found.settled()
    assert found.renew() is False
    assert found.context is before


def test_new_files_are_in_use_for_new_connections(folder: Folder) -> None:
    found = certificates(folder.make("a", "a.example"))
    folder.make("a", "b.example")
    assert found.renew() is True
    assert shown(folder, found.context, None) == "b.example"


def test_a_change_is_taken_when_two_looks_agree(folder: Folder) -> None:
    """Certificate and key are replaced one after the other: between the two they do not fit."""
    found = certificates(folder.make("a", "a.example"))
    cert, key = folder.make("next", "b.example")
    os.replace(cert, folder.path / "a.pem")
    assert not found.settled()
    os.replace(key, folder.path / "a.key")
    assert not found.settled()
    assert found.settled()
    assert found.renew() is True
    assert not found.settled()
    assert not found.settled()


def test_a_link_that_is_moved_is_a_change(folder: Folder) -> None:
    """As Kubernetes and cert-manager replace a volume's files: all at once, by the link to their folder."""
    for name in ("one", "two"):
        (folder.path / name).mkdir()
        cert, key = folder.make("tls", f"{name}.example")
        os.replace(cert, folder.path / name / "tls.pem")
        os.replace(key, folder.path / name / "tls.key")
    (folder.path / "data").symlink_to("one")
    found = certificates((f"{folder.path}/data/tls.pem", f"{folder.path}/data/tls.key"))
    (folder.path / "fresh").symlink_to("two")
    os.replace(folder.path / "fresh", folder.path / "data")
    assert found.renew() is True
    assert shown(folder, found.context, None) == "two.example"


def test_new_files_that_are_no_good_leave_the_old_ones_in_use(folder: Folder) -> None:
    found = certificates(folder.make("a", "a.example"))
    folder.make("a", "b.example", until=PAST)
    assert not found.settled()
    assert found.settled()
    with pytest.raises(UsageError, match="expired"):
        found.renew()
    assert shown(folder, found.context, None) == "a.example"
    assert not found.settled()
    folder.make("a", "c.example")
    assert found.renew() is True
    assert shown(folder, found.context, None) == "c.example"


def test_files_that_are_gone_leave_the_old_ones_in_use(folder: Folder) -> None:
    cert, key = folder.make("a", "a.example")
    found = certificates((cert, key))
    os.unlink(cert)
    with pytest.raises(UsageError, match="no such file"):
        found.renew()
    assert shown(folder, found.context, None) == "a.example"


def test_files_that_were_no_good_are_read_again_after_a_while(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fresh certificate whose first day is still to come by our clock, say, or a read that failed for once."""
    found = certificates(folder.make("a", "a.example"))
    later = datetime.now(UTC) + timedelta(hours=1)
    folder.make("a", "b.example", since=later, until=later + timedelta(days=1))
    with pytest.raises(UsageError, match="not valid before"):
        found.renew()
    monkeypatch.setattr("prefork.system.certificates.time.time", lambda: time.monotonic() + later.timestamp())
    assert [found.settled() for _ in range(RETRY_LOOKS + 1)] == [False] * RETRY_LOOKS + [True]
    assert found.renew() is True
    assert not any(found.settled() for _ in range(RETRY_LOOKS + 1))


def test_a_file_that_could_not_be_read_is_read_once_its_mode_is_mended(folder: Folder) -> None:
    cert, key = folder.make("a", "a.example")
    found = certificates((cert, key))
    before = os.stat(key)
    while os.stat(key).st_ctime_ns == before.st_ctime_ns:  # until the kernel's clock has ticked
        os.chmod(key, 0o400)
    assert os.stat(key).st_mtime_ns == before.st_mtime_ns
    assert found.renew() is True
