"""The environ: what the client sent, under the names PEP 3333 gives it, and nothing it could forge."""

from typing import Any

import pytest

from prefork.apps.wsgi_environ import EnvironMaker
from prefork.apps.wsgi_errors import LINE_CHARACTERS, ErrorStream
from tests.apps.wsgi_server import WsgiServer


def environ_of(request: bytes, **settings: Any) -> dict[str, Any]:
    """What an app gets for the bytes of a request."""
    seen: list[dict[str, Any]] = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        seen.append(dict(environ))
        start_response("200 OK", [])
        return []

    with WsgiServer(app, **settings) as server:
        server.exchange(request.replace(b"\n", b"\r\n") + b"connection: close\r\n\r\n")
    return seen[0]


def test_the_required_keys() -> None:
    environ = environ_of(b"GET /a/b?x=%20&y HTTP/1.1\nHost: example.org:81\n")
    expected = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/a/b",
        "QUERY_STRING": "x=%20&y",
        "RAW_URI": "/a/b?x=%20&y",
        "REQUEST_URI": "/a/b?x=%20&y",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_HOST": "example.org:81",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        "wsgi.input_terminated": True,
    }
    assert {key: environ[key] for key in expected} == expected
    assert environ["SERVER_PORT"].isdigit()
    assert environ["REMOTE_PORT"].isdigit()
    assert "HTTPS" not in environ
    assert "CONTENT_LENGTH" not in environ


def test_the_path_is_decoded_to_bytes_that_look_like_latin_1() -> None:
    environ = environ_of(b"GET /%E2%82%AC/%ff%2F%zz?%E2%82%AC HTTP/1.1\nHost: a\n")
    assert environ["PATH_INFO"].encode("latin-1") == "/€/".encode() + b"\xff/%zz"
    assert environ["QUERY_STRING"] == "%E2%82%AC"


@pytest.mark.parametrize(
    ("target", "path"),
    [(b"//evil/x", "//evil/x"), (b"http://other/x?q", "/x"), (b"/http://x", "/http://x"), (b"*", "")],
)
def test_strange_targets(target: bytes, path: str) -> None:
    method = b"OPTIONS" if target == b"*" else b"GET"
    environ = environ_of(b"%b %b HTTP/1.1\nHost: a\n" % (method, target))
    assert environ["PATH_INFO"] == path
    if target.startswith(b"http"):
        assert environ["HTTP_HOST"] == "other"  # RFC 9112, 3.2.2


def test_the_root_path_is_the_script_name() -> None:
    environ = environ_of(b"GET /x HTTP/1.0\n", root_path="/é/")
    assert environ["SCRIPT_NAME"].encode("latin-1") == "/é".encode()
    assert environ["PATH_INFO"] == "/x"
    assert environ["SERVER_PROTOCOL"] == "HTTP/1.0"


def test_repeated_fields_are_joined() -> None:
    environ = environ_of(b"GET / HTTP/1.1\nHost: a\nX-A: 1\nCookie: a=1\nx-a: 2\nCookie: b=2\nX-B: \xe9\n")
    assert environ["HTTP_X_A"] == "1, 2"
    assert environ["HTTP_COOKIE"] == "a=1; b=2"
    assert environ["HTTP_X_B"] == "é"


def test_a_field_with_an_underscore_cannot_pass_for_one_with_a_hyphen() -> None:
    environ = environ_of(b"GET / HTTP/1.1\nHost: a\nX_Real_Ip: forged\nContent_Length: 9\nX-Real-Ip: true\n")
    assert environ["HTTP_X_REAL_IP"] == "true"
    assert "CONTENT_LENGTH" not in environ
    assert "HTTP_CONTENT_LENGTH" not in environ


def test_a_field_cannot_pass_for_the_variable_http_proxy() -> None:
    assert "HTTP_PROXY" not in environ_of(b"GET / HTTP/1.1\nHost: a\nProxy: http://evil\n")


def test_type_and_length_of_the_body_have_their_own_keys() -> None:
    environ = environ_of(b"POST / HTTP/1.1\nHost: a\nContent-Type: a/b\nContent-Length: 0\n")
    assert (environ["CONTENT_TYPE"], environ["CONTENT_LENGTH"]) == ("a/b", "0")
    assert "HTTP_CONTENT_TYPE" not in environ


class Https:
    """An exchange behind a proxy, or over TLS on a Unix socket."""

    method, target, http_minor, scheme = "GET", b"/", 1, "https"

    def __init__(self, host: bytes, server: tuple[str, int] | None = None) -> None:
        self.client, self.server = None, server
        self.fields = [(b"host", host)] if host else []


@pytest.mark.parametrize(
    ("host", "name", "port"),
    [
        (b"a.org", "a.org", "443"),
        (b"a.org:81", "a.org", "81"),
        (b"[::1]", "[::1]", "443"),
        (b"[::1]:81", "[::1]", "81"),
    ],
)
def test_on_a_unix_socket_the_client_names_the_server(host: bytes, name: str, port: str) -> None:
    environ = EnvironMaker("").make(Https(host), None)  # type: ignore[arg-type]  # all that is asked of both
    assert (environ["SERVER_NAME"], environ["SERVER_PORT"]) == (name, port)
    assert (environ["REMOTE_ADDR"], "REMOTE_PORT" in environ) == ("", False)


def test_without_a_host_it_is_localhost() -> None:
    environ = EnvironMaker("").make(Https(b""), None)  # type: ignore[arg-type]
    assert (environ["SERVER_NAME"], environ["SERVER_PORT"]) == ("localhost", "443")


def test_https_is_told_twice() -> None:
    environ = EnvironMaker("").make(Https(b"a", ("10.0.0.1", 8443)), None)  # type: ignore[arg-type]
    assert (environ["wsgi.url_scheme"], environ["HTTPS"]) == ("https", "on")
    assert (environ["SERVER_NAME"], environ["SERVER_PORT"]) == ("10.0.0.1", "8443")


def test_one_requests_environ_is_not_anothers() -> None:
    maker = EnvironMaker("")
    first = maker.make(Https(b"a"), None)  # type: ignore[arg-type]
    first["SCRIPT_NAME"] = "/changed"
    assert maker.make(Https(b"a"), None)["SCRIPT_NAME"] == ""  # type: ignore[arg-type]


def test_what_is_printed_to_errors_becomes_lines_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    errors = ErrorStream()
    print("one", "two", file=errors)
    errors.writelines(["three\nfo", "ur"])
    assert [record.getMessage() for record in caplog.records] == ["one two", "three"]
    errors.flush()
    errors.flush()
    assert caplog.messages[-1] == "four"
    errors.write("x" * LINE_CHARACTERS)
    assert caplog.messages[-1] == "x" * LINE_CHARACTERS
    assert len(caplog.messages) == 4
    with pytest.raises(TypeError, match="takes str, not bytes"):
        errors.write(b"x")  # type: ignore[arg-type]
