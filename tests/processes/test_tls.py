"""TLS as clients meet it: the right certificate, fresh ones without a lost connection, and no harm from rubbish."""

import json
import os
import signal
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme
from websockets.sync.client import connect

from tests.certificates import PAST, Folder
from tests.handshake import client_context
from tests.processes.client import Lost
from tests.processes.gate import Gate
from tests.processes.patience import GUARD_SECONDS
from tests.processes.secure import RawClient, SecureClient
from tests.processes.tree import CALM, Tree

pytestmark = pytest.mark.processes


class Site:
    """A tree that shows `a.pem`, and clients that trust its authority."""

    def __init__(self, tree: Tree, folder: Folder) -> None:
        self.tree = tree
        self.folder = folder
        self.context = client_context(folder.authority)
        self._clients: list[Any] = []

    def start(self, *flags: str, target: str = "mirror:app", workers: int = 2) -> None:
        cert, key = self.folder.make("a", "localhost", "127.0.0.1")
        self.tree.start(target, "--tls-cert", cert, "--tls-key", key, *flags, workers=workers)

    def connect(self, name: str | None = "localhost", context: ssl.SSLContext | None = None) -> SecureClient:
        client = SecureClient(self.tree.address, context or self.context, name)
        self._clients.append(client)
        return client

    def raw(self, first: bytes = b"") -> RawClient:
        client = RawClient(self.tree.address, first)
        self._clients.append(client)
        return client

    def told(self, client: SecureClient, path: str = "/") -> Any:
        return json.loads(client.get(path).text)

    def close(self) -> None:
        for client in self._clients:
            client.close()


@pytest.fixture
def site(tree: Tree, tmp_path: Path) -> Iterator[Site]:
    (tmp_path / "pki").mkdir()
    site = Site(tree, Folder(tmp_path / "pki"))
    yield site
    site.close()


# -- what clients see


def test_httpx_is_content_with_the_certificate(site: Site) -> None:
    site.start()
    assert site.tree.address.startswith("https://127.0.0.1:")
    context = ssl.create_default_context(cafile=site.folder.ca)
    with httpx.Client(base_url=site.tree.address, verify=context, trust_env=False) as client:
        first, second = client.get("/"), client.get("/")
    assert first.status_code == second.status_code == 200
    told = first.json()
    assert told["scheme"] == "https"
    assert told["client"] == second.json()["client"]
    assert told["tls"]["tls_version"] == 0x0304
    assert (site.folder.path / "a.pem").read_text().startswith(told["tls"]["server_cert"])
    with (
        httpx.Client(base_url=site.tree.address, trust_env=False) as stranger,
        pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"),
    ):
        stranger.get("/")


def test_the_name_that_is_asked_for_chooses_the_certificate(site: Site) -> None:
    cert, key = site.folder.make("b", "b.example", "*.b.example")
    first = site.folder.make("a", "localhost")
    site.tree.start(
        "mirror:app", *("--tls-cert", first[0], "--tls-key", first[1]), *("--tls-cert", cert, "--tls-key", key)
    )
    assert site.connect("b.example").shown == "b.example"
    assert site.connect("www.b.example").shown == "b.example"
    assert site.connect("localhost").shown == "localhost"
    assert site.connect(None).shown == "localhost"
    client = site.connect("b.example")
    assert Path(cert).read_text().startswith(site.told(client)["tls"]["server_cert"])


@pytest.mark.parametrize("auth", ["optional", "required"])
def test_a_client_certificate_is_told_to_the_app(site: Site, auth: str) -> None:
    site.start("--tls-ca", site.folder.ca, "--tls-client-auth", auth)
    mine = client_context(site.folder.authority)
    own = site.folder.authority.issue_cert("me@a.example", common_name="Jane")
    own.configure_cert(mine)
    with_one = site.connect(context=mine)
    told = site.told(with_one)["tls"]
    assert told["client_cert_name"].startswith("CN=Jane,")
    assert told["client_cert_chain"][0] == own.cert_chain_pems[0].bytes().decode()
    if auth == "optional":
        without = site.told(site.connect())["tls"]
        assert (without["client_cert_name"], without["client_cert_chain"]) == (None, [])
        assert site.told(with_one)["tls"]["client_cert_name"].startswith("CN=Jane,")
    else:
        assert refused(site, site.context)
    foreign = client_context(site.folder.authority)
    trustme.CA().issue_cert("me@a.example", common_name="Jane").configure_cert(foreign)
    assert refused(site, foreign)
    assert site.told(with_one)["scheme"] == "https"


