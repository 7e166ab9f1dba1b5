"""What a client gets to see when an app fails."""

import pytest

from prefork.web import Request
from prefork.web.error_page import last_line
from tests.web.fake_exchange import FakeExchange, ask

BROWSER = ("accept", "text/html,application/xhtml+xml,*/*;q=0.8")
SECRET = "<script>alert('é')</script>"


async def fail(request: Request) -> None:
    raise KeyError(SECRET)


def failing(*headers: tuple[str, str], debug: bool) -> FakeExchange:
    return ask(fail, path="/orders?id=<7>", headers=headers, debug=debug)


@pytest.mark.parametrize("headers", [(), (BROWSER,)])
def test_nothing_is_told_outside_of_debug(headers: tuple[tuple[str, str], ...]) -> None:
    exchange = failing(*headers, debug=False)
    assert (exchange.status, exchange.text) == (500, "Internal Server Error\n")


def test_debug_shows_a_browser_a_page_with_traceback_and_request() -> None:
    exchange = failing(BROWSER, ("x-tried", "<b>"), debug=True)
    assert exchange.status == 500
    assert exchange.headers["content-type"] == "text/html; charset=utf-8"
    assert exchange.headers["cache-control"] == "no-store"
    assert ", in fail\n    raise KeyError(SECRET)\n" in exchange.text
    assert "GET /orders?id=&lt;7&gt;" in exchange.text
    assert "<td>x-tried<td>&lt;b&gt;" in exchange.text


def test_what_the_error_says_is_only_text_in_the_page() -> None:
    exchange = failing(BROWSER, debug=True)
    assert SECRET not in exchange.text
    assert "KeyError: &quot;&lt;script&gt;alert(&#x27;&#233;&#x27;)&lt;/script&gt;&quot;" in exchange.text


@pytest.mark.parametrize("accept", ["*/*", "application/json", None])
def test_debug_shows_others_plain_text(accept: str | None) -> None:
    exchange = failing(*([("accept", accept)] if accept else []), debug=True)
    assert exchange.headers["content-type"] == "text/plain; charset=utf-8"
    assert exchange.text.startswith("Traceback (most recent call last):\n")
    assert exchange.text.endswith(f'KeyError: "{SECRET}"\n')


def test_the_traceback_begins_with_the_apps_own_code() -> None:
    assert "/prefork/web/" not in failing(debug=True).text


@pytest.mark.parametrize(
    ("traceback", "line"),
    [
        ("Traceback (most recent call last):\n  File\n    x\nNameError: x\n", "NameError: x"),
        ("  File\n    def (:\n        ^\nSyntaxError: invalid syntax\n", "SyntaxError: invalid syntax"),
        ("Traceback:\n  File\nValueError: one\ntwo\nthree\n", "ValueError: one"),
        ("Traceback:\n  File\nKeyError: 1\n\nDuring it:\n\nTraceback:\n  File\nTypeError: 2\n", "TypeError: 2"),
        ("target 'shop:app': there is no module 'shop'", "target 'shop:app': there is no module 'shop'"),
        ("  only\n  frames\n", "the app failed"),
        ("", "the app failed"),
    ],
)
def test_the_line_that_names_the_error_is_found(traceback: str, line: str) -> None:
    assert last_line(traceback) == line
