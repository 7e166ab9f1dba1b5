"""Paths to routes: which one wins, what a parameter takes, what is refused when it is defined."""

from typing import Any
from uuid import UUID

import pytest

from prefork.web import App, Request
from tests.web.fake_exchange import ask


def app_with(*routes: str) -> App:
    """Routes that answer with their own path and the parameters they got. `POST /x` or `/x` for GET."""
    app = App()
    for route in routes:
        method, _, path = route.rpartition(" ")

        async def handler(request: Request, route: str = route) -> list[Any]:
            return [route, request.path_params]

        app.route(path, [method or "GET"])(handler)
    return app


def matched(app: App, path: str, method: str = "GET") -> str:
    return ask(app, method, path).text


@pytest.mark.parametrize(
    ("route", "path", "expected"),
    [
        ("/u/{name}", "/u/ann", '{"name":"ann"}'),
        ("/u/{name}", "/u/a%20b%C3%A9", '{"name":"a bé"}'),
        ("/u/{name}", "/u/a%2Fb", '{"name":"a/b"}'),
        ("/u/{name}", "/u/a?name=b", '{"name":"a"}'),
        ("/u/{id:int}", "/u/007", '{"id":7}'),
        ("/u/{id:int}", "/u/" + "9" * 18, '{"id":999999999999999999}'),
        ("/u/{x:float}", "/u/1.5", '{"x":1.5}'),
        ("/u/{x:float}", "/u/2", '{"x":2.0}'),
        ("/f/{rest:path}", "/f/a/b%20c/d", '{"rest":"a/b c/d"}'),
        ("/f/{rest:path}", "/f/", '{"rest":""}'),
        ("/{a}/x/{b:int}", "/q/x/1", '{"a":"q","b":1}'),
        ("/café", "/caf%C3%A9", "{}"),
        ("/100%", "/100%25", "{}"),
        ("/", "/", "{}"),
        ("/a/", "/a/", "{}"),
    ],
)
def test_path_matches_and_converts(route: str, path: str, expected: str) -> None:
    assert matched(app_with(route), path) == f'["{route}",{expected}]'


@pytest.mark.parametrize(
    ("route", "path"),
    [
        ("/u/{name}", "/u/"),
        ("/u/{name}", "/u/a/b"),
        ("/u/{id:int}", "/u/x"),
        ("/u/{id:int}", "/u/-1"),
        ("/u/{id:int}", "/u/" + "9" * 19),
        ("/u/{id:int}", "/u/%D9%A3"),  # an Arabic digit is a digit to Python, not to a URL
        ("/u/{x:float}", "/u/nan"),
        ("/u/{key:uuid}", "/u/12345678"),
        ("/f/{rest:path}", "/f"),
        ("/a", "/a/"),
        ("/a/b", "/a%2Fb"),
    ],
)
def test_path_that_does_not_fit_is_404(route: str, path: str) -> None:
    exchange = ask(app_with(route), path=path)
    assert (exchange.status, exchange.text) == (404, "Not Found\n")


def test_uuid_parameter_is_a_uuid() -> None:
    app = App()

    @app.get("/{key:uuid}")
    async def show(request: Request) -> str:
        key = request.path_params["key"]
        assert isinstance(key, UUID)
        return str(key)

    text = "12345678-1234-5678-1234-567812345678"
    assert matched(app, f"/{text.upper()}") == text


def test_literal_wins_over_parameters_and_strict_over_loose_whatever_the_order_of_definition() -> None:
    app = app_with("/{rest:path}", "/{name}", "/{x:float}", "/{id:int}", "/me")
    assert matched(app, "/me").startswith('["/me"')
    assert matched(app, "/5").startswith('["/{id:int}"')
    assert matched(app, "/5.5").startswith('["/{x:float}"')
    assert matched(app, "/you").startswith('["/{name}"')
    assert matched(app, "/a/b").startswith('["/{rest:path}"')


def test_search_goes_back_when_a_branch_leads_nowhere() -> None:
    app = app_with("/users/me/settings", "/users/{name}/posts", "/{rest:path}")
    assert matched(app, "/users/me/posts") == '["/users/{name}/posts",{"name":"me"}]'
    assert matched(app, "/users/me/nothing") == '["/{rest:path}",{"rest":"users/me/nothing"}]'


