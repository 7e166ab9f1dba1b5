"""Folders served by an App: what is found, how it is sent, and what comes along."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from prefork.system import opening
from prefork.system.open_file import OpenFile
from prefork.web import App, Request, Response
from prefork.web.parts import ONE_WRITE_BYTES
from tests.web.fake_exchange import FakeExchange, Pairs, ask

SCRIPT = b"let answer = 42;\n" * 10
MODIFIED = 1_700_000_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "public"
    (folder / "docs" / "deep").mkdir(parents=True)
    (folder / "empty").mkdir()
    (folder / "index.html").write_text("<p>home")
    (folder / "app.js").write_bytes(SCRIPT)
    (folder / "docs" / "index.html").write_text("<p>docs")
    (folder / "docs" / "a b.txt").write_text("spaces")
    (folder / "docs" / "naïve.txt").write_text("not ASCII")
    (folder / "docs" / "50%.txt").write_text("percent")
    (folder / "picture.png").write_bytes(b"\x89PNG")
    for path in folder.rglob("*.*"):
        os.utime(path, (MODIFIED, MODIFIED))
    return folder


@pytest.fixture(params=["on the loop", "in a thread"])
def either_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the kernel can tell what is in memory or not."""
    if request.param == "in a thread":
        monkeypatch.setattr(opening, "knows_cached", False)


def get(folder: Path, path: str, method: str = "GET", headers: Pairs = (), **options: str | None) -> FakeExchange:
    app = App()
    app.static("/assets", folder, **options)
    return ask(app, method, path, headers)


@pytest.mark.usefixtures("either_way")
def test_file(folder: Path) -> None:
    exchange = get(folder, "/assets/app.js?v=3")
    assert (exchange.status, exchange.body, exchange.length) == (200, SCRIPT, len(SCRIPT))
    assert dict(exchange.headers) == {
        "content-type": "text/javascript; charset=utf-8",
        "x-content-type-options": "nosniff",
        "cache-control": "no-cache",
        "vary": "accept-encoding",
        "accept-ranges": "bytes",
        "etag": f'"{MODIFIED * 10**9:x}-{len(SCRIPT):x}"',
        "last-modified": "Tue, 14 Nov 2023 22:13:20 GMT",
    }


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/assets/", "<p>home"),
        ("/assets/?a=b", "<p>home"),
        ("/assets/docs/", "<p>docs"),
        ("/assets/docs/index.html", "<p>docs"),
        ("/assets/docs/a%20b.txt", "spaces"),
        ("/assets/docs/na%C3%AFve.txt", "not ASCII"),
        ("/assets/docs/50%25.txt", "percent"),
        ("/assets/docs/50%.txt", "percent"),
        ("/assets/%64ocs/%69ndex.html", "<p>docs"),
        ("/%61ssets/docs/", "<p>docs"),
    ],
)
def test_path_that_leads_to_a_file(folder: Path, path: str, text: str) -> None:
    exchange = get(folder, path)
    assert (exchange.status, exchange.body.decode()) == (200, text)


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize(
    ("path", "location"),
    [
        ("/assets", "./assets/"),
        ("/assets?a=b&c=//d", "./assets/?a=b&c=//d"),
        ("/assets/docs", "./docs/"),
        ("/assets/docs?a=b?c", "./docs/?a=b?c"),
        ("/assets/d%6Fcs", "./d%6Fcs/"),
    ],
)
def test_folder_without_its_slash_is_redirected(folder: Path, path: str, location: str) -> None:
    for method in ("GET", "HEAD"):
        exchange = get(folder, path, method)
        assert (exchange.status, exchange.body) == (301, b"")
        assert exchange.headers["location"] == location
        assert exchange.headers["cache-control"] == "no-cache"


