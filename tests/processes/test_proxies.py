"""Behind a proxy: whom it speaks for is told to the app and to the access log, and nobody else can say such things."""

import json
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.certificates import Folder
from tests.handshake import client_context
from tests.processes.client import Client, Lost
from tests.processes.gate import Gate
from tests.processes.patience import GUARD_SECONDS
from tests.processes.secure import RawClient, SecureClient
from tests.processes.tree import CALM, Tree

pytestmark = pytest.mark.processes

GET = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"
V1 = b"PROXY TCP4 192.0.2.7 192.0.2.1 50000 443\r\n"
V2 = b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0f" + bytes((192, 0, 2, 7, 192, 0, 2, 1)) + b"\xc3\x50\x01\xbb\xea\x00\x00"
LOCAL = b"\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"
TRUSTED = ("--proxy-protocol", "--forwarded-allow", "127.0.0.0/8")


class Site:
    """A tree behind a proxy, which is the test."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self._clients: list[Client] = []

    def connect(self, first: bytes = b"") -> RawClient:
        client = RawClient(self.tree.address, first)
        self._clients.append(client)
        return client

    def close(self) -> None:
        for client in self._clients:
            client.close()


@pytest.fixture
def site(tree: Tree) -> Iterator[Site]:
    site = Site(tree)
    yield site
    site.close()


def told(client: Client) -> Any:
    reply = client.receive()
    assert reply.status == 200, reply
    return json.loads(reply.text)


# -- Forwarded


def test_forwarded_fields_of_a_trusted_proxy_reach_app_and_access_log(site: Site) -> None:
    site.tree.start("mirror:app", "--forwarded-allow", "127.0.0.0/8", "--access-log")
    fields = "x-forwarded-for: 192.0.2.7\r\nx-forwarded-proto: https\r\nx-forwarded-host: b.example\r\n"
    found = json.loads(site.tree.get("/", fields).text)
    assert found["client"] == ["192.0.2.7", 0]
    assert found["scheme"] == "https"
    assert ["host", "b.example"] in found["headers"]
    assert ["x-forwarded-for", "192.0.2.7"] in found["headers"]
    assert site.tree.stop() == 0
    assert [record["client"] for record in site.tree.output.records] == ["192.0.2.7:0"]


def test_forwarded_fields_of_anyone_else_mean_nothing(site: Site) -> None:
    site.tree.start("mirror:app", "--forwarded-allow", "10.0.0.0/8")
    found = json.loads(site.tree.get("/", "x-forwarded-for: 192.0.2.7\r\nx-forwarded-proto: https\r\n").text)
    assert found["client"][0] == "127.0.0.1"
    assert found["scheme"] == "http"


# -- PROXY


@pytest.mark.parametrize("header", [V1, V2], ids=["version 1", "version 2"])
def test_the_header_tells_the_client_and_holds_for_the_connection(site: Site, header: bytes) -> None:
    site.tree.start("mirror:app", *TRUSTED, "--access-log")
    client = site.connect(header + GET)
    for _ in range(2):
        found = told(client)
        assert (found["client"], found["server"]) == (["192.0.2.7", 50000], ["192.0.2.1", 443])
        client.send_raw(GET)
    told(client)
    client.close()
    assert site.tree.stop() == 0
    assert {record["client"] for record in site.tree.output.records} == {"192.0.2.7:50000"}


def test_curl_speaks_for_its_client(site: Site) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    site.tree.start("mirror:app", *TRUSTED)
    command = ["curl", "--silent", "--show-error", "--haproxy-protocol", site.tree.address]
    out = subprocess.run(command, check=True, capture_output=True, timeout=GUARD_SECONDS).stdout
    found = json.loads(out)
    assert found["client"][0] == "127.0.0.1"
    assert found["server"] == ["127.0.0.1", int(site.tree.address.rpartition(":")[2])]


@pytest.mark.parametrize("header", [V1, V2], ids=["version 1", "version 2"])
def test_a_header_in_pieces_loses_nothing_of_what_follows(site: Site, header: bytes) -> None:
    site.tree.start("mirror:app", *TRUSTED, workers=1)
    client = site.connect()
    client._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for byte in header[:-1]:
        client.send_raw(bytes((byte,)))
    client.send_raw(header[-1:] + GET[:5])
    client.send_raw(GET[5:] + GET)
    assert told(client)["client"] == told(client)["client"] == ["192.0.2.7", 50000]


@pytest.mark.parametrize("header", [LOCAL, b"PROXY UNKNOWN\r\n"], ids=["LOCAL", "UNKNOWN"])
def test_a_proxy_that_speaks_for_itself_is_the_client(site: Site, header: bytes) -> None:
    site.tree.start("mirror:app", *TRUSTED)
    client = site.connect(header + GET)
    host, port = client._socket.getsockname()
    assert told(client)["client"] == [host, port]


def test_forwarded_fields_are_believed_from_the_client_that_the_header_tells(site: Site) -> None:
    """Once the header has said who is there, the proxy's own address is out of the picture."""
    site.tree.start("mirror:app", *TRUSTED)
    lie = b"GET / HTTP/1.1\r\nhost: a\r\nx-forwarded-for: 198.51.100.1\r\n\r\n"
    assert told(site.connect(V1 + lie))["client"] == ["192.0.2.7", 50000]
    inner = b"PROXY TCP4 127.0.0.9 127.0.0.1 50000 443\r\n"
    assert told(site.connect(inner + lie))["client"] == ["198.51.100.1", 0]


