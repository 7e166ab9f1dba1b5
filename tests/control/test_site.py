"""The admin's site over a made-up server: who gets what, and who is refused."""

import json
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from prefork.control.async_client import Silent
from prefork.control.entry import Entry
from prefork.control.site import make_site
from prefork.control.status import ServerStatus
from prefork.control.table import COMMANDS
from prefork.errors import CommandError, UsageError
from prefork.settings import Address, TcpAddress, UnixAddress
from prefork.web import App
from tests.control.statuses import status, worker
from tests.web.fake_exchange import FakeExchange, ask

TOKEN = "0123456789abcdef"
LOOPBACK = (TcpAddress("localhost", 9100), TcpAddress("127.0.0.1", 9100))
WRITE = [name for name, command in COMMANDS.items() if command.access == "write"]
READ = [name for name, command in COMMANDS.items() if command.access == "read"]
# Arguments that every one of these commands takes.
ARGUMENTS: dict[str, dict[str, object]] = {
    "scale": {"workers": "2"},
    "retire": {"slot": 0},
    "kill": {"slot": 0},
    "log-level": {"level": "info"},
}


class Server:
    """What the site is shown."""

    def __init__(self, status: ServerStatus | None, silent: float = 0.0) -> None:
        self.status = status
        self.silent = silent
        self.asked: list[tuple[str, Mapping[str, object]]] = []
        self.fails: Exception | None = None
        self.counts = True
        self.pieces: list[bytes] = []

    @property
    def status_json(self) -> bytes:
        return msgspec.json.encode(self.status)

    async def live(self, sample: float, event: int) -> list[bytes]:
        if self.fails is not None:
            raise self.fails
        return self.pieces or [msgspec.json.encode({"sample": sample, "event": event})]

    async def metrics(self, openmetrics: bool) -> bytes | None:
        if self.fails is not None:
            raise self.fails
        return (b"# EOF\n" if openmetrics else b"up 1\n") if self.counts else None

    async def command(self, name: str, arguments: Mapping[str, object]) -> bytes:
        if self.fails is not None:
            raise self.fails
        self.asked.append((name, arguments))
        return b'{"done":"it is done"}'


@pytest.fixture
def server() -> Server:
    return Server(status())


def site(server: Server, token: str | None = TOKEN, addresses: tuple[Address, ...] = LOOPBACK) -> App:
    return make_site(server, Entry(token, addresses))


def get(server: Server, path: str, method: str = "GET", **fields: str) -> FakeExchange:
    return ask(site(server), method, path, fields.items())


def command(server: Server, name: str, arguments: Any = None, token: str | None = TOKEN, **given: Any) -> FakeExchange:
    fields = [] if token is None else [("authorization", f"Bearer {token}")]
    body = b"" if arguments is None else json.dumps(arguments).encode()
    return ask(site(server, **given), "POST", f"/command/{name}", fields, body)


def error(exchange: FakeExchange) -> str:
    return str(json.loads(exchange.body)["error"])


# -- probes


@pytest.mark.parametrize(
    ("shown", "status_code", "words"),
    [
        (status(), 200, "ready: 2 of 2 workers"),
        (status(workers=[worker(0, state="ready"), worker(1, state="booting")]), 200, "ready: 1 of 2 workers"),
        (status(workers=[worker(0, state="stalled")]), 200, "ready: 1 of 2 workers, 1 of them blocked"),
        (
            status(workers=[worker(0, state="booting"), worker(1, state="draining")]),
            503,
            "not ready: none of 2 workers",
        ),
        (status(workers=[]), 503, "not ready: none of 2 workers"),
        (status(state="booting"), 503, "not ready: booting"),
        (status(state="draining"), 503, "not ready: draining"),
        (status(state="stopping"), 503, "not ready: stopping"),
        (None, 503, "not ready: booting"),
    ],
)
def test_readyz_says_whether_and_why(shown: ServerStatus | None, status_code: int, words: str) -> None:
    reply = get(Server(shown), "/readyz")
    assert (reply.status, reply.text) == (status_code, words + "\n")
    assert get(Server(shown), "/livez").status == 200


def test_a_master_that_owes_an_answer_too_long_is_neither_live_nor_ready() -> None:
    almost, late = Server(status(), silent=4.9), Server(status(), silent=5.0)
    assert [get(almost, path).status for path in ("/livez", "/readyz", "/live")] == [200, 200, 200]
    assert get(late, "/livez").text == "not live: the master has not answered for 5 s\n"
    assert get(late, "/readyz").text == "not ready: the master has not answered for 5 s\n"
    assert [get(late, path).status for path in ("/livez", "/readyz", "/live")] == [503, 503, 503]
    assert get(late, "/status").status == 200  # the last one: its time tells


# -- what is read


def test_the_status_is_json(server: Server) -> None:
    reply = get(server, "/status")
    assert reply.headers["content-type"] == "application/json"
    assert msgspec.json.decode(reply.body, type=ServerStatus) == server.status