def refused(site: Site, context: ssl.SSLContext) -> bool:
    """Whether a client gets no answer. With TLS 1.3 it learns only when it reads that its certificate is no good."""
    try:
        site.connect(context=context).get("/")
    except (OSError, Lost):
        return True
    return False


def test_a_session_is_resumed_by_whichever_worker_gets_it(site: Site) -> None:
    """Tickets of TLS 1.3 are good for all workers of a mold: it made the keys."""
    site.start()
    first = site.connect()
    first.get("/")
    ticket = first.session.session
    for _ in range(2):  # in turn: both workers
        raw = socket.create_connection(("127.0.0.1", int(site.tree.address.rpartition(":")[2])), GUARD_SECONDS)
        with site.context.wrap_socket(raw, server_hostname="localhost", session=ticket) as again:
            again.sendall(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
            while again.recv(65536):
                pass
            assert again.session_reused


def test_a_file_arrives_as_it_is(site: Site, tmp_path: Path) -> None:
    """Not by sendfile(2), which would write beside the encryption."""
    content = os.urandom(3 * 2**20 + 17)
    (tmp_path / "content").write_bytes(content)
    site.start(target="download:app")
    context = ssl.create_default_context(cafile=site.folder.ca)
    with httpx.Client(base_url=site.tree.address, verify=context, trust_env=False) as client:
        assert client.get("/content").content == content
        assert client.get("/content", headers={"range": "bytes=100-300099"}).content == content[100:300100]
        assert client.get("/who").status_code == 200


def test_a_slow_client_gets_all_of_a_last_answer(site: Site) -> None:
    site.start("--tls-handshake-seconds", "1", *CALM, workers=1)
    client = site.connect()
    client.send("/large", "connection: close\r\n")
    client.receive_until(b"\r\n\r\n")
    site.raw().wait_closed()  # a second has passed for the server, and it has closed
    size = len(client.receive_all())
    assert size == 2**24


def test_a_refused_request_is_answered_and_the_end_is_told(site: Site) -> None:
    site.start()
    client = site.connect()
    client.session.sendall(b"GET / HTTP/1.1\r\nhost: a b\r\n\r\n" + b"x" * 100_000)
    assert client.receive().status == 400
    client.wait_closed()
    client.session.unwrap().close()


def test_a_websocket_lives_in_tls_too(site: Site) -> None:
    site.start(target="sockets:app", workers=1)
    url = site.tree.address.replace("https:", "wss:") + "/echo"
    with connect(url, ssl=site.context, server_hostname="localhost", proxy=None) as client:
        for size in (5, 100_000):
            client.send("x" * size)
            assert client.recv(GUARD_SECONDS) == "x" * size
    assert site.tree.stop() == 0
    assert not [record for record in site.tree.log.records if record["level"] in ("warning", "error")]


# -- fresh certificates


def all_show(site: Site, name: str) -> None:
    """Both workers show that certificate."""
    assert {site.connect(None).shown for _ in range(4)} == {name}


def test_hup_brings_new_certificates_and_closes_no_connection_with_a_request_on_it(site: Site, gate: Gate) -> None:
    site.start("--drain-seconds", "3600", *CALM)
    old = site.connect()
    old.send("/gate")
    visitor = gate.wait_entered()
    site.folder.make("a", "new.example")
    mark = site.tree.log.mark()
    site.tree.send_signal(signal.SIGHUP)
    site.tree.wait_ready(0, mark)
    site.tree.wait_ready(1, mark)
    all_show(site, "new.example")
    visitor.release()
    reply = old.receive()
    assert reply.status == 200
    assert "\r\nconnection: close" in reply.head
    assert old.shown == "localhost"


def test_hup_with_a_bad_certificate_leaves_the_old_generation_serving(site: Site) -> None:
    site.start()
    idle = site.connect()
    idle.get("/")
    os.rename(site.folder.path / "a.pem", site.folder.path / "moved.pem")
    site.tree.send_signal(signal.SIGHUP)
    site.tree.log.wait(r"^tls_cert: cannot read .*a\.pem: no such file or directory$")
    site.tree.log.wait("reload failed: generation 1 keeps serving")
    assert idle.get("/").status == 200
    assert site.connect().shown == "localhost"


def test_changed_files_are_taken_without_losing_a_connection(site: Site) -> None:
    site.start("--log-level", "debug", *CALM)
    clients = [site.connect() for _ in range(2)]
    before = [client.get("/").status for client in clients]
    site.folder.make("a", "new.example")
    site.tree.log.wait("the TLS certificates were read anew", count=2)
    all_show(site, "new.example")
    assert [client.get("/").status for client in clients] == before == [200, 200]
    assert site.connect(None).get("/").status == 200


def test_changed_files_that_are_no_good_are_told_once_and_not_taken(site: Site) -> None:
    site.start(*CALM, workers=1)
    site.folder.make("a", "late.example", until=PAST)
    pattern = r"the new TLS certificates are no good, the old ones stay in use: tls_cert: .*a\.pem: .* expired on 2020"
    site.tree.log.wait(pattern)
    assert site.connect().shown == "localhost"
    site.folder.make("a", "good.example")
    site.tree.log.wait("the TLS certificates were read anew")
    assert len(site.tree.log.find(pattern)) == 1
    assert site.connect(None).shown == "good.example"


def test_a_worker_that_comes_later_shows_what_the_others_show(site: Site) -> None:
    """It is forked from a mold that has read the certificates long ago."""
    site.start(*CALM, workers=1)
    site.folder.make("a", "new.example")
    site.tree.log.wait("the TLS certificates were read anew")
    mark = site.tree.log.mark()
    os.kill(site.tree.worker(0), signal.SIGKILL)
    site.tree.wait_ready(0, mark)
    assert site.connect(None).shown == "new.example"


# -- drain


def test_a_stop_closes_idle_sessions_and_finishes_the_others(site: Site, gate: Gate) -> None:
    site.start(*CALM, workers=1)
    idle, busy = site.connect(), site.connect()
    idle.get("/")
    busy.send("/gate")
    visitor = gate.wait_entered()
    site.tree.send_signal(signal.SIGTERM)
    idle.wait_closed()
    visitor.release()
    assert busy.receive().status == 200
    busy.wait_closed()
    assert site.tree.wait_exit() == 0


def test_a_reload_does_not_lose_a_client_that_has_not_said_anything_yet(site: Site) -> None:
    site.start("--tls-handshake-seconds", "3600", "--drain-seconds", "3600", *CALM, workers=1)
    silent = site.raw()
    site.connect().get("/")  # it came later, so the worker has the silent one
    mark = site.tree.log.mark()
    site.tree.send_signal(signal.SIGHUP)
    site.tree.wait_ready(0, mark)
    site.tree.log.wait(r"worker 0 \(generation 1, .* drains: reload", mark)
    with site.context.wrap_socket(silent._socket, server_hostname="localhost") as session:
        session.sendall(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        received = b""
        while piece := session.recv(65536):
            received += piece
    assert received.startswith(b"HTTP/1.1 200 OK\r\n")
    site.tree.log.wait(r"worker 0 \(generation 1, .* has drained", mark)


def test_a_stop_does_not_wait_for_clients_that_say_nothing(site: Site) -> None:
    site.start("--tls-handshake-seconds", "3600", "--drain-seconds", "3600", workers=1)
    silent = site.raw()
    site.connect().get("/")  # it came later, so the worker has the silent one
    site.tree.send_signal(signal.SIGTERM)
    silent.wait_closed()
    assert site.tree.wait_exit() == 0


# -- rubbish


def test_plain_http_gets_an_answer_that_can_be_read(site: Site) -> None:
    site.start("--access-log")
    client = site.raw(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
    reply = client.receive()
    assert (reply.status, reply.text) == (400, "this port speaks TLS: use https://\n")
    client.wait_closed()
    client.close()
    assert site.connect().get("/").status == 200
    assert site.tree.stop() == 0
    assert sorted(str(record["status"]) for record in site.tree.output.records) == ["200", "400"]


def test_plain_http_is_never_served_on_the_tls_port(site: Site, gate: Gate) -> None:
    site.start()
    client = site.raw(b"GET /gate HTTP/1.1\r\nhost: a\r\n\r\n" * 3)
    assert client.receive().status == 400
    client.wait_closed()
    assert gate.nobody_waits()


@pytest.mark.parametrize(
    "rubbish",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)) * 4,
        b"\x16\x03\x01\x00\x05hello" + b"x" * 1000,
        b"\x16" * 1000,
        b"\x80\x2e\x01\x00\x02" + b"x" * 1000,
        b"\x00" * 1000,
    ],
    ids=["half a hello", "no hello", "one byte", "SSL 2", "zeros"],
)
def test_rubbish_is_closed_and_the_worker_stays(site: Site, rubbish: bytes) -> None:
    site.start("--log-level", "debug", workers=1)
    pid = site.tree.worker(0)
    client = site.raw(rubbish)
    if rubbish.startswith(b"\x16\x03\x01\x02"):
        client.close()  # it waits for the rest
    else:
        try:
            while client._socket.recv(65536):
                pass
        except ConnectionResetError:
            pass
    site.tree.log.wait("a connection was gone before it was opened: (the|what|[Cc]onn)")
    assert site.connect().get("/").status == 200
    assert site.tree.worker(0) == pid
    assert not [record for record in site.tree.log.records if "traceback" in record]
    assert not [record for record in site.tree.log.records if record["level"] in ("warning", "error")]


