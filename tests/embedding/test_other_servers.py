"""An App where other people's code runs it: uvicorn, hypercorn, Starlette, FastAPI, httpx."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.routing import Mount

from prefork import App, Request
from prefork.errors import ResponseError
from tests.embedding.servers import TestClient, hypercorn_serving, uvicorn_serving
from tests.embedding.site import make_site
from tests.processes.patience import GUARD_SECONDS

SEEN = "/seen/%C3%BC%20b?q=1&q=2"


@contextmanager
def asking(url: str, idle: int | None = None) -> Iterator[httpx.Client]:
    """A client that keeps at most so many idle connections."""
    limits = httpx.Limits(max_keepalive_connections=idle)
    with httpx.Client(base_url=url, trust_env=False, timeout=GUARD_SECONDS, limits=limits) as client:
        yield client


def check_requests(client: httpx.Client, folder: Path) -> None:
    """What an App does with every kind of request, whoever brings it."""
    seen = client.get(SEEN, headers={"x-sent": "yes"}).json()
    assert (seen["path"], seen["rest"], seen["query"], seen["x"]) == ("/seen/ü b", "ü b", ["1", "2"], "yes")
    assert client.post("/length", content=b"x" * 1000).text == "1000"
    assert client.post("/length", content=b"x" * 1001).status_code == 413
    assert client.post("/echo", content=iter([b"one", b"two"])).text == "onetwo"
    assert client.post("/deaf", content=b"x" * 100_000).text == "I did not listen"
    assert client.get("/thread").text == "from a thread"
    assert client.get("/stream").text == "one two three"
    assert client.get("/events").text == "id: 1\ndata: a\n\ndata: b\n\n"
    content = bytes(range(256)) * 3000
    (folder / "file.txt").write_bytes(content)
    whole = client.get("/file")
    assert (whole.content, whole.headers["content-length"]) == (content, str(len(content)))
    assert client.get("/file", headers={"range": "bytes=5-700000"}).content == content[5:700001]
    assert client.get("/file", headers={"if-none-match": whole.headers["etag"]}).status_code == 304
    head = client.head("/file")
    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", str(len(content)))
    assert client.get("/empty").status_code == 204
    assert client.get("/fields").headers.get_list("set-cookie") == ["a=1", "b=2"]
    assert client.get("/missing").status_code == 404
    assert client.get("/broken").text == "Internal Server Error\n"
    assert client.request("OPTIONS", "/length").headers["allow"] == "OPTIONS, POST"


@pytest.mark.parametrize("http", ["h11", "httptools"])
def test_under_uvicorn(http: str, tmp_path: Path) -> None:
    app = make_site(tmp_path)
    with uvicorn_serving(app, http=http) as url, asking(url) as client:
        assert app.state.life == ["started"]
        check_requests(client, tmp_path)
        for path in ("/half", "/short"):
            with pytest.raises(httpx.RemoteProtocolError):
                client.get(path)
        with client.stream("GET", "/endless") as endless:
            assert next(endless.iter_lines()) == "data: tick"
        while not app.state.ends:  # the guard of the test run ends what does not come
            client.get(SEEN)
        assert app.state.ends == ["closed"]
    assert app.state.life == ["started", "stopped"]


def test_under_uvicorn_with_a_root_path(tmp_path: Path) -> None:
    with uvicorn_serving(make_site(), root_path="/behind") as url, asking(url) as client:
        seen = client.get("/seen/x").json()
        assert (seen["path"], seen["mount_path"], seen["rest"]) == ("/behind/seen/x", "/behind", "x")


def test_a_start_up_that_fails_stops_uvicorn(capfd: pytest.CaptureFixture[str]) -> None:
    app = App()

    @app.on_startup
    def fail() -> None:
        raise RuntimeError("no database")

    with pytest.raises(RuntimeError, match="did not start"), uvicorn_serving(app):
        pass
    assert "RuntimeError: no database" in capfd.readouterr().err


def test_under_hypercorn(tmp_path: Path) -> None:
    app = make_site(tmp_path)
    # It closes a connection whose body nobody read without saying so: the next request on it would be lost.
    with hypercorn_serving(app) as url, asking(url, idle=0) as client:
        check_requests(client, tmp_path)
    assert app.state.life == ["started", "stopped"]


def test_in_httpx_without_a_server(tmp_path: Path) -> None:
    app = make_site(tmp_path)

    async def main() -> None:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://site") as client:
            seen = (await client.get(SEEN)).json()
            assert (seen["path"], seen["query"], seen["scheme"]) == ("/seen/ü b", ["1", "2"], "http")
            assert (await client.post("/length", content=b"x" * 1001)).status_code == 413
            assert (await client.get("/events")).text == "id: 1\ndata: a\n\ndata: b\n\n"
            assert (await client.get("/broken")).status_code == 500
            with pytest.raises(ResponseError, match="GET /half: the response was cut"):
                await client.get("/half")
            answers = await asyncio.gather(*(client.get(f"/seen/{n}") for n in range(20)))
            assert [answer.json()["rest"] for answer in answers] == [str(n) for n in range(20)]
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())


def test_in_starlettes_test_client(tmp_path: Path) -> None:
    app = make_site(tmp_path)
    with TestClient(app) as client:
        assert app.state.life == ["started"]
        check_requests(client, tmp_path)
        with pytest.raises(ResponseError, match="GET /half: the response was cut"):
            client.get("/half")
    assert app.state.life == ["started", "stopped"]


def test_starlettes_test_client_raises_what_start_up_raised() -> None:
    app = App()

    @app.on_startup
    def fail() -> None:
        raise LookupError("no database")

    with pytest.raises(LookupError, match="no database"), TestClient(app):
        pass


@pytest.mark.parametrize("outer", ["starlette", "fastapi", "middleware"])
def test_mounted_in_another_app(outer: str, tmp_path: Path) -> None:
    app = make_site(tmp_path)

    @asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[None]:
        await app.startup()
        yield
        await app.shutdown()

    site: Any
    if outer == "fastapi":
        site = FastAPI(lifespan=lifespan)
        site.mount("/api/v1", app)
    else:
        site = Starlette(routes=[Mount("/api", routes=[Mount("/v1", app)])], lifespan=lifespan)
    if outer == "middleware":

        async def pass_on(request: Any, call_next: Any) -> Any:
            return await call_next(request)

        site.add_middleware(BaseHTTPMiddleware, dispatch=pass_on)
    with uvicorn_serving(site) as url, asking(url + "/api/v1") as client:
        assert app.state.life == ["started"]
        seen = client.get(SEEN).json()
        assert (seen["path"], seen["mount_path"], seen["rest"]) == ("/api/v1/seen/ü b", "/api/v1", "ü b")
        assert client.get("/stream").text == "one two three"
        assert client.get("/nowhere").status_code == 404
        assert client.post("/length", content=b"x" * 1001).status_code == 413
    assert app.state.life == ["started", "stopped"]


def test_a_request_in_a_mount_knows_its_app() -> None:
    inner = App()

    @inner.get("/")
    async def who(request: Request) -> list[object]:
        return [request.app is inner, request.mount_path]

    client = TestClient(Starlette(routes=[Mount("/in", inner)]))
    assert json.loads(client.get("/in/").text) == [True, "/in"]