def test_before_the_first_status_there_is_none() -> None:
    for path in ("/status", "/live"):
        reply = get(Server(None), path)
        assert (reply.status, error(reply)) == (503, "the server is just starting")


def test_a_dashboard_asks_for_what_is_newer(server: Server) -> None:
    assert json.loads(get(server, "/live?sample=1795797990.407&event=7").body) == {"sample": 1795797990.407, "event": 7}
    assert json.loads(get(server, "/live").body) == {"sample": 0.0, "event": 0}
    server.fails = CommandError("the server stops")
    reply = get(server, "/live")
    assert (reply.status, error(reply)) == (503, "the server stops")


def test_a_whole_hour_is_sent_as_the_client_takes_it(server: Server) -> None:
    samples = [b"1234567890,"] * 20_000
    server.pieces = [b"[", *samples, b"0]"]
    reply = get(server, "/live")
    assert json.loads(reply.body) == [1234567890] * 20_000 + [0]
    assert reply.length == len(reply.body)
    assert [len(piece) > 60_000 for piece in reply.pieces] == [True, True, True, False]
    assert reply.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("query", ["sample=x", "sample=-1", "sample=nan", "sample=inf", "event=1.5", "event=-1"])
def test_what_is_no_number_is_a_bad_request(server: Server, query: str) -> None:
    assert get(server, f"/live?{query}").status == 400


@pytest.mark.parametrize(
    ("accept", "openmetrics"),
    [
        ("", False),
        ("*/*", False),
        ("text/plain", False),
        ("application/openmetrics-text", True),
        ("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1", True),
        ("text/plain, application/openmetrics-text;q=0.9", False),
        ("application/openmetrics-text;q=0", False),
        ("application/openmetrics-text;q=often", False),
        ("Application/OpenMetrics-Text; Q=1", True),
    ],
)
def test_metrics_come_in_the_format_that_is_liked_most(server: Server, accept: str, openmetrics: bool) -> None:
    reply = get(server, "/metrics", accept=accept)
    assert (reply.body == b"# EOF\n") is openmetrics
    assert reply.headers["content-type"].startswith("application/openmetrics-text" if openmetrics else "text/plain")
    assert reply.headers["vary"] == "accept"


def test_without_metrics_it_is_said_why(server: Server) -> None:
    server.fails = UsageError("/metrics needs prometheus-client")
    assert (get(server, "/metrics").status, get(server, "/metrics").text) == (501, "/metrics needs prometheus-client\n")
    server.fails, server.counts = None, False
    assert get(server, "/metrics").status == 404
    assert "--no-metrics" in get(server, "/metrics").text


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics", "/status", "/live", "/"])
def test_head_has_the_fields_and_no_body(server: Server, path: str) -> None:
    reply, whole = get(server, path, "HEAD"), get(server, path)
    assert (reply.status, reply.body) == (200, b"")
    assert reply.headers["content-type"] == whole.headers["content-type"]
    assert reply.length == len(whole.body)


@pytest.mark.parametrize(
    "path", ["/livez", "/readyz", "/metrics", "/status", "/live", "/", "/nowhere", "/command/stop"]
)
def test_nothing_is_cached_framed_or_sniffed(server: Server, path: str) -> None:
    for method in ("GET", "HEAD", "POST", "DELETE"):
        fields = get(server, path, method).headers
        assert fields["cache-control"] == "no-store"
        assert fields["x-content-type-options"] == "nosniff"
        assert fields["content-security-policy"].startswith("default-src 'none'; ")
        assert "frame-ancestors 'none'" in fields["content-security-policy"]


def test_the_page_may_run_its_own_script_and_no_other(server: Server) -> None:
    reply = get(server, "/")
    assert reply.headers["content-type"] == "text/html; charset=utf-8"
    policy = reply.headers["content-security-policy"]
    assert "script-src 'sha256-" in policy
    assert "unsafe" not in policy


def test_other_paths_are_404_and_other_methods_405(server: Server) -> None:
    assert get(server, "/nowhere").status == 404
    assert get(server, "/command").status == 404
    assert get(server, "/livez", "POST").status == 405
    assert get(server, "/command/status").status == 405
    assert get(server, "/command/status", "PUT").status == 405


# -- commands


@pytest.mark.parametrize("name", WRITE)
def test_what_changes_the_server_needs_the_token(server: Server, name: str) -> None:
    arguments = ARGUMENTS.get(name, {})
    missing, wrong = command(server, name, arguments, token=None), command(server, name, arguments, token=TOKEN + "x")
    assert (missing.status, missing.headers["www-authenticate"]) == (401, 'Bearer realm="prefork"')
    assert error(missing) == f"{name} needs the token (Authorization: Bearer TOKEN)"
    assert (wrong.status, error(wrong)) == (401, "the token is wrong")
    assert server.asked == []
    done = command(server, name, arguments)
    assert (done.status, json.loads(done.body)) == (200, {"result": {"done": "it is done"}})
    assert [asked for asked, _ in server.asked] == [name]