def test_a_handshake_that_stalls_is_ended_in_time(site: Site) -> None:
    site.start("--tls-handshake-seconds", "0.2", *CALM, workers=1)
    silent, stalled = site.raw(), site.raw(b"\x16\x03\x01\x02\x00\x01\x00")
    for client in (silent, stalled):
        client.wait_closed()
    assert site.connect().get("/").status == 200


def test_more_handshakes_wait_for_their_turn(site: Site) -> None:
    """Two that stall have all the turns; the third gets its own when they are over."""
    site.start("--tls-handshakes", "2", "--tls-handshake-seconds", "0.5", *CALM, workers=1)
    stalled = [site.raw(b"\x16\x03\x01\x02\x00\x01\x00") for _ in range(2)]
    assert site.connect().get("/").status == 200
    for client in stalled:
        client.wait_closed()


def test_those_who_say_nothing_take_no_turn(site: Site) -> None:
    site.start("--tls-handshakes", "1", "--tls-handshake-seconds", "3600", *CALM, workers=1)
    silent = [site.raw() for _ in range(3)]
    assert site.connect().get("/").status == 200
    del silent


def test_those_who_stall_after_a_byte_hold_up_nobody_for_long(site: Site) -> None:
    site.start("--tls-handshakes", "1", "--tls-handshake-seconds", "3600", *CALM, workers=1)
    stalled = [site.raw(b"\x16") for _ in range(2)]
    assert site.connect().get("/").status == 200
    del stalled


