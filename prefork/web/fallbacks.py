"""Routes for what no route of an app serves: 404, 405, 426, and what OPTIONS is told."""

from typing import Final

from prefork.web.http_error import HTTPError
from prefork.web.request import Request
from prefork.web.response import Response
from prefork.web.routing import Route, allow_field


async def _not_found(request: Request) -> Response:
    raise HTTPError(404)


async def _upgrade_required(request: Request) -> Response:
    raise HTTPError(426, "a WebSocket is served here", {"upgrade": "websocket"})


NOT_FOUND: Final = Route(_not_found, _not_found)
UPGRADE_REQUIRED: Final = Route(_upgrade_required, _upgrade_required)


def not_allowed(methods: set[str]) -> Route:
    """Of a path that has routes for these methods only (RFC 9110, 15.5.6)."""

    async def refuse(request: Request) -> Response:
        raise HTTPError(405, headers={"allow": allow_field(methods)})

    return Route(refuse, refuse)


def options(methods: set[str]) -> Route:
    """The answer to OPTIONS (RFC 9110, 9.3.7)."""

    async def answer(request: Request) -> Response:
        return Response(status=204, headers={"allow": allow_field(methods)})

    return Route(answer, answer)
