"""Start-up and shutdown: order, failures, and the task they run in."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from prefork.apps.native import AppApplication
from prefork.settings import Settings
from prefork.web import App


def recording_app(name: str, seen: list[str]) -> App:
    @asynccontextmanager
    async def lifespan(app: App) -> AsyncIterator[None]:
        seen.append(f"{name} enter")
        yield
        seen.append(f"{name} exit")

    app = App(lifespan=lifespan)

    @app.on_startup
    async def up() -> None:
        seen.append(f"{name} up")

    @app.on_shutdown
    def down() -> None:
        seen.append(f"{name} down")

    return app


def run(app: App, between: Callable[[], None] = lambda: None) -> None:
    async def main() -> None:
        application = AppApplication(app, Settings())
        await application.startup()
        between()
        await application.shutdown()

    asyncio.run(main())


def test_context_is_outside_hooks_and_mounted_apps_are_within() -> None:
    seen: list[str] = []
    app, inner = recording_app("outer", seen), recording_app("inner", seen)
    app.mount("/a", inner)
    app.mount("/b", inner)  # twice, but one app: started once
    run(app, lambda: seen.append("serving"))
    assert seen == [
        *("outer enter", "outer up", "inner enter", "inner up", "serving"),
        *("inner down", "inner exit", "outer down", "outer exit"),
    ]


def test_failed_startup_raises_and_undoes_what_was_started() -> None:
    seen: list[str] = []
    app, inner = recording_app("outer", seen), recording_app("inner", seen)
    app.mount("/in", inner)

    @inner.on_startup
    async def fail() -> None:
        raise ConnectionError("no database")

    with pytest.raises(ConnectionError, match="no database"):
        run(app)
    assert "serving" not in seen
    assert seen[-2:] == ["outer down", "outer exit"]


def test_failed_shutdown_hook_is_logged_and_the_rest_runs(caplog: pytest.LogCaptureFixture) -> None:
    seen: list[str] = []
    app = App()

    @app.on_shutdown
    async def fail() -> None:
        raise OSError("disk full")

    @app.on_shutdown
    async def after() -> None:
        seen.append("after")

    run(app)
    assert seen == ["after"]
    assert "disk full" in caplog.text


def test_lifespan_may_hold_a_task_group_and_is_left_in_the_task_that_entered_it() -> None:
    seen: list[str] = []

    @asynccontextmanager
    async def lifespan(app: App) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as group:
            app.state.group = group
            yield
        seen.append("left")

    async def main() -> None:
        app = App(lifespan=lifespan)
        application = AppApplication(app, Settings())
        await asyncio.create_task(application.startup())
        app.state.group.create_task(asyncio.sleep(0))
        await asyncio.create_task(application.shutdown())

    asyncio.run(main())
    assert seen == ["left"]


def test_hook_with_parameters_is_refused() -> None:
    def hook(app: App) -> None: ...

    with pytest.raises(TypeError, match=r"must take \(\)"):
        App().on_startup(hook)
