"""An App answers the messages of an ASGI server; each test plays that server by hand."""

import asyncio
import json
import logging
import random
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

import pytest

from prefork import App, EventStream, Request
from prefork.errors import ResponseError
from prefork.settings import Settings
from prefork.web import over_asgi
from prefork.web.asgi_exchange import PIECE_BYTES
from tests.embedding.site import make_site

Message = MutableMapping[str, Any]
DISCONNECT: Message = {"type": "http.disconnect"}


class Peer:
    """A server's side: gives `messages`, then waits; keeps what is sent."""

    def __init__(self, *messages: Message) -> None:
        self.incoming: asyncio.Queue[Message] = asyncio.Queue()
        for message in messages:
            self.incoming.put_nowait(message)
        self.sent: list[Message] = []
        self.heard = asyncio.Event()  # something was sent
        self.on_send: Callable[[Message], None] | None = None

    async def receive(self) -> Message:
        return await self.incoming.get()

    async def send(self, message: Message) -> None:
        if self.on_send is not None:
            self.on_send(message)
        self.sent.append(message)
        self.heard.set()

    @property
    def status(self) -> int:
        status: int = self.sent[0]["status"]
        return status

    @property
    def headers(self) -> dict[bytes, bytes]:
        return dict(self.sent[0]["headers"])

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent[1:])

    @property
    def complete(self) -> bool:
        return bool(self.sent) and not self.sent[-1].get("more_body", self.sent[-1]["type"] != "http.response.body")


def body(*pieces: bytes) -> list[Message]:
    last = len(pieces) - 1
    return [{"type": "http.request", "body": p, "more_body": i < last} for i, p in enumerate(pieces)]


def scope(path: str = "/", method: str = "GET", headers: Any = (), **more: Any) -> Message:
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in headers],
        **more,
    }


async def asked(app: App, its_scope: Message, *messages: Message) -> Peer:
    peer = Peer(*(messages or body(b"")))
    await app(its_scope, peer.receive, peer.send)
    return peer


def ask(app: App, its_scope: Message, *messages: Message) -> Peer:
    return asyncio.run(asked(app, its_scope, *messages))


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await test()
        assert asyncio.all_tasks() == {asyncio.current_task()}, "nothing is left behind"

    asyncio.run(main())


def test_request_line_and_fields_reach_the_handler() -> None:
    its = scope("/seen/ü b", headers=[("X-Sent", "1")], raw_path=b"/seen/%C3%BC%20b", query_string=b"q=1&q=%202")
    peer = ask(make_site(), its)
    assert peer.status == 200
    assert peer.headers == {b"content-type": b"application/json", b"content-length": str(len(peer.body)).encode()}
    said = json.loads(peer.body)
    assert said["path"] == "/seen/ü b"
    assert (said["rest"], said["query"], said["scheme"], said["x"]) == ("ü b", ["1", " 2"], "http", "1")


@pytest.mark.parametrize(
    "more",
    [
        {"path": "/in/seen/a%b", "raw_path": b"/in/seen/a%25b"},  # path and raw path whole: the specification, uvicorn
        {"path": "/in/seen/a%b"},
        {"path": "/seen/a%b", "raw_path": b"/seen/a%25b"},  # root path cut off both: older servers and frameworks
        {"path": "/in/seen/a%b", "raw_path": b"/seen/a%25b"},  # a proxy has cut it off what was sent
        {"path": "/in/seen/a%b", "raw_path": None, "root_path": "/in/"},
    ],
)
def test_where_the_app_is_mounted_is_its_mount_path(more: Message) -> None:
    its = scope(**{"root_path": "/in", **more})
    assert b'"path":"/in/seen/a%b","mount_path":"/in","rest":"a%b"' in ask(make_site(), its).body


def test_a_mount_within_a_mount_adds_up() -> None:
    outer = App()
    outer.mount("/site", make_site())
    peer = ask(outer, scope("/in/site/seen/x", root_path="/in"))
    assert b'"mount_path":"/in/site","rest":"x"' in peer.body
    assert ask(outer, scope("/in/seen/x", root_path="/in")).status == 404


def test_an_encoded_slash_separates_nothing() -> None:
    assert ask(make_site(), scope("/seen/x", raw_path=b"/seen%2Fx")).status == 404


def test_options_for_the_whole_server() -> None:
    peer = ask(make_site(), scope("*", "OPTIONS", raw_path=b"*"))
    assert (peer.status, peer.headers[b"allow"]) == (204, b"GET, HEAD, OPTIONS, POST")


