"""prefork.Server on a loop of the test's own, over real sockets."""

import asyncio
import json
import logging
import os
import re
import socket
import ssl
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme

from prefork import App, Request, Server, children
from prefork.errors import UsageError
from tests.embedding.loops import LOOPS, run
from tests.embedding.servers import get
from tests.embedding.site import make_site, saying

pytestmark = pytest.mark.parametrize("loop", LOOPS)


def test_several_servers_share_a_loop(loop: str) -> None:
    async def test() -> None:
        async with Server(saying("one")) as one, Server(saying("two")) as two:
            answers = await asyncio.gather(*(get(server.url) for server in (one, two, one)))
            assert [answer.text for answer in answers] == ["one", "two", "one"]
            await one.stop()
            assert (await get(two.url)).text == "two"

    run(loop, test)


def test_asgi_and_wsgi_apps_and_handlers_are_served_too(loop: str) -> None:
    async def asgi(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
        await send({"type": "http.response.body", "body": b"asgi"})

    def wsgi(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [("content-length", "4")])
        return [b"wsgi"]

    async def handler(request: Request) -> str:
        return "handler"

    async def test() -> None:
        for app, text in ((asgi, "asgi"), (wsgi, "wsgi"), (handler, "handler")):
            async with Server(app, lifespan="off") as server:
                assert (await get(server.url)).text == text

    run(loop, test)


def test_a_unix_socket_and_several_addresses(loop: str, tmp_path: Path) -> None:
    path = tmp_path / "socket"

    async def test() -> None:
        async with Server(saying("hello"), bind=[f"unix:{path}", "127.0.0.1:0", "[::1]:0"]) as server:
            assert server.url == f"unix:{path}"
            with pytest.raises(RuntimeError, match="has no port"):
                _ = server.port
            transport = httpx.AsyncHTTPTransport(uds=str(path))
            async with httpx.AsyncClient(transport=transport) as http:
                assert (await http.get("http://any/")).text == "hello"
            for url in server.addresses[1:]:
                assert (await get(url)).text == "hello"
        assert not path.exists()

    run(loop, test)


def test_ipv6_host(loop: str) -> None:
    async def test() -> None:
        async with Server(saying("six"), host="::1") as server:
            assert server.url == f"http://[::1]:{server.port}"
            assert (await get(server.url)).text == "six"

    run(loop, test)


def test_answers_do_not_wait_for_acknowledgements(loop: str) -> None:
    async def test() -> None:
        seen: list[int] = []

        async def handler(request: Request) -> str:
            end: Any = request.exchange
            transport = end.connection._transport
            seen.append(transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            return "x"

        async with Server(handler) as server:
            await get(server.url)
        assert seen == [1]

    run(loop, test)


def test_plain_handlers_have_threads_of_the_servers_own(loop: str) -> None:
    """As many as were asked for, beside those of the loop, which stay the loop's."""

    async def test() -> None:
        both = threading.Barrier(2, timeout=10)

        def handler(request: Request) -> str:
            both.wait()
            return threading.current_thread().name

        await asyncio.to_thread(int)
        async with Server(handler, threads=2) as server, Server(handler, threads=2) as other:
            for url in (server.url, other.url):
                answers = await asyncio.gather(get(url), get(url))
                assert sorted(answer.text for answer in answers) == ["prefork-handler_0", "prefork-handler_1"]
            name = await asyncio.to_thread(lambda: threading.current_thread().name)
            assert name.startswith(loop)
        assert await asyncio.to_thread(lambda: "still works") == "still works"

    run(loop, test)


def test_blocking_code_of_handlers_runs_in_the_servers_threads(loop: str) -> None:
    async def test() -> None:
        async def handler(request: Request) -> str:
            return await children.thread(lambda: threading.current_thread().name)

        async with Server(handler, threads=1) as server:
            assert (await get(server.url)).text == "prefork-handler_0"

    run(loop, test)


def test_a_limit_on_connections_leaves_more_in_the_backlog(loop: str) -> None:
    async def test() -> None:
        async with Server(saying("x"), max_connections=1) as server:
            first = await asyncio.open_connection("127.0.0.1", server.port)
            first[1].write(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            await first[0].readuntil(b"\r\n\r\nx")
            second = asyncio.create_task(get(server.url))
            first[1].write(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            await first[0].readuntil(b"\r\n\r\nx")
            assert not second.done()
            first[1].close()
            assert (await second).text == "x"

    run(loop, test)


def test_timeouts_are_kept(loop: str) -> None:
    async def test() -> None:
        async with Server(saying("x"), header_seconds=0.02) as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(b"GET / HT")
            assert (await reader.readline()).startswith(b"HTTP/1.1 408")
            writer.close()

    run(loop, test)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"workers": 2}, "workers is for a tree of processes"),
        ({"reload": True}, "reload is for a tree of processes"),
        ({"log_level": "debug"}, "log_level is for a tree of processes"),
        ({"max_boddy": 2}, "unknown key max_boddy; did you mean max_body?"),
        ({"max_body": -1}, "max_body = -1 must be"),
        ({"host": "127.0.0.1", "bind": "127.0.0.1:0"}, "either host and port, or bind"),
        ({"port": 70000}, "the port must be a number from 0 to 65535"),
        ({"offload_max": 0}, "offload_max = 0 must be"),
    ],
)
def test_a_wrong_setting_is_a_clear_error(loop: str, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=re.escape(said)):
        Server(App(), **settings)


