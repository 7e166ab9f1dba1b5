"""Forwarded fields: believed from proxies that are trusted, as far back as they are, and from nobody else."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefork.errors import RequestError
from prefork.http.exchange import Exchange
from prefork.http.forwarded import ForwardedExchange, parse_forwarded, parse_node, walk
from prefork.http.trust import Trust
from tests.http.server import PLAIN, Server

PROXIES = ["10.0.0.0/8", "2001:db8:f::/48"]
PROXY, STRANGER = ("10.0.0.1", 4000), ("192.0.2.66", 4000)


async def tell(exchange: Exchange) -> None:
    """Who asks, and for which host."""
    seen = [exchange.client, exchange.scheme, [value.decode("latin-1") for value in exchange.values(b"host")]]
    exchange.respond(200, PLAIN, json.dumps(seen).encode())


def ask(*fields: str, peer: Any = PROXY, allow: list[str] = PROXIES) -> tuple[Any, str, str]:
    """Client, scheme and host of a request that comes from `peer`."""
    server = Server(tell, forwarded_allow=allow)
    here = ("192.0.2.1", 80) if peer else ""
    reply = server.connect(peername=peer, sockname=here).get("/", *fields).reply()
    assert reply.status == 200, reply.body
    client, scheme, (host,) = json.loads(reply.body)
    return tuple(client) if client else None, scheme, host


def status(*fields: str, peer: Any = PROXY) -> int:
    return Server(tell, forwarded_allow=PROXIES).connect(peername=peer).get("/", *fields).reply().status


ALL = ("X-Forwarded-For: 192.0.2.7", "X-Forwarded-Proto: https", "X-Forwarded-Host: b.example")
STANDARD = "Forwarded: for=192.0.2.7;proto=https;host=b.example"


@pytest.mark.parametrize("fields", [ALL, (STANDARD,)])
def test_a_trusted_proxy_tells_client_scheme_and_host(fields: tuple[str, ...]) -> None:
    assert ask(*fields) == (("192.0.2.7", 0), "https", "b.example")


@pytest.mark.parametrize("fields", [ALL, (STANDARD,), ('Forwarded: for="', "X-Forwarded-Host: a b")])
@pytest.mark.parametrize("peer", [STRANGER, ("2001:db8:e::1", 4000), ""])
def test_from_anyone_else_the_fields_mean_nothing(fields: tuple[str, ...], peer: Any) -> None:
    assert ask(*fields, peer=peer) == (peer or None, "http", "a")


def test_nobody_is_trusted_by_default() -> None:
    server = Server(tell)
    assert server.service.exchange is Exchange
    reply = server.connect(peername=("127.0.0.1", 1)).get("/", *ALL, STANDARD).reply()
    assert json.loads(reply.body) == [["127.0.0.1", 1], "http", ["a"]]


def test_the_fields_stay_visible_to_the_app() -> None:
    async def app(exchange: Exchange) -> None:
        exchange.respond(200, PLAIN, b",".join(exchange.values(b"x-forwarded-for")))

    server = Server(app, forwarded_allow=PROXIES)
    assert server.connect(peername=STRANGER).get("/", *ALL).reply().body == b"192.0.2.7"
    assert server.connect(peername=PROXY).get("/", *ALL).reply().body == b"192.0.2.7"


def test_a_unix_socket_is_trusted_when_it_is_named() -> None:
    assert ask(*ALL, peer="", allow=["unix"])[0] == ("192.0.2.7", 0)


def test_a_client_that_has_reset_its_connection_does_not_pass_for_one_on_a_unix_socket() -> None:
    """What it sent is read all the same, but the kernel does not know any more whom it came from."""
    server = Server(tell, forwarded_allow=["unix"])
    reply = server.connect(peername=None).get("/", *ALL).reply()
    assert json.loads(reply.body) == [None, "http", ["a"]]


def test_an_ipv4_proxy_may_come_by_an_ipv6_socket() -> None:
    assert ask(*ALL, peer=("::ffff:10.0.0.1", 4000))[0] == ("192.0.2.7", 0)
    assert ask(*ALL, peer=("::ffff:192.0.2.66", 4000))[0] == ("::ffff:192.0.2.66", 4000)


@pytest.mark.parametrize(
    ("entries", "client"),
    [
        ("192.0.2.7", ("192.0.2.7", 0)),
        ("192.0.2.7:1234", ("192.0.2.7", 1234)),
        ("198.51.100.1, 192.0.2.7", ("192.0.2.7", 0)),  # what stands left of a stranger anybody may have written
        ("192.0.2.7, 10.0.0.2,10.0.0.3", ("192.0.2.7", 0)),
        ("10.0.0.9, 10.0.0.2", ("10.0.0.9", 0)),  # a client among the proxies
        ("192.0.2.7, [2001:db8:f::2]:443", ("192.0.2.7", 0)),
        ("2001:db8::7", ("2001:db8::7", 0)),
        ("[2001:db8::7]", ("2001:db8::7", 0)),
        ("[2001:0DB8::0007]:80", ("2001:db8::7", 80)),
        ("::ffff:192.0.2.7", ("192.0.2.7", 0)),
        ("unknown", PROXY),  # the last that is known
        ("192.0.2.7, unknown", PROXY),
        ("192.0.2.7, unknown, 10.0.0.2", ("10.0.0.2", 0)),
        ("192.0.2.7, 1.2.3", PROXY),
        ("192.0.2.7, 10.0.0.2:99999", PROXY),
        ("' OR 1=1", PROXY),
        (" , ,192.0.2.7, ", ("192.0.2.7", 0)),
        ("", PROXY),
    ],
)
def test_the_walk_ends_at_the_first_address_that_is_no_proxys(entries: str, client: Any) -> None:
    assert ask(f"X-Forwarded-For: {entries}")[0] == client
    assert ask(f"x-forwarded-for: {entries}")[0] == client


def test_several_fields_are_one_list() -> None:
    assert ask("X-Forwarded-For: 198.51.100.1", "X-Forwarded-For: 192.0.2.7", "X-Forwarded-For: 10.0.0.2")[0] == (
        "192.0.2.7",
        0,
    )


@pytest.mark.parametrize(
    ("fors", "protos", "scheme"),
    [
        ("192.0.2.7", "https", "https"),
        ("192.0.2.7", "HTTPS", "https"),
        ("192.0.2.7", "wss", "https"),
        ("192.0.2.7", "ws", "http"),
        ("192.0.2.7", "gopher", "http"),
        ("192.0.2.7, 10.0.0.2", "https, http", "https"),  # one for each: the one beside the client
        ("198.51.100.1, 192.0.2.7", "https, http", "http"),
        ("192.0.2.7", "https, http", "http"),  # not one for each: the one of the proxy next to us
        ("192.0.2.7, 10.0.0.2, 10.0.0.3", "http, https", "https"),
        ("", "https", "https"),
    ],
)
def test_which_of_several_schemes_counts(fors: str, protos: str, scheme: str) -> None:
    assert ask(f"X-Forwarded-For: {fors}", f"X-Forwarded-Proto: {protos}")[1] == scheme


def test_a_host_that_is_none_is_400() -> None:
    for bad in ("a b", "a/b", "user@b", "b:port"):
        assert status(f"X-Forwarded-Host: {bad}") == 400
        assert status(f'Forwarded: host="{bad}"') == 400


def test_the_older_fields_win_over_the_newer_one() -> None:
    assert ask("X-Forwarded-For: 192.0.2.7", "Forwarded: for=198.51.100.1;proto=https;host=evil") == (
        ("192.0.2.7", 0),
        "http",
        "a",
    )
    assert status("X-Forwarded-For: 192.0.2.7", 'Forwarded: for="') == 200


@pytest.mark.parametrize(
    ("field", "seen"),
    [
        ("for=192.0.2.7", (("192.0.2.7", 0), "http", "a")),
        ("For=192.0.2.7 ; Proto=HTTPS", (("192.0.2.7", 0), "https", "a")),
        ('for="192.0.2.7:80"', (("192.0.2.7", 80), "http", "a")),
        ("for=192.0.2.7:80", (("192.0.2.7", 80), "http", "a")),
        ('for="[2001:db8::7]:80"', (("2001:db8::7", 80), "http", "a")),
        (r'for="192\.0.2.7";host="b\.example"', (("192.0.2.7", 0), "http", "b.example")),
        ('for="192.0.2.7:_port"', (("192.0.2.7", 0), "http", "a")),
        ("for=unknown;proto=https", (PROXY, "https", "a")),
        ("for=_hidden;host=b", (PROXY, "http", "b")),
        ("for=192.0.2.7;proto=https;host=b, for=10.0.0.2;proto=http;host=c", (("192.0.2.7", 0), "https", "b")),
        ("for=192.0.2.7, for=10.0.0.2;proto=https;host=c", (("192.0.2.7", 0), "https", "c")),
        ("for=198.51.100.1;proto=https;host=evil, for=192.0.2.7", (("192.0.2.7", 0), "http", "a")),
        ('for="198.51.100.1, for=10.0.0.2", for=192.0.2.7', (("192.0.2.7", 0), "http", "a")),
        ("by=10.0.0.2;secret=x;for=192.0.2.7;", (("192.0.2.7", 0), "http", "a")),
        ("proto=https", (PROXY, "https", "a")),
        (", ,", (PROXY, "http", "a")),
        ("", (PROXY, "http", "a")),
    ],
)
def test_forwarded_is_read_as_rfc_7239_writes_it(field: str, seen: Any) -> None:
    assert ask(f"Forwarded: {field}") == seen


@pytest.mark.parametrize(
    "field",
    [
        'for="',
        'for=", for=192.0.2.7',
        "for=a;for=b",
        "for",
        "for=",
        "=a",
        "for =a",
        "for=a b",
        'for="a"b',
        "for=a\xff\x22",
    ],
)
def test_a_client_that_breaks_the_list_does_not_take_the_proxys_place(field: str) -> None:
    assert status(f"Forwarded: {field}") == 400
    assert status(f"Forwarded: {field}", peer=STRANGER) == 200


def test_a_list_is_not_mended_by_the_next_field() -> None:
    with pytest.raises(RequestError):
        parse_forwarded([b'for="', b'x", for=192.0.2.7'])


def test_a_refusal_names_the_peer_and_the_worker_goes_on() -> None:
    server = Server(tell, forwarded_allow=PROXIES)
    client = server.connect(peername=PROXY).get("/", 'Forwarded: for="')
    assert client.statuses() == [400]
    assert server.connect(peername=PROXY).get().statuses() == [200]


def test_requests_of_one_connection_do_not_inherit_from_each_other() -> None:
    server = Server(tell, forwarded_allow=PROXIES)
    client = server.connect(peername=PROXY)
    client.get("/", *ALL).get("/").get("/", "X-Forwarded-For: 192.0.2.8")
    seen = [json.loads(reply.body) for reply in client.replies()]
    assert seen == [
        [["192.0.2.7", 0], "https", ["b.example"]],
        [list(PROXY), "http", ["a"]],
        [["192.0.2.8", 0], "http", ["a"]],
    ]


def test_an_absolute_target_does_not_hide_the_forwarded_host() -> None:
    server = Server(tell, forwarded_allow=PROXIES)
    reply = server.connect(peername=PROXY).get("http://c/", "X-Forwarded-Host: b").reply()
    assert json.loads(reply.body)[2] == ["b"]


def test_it_costs_nothing_where_it_is_not_wanted() -> None:
    assert Server(tell).service.exchange is Exchange
    assert Server(tell, forwarded_allow=PROXIES).service.exchange is ForwardedExchange


@given(st.text(alphabet="10.:[]_ unkow%-f/", max_size=40))
def test_a_node_is_an_address_or_nothing(text: str) -> None:
    node = parse_node(text.encode("latin-1"))
    if node is not None:
        assert parse_node(node[0].encode()) == (node[0], 0)
        assert 0 <= node[1] <= 65535


@given(st.lists(st.sampled_from([b"10.0.0.2", b"192.0.2.7", b"unknown", b"\xff", b"10.0.0.3:80"]), max_size=8))
def test_no_entry_left_of_a_stranger_is_ever_believed(entries: list[bytes]) -> None:
    client, at = walk(entries, PROXY, Trust(PROXIES))
    assert all(entry.startswith(b"10.") for entry in entries[at + 1 :])
    assert client is not None
    assert client[0] in ("10.0.0.1", "10.0.0.2", "10.0.0.3", "192.0.2.7")


@given(st.binary(max_size=60))
def test_any_field_is_read_or_refused(value: bytes) -> None:
    with suppress(RequestError):
        assert all(parse_forwarded([value]))


@given(st.lists(st.dictionaries(st.sampled_from([b"for", b"host", b"x"]), st.binary(), min_size=1), max_size=4))
def test_what_is_quoted_comes_out_as_it_was(elements: list[dict[bytes, bytes]]) -> None:
    def quote(value: bytes) -> bytes:
        return b'"' + value.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'

    field = b", ".join(b";".join(b"%b=%b" % (key, quote(value)) for key, value in el.items()) for el in elements)
    assert parse_forwarded([field]) == elements
