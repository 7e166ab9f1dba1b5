"""What an app is told of a TLS session, in the words of ASGI's TLS extension."""

import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from prefork.http.tls import Tls, distinguished_name
from prefork.settings import Settings
from prefork.system.tls import Certificates
from tests.certificates import Folder
from tests.handshake import client_context, shake_hands


class Site:
    """A server with two certificates, and clients that have one of their own or not."""

    def __init__(self, folder: Path) -> None:
        self.folder = Folder(folder)
        pairs = [self.folder.make("a", "a.example"), self.folder.make("b", "b.example")]
        settings = Settings(
            tls_cert=[cert for cert, _ in pairs],
            tls_key=[key for _, key in pairs],
            tls_ca=self.folder.ca,
            tls_client_auth="optional",
        )
        self.context = Certificates(settings).context

    def session(self, name: str = "a.example", own: trustme.LeafCert | None = None, **limits: Any) -> Tls:
        context = client_context(self.folder.authority)
        for key, value in limits.items():
            setattr(context, key, value)
        if own is not None:
            own.configure_cert(context)
        return Tls(shake_hands(self.context, context, name)[1])


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_without_a_client_certificate(site: Site) -> None:
    told = site.session().as_extension()
    assert told.pop("cipher_suite") in (0x1301, 0x1302, 0x1303)
    server_cert = told.pop("server_cert")
    assert (site.folder.path / "a.pem").read_text().startswith(server_cert)
    assert told == {
        "client_cert_chain": [],
        "client_cert_name": None,
        "client_cert_error": None,
        "tls_version": 0x0304,
    }


def test_the_certificate_that_was_chosen_by_name_is_told(site: Site) -> None:
    server_cert = site.session("b.example").server_cert
    assert server_cert is not None
    assert (site.folder.path / "b.pem").read_text().startswith(server_cert)


def test_tls_1_2_and_its_cipher_have_their_numbers(site: Site) -> None:
    told = site.session(maximum_version=ssl.TLSVersion.TLSv1_2).as_extension()
    assert told["tls_version"] == 0x0303
    assert told["cipher_suite"] in (0xC02B, 0xC02C, 0xCCA9)


def test_a_client_certificate_and_its_name(site: Site) -> None:
    own = site.folder.authority.issue_cert("me@a.example", common_name="Doe, Jane")
    told = site.session(own=own).as_extension()
    assert told["client_cert_chain"][0] == own.cert_chain_pems[0].bytes().decode()
    assert told["client_cert_name"].startswith("CN=Doe\\, Jane,OU=Testing cert #")
    assert ",O=trustme v" in told["client_cert_name"]


def test_what_an_app_does_to_its_copy_is_not_seen_by_the_next_request(site: Site) -> None:
    session = site.session(own=site.folder.authority.issue_cert("me@a.example"))
    session.as_extension()["client_cert_chain"].clear()
    assert len(session.as_extension()["client_cert_chain"]) >= 1


@pytest.mark.parametrize(
    ("subject", "name"),
    [
        # RFC 4514, 4
        (
            ((("domainComponent", "net"),), (("domainComponent", "example"),), (("userId", "jsmith"),)),
            "UID=jsmith,DC=example,DC=net",
        ),
        (
            (
                (("domainComponent", "net"),),
                (("domainComponent", "example"),),
                (("organizationalUnitName", "Sales"), ("commonName", "J.  Smith")),
            ),
            "OU=Sales+CN=J.  Smith,DC=example,DC=net",
        ),
        (((("commonName", 'James "Jim" Smith, III'),),), 'CN=James \\"Jim\\" Smith\\, III'),
        (((("commonName", "Before\rAfter"),),), "CN=Before\\0dAfter"),
        (((("1.3.6.1.4.1.1466.0", "Hi"),),), "1.3.6.1.4.1.1466.0=#0c024869"),
        (((("commonName", "Lučić"),),), "CN=Lučić"),
        (((("commonName", " #a# "),),), "CN=\\ #a#\\ "),
        (((("commonName", "#a"),),), "CN=\\#a"),
        (((("commonName", "a\x00b+c;d<e>f\\"),),), "CN=a\\00b\\+c\\;d\\<e\\>f\\\\"),
        (((("commonName", " "),),), "CN=\\ "),
        (((("emailAddress", "a@b"),),), "emailAddress=a@b"),
        (((("2.5.4.999", "x" * 200),),), "2.5.4.999=#0c81c8" + "78" * 200),
        ((), ""),
    ],
)
def test_names_are_written_as_rfc_4514_has_it(subject: Any, name: str) -> None:
    assert distinguished_name(subject) == name


@given(st.lists(st.text(max_size=20), min_size=1, max_size=4))
def test_no_value_can_pass_for_more_than_one(values: list[str]) -> None:
    name = distinguished_name(tuple((("commonName", value),) for value in values))
    parts, part, chars = [], "", iter(name)
    for char in chars:
        if char == "\\":
            part += char + next(chars)
        elif char == ",":
            parts.append(part)
            part = ""
        else:
            part += char
    assert len([*parts, part]) == len(values)
    assert "\n" not in name
