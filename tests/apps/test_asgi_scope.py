"""The scope an ASGI app gets for a request."""

import pytest

from prefork.web.asgi_types import Receive, Scope, Send
from tests.apps.asgi_server import AsgiServer, body, keeping, start
from tests.http.server import HERE, PEER, request


def scope_of(raw: bytes, **settings: object) -> Scope:
    seen: list[Scope] = []
    AsgiServer(keeping(seen), **settings).connect().send(raw)
    (scope,) = seen
    return scope


def test_every_key_of_the_specification_is_there() -> None:
    scope = scope_of(request("GET", "/a%20b/%C3%A9?x=1&y=%20", "X-Tag: One", "Accept: */*"))
    extensions = scope.pop("extensions")
    assert scope == {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/a b/é",
        "raw_path": b"/a%20b/%C3%A9",
        "query_string": b"x=1&y=%20",
        "root_path": "",
        "headers": [(b"host", b"a"), (b"x-tag", b"One"), (b"accept", b"*/*")],
        "client": PEER,
        "server": HERE,
        "state": {},
    }
    assert set(extensions) == {"http.response.pathsend", "http.response.zerocopysend", "http.response.early_hint"}


def test_a_root_path_is_where_the_path_begins() -> None:
    scope = scope_of(request("GET", "/users?x"), root_path="/api/")
    assert (scope["root_path"], scope["path"], scope["raw_path"]) == ("/api", "/api/users", b"/users")


def test_an_old_client_is_told_apart() -> None:
    assert scope_of(request("GET", "/", version="1.0"))["http_version"] == "1.0"


def test_repeated_fields_keep_their_order() -> None:
    scope = scope_of(request("GET", "/", "Cookie: a=1", "X-A: 1", "Cookie: b=2", "X-A: 2"))
    assert scope["headers"][1:] == [(b"cookie", b"a=1"), (b"x-a", b"1"), (b"cookie", b"b=2"), (b"x-a", b"2")]


@pytest.mark.parametrize(("target", "path"), [("/%FF", "/�"), ("/a%2Fb", "/a/b"), ("//x", "//x"), ("/%zz", "/%zz")])
def test_a_path_that_is_odd_is_still_text(target: str, path: str) -> None:
    scope = scope_of(request("GET", target))
    assert (scope["path"], scope["raw_path"]) == (path, target.encode())


def test_trailers_are_offered_to_those_who_read_them() -> None:
    assert "http.response.trailers" in scope_of(request("GET", "/", "TE: trailers, deflate"))["extensions"]
    assert "http.response.trailers" not in scope_of(request("GET", "/", "X-TE: trailers"))["extensions"]


def test_requests_share_what_the_lifespan_made_but_not_what_they_add() -> None:
    seen: list[object] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await receive()
            scope["state"]["pool"] = pool
            await send({"type": "lifespan.startup.complete"})
            await receive()
            return
        seen.append(dict(scope["state"]))
        scope["state"]["user"] = "me"
        await send(start())
        await send(body())

    pool = object()
    server = AsgiServer(app, lifespan="on")
    server.get()
    server.get()
    assert seen == [{"pool": pool}, {"pool": pool}]