def test_redirect_never_leads_to_another_host_or_scheme(folder: Path) -> None:
    for name in ("\\evil.example", "javascript:alert(1)", "@evil.example", "%5Cevil.example", "%2F%2Fevil.example"):
        (folder / name).mkdir()
        (folder / name / "index.html").touch()
    assert get(folder, "/assets/\\evil.example").headers["location"] == "./%5Cevil.example/"
    assert get(folder, "/assets/%5Cevil.example").headers["location"] == "./%5Cevil.example/"
    assert get(folder, "/assets/javascript:alert(1)").headers["location"] == "./javascript:alert(1)/"
    assert get(folder, "/assets/@evil.example").headers["location"] == "./@evil.example/"
    for path in ("//evil.example", "//evil.example/", "///evil.example", "/assets//evil.example", "/assets//docs"):
        assert get(folder, path).status == 404
    root = App()
    root.static("/", folder)
    for path in ("//evil.example", "//docs", "///docs", "//", "/%2F/docs", "/%2Fdocs", "/docs//"):
        assert ask(root, path=path).status == 404, path
    assert ask(root, path="/docs").headers["location"] == "./docs/"
    assert ask(root, path="/").text == "<p>home"


def test_folder_without_an_index_is_not_there(folder: Path) -> None:
    for path in ("/assets/empty", "/assets/empty/", "/assets/docs/deep", "/assets/docs/deep/"):
        assert get(folder, path).status == 404
    for path in ("/assets", "/assets/", "/assets/docs", "/assets/docs/"):
        assert get(folder, path, index=None).status == 404
    assert get(folder, "/assets/docs/", index="a b.txt").text == "spaces"
    (folder / "empty" / "index.html").mkdir()
    assert get(folder, "/assets/empty/").status == 404 == get(folder, "/assets/empty").status


@pytest.mark.usefixtures("either_way")
def test_head_and_other_methods(folder: Path) -> None:
    exchange = get(folder, "/assets/app.js", "HEAD")
    assert (exchange.status, exchange.body, exchange.length) == (200, b"", len(SCRIPT))
    assert exchange.headers["content-type"] == "text/javascript; charset=utf-8"
    for method in ("POST", "DELETE", "PUT"):
        exchange = get(folder, "/assets/app.js", method)
        assert (exchange.status, exchange.headers["allow"]) == (405, "GET, HEAD, OPTIONS")
    exchange = get(folder, "/assets/app.js", "OPTIONS")
    assert (exchange.status, exchange.headers["allow"]) == (204, "GET, HEAD, OPTIONS")


@pytest.mark.usefixtures("either_way")
def test_changed_file_is_seen_at_once(folder: Path) -> None:
    app = App()
    app.static("/assets", folder)
    etag = ask(app, path="/assets/app.js").headers["etag"]
    known = [("If-None-Match", etag)]
    exchange = ask(app, path="/assets/app.js", headers=known)
    assert (exchange.status, exchange.headers["etag"]) == (304, etag)
    assert exchange.headers["vary"] == "accept-encoding"
    assert exchange.headers["cache-control"] == "no-cache"
    assert "content-type" not in exchange.headers
    (folder / "app.js").write_bytes(b"other")
    assert ask(app, path="/assets/app.js", headers=known).body == b"other"
    folder.rename(folder.with_name("old"))
    assert ask(app, path="/assets/app.js").status == 404
    folder.mkdir()
    (folder / "app.js").write_bytes(b"newer")
    assert ask(app, path="/assets/app.js", headers=known).body == b"newer"


@pytest.mark.usefixtures("either_way")
def test_conditions_and_parts(folder: Path) -> None:
    assert get(folder, "/assets/app.js", headers=[("If-Modified-Since", "Tue, 14 Nov 2023 22:13:20 GMT")]).status == 304
    assert get(folder, "/assets/app.js", headers=[("If-Match", '"x"')]).status == 412
    exchange = get(folder, "/assets/app.js", headers=[("Range", "bytes=4-9")])
    assert (exchange.status, exchange.body) == (206, SCRIPT[4:10])
    exchange = get(folder, "/assets/app.js", headers=[("Range", "bytes=0-1,5-6")])
    assert exchange.headers["content-type"].startswith("multipart/byteranges; boundary=")
    exchange = get(folder, "/assets/app.js", headers=[("Range", "bytes=1000-")])
    assert (exchange.status, exchange.headers["content-range"]) == (416, f"bytes */{len(SCRIPT)}")


