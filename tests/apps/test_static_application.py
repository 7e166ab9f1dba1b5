"""The setting `static`: folders before an app of any kind."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from prefork.apps.static import StaticApplication, with_static
from prefork.errors import Disconnected, UsageError
from prefork.settings import Settings
from prefork.web.parts import ONE_WRITE_BYTES
from tests.apps.inner import Inner
from tests.web.fake_exchange import FakeExchange, Pairs


async def say(exchange: Any) -> None:
    exchange.respond(200, (), b"the app")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "deep").mkdir()
    (tmp_path / "file.txt").write_text("a file")
    (tmp_path / "deep" / "file.txt").write_text("deep")
    (tmp_path / "index.html").write_text("home")
    return tmp_path


def ask(
    static: list[str], path: str, method: str = "GET", headers: Pairs = (), exchange: FakeExchange | None = None
) -> FakeExchange:
    application: Any = StaticApplication(Inner(say), Settings(static=static))
    exchange = exchange or FakeExchange(method, path, headers)
    asyncio.run(application(exchange))
    assert exchange.finished
    return exchange


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/assets/file.txt", "a file"),
        ("/assets/file.txt?x=1", "a file"),
        ("/%61ssets/file.txt", "a file"),
        ("/assets/", "home"),
        ("/assets/none", "Not Found\n"),
        ("/assets/../file.txt", "Not Found\n"),
        ("/", "the app"),
        ("/file.txt", "the app"),
        ("/assets-too/file.txt", "the app"),
        ("/assetsfile.txt", "the app"),
        ("/assets%2ffile.txt", "the app"),
        ("/x?%", "the app"),
        ("/x/assets/file.txt", "the app"),
    ],
)
def test_what_is_below_the_path_never_gets_to_the_app(folder: Path, path: str, text: str) -> None:
    assert ask([f"/assets={folder}"], path).text == text


def test_redirect_head_and_other_methods(folder: Path) -> None:
    static = [f"/assets={folder}"]
    exchange = ask(static, "/assets?a=b")
    assert (exchange.status, exchange.headers["location"]) == (301, "./assets/?a=b")
    assert ask(static, "/assets/file.txt", "HEAD").length == 6
    exchange = ask(static, "/assets/file.txt", "POST")
    assert (exchange.status, exchange.headers["allow"]) == (405, "GET, HEAD, OPTIONS")
    exchange = ask(static, "/assets/file.txt", "OPTIONS")
    assert (exchange.status, exchange.headers["allow"]) == (204, "GET, HEAD, OPTIONS")
    assert ask(static, "/x", "POST").text == "the app"


@pytest.mark.parametrize(
    ("method", "path", "text"),
    [
        ("GET", "/file.txt", "a file"),
        ("GET", "/", "home"),
        ("GET", "/none", "the app"),
        ("GET", "/deep", "the app"),
        ("GET", "/deep/file.txt", "deep"),
        ("GET", "/../file.txt", "the app"),
        ("HEAD", "/none", ""),
        ("POST", "/file.txt", "the app"),
        ("OPTIONS", "/file.txt", "the app"),
        ("OPTIONS", "*", "the app"),
    ],
)
def test_at_the_root_the_app_has_the_rest(folder: Path, method: str, path: str, text: str) -> None:
    assert ask([f"/={folder}"], path, method).text == text


def test_the_longest_path_wins(folder: Path) -> None:
    static = [f"/={folder}", f"/a={folder}/deep", f"/a/b={folder}"]
    assert ask(static, "/a/file.txt").text == "deep"
    assert ask(static, "/a/b/file.txt").text == "a file"
    assert ask(static, "/file.txt").text == "a file"
    assert ask(static, "/a/none").text == "Not Found\n"


def test_client_that_leaves_and_cancellation(folder: Path) -> None:
    (folder / "large.bin").write_bytes(bytes(ONE_WRITE_BYTES + 1))

    class Leaving(FakeExchange):
        async def send_file(self, file: Any, offset: int, count: int) -> None:
            raise Disconnected("the client left")

    exchange = ask([f"/assets={folder}"], "", exchange=Leaving(target="/assets/large.bin"))
    assert exchange.aborted

    class Cancelled(FakeExchange):
        async def send_file(self, file: Any, offset: int, count: int) -> None:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            await asyncio.sleep(0)

    async def run() -> None:
        application: Any = StaticApplication(Inner(say), Settings(static=[f"/assets={folder}"]))
        await application(Cancelled(target="/assets/large.bin"))

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(run())


def test_life_of_the_app_is_its_own(folder: Path) -> None:
    inner = Inner(say)
    application = StaticApplication(inner, Settings(static=[f"/assets={folder}"]))

    async def live() -> None:
        await application.startup()
        await application.shutdown()

    asyncio.run(live())
    application.offloader()
    assert inner.calls == ["startup", "shutdown", "offloader"]
    assert repr(application) == repr(inner)


def test_request_for_the_app_goes_straight_to_it(folder: Path) -> None:
    class Straight(Inner):
        def __call__(self, exchange: Any) -> Any:
            return exchange

    application: Any = StaticApplication(Straight(say), Settings(static=[f"/assets={folder}"]))
    exchange = FakeExchange(target="/other")
    assert application(exchange) is exchange


def test_without_folders_there_is_nothing_in_front() -> None:
    inner = Inner(say)
    assert with_static(inner, Settings()) is inner


@pytest.mark.parametrize(
    ("static", "message"),
    [
        (["/assets={}/none"], r"static '/assets=.*/none': there is no folder .*/none"),
        (["/assets={}/file.txt"], "there is no folder"),
        (["/assets={}", "/assets/={}/deep"], "another folder is served at /assets"),
        (["/={}", "/={}/deep"], "another folder is served at /"),
    ],
)
def test_folder_that_cannot_be_served_is_a_usage_error(folder: Path, static: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        StaticApplication(Inner(say), Settings(static=[item.format(folder) for item in static]))
