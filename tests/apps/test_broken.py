"""What is served in the place of an app that has never been able to start."""

import asyncio
from typing import cast

import pytest

from prefork.apps.broken import BrokenApplication
from prefork.http.exchange import Exchange
from tests.web.fake_exchange import FakeExchange

TRACEBACK = "Traceback (most recent call last):\n  File shop.py\nNameError: </script> é\n"
BROWSER = ("accept", "text/html")


def ask(app: BrokenApplication, *headers: tuple[str, str], method: str = "GET", target: str = "/") -> FakeExchange:
    exchange = FakeExchange(method, target, headers)
    asyncio.run(app(cast(Exchange, exchange)))
    assert exchange.finished
    return exchange


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_a_browser_gets_a_page_on_every_path(method: str) -> None:
    exchange = ask(BrokenApplication(TRACEBACK), BROWSER, method=method, target="/any/where?x=1")
    assert exchange.status == 500
    assert exchange.headers["content-type"] == "text/html; charset=utf-8"
    assert exchange.headers["cache-control"] == "no-store"
    assert "<h1>NameError: &lt;/script&gt; &#233;</h1>" in exchange.text


def test_others_get_the_traceback_as_text() -> None:
    exchange = ask(BrokenApplication(TRACEBACK))
    assert exchange.status == 500
    assert exchange.headers["content-type"] == "text/plain; charset=utf-8"
    assert exchange.text == TRACEBACK


def test_the_page_looks_for_the_field_that_says_it_is_out_of_date() -> None:
    exchange = ask(BrokenApplication(TRACEBACK), BROWSER)
    assert exchange.headers["x-prefork-broken"] == "NameError: </script> ?"
    assert '.get("x-prefork-broken") !== "NameError: \\u003c/script> ?"' in exchange.text
    assert exchange.text.count("</script>") == 1


def test_white_space_around_the_errors_name_does_not_make_the_page_load_for_ever() -> None:
    exchange = ask(BrokenApplication("Traceback:\n  File\nValueError: \n"), BROWSER)
    assert exchange.headers["x-prefork-broken"] == "ValueError:"  # a browser trims it, too
    assert '!== "ValueError:"' in exchange.text


def test_a_later_failure_is_shown_instead() -> None:
    app = BrokenApplication(TRACEBACK)
    app.show("SyntaxError: no\n")
    assert ask(app).text == "SyntaxError: no\n"
    app.show("")  # good code is on its way, in other workers
    assert ask(app).text == "SyntaxError: no\n"


def test_it_starts_and_stops_and_runs_no_jobs() -> None:
    app = BrokenApplication(TRACEBACK)

    async def live() -> None:
        await app.startup()
        await app.shutdown()

    asyncio.run(live())
    app.offloader()
    assert repr(app) == "an error page, NameError: </script> é"