@pytest.mark.parametrize("size", [ONE_WRITE_BYTES, ONE_WRITE_BYTES + 1])
def test_file_around_the_size_for_one_write(folder: Path, size: int) -> None:
    content = os.urandom(size)
    (folder / "some.bin").write_bytes(content)
    exchange = get(folder, "/assets/some.bin")
    assert (exchange.body, exchange.length) == (content, size)
    assert exchange.file_pieces == ([(0, size)] if size > ONE_WRITE_BYTES else [])


def test_cache_rules(folder: Path) -> None:
    assert get(folder, "/assets/app.js", cache_control="max-age=60").headers["cache-control"] == "max-age=60"
    assert "cache-control" not in get(folder, "/assets/app.js", cache_control=None).headers
    (folder / "app-BfibREyH.js").touch()
    for name, rule in (("app-BfibREyH.js", "public, max-age=31536000, immutable"), ("app.js", "no-cache")):
        exchange = get(folder, f"/assets/{name}", immutable=r"-[\w-]{8}\.")
        assert exchange.headers["cache-control"] == rule
        assert len(exchange.headers.get_all("cache-control")) == 1


# -- compressed files beside


def compressed(folder: Path, suffix: str, content: bytes, age: int = 0) -> None:
    path = folder / f"app.js{suffix}"
    path.write_bytes(content)
    os.utime(path, (MODIFIED - age, MODIFIED - age))


@pytest.mark.usefixtures("either_way")
def test_compressed_file_by_what_the_client_accepts(folder: Path) -> None:
    for suffix in (".gz", ".br", ".zst"):
        compressed(folder, suffix, f"as {suffix}".encode())
    plain = get(folder, "/assets/app.js")
    seen = {plain.headers["etag"]}
    for accepts, coding, body in (
        ("gzip, deflate, br, zstd", "br", b"as .br"),
        ("gzip, zstd", "zstd", b"as .zst"),
        ("gzip, br;q=0.5", "gzip", b"as .gz"),
    ):
        exchange = get(folder, "/assets/app.js", headers=[("Accept-Encoding", accepts)])
        assert (exchange.status, exchange.body, exchange.length) == (200, body, len(body))
        assert exchange.headers["content-encoding"] == coding
        assert exchange.headers["content-type"] == "text/javascript; charset=utf-8"
        assert exchange.headers["vary"] == "accept-encoding"
        assert exchange.headers["etag"].endswith(f'-{coding}"')
        seen.add(exchange.headers["etag"])
        unchanged = get(
            folder,
            "/assets/app.js",
            headers=[("Accept-Encoding", accepts), ("If-None-Match", exchange.headers["etag"])],
        )
        assert unchanged.status == 304
        assert "content-encoding" not in unchanged.headers
        assert unchanged.headers["vary"] == "accept-encoding"
        other = get(folder, "/assets/app.js", headers=[("If-None-Match", exchange.headers["etag"])])
        assert (other.status, other.body) == (200, SCRIPT)
    assert len(seen) == 4
    for accepts in ("", "deflate", "br;q=0, *;q=0", "identity"):
        exchange = get(folder, "/assets/app.js", headers=[("Accept-Encoding", accepts)])
        assert (exchange.body, exchange.headers["vary"]) == (SCRIPT, "accept-encoding")
        assert "content-encoding" not in exchange.headers


def test_best_coding_that_is_there(folder: Path) -> None:
    compressed(folder, ".gz", b"as .gz")
    exchange = get(folder, "/assets/app.js", headers=[("Accept-Encoding", "br, zstd, gzip")])
    assert exchange.headers["content-encoding"] == "gzip"
    exchange = get(folder, "/assets/app.js", "HEAD", headers=[("Accept-Encoding", "br, zstd, gzip")])
    assert (exchange.headers["content-encoding"], exchange.length) == ("gzip", 6)