def test_a_body_in_pieces_is_read_whole() -> None:
    its = scope("/length", "POST", [("content-length", "6")])
    assert ask(make_site(), its, *body(b"abc", b"", b"def")).body == b"6"


@pytest.mark.parametrize(("size", "status"), [(1000, 200), (1001, 413)])
@pytest.mark.parametrize("field", ["content-length", "transfer-encoding"])
def test_a_body_over_its_limit_is_refused(field: str, size: int, status: int) -> None:
    its = scope("/length", "POST", [(field, str(size) if field == "content-length" else "chunked")])
    peer = ask(make_site(), its, *body(b"x" * 600, b"x" * (size - 600)))
    assert peer.status == status
    assert (b"connection" in peer.headers) == (status == 413 and field == "content-length")  # there is more to come


def test_an_http_2_body_without_a_length_is_limited_too() -> None:
    its = scope("/length", "POST", http_version="2")
    peer = ask(make_site(), its, *body(b"x" * 600, b"x" * 600, b"x"))
    assert peer.status == 413
    assert b"connection" not in peer.headers


def test_a_body_that_nobody_reads_is_no_obstacle() -> None:
    its = scope("/deaf", "POST", [("content-length", "6")])
    assert ask(make_site(), its, *body(b"abc", b"def")).body == b"I did not listen"


def test_a_response_may_stream_while_the_body_arrives() -> None:
    async def test() -> None:
        peer = Peer(*body(b"one", b"two")[:1])

        def next_piece(message: Message) -> None:
            if message.get("body") == b"one":
                peer.incoming.put_nowait({"type": "http.request", "body": b"two"})

        peer.on_send = next_piece
        await make_site()(scope("/echo", "POST", [("transfer-encoding", "chunked")]), peer.receive, peer.send)
        assert [m.get("body") for m in peer.sent] == [None, b"one", b"two", b""]
        assert b"content-length" not in peer.headers

    run(test)


def test_a_client_that_leaves_within_its_body_gets_nothing() -> None:
    peer = ask(make_site(), scope("/length", "POST", [("content-length", "6")]), *body(b"abc", b"")[:1], DISCONNECT)
    assert peer.sent == []


def test_a_stream_goes_out_piece_by_piece_with_the_head_first() -> None:
    peer = ask(make_site(), scope("/stream"))
    assert [m["type"].removeprefix("http.response.") for m in peer.sent] == ["start", *["body"] * 4]
    assert peer.body == b"one two three"
    assert peer.complete


def test_the_head_of_a_stream_does_not_wait_for_its_first_piece() -> None:
    async def test() -> None:
        app, first = App(), asyncio.Event()

        async def events() -> Any:
            await first.wait()
            yield "x"

        @app.get("/")
        async def handler(request: Request) -> EventStream:
            return EventStream(events())

        peer = Peer(*body(b""))
        answering = asyncio.create_task(app(scope(), peer.receive, peer.send))
        await peer.heard.wait()
        assert [m["type"] for m in peer.sent] == ["http.response.start"]
        first.set()
        await answering
        assert peer.body == b"data: x\n\n"

    run(test)


def test_an_endless_stream_ends_when_the_client_leaves() -> None:
    async def test() -> None:
        app = make_site()
        peer = Peer(*body(b""))
        peer.on_send = lambda message: (
            peer.incoming.put_nowait(DISCONNECT) if message["type"] == "http.response.body" else None
        )
        await app(scope("/endless"), peer.receive, peer.send)
        assert app.state.ends == ["closed"]
        assert not peer.complete

    run(test)


def test_a_send_that_fails_means_that_the_client_has_left() -> None:
    async def test() -> None:
        app, peer = make_site(), Peer(*body(b""))

        def fail(message: Message) -> None:
            if message.get("more_body"):
                raise OSError("gone")

        peer.on_send = fail
        await app(scope("/endless"), peer.receive, peer.send)
        assert app.state.ends == ["closed"]

    run(test)


def test_a_handler_whose_client_left_is_cancelled_after_the_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(over_asgi, "_DEFAULTS", Settings(disconnect_grace_seconds=0.0))
    app = make_site()
    peer = ask(app, scope("/wait"), *body(b""), DISCONNECT)
    assert app.state.ends == ["waiting", "cancelled"]
    assert peer.sent == []


