"""A bind address is read from its text form, or refused with what would be right."""

import pytest

from prefork.settings import Address, InheritedAddress, TcpAddress, UnixAddress, parse_bind


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8000", TcpAddress("127.0.0.1", 8000)),
        ("Example.org:0", TcpAddress("example.org", 0)),
        ("0.0.0.0:65535", TcpAddress("0.0.0.0", 65535)),
        ("[::1]:8000", TcpAddress("::1", 8000)),
        ("[0:0::1]:8000", TcpAddress("::1", 8000)),
        ("[fe80::1%eth0]:80", TcpAddress("fe80::1%eth0", 80)),
        ("unix:/run/a b.sock", UnixAddress("/run/a b.sock")),
        ("unix:here.sock", UnixAddress("here.sock")),
        ("unix:/" + "x" * 106, UnixAddress("/" + "x" * 106)),
        ("fd://3", InheritedAddress(3)),
    ],
)
def test_every_form_is_read(text: str, address: Address) -> None:
    assert parse_bind(text) == address


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("", "write HOST:PORT"),
        ("8000", "write HOST:PORT"),
        (":8000", r"0\.0\.0\.0:8000 or \[::\]:8000"),
        ("localhost:", "a number from 0 to 65535"),
        ("localhost:65536", "a number from 0 to 65535"),
        ("localhost:-1", "a number from 0 to 65535"),
        ("localhost:http", "a number from 0 to 65535"),
        ("localhost:８０", "a number from 0 to 65535"),
        ("::1:8000", "in brackets"),
        ("[]:80", "no valid IPv6 address"),
        ("[127.0.0.1]:80", "no valid IPv6 address"),
        ("http://localhost:80", "in brackets|a name or an IP address"),
        ("a b:80", "a name or an IP address"),
        ("unix:", "the socket's path"),
        ("unix:/" + "x" * 107, "at most 107 bytes"),
        ("unix:/" + "é" * 54, "at most 107 bytes"),
        ("fd://", "the descriptor's number"),
        ("fd://-1", "the descriptor's number"),
        ("fd://x", "the descriptor's number"),
    ],
)
def test_everything_else_is_refused_with_advice(text: str, advice: str) -> None:
    with pytest.raises(ValueError, match=advice):
        parse_bind(text)