def test_what_is_no_app_is_a_clear_error(loop: str) -> None:
    async def test() -> None:
        with pytest.raises(UsageError, match=r"Server\(int\): it is of type int"):
            await Server(5).start()
        with pytest.raises(UsageError, match="the app itself, not the target 'main:app'"):
            Server("main:app")

    run(loop, test)


def test_variables_and_files_do_not_count(loop: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PREFORK_SERVER_HEADER", "no")
    (tmp_path / "prefork.toml").write_text("nonsense = 1\n")
    monkeypatch.chdir(tmp_path)

    async def test() -> None:
        async with Server(saying("x")) as server:
            assert "server" in (await get(server.url)).headers

    run(loop, test)


def test_the_access_log_is_written(loop: str, tmp_path: Path) -> None:
    log = tmp_path / "access"

    async def test() -> None:
        for log_format in ("text", "json"):
            async with Server(saying("x"), access_log=True, access_log_file=str(log), log_format=log_format) as server:
                await get(f"{server.url}/there")

    run(loop, test)
    text, line = log.read_text().splitlines()
    assert f"server [{os.getpid()}] 127.0.0.1:" in text
    assert '"GET /there HTTP/1.1" 404' in text
    assert json.loads(line)["role"] == "server"


def test_its_log_lines_go_where_the_programs_do(loop: str, caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        async with Server(make_site()) as server:
            assert (await get(f"{server.url}/broken")).status_code == 500

    handlers = logging.getLogger("prefork").handlers[:]
    run(loop, test)
    assert "broken on purpose" in caplog.text
    assert logging.getLogger("prefork").handlers == handlers


def test_the_proxy_protocol(loop: str) -> None:
    async def test() -> None:
        async def handler(request: Request) -> str:
            return str(request.client)

        async with Server(handler, proxy_protocol=True, forwarded_allow=["127.0.0.1"]) as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            header = b"PROXY TCP4 192.0.2.1 192.0.2.2 1111 80\r\n"
            writer.write(header + b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
            assert (await reader.read()).endswith(b"('192.0.2.1', 1111)")
            writer.close()
            await writer.wait_closed()

    run(loop, test)


def test_tls(loop: str, tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    for blob in certificate.cert_chain_pems:
        blob.write_to_path(tmp_path / "cert.pem", append=True)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)

    async def test() -> None:
        async def handler(request: Request) -> str:
            return request.scheme

        cert, key = str(tmp_path / "cert.pem"), str(tmp_path / "key.pem")
        async with Server(handler, host="localhost", tls_cert=cert, tls_key=[key]) as server:
            assert server.url.startswith("https://127.0.0.1:")
            async with httpx.AsyncClient(verify=trusting, trust_env=False) as http:
                assert (await http.get(f"https://localhost:{server.port}/")).text == "https"
        with pytest.raises(UsageError, match=r"missing\.pem"):
            await Server(handler, tls_cert=str(tmp_path / "missing.pem"), tls_key=key).start()

    run(loop, test)