def test_cancelling_the_servers_task_cancels_the_handler() -> None:
    async def test() -> None:
        app, peer, entered, ends = App(), Peer(*body(b"")), asyncio.Event(), list[str]()

        @app.get("/")
        async def wait(request: Request) -> None:
            entered.set()
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                ends.append("cancelled")

        answering = asyncio.create_task(app(scope(), peer.receive, peer.send))
        await entered.wait()
        answering.cancel()
        with pytest.raises(asyncio.CancelledError):
            await answering
        assert ends == ["cancelled"]
        assert peer.sent == []

    run(test)


def test_a_large_file_is_sent_in_pieces_and_ranges(tmp_path: Path) -> None:
    size = 2 * PIECE_BYTES + 1000
    content = random.Random(1).randbytes(size)
    (tmp_path / "file.txt").write_bytes(content)
    app = make_site(tmp_path)
    peer = ask(app, scope("/file"))
    assert (peer.status, peer.headers[b"content-length"]) == (200, b"%d" % size)
    assert [len(m["body"]) for m in peer.sent[1:]] == [PIECE_BYTES, PIECE_BYTES, 1000, 0]
    assert peer.body == content
    part = ask(app, scope("/file", headers=[("range", f"bytes=1000-{size - 2}")]))
    assert (part.status, part.headers[b"content-length"]) == (206, b"%d" % (size - 1001))
    assert part.body == content[1000:-1]
    head = ask(app, scope("/file", "HEAD"))
    assert (head.headers[b"content-length"], head.body) == (b"%d" % size, b"")


def test_what_has_no_body_sends_none() -> None:
    app = make_site()
    empty = ask(app, scope("/empty"))
    assert (empty.status, empty.body) == (204, b"")
    assert b"content-length" not in empty.headers
    head = ask(app, scope("/seen/x", "HEAD"))
    assert head.body == b""
    assert int(head.headers[b"content-length"]) > 0
    assert ask(app, scope("/stream", "HEAD")).body == b""


def test_repeated_fields_are_kept_and_framing_is_the_servers() -> None:
    peer = ask(make_site(), scope("/fields"))
    fields = peer.sent[0]["headers"]
    assert [value for name, value in fields if name == b"set-cookie"] == [b"a=1", b"b=2"]
    assert b"transfer-encoding" not in peer.headers


def test_errors_become_responses(caplog: pytest.LogCaptureFixture) -> None:
    app = make_site()
    assert ask(app, scope("/missing")).status == 404
    assert ask(app, scope("/nowhere")).status == 404
    assert ask(app, scope("/length")).headers[b"allow"] == b"OPTIONS, POST"
    assert not caplog.records
    peer = ask(app, scope("/broken"))
    assert (peer.status, peer.body) == (500, b"Internal Server Error\n")
    assert "broken on purpose" in caplog.text


@pytest.mark.parametrize("path", ["/half", "/short"])
def test_a_response_that_breaks_is_cut(path: str, caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        peer = Peer(*body(b""))
        with pytest.raises(ResponseError, match=f"GET {path}: the response was cut"):
            await make_site()(scope(path), peer.receive, peer.send)
        assert not peer.complete

    caplog.set_level(logging.ERROR)
    run(test)
    assert "which is cut" in caplog.text or "bytes shorter than declared" in caplog.text


def test_plain_def_handlers_run_in_threads() -> None:
    assert ask(make_site(), scope("/thread")).body == b"from a thread"


def test_lifespan_starts_and_stops_the_app() -> None:
    async def test() -> None:
        app, peer = make_site(), Peer({"type": "lifespan.startup"})
        living = asyncio.create_task(app({"type": "lifespan"}, peer.receive, peer.send))
        await peer.heard.wait()
        assert (peer.sent, app.state.life) == ([{"type": "lifespan.startup.complete"}], ["started"])
        peer.incoming.put_nowait({"type": "lifespan.shutdown"})
        await living
        assert peer.sent[1:] == [{"type": "lifespan.shutdown.complete"}]
        assert app.state.life == ["started", "stopped"]

    run(test)


def test_a_start_up_that_fails_is_told_and_raised() -> None:
    async def test() -> None:
        app, peer = App(), Peer({"type": "lifespan.startup"})

        @app.on_startup
        async def fail() -> None:
            raise RuntimeError("no database")

        with pytest.raises(RuntimeError, match="no database"):
            await app({"type": "lifespan"}, peer.receive, peer.send)
        assert peer.sent == [{"type": "lifespan.startup.failed", "message": "RuntimeError: no database"}]

    run(test)


def test_another_scope_is_refused() -> None:
    with pytest.raises(ValueError, match="no answer to the ASGI scope 'smtp'"):
        ask(App(), {"type": "smtp"})
