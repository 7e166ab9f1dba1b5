"""Targets: what is found, and the one clear line for what is not."""

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec
import pytest

from prefork.apps.load import load
from prefork.apps.native import AppApplication, HandlerApplication
from prefork.errors import UsageError
from prefork.settings import Settings
from tests.web.fake_exchange import FakeExchange

SOURCE = """
from prefork import App
app = App()
number = 5

async def handler(request):
    return "hello"

def plain(request):
    return "plain"

def make():
    return app

def make_none():
    return None

async def make_async():
    return app

def make_with(argument):
    return app

def make_broken():
    raise LookupError("the factory's own")

def asgi(scope, receive, send): ...
def wsgi(environ, start_response): ...
async def middleware(scope, receive, send, *, more=None): ...
class Application:
    def __call__(self, environ, start_response): ...
def many(a, b, c, d): ...
async def any_number(*args): ...

class Slotted:
    __slots__ = ("__call__",)
    def __init__(self):
        self.__call__ = self.run
    async def run(self, scope, receive, send): ...

class Site:
    async def __call__(self, request):
        return "site"

    async def lines(self):
        yield "line"

class holder:
    app = app
"""


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    (tmp_path / "shop.py").write_text(SOURCE)
    (tmp_path / "broken.py").write_text("raise ZeroDivisionError('the app is wrong')\n")
    (tmp_path / "needy.py").write_text("import not_installed_anywhere\n")
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "site.py").write_text(SOURCE)
    path, modules = list(sys.path), set(sys.modules)
    yield Settings(app_dir=str(tmp_path))
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if name.partition(".")[0] in ("shop", "broken", "needy", "package"):
            del sys.modules[name]


@pytest.mark.parametrize(
    "target", ["shop:app", "shop:make()", "shop:holder.app", "package.site:app", "package.site:make()"]
)
def test_app_is_found(target: str, settings: Settings) -> None:
    assert isinstance(load(target, settings), AppApplication)


@pytest.mark.parametrize(
    ("target", "text"),
    [("shop:handler", "hello"), ("shop:plain", "plain"), ("shop:Site()", "site"), ("package.site:handler", "hello")],
)
def test_handler_is_found_and_serves(target: str, text: str, settings: Settings) -> None:
    application = load(target, settings)
    assert isinstance(application, HandlerApplication)
    exchange = FakeExchange()
    asyncio.run(application(exchange))
    assert exchange.text == text


@pytest.mark.parametrize(
    ("target", "interface", "kind"),
    [
        ("shop:asgi", "auto", "AsgiApplication"),
        ("shop:middleware", "auto", "AsgiApplication"),
        ("shop:wsgi", "auto", "WsgiApplication"),
        ("shop:Application()", "auto", "WsgiApplication"),
        ("shop:Slotted()", "auto", "AsgiApplication"),
        ("shop:any_number", "asgi", "AsgiApplication"),
        ("shop:any_number", "wsgi", "WsgiApplication"),
        ("shop:any_number", "native", "HandlerApplication"),
        ("shop:handler", "auto", "HandlerApplication"),
        ("shop:app", "auto", "AppApplication"),
    ],
)
def test_the_kind_of_app_is_told_by_its_signature_unless_it_is_said(
    target: str, interface: Literal["auto", "native", "asgi", "wsgi"], kind: str, settings: Settings
) -> None:
    settings = msgspec.structs.replace(settings, interface=interface)
    assert type(load(target, settings)).__name__ == kind


def test_app_dir_stands_first_on_the_path_and_once(settings: Settings) -> None:
    for _ in range(2):
        load("shop:app", settings)
    assert sys.path[0] == settings.app_dir
    assert sys.path.count(settings.app_dir) == 1


@pytest.mark.parametrize(
    ("target", "complaint"),
    [
        ("shop", "no name after the module; write shop:name"),
        ("", "write module:name, for example hello:app"),
        ("shop.py", "write shop:name"),
        ("shop.py:app", "a module, not a file; write shop:app"),
        ("./package/site.py:app", "a module, not a file; write package.site:app"),
        (":app", "write module:name"),
        ("shop:", "write module:name"),
        ("shop:app:more", "write module:name"),
        ("shop:make(1)", "module:factory()"),
        ("shop:5", "write module:name"),
        ("shpo:app", "there is no module 'shpo' in {app_dir}; did you mean 'shop'?"),
        ("package.sight:app", "there is no module 'package.sight'"),
        ("shop.app:app", "there is no module 'shop.app'"),
        ("shop:ap", "module 'shop' has no 'ap'; did you mean 'app'?"),
        ("shop:holder.aps", "'holder' has no 'aps'; did you mean 'app'?"),
        ("shop:number", "it is of type int; an App, a handler(request), an ASGI or a WSGI app is needed"),
        ("shop:number()", "its type int cannot be called; leave out the ()"),
        ("shop:make", "if it is a factory, write shop:make()"),
        ("shop:make_none()", "what the factory returned is of type NoneType"),
        ("shop:make_async()", "the factory is async"),
        ("shop:make_with()", "a factory is called without arguments"),
        ("shop:Site", "it is a class; write shop:Site() to make an instance"),
        ("shop:many", "a callable with 4 arguments"),
        ("shop:any_number", "say which with --interface"),
        ("shop:Site.lines", "is a generator"),
    ],
)
def test_wrong_target_is_one_clear_line(target: str, complaint: str, settings: Settings) -> None:
    with pytest.raises(UsageError) as caught:
        load(target, settings)
    line = str(caught.value)
    assert complaint.format(app_dir=settings.app_dir) in line
    assert line.startswith(f"target {target!r}: ")
    assert "\n" not in line


@pytest.mark.parametrize(
    ("target", "error"),
    [("broken:app", ZeroDivisionError), ("needy:app", ModuleNotFoundError), ("shop:make_broken()", LookupError)],
)
def test_error_of_the_apps_own_code_passes_unchanged(target: str, error: type[Exception], settings: Settings) -> None:
    with pytest.raises(error) as caught:
        load(target, settings)
    assert not isinstance(caught.value, UsageError)