def test_compressed_file_that_is_older_is_of_another_version(folder: Path) -> None:
    compressed(folder, ".br", b"old", age=1)
    compressed(folder, ".gz", b"good")
    exchange = get(folder, "/assets/app.js", headers=[("Accept-Encoding", "br, gzip")])
    assert (exchange.body, exchange.headers["content-encoding"]) == (b"good", "gzip")


def test_what_is_beside_must_be_a_file_within(folder: Path) -> None:
    (folder / "app.js.br").mkdir()
    (folder.parent / "secret.gz").write_bytes(b"secret")
    (folder / "app.js.gz").symlink_to("../secret.gz")
    os.mkfifo(folder / "app.js.zst")
    exchange = get(folder, "/assets/app.js", headers=[("Accept-Encoding", "br, gzip, zstd")])
    assert (exchange.status, exchange.body) == (200, SCRIPT)


def test_compressed_file_alone_or_of_a_picture_is_not_looked_for(folder: Path) -> None:
    (folder / "alone.js.gz").write_bytes(b"compressed")
    assert get(folder, "/assets/alone.js", headers=[("Accept-Encoding", "gzip")]).status == 404
    exchange = get(folder, "/assets/alone.js.gz", headers=[("Accept-Encoding", "gzip")])
    assert (exchange.body, exchange.headers["content-type"]) == (b"compressed", "application/gzip")
    assert "content-encoding" not in exchange.headers
    (folder / "picture.png.gz").write_bytes(b"compressed")
    exchange = get(folder, "/assets/picture.png", headers=[("Accept-Encoding", "gzip")])
    assert exchange.body == b"\x89PNG"
    assert "vary" not in exchange.headers


@pytest.mark.usefixtures("either_way")
def test_part_is_of_the_plain_file_unless_the_client_has_some_of_a_compressed_one(folder: Path) -> None:
    compressed(folder, ".gz", b"0123456789")
    accepts = ("Accept-Encoding", "gzip")
    plain = get(folder, "/assets/app.js").headers["etag"]
    gzipped = get(folder, "/assets/app.js", headers=[accepts]).headers["etag"]

    exchange = get(folder, "/assets/app.js", headers=[accepts, ("Range", "bytes=2-3")])
    assert (exchange.status, exchange.body, exchange.headers["etag"]) == (206, SCRIPT[2:4], plain)
    assert "content-encoding" not in exchange.headers

    exchange = get(folder, "/assets/app.js", headers=[accepts, ("Range", "bytes=2-3"), ("If-Range", gzipped)])
    assert (exchange.status, exchange.body, exchange.headers["etag"]) == (206, b"23", gzipped)
    assert exchange.headers["content-encoding"] == "gzip"
    assert exchange.headers["content-range"] == "bytes 2-3/10"

    exchange = get(folder, "/assets/app.js", headers=[accepts, ("Range", "bytes=2-3"), ("If-Range", plain)])
    assert (exchange.status, exchange.body) == (206, SCRIPT[2:4])

    # It has some of a compressed file, but says it takes none now: then the whole plain one.
    exchange = get(folder, "/assets/app.js", headers=[("Range", "bytes=2-3"), ("If-Range", gzipped)])
    assert (exchange.status, exchange.body) == (200, SCRIPT)

    compressed(folder, ".gz", b"changed!")
    exchange = get(folder, "/assets/app.js", headers=[accepts, ("Range", "bytes=2-3"), ("If-Range", gzipped)])
    assert (exchange.status, exchange.body) == (200, b"changed!")


# -- with the rest of an App


