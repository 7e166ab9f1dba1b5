"""A TLS server is loaded only after it showed our certificate and spoke TLS 1.3."""

import shutil
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme

from benchmarks.fixtures import make_certificate
from benchmarks.probe import ask, check_hello, trusting

HELLO = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 13\r\n\r\nHello, world!"
REQUEST = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
GUARD_SECONDS = 10.0


@contextmanager
def serving(context: ssl.SSLContext) -> Iterator[int]:
    """A server of one connection."""

    def one() -> None:
        connection, _ = listener.accept()
        connection.settimeout(GUARD_SECONDS)
        try:
            with connection, context.wrap_socket(connection, server_side=True) as tls:
                tls.recv(len(REQUEST))
                tls.sendall(HELLO)
        except OSError:  # the client's refusal is what the test is about
            pass

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(GUARD_SECONDS)
        thread = threading.Thread(target=one)
        thread.start()
        yield listener.getsockname()[1]
        thread.join()


@pytest.fixture
def authority(tmp_path: Path) -> tuple[trustme.CA, Path]:
    made, file = trustme.CA(), tmp_path / "ca.pem"
    made.cert_pem.write_to_path(str(file))
    return made, file


def server_side(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


def test_a_server_with_our_certificate_is_asked(authority: tuple[trustme.CA, Path]) -> None:
    made, file = authority
    with serving(server_side(made)) as port:
        (answer,) = ask(port, REQUEST, tls=trusting(file))
    check_hello(answer)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl: apt-get install openssl")
def test_the_certificate_of_a_run_is_one_for_the_address_that_is_loaded(tmp_path: Path) -> None:
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    make_certificate(certificate, key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with serving(context) as port:
        (answer,) = ask(port, REQUEST, tls=trusting(certificate))
    check_hello(answer)


def test_another_certificate_is_refused(authority: tuple[trustme.CA, Path]) -> None:
    _, file = authority
    with serving(server_side(trustme.CA())) as port, pytest.raises(ssl.SSLCertVerificationError):
        ask(port, REQUEST, tls=trusting(file))


def test_tls_before_1_3_is_refused(authority: tuple[trustme.CA, Path]) -> None:
    made, file = authority
    context = server_side(made)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with serving(context) as port, pytest.raises(ssl.SSLError):
        ask(port, REQUEST, tls=trusting(file))