def test_route_with_the_right_method_is_found_behind_one_without_it() -> None:
    app = app_with("GET /users/me", "POST /users/{name}", "GET /users/{id:int}")
    assert matched(app, "/users/me", "POST").startswith('["POST /users/{name}"')
    assert matched(app, "/users/5", "POST").startswith('["POST /users/{name}"')


def test_wrong_method_is_405_with_every_method_the_path_has() -> None:
    exchange = ask(app_with("GET /users/me", "POST /users/{name}"), "DELETE", "/users/me")
    assert (exchange.status, exchange.text) == (405, "Method Not Allowed\n")
    assert exchange.headers["allow"] == "GET, HEAD, OPTIONS, POST"


def test_get_answers_head_without_a_body() -> None:
    app = app_with("/a", "/u/{name}")
    for path in ("/a", "/a?x=1", "/u/ann"):
        exchange = ask(app, "HEAD", path)
        assert (exchange.status, exchange.body) == (200, b"")
        assert exchange.length


@pytest.mark.parametrize("head_first", [True, False])
def test_own_head_route_wins_over_the_one_from_get(head_first: bool) -> None:
    app = app_with(*(["HEAD /a", "GET /a"] if head_first else ["GET /a", "HEAD /a"]))
    assert ask(app, "HEAD", "/a").length == len('["HEAD /a",{}]')


def test_options_tells_the_methods() -> None:
    app = app_with("GET /a", "PUT /a", "POST /b")
    exchange = ask(app, "OPTIONS", "/a")
    assert (exchange.status, exchange.headers["allow"]) == (204, "GET, HEAD, OPTIONS, PUT")
    assert ask(app, "OPTIONS", "/none").status == 404


def test_options_asterisk_tells_the_methods_of_the_whole_server() -> None:
    app = app_with("GET /a")
    app.mount("/sub", app_with("PATCH /b"))
    exchange = ask(app, "OPTIONS", "*")
    assert (exchange.status, exchange.headers["allow"]) == (204, "GET, HEAD, OPTIONS, PATCH")


def test_own_options_route_wins() -> None:
    assert matched(app_with("OPTIONS /a", "GET /a"), "/a", "OPTIONS").startswith('["OPTIONS /a"')


@pytest.mark.parametrize(
    ("path", "complaint"),
    [
        ("a", "starts with /"),
        ("", "starts with /"),
        ("/a?b", "no \\? or #"),
        ("/{}", "not a parameter"),
        ("/{a-b}", "not a parameter"),
        ("/{a", "not a parameter"),
        ("/x{a}", "whole segment"),
        ("/{a}.json", "whole segment"),
        ("/{a:integer}", "no converter 'integer'"),
        ("/{a:path}/b", "must stand last"),
        ("/{a}/{a}", "two parameters are called 'a'"),
    ],
)
def test_bad_pattern_is_refused_when_defined(path: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        app_with(path)


@pytest.mark.parametrize(
    ("first", "second"),
    [("/a", "/a"), ("/{a}", "/{b}"), ("/{a:int}/x", "/{b:int}/x"), ("/{a:path}", "/{b:path}"), ("POST /a", "POST /a")],
)
def test_same_path_and_method_twice_is_refused_when_defined(first: str, second: str) -> None:
    with pytest.raises(ValueError, match="is defined already"):
        app_with(first, second)


def test_refused_definition_leaves_nothing_behind() -> None:
    app = app_with("GET /a")

    async def handler(request: Request) -> None: ...

    with pytest.raises(ValueError, match="is defined already"):
        app.route("/a", ["POST", "GET"])(handler)
    assert ask(app, "POST", "/a").status == 405


def test_methods_are_a_list_of_upper_case_names() -> None:
    async def handler(request: Request) -> None: ...

    for methods in ("GET", [], ["get"], ["A B"]):
        with pytest.raises(ValueError, match="method"):
            App().route("/a", methods)(handler)