def test_a_name_that_is_no_ascii_is_refused_without_a_word(site: Site) -> None:
    """Anybody may ask for it, as often as they like."""
    pairs = [site.folder.make(name, name) for name in ("localhost", "b.example")]
    flags = [flag for cert, key in pairs for flag in ("--tls-cert", cert, "--tls-key", key)]
    site.tree.start("mirror:app", *flags, workers=1)
    hello = ssl.MemoryBIO()
    asking = site.context.wrap_bio(ssl.MemoryBIO(), hello, server_hostname="b.example")
    with pytest.raises(ssl.SSLWantReadError):
        asking.do_handshake()
    refused = site.raw(hello.read().replace(b"b.example", b"b.\xffxample"))
    while refused.receive_raw():  # an alert
        pass
    assert site.connect("b.example").shown == "b.example"
    assert site.tree.stop() == 0
    assert not site.tree.log.find("Traceback|Exception")


def test_failed_handshakes_do_not_use_up_the_room_for_connections(site: Site) -> None:
    site.start("--max-connections", "2", *CALM, workers=1)
    for _ in range(6):
        client = site.raw(b"\x16\x03\x01\x00\x05hello")
        try:
            while client._socket.recv(65536):
                pass
        except ConnectionResetError:
            pass
    assert site.connect().get("/").status == 200