def test_routes_win_and_the_rest_is_a_mount(folder: Path) -> None:
    app = App()
    api = App()

    @app.get("/assets/app.js")
    async def made(request: Request) -> str:
        return "made"

    @api.get("/x")
    async def x(request: Request) -> str:
        return "api"

    app.static("/", folder)
    app.static("/assets", folder)
    app.mount("/api", api)
    assert ask(app, path="/assets/app.js").text == "made"
    assert ask(app, path="/assets/docs/").text == "<p>docs"
    assert ask(app, path="/docs/").text == "<p>docs"
    assert ask(app, path="/api/x").text == "api"
    assert ask(app, path="/api/app.js").status == 404
    assert ask(app, path="/none").status == 404
    with pytest.raises(ValueError, match="mounted there already"):
        app.static("/assets", folder)


def test_within_a_mounted_app(folder: Path) -> None:
    outer, inner = App(), App()
    inner.static("/assets", folder)
    outer.mount("/some/where", inner)
    assert ask(outer, path="/some/where/assets/app.js").body == SCRIPT
    assert ask(outer, path="/some/where/assets/").text == "<p>home"
    assert ask(outer, path="/some/where/assets").headers["location"] == "./assets/"


def test_middleware_and_exception_handlers(folder: Path) -> None:
    app = App()
    app.static("/assets", folder)
    seen: list[str] = []

    @app.middleware
    async def mark(request: Request, call_next: Callable[[Request], object]) -> object:
        response = await call_next(request)  # type: ignore[misc]  # the middleware's own type is not public
        seen.append(request.path)
        response.headers["x-mark"] = "yes"
        return response

    @app.exception_handler(404)
    async def missing(request: Request, error: Exception) -> Response:
        return Response("our own page", 404)

    (folder / "large.bin").write_bytes(bytes(ONE_WRITE_BYTES + 1))
    for path in ("app.js", "large.bin"):
        exchange = ask(app, path=f"/assets/{path}")
        assert (exchange.status, exchange.headers["x-mark"]) == (200, "yes")
    assert ask(app, path="/assets/none").text == "our own page"
    assert seen == ["/assets/app.js", "/assets/large.bin", "/assets/none"]


def test_response_that_is_not_sent_keeps_no_descriptor(folder: Path) -> None:
    app = App()
    app.static("/assets", folder)

    @app.middleware
    async def instead(request: Request, call_next: Callable[[Request], object]) -> str:
        await call_next(request)  # type: ignore[misc]  # as above
        return "something else"

    (folder / "large.bin").write_bytes(bytes(ONE_WRITE_BYTES + 1))
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        assert ask(app, path="/assets/large.bin").text == "something else"
    assert len(os.listdir("/proc/self/fd")) == before


def test_file_that_is_cut_while_it_is_read_is_no_whole_one(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def shortened(self: OpenFile, offset: int, count: int, *, wait: bool) -> bytes:
        raise EOFError("the file ended 1 bytes early")

    monkeypatch.setattr(OpenFile, "read", shortened)
    assert get(folder, "/assets/app.js").status == 500


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"folder": "none"}, r"static '/assets': there is no folder /.*/none"),
        ({"folder": "public/app.js"}, "there is no folder"),
        ({"index": ""}, "index is the name of a file"),
        ({"index": "../index.html"}, "index is the name of a file"),
        ({"immutable": "("}, "immutable is a regular expression"),
        ({"path": "assets"}, "starts with /"),
        ({"path": "/assets/"}, "no slash at its end"),
        ({"path": "/{name}"}, "no parameters"),
    ],
)
def test_what_cannot_be_served_is_an_error_at_definition(
    folder: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, str], message: str
) -> None:
    monkeypatch.chdir(folder.parent)
    given = {"path": "/assets", "folder": "public", **options}
    with pytest.raises(ValueError, match=message):
        App().static(**given)


def test_relative_folder_is_below_the_directory_of_that_moment(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    app = App()
    app.static("/assets", "public")
    monkeypatch.chdir("/")
    assert ask(app, path="/assets/app.js").body == SCRIPT