def test_a_second_header_is_no_request(site: Site) -> None:
    site.tree.start("mirror:app", *TRUSTED)
    client = site.connect(V1 + V1 + GET)
    assert client.receive().status == 400
    client = site.connect(V1 + GET)
    told(client)
    client.send_raw(V1.replace(b"192.0.2.7", b"192.0.2.8") + GET)
    assert client.receive().status == 400


@pytest.mark.parametrize(
    "lie",
    [
        GET,
        b"\r\n" + V1 + GET,
        b"GET / HTTP/1.1\r\n" + V1 + b"host: a\r\n\r\n",
        V1.replace(b"TCP4", b"TCP5") + GET,
        V1.replace(b"50000", b"99999") + GET,
        V1.replace(b"\r\n", b"\n") + GET + b"x" * 107,
        V2.replace(b"\x21\x11", b"\x22\x11") + GET,
        V2.replace(b"\x00\x0f", b"\xff\xff") + GET,
    ],
    ids=["none", "not first", "in a head", "family", "port", "no CR", "command", "length"],
)
def test_a_header_that_lies_is_400_and_the_worker_stays(site: Site, gate: Gate, lie: bytes) -> None:
    site.tree.start("mirror:app", *TRUSTED, workers=1)
    pid = site.tree.worker(0)
    client = site.connect(lie.replace(b"GET / ", b"GET /gate "))
    reply = client.receive()
    assert (reply.status, "PROXY" in reply.text) == (400, True)
    client.wait_closed()
    site.tree.log.wait("refused a connection from 127.0.0.1: .*; proxy_protocol is on")
    assert told(site.connect(V1 + GET))["client"] == ["192.0.2.7", 50000]
    assert site.tree.worker(0) == pid
    assert gate.nobody_waits()
    assert not [record for record in site.tree.log.records if "traceback" in record]


def test_strangers_are_refused_whatever_they_say(site: Site) -> None:
    site.tree.start("mirror:app", "--proxy-protocol", "--forwarded-allow", "10.0.0.0/8", workers=1)
    for first in (V1 + GET, GET, b""):
        with pytest.raises((Lost, ConnectionResetError)):
            site.connect(first).receive()
    site.tree.log.wait("refused a connection from 127.0.0.1, which is not in forwarded_allow; proxy_protocol is on")
    assert len(site.tree.log.find("refused a connection")) == 1


def test_a_header_that_does_not_come_ends_the_connection(site: Site) -> None:
    site.tree.start("mirror:app", *TRUSTED, "--header-seconds", "0.2", *CALM)
    for first in (b"", V1[:10], V2[:20]):
        site.connect(first).wait_closed()
    assert told(site.connect(V1 + GET))["client"] == ["192.0.2.7", 50000]


def test_nothing_leaks_from_one_connection_to_another(site: Site) -> None:
    site.tree.start("mirror:app", *TRUSTED, workers=1)
    headers = [b"PROXY TCP4 192.0.2.%d 192.0.2.1 5000 443\r\n" % number for number in range(1, 9)]
    clients = [site.connect(header) for header in headers]
    for _ in range(2):
        for client in reversed(clients):
            client.send_raw(GET)
        assert [told(client)["client"][0] for client in clients] == [f"192.0.2.{number}" for number in range(1, 9)]
    half = site.connect(headers[0][:20])  # of a client that leaves within its header
    half.close()
    own = site.connect(LOCAL + GET)
    assert told(own)["client"][0] == "127.0.0.1"


def test_a_unix_socket_is_trusted_when_it_is_named(site: Site, tmp_path: Path) -> None:
    site.tree.start(
        "mirror:app", "--bind", f"unix:{tmp_path}/socket", "--proxy-protocol", "--forwarded-allow", "unix", workers=1
    )
    assert told(site.connect(V1 + GET))["client"] == ["192.0.2.7", 50000]


def test_it_stays_with_its_worker_and_is_told_when_that_leaves(site: Site, gate: Gate) -> None:
    """Another worker would not know what the header said."""
    site.tree.start("mirror:app", *TRUSTED, *CALM, workers=1)
    client, idle = site.connect(V1 + GET.replace(b"/ ", b"/gate ")), site.connect(V1 + GET)
    told(idle)
    visitor = gate.wait_entered()
    site.tree.send_signal(signal.SIGHUP)
    idle.wait_closed()
    visitor.release()
    reply = client.receive()
    assert "\r\nconnection: close" in reply.head
    assert json.loads(reply.text)["client"] == ["192.0.2.7", 50000]
    client.wait_closed()


def test_the_header_comes_before_the_handshake(site: Site, tmp_path: Path) -> None:
    (tmp_path / "pki").mkdir()
    folder = Folder(tmp_path / "pki")
    cert, key = folder.make("a", "localhost")
    site.tree.start("mirror:app", *TRUSTED, "--tls-cert", cert, "--tls-key", key, workers=1)
    context = client_context(folder.authority)
    for header in (V1, V2):
        with SecureClient(site.tree.address, context, "localhost", header) as client:
            found = json.loads(client.get("/").text)
            assert (found["client"], found["scheme"]) == (["192.0.2.7", 50000], "https")
            assert found["tls"]["tls_version"] == 0x0304
    with pytest.raises(OSError, match=r"EOF|reset|closed|SSL"):
        SecureClient(site.tree.address, context, "localhost")
    with SecureClient(site.tree.address, context, "localhost", V1) as client:
        assert client.get("/").status == 200