def test_nothing_leaks_from_one_connection_to_another(site: Site) -> None:
    site.start("--tls-ca", site.folder.ca, "--tls-client-auth", "optional", workers=1)
    mine = client_context(site.folder.authority)
    site.folder.authority.issue_cert("me@a.example", common_name="Jane").configure_cert(mine)
    for _ in range(3):
        known, unknown = site.connect(context=mine), site.connect()
        told = [site.told(client) for client in (known, unknown, known, unknown)]
        assert [bool(one["tls"]["client_cert_name"]) for one in told] == [True, False, True, False]
        ports = [client.session.getsockname()[1] for client in (known, unknown)]
        assert [one["client"][1] for one in told] == ports * 2


def test_tls_on_a_plain_port_is_named_in_the_log(tree: Tree) -> None:
    tree.start(workers=1)
    context = ssl.create_default_context()
    context.check_hostname = False
    for _ in range(3):
        with pytest.raises(ssl.SSLError):
            SecureClient(tree.address, context)
    client = RawClient(tree.address, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500))
    reply = client.receive()
    assert (reply.status, reply.text) == (400, "this port speaks plain HTTP, not TLS: use http://\n")
    client.close()
    tree.log.wait(r"^TLS on a plain HTTP port, from 127\.0\.0\.1$")
    assert len(tree.log.find("TLS on a plain HTTP port")) == 1
    assert tree.get("/who").status == 200


# -- before anything is bound


@pytest.mark.parametrize("fault", ["missing", "expired", "wrong key", "no authority"])
def test_a_bad_certificate_is_one_line_before_anything_is_bound(site: Site, tmp_path: Path, fault: str) -> None:
    cert, key = site.folder.make("a", "localhost", until=PAST if fault == "expired" else None)
    flags: list[str] = []
    if fault == "missing":
        os.unlink(cert)
    elif fault == "wrong key":
        key = site.folder.make("b", "localhost")[1]
    elif fault == "no authority":
        flags = ["--tls-ca", "/no/ca.pem", "--tls-client-auth", "required"]
    path = f"unix:{tmp_path}/socket"
    site.tree.launch("mirror:app", "--bind", path, "--tls-cert", cert, "--tls-key", key, *flags)
    assert site.tree.wait_exit() == 2
    lines = [str(record["message"]) for record in site.tree.log.records]
    assert len(lines) == 1, lines
    assert lines[0].startswith("prefork: error: tls_")
    assert not (tmp_path / "socket").exists()


def test_a_unix_socket_speaks_tls_too(site: Site, tmp_path: Path) -> None:
    cert, key = site.folder.make("a", "localhost")
    site.tree.start("mirror:app", "--bind", f"unix:{tmp_path}/socket", "--tls-cert", cert, "--tls-key", key)
    told = site.told(site.connect())
    assert (told["scheme"], told["client"]) == ("https", None)


def test_it_works_without_preload_and_with_kernel_balance(site: Site) -> None:
    site.start("--no-preload", "--balance", "kernel")
    for _ in range(4):
        assert site.connect().get("/").status == 200