@pytest.mark.parametrize("name", WRITE)
def test_where_no_token_is_set_nobody_changes_anything(name: str) -> None:
    server = Server(status())
    for token in (None, "", TOKEN):
        reply = ask(
            site(server, token=None),
            "POST",
            f"/command/{name}",
            [] if token is None else [("authorization", f"Bearer {token}")],
        )
        assert (reply.status, "--admin-token" in error(reply)) == (403, True)
    assert server.asked == []


@pytest.mark.parametrize("name", READ)
def test_what_only_reads_needs_no_token_but_no_wrong_one_passes(server: Server, name: str) -> None:
    assert command(server, name, token=None).status == 200
    assert command(server, name, token="wrong").status == 401
    assert command(server, name).status == 200


@pytest.mark.parametrize("fields", ["Basic abc", "Bearer", "Bearer ", "0123456789abcdef", "Bearer \u00e4\u00f6"])
def test_only_a_bearer_token_counts(server: Server, fields: str) -> None:
    assert ask(site(server), "POST", "/command/stop", [("authorization", fields)]).status == 401


def test_arguments_are_those_of_the_table(server: Server) -> None:
    assert command(server, "reload", {"canary": "10%"}).status == 200
    assert command(server, "kill", {"slot": "1"}).status == 200
    assert server.asked == [("reload", {"canary": 0.1}), ("kill", {"slot": 1})]
    for name, arguments, words in (
        ("kill", {"slot": -1}, "slot is a whole number"),
        ("kill", {}, "kill needs slot"),
        ("kill", {"slot": 0, "force": True}, "kill has no argument 'force'"),
        ("reload", {"canary": 2}, "canary is a share"),
        ("stop", [], "the arguments are a JSON object"),
    ):
        reply = command(server, name, arguments)
        assert (reply.status, words in error(reply)) == (400, True)
    for body in (b"{", b"\xff", b"[" * 1000, b"null"):
        reply = ask(site(server), "POST", "/command/stop", [("authorization", f"Bearer {TOKEN}")], body)
        assert (reply.status, "the arguments are a JSON object" in error(reply)) == (400, True)
    assert len(server.asked) == 2


def test_an_unknown_command_is_404_and_those_there_are_named(server: Server) -> None:
    for name in ("fly", "__class__", "run", "%2e%2e"):
        reply = command(server, name)
        assert (reply.status, "there are status, workers" in error(reply)) == (404, True)


def test_the_masters_words_come_through(server: Server) -> None:
    server.fails = CommandError("the server stops")
    reply = command(server, "reload")
    assert (reply.status, error(reply)) == (409, "the server stops")
    server.fails = Silent("the master did not answer within 60 s")
    reply = command(server, "reload")
    assert (reply.status, error(reply)) == (504, "the master did not answer within 60 s")


def test_a_body_that_no_command_has_is_too_large(server: Server) -> None:
    reply = ask(site(server), "POST", "/command/stop", [("authorization", f"Bearer {TOKEN}")], b" " * 65537)
    assert reply.status == 413


def test_another_sites_page_cannot_send_a_command(server: Server) -> None:
    """Its browser asks first, for the token's sake; nothing here says yes. Without the token nothing happens."""
    reply = ask(site(server), "OPTIONS", "/command/stop", [("origin", "https://evil.example")])
    assert not [name for name, _ in reply.sent if name.startswith(b"access-control-")]
    form = [("origin", "https://evil.example"), ("content-type", "text/plain")]
    assert ask(site(server), "POST", "/command/stop", form, b"{}").status == 401
    assert server.asked == []


# -- hosts


@pytest.mark.parametrize(
    "host", ["localhost:9100", "127.0.0.1:9100", "127.0.0.1", "[::1]:9100", "LocalHost", "localhost.", "localhost:8443"]
)
def test_a_loopback_address_is_reached_by_its_names(server: Server, host: str) -> None:
    assert get(server, "/status", host=host).status == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:9100", "127.0.0.1.evil.example", "", "[::2]", "0.0.0.0"]
)
@pytest.mark.parametrize("path", ["/", "/status", "/live", "/livez", "/nowhere"])
def test_a_page_that_came_by_another_name_reads_nothing(server: Server, host: str, path: str) -> None:
    """DNS rebinding: a name of the attacker's that leads to our loopback address."""
    reply = get(server, path, host=host)
    assert (reply.status, "is not served here" in error(reply)) == (403, True)


@pytest.mark.parametrize(
    "addresses", [(TcpAddress("0.0.0.0", 9100), TcpAddress("0.0.0.0", 9100)), (UnixAddress("/run/admin.sock"),)]
)
def test_elsewhere_any_name_will_do(server: Server, addresses: tuple[Address, ...]) -> None:
    reply = ask(site(server, addresses=addresses), "GET", "/livez", [("host", "10.1.2.3:9100")])
    assert reply.status == 200
