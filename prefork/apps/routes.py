"""Which route an app of another framework found for a request: its template, such as /users/{id}, never the path.

ASGI: `scope["prefork.route"]` if the app has put one there, else what Starlette, FastAPI and Litestar leave in it.
WSGI: `environ["prefork.route"]`, else what Flask (Werkzeug) and Bottle leave there. Else it is unknown: empty.
"""

from typing import Any, Final

OUR_KEY: Final = "prefork.route"  # in a scope, or an environ
KEPT_ROUTERS: Final = 100  # an app has one
KEPT_ENDPOINTS: Final = 10_000  # of a router; apps that make up endpoints have none that count
DEEPEST: Final = 16  # mounts in mounts

# By id, for Starlette's routers and routes cannot be hashed; with the object itself, so that no other gets that number.
Known = dict[int, tuple[Any, str]]  # templates of routes and endpoints
_of_router: Final[dict[int, tuple[Any, Known]]] = {}


def asgi_route(scope: dict[str, Any]) -> str:
    """Once the app has begun to answer."""
    found = scope.get(OUR_KEY)
    if found is None:
        endpoint = scope.get("endpoint")
        if endpoint is not None:
            route = scope.get("route")  # FastAPI's
            return _template(scope.get("router"), endpoint if route is None else route)
        found = scope.get("path_template")  # Litestar's
    return found if type(found) is str else ""


def wsgi_route(environ: dict[str, Any]) -> str:
    """Once the app has begun to answer."""
    found = environ.get(OUR_KEY)
    if found is None:
        request = environ.get("werkzeug.request")
        if request is not None:
            found = getattr(getattr(request, "url_rule", None), "rule", None)
        elif "bottle.route" in environ:
            found = getattr(environ["bottle.route"], "rule", None)
    return found if type(found) is str else ""


def _template(router: Any, key: Any) -> str:
    """The whole template of a route, with those of the mounts above it. `key` is the route, or its endpoint. Empty
    where several routes have the same endpoint: which of them it was cannot be told."""
    try:
        kept = _of_router.get(id(router))
        if kept is None:
            if len(_of_router) >= KEPT_ROUTERS:
                return ""
            kept = _of_router[id(router)] = router, {}
        known = kept[1]
        found = known.get(id(key))
        if found is None:  # it was added since, or is none of the router's
            _collect(router.routes, "", known, 0)
            alone = getattr(key, "path", "")  # below which mount it is, nobody knows
            found = known.get(id(key), (key, alone if type(alone) is str else ""))
            if len(known) < KEPT_ENDPOINTS:
                known[id(key)] = found
        return found[1]
    except (TypeError, AttributeError):  # no router, or one like none we know
        return ""


def _collect(routes: Any, prefix: str, known: Known, depth: int) -> None:
    for route in routes:
        path = getattr(route, "path", None)
        below = getattr(route, "routes", None)
        here = prefix + path if isinstance(path, str) else prefix  # a Host has no path
        included = getattr(route, "original_router", None)  # in FastAPI, by include_router()
        if included is not None:
            below = included.routes
            here = prefix + getattr(getattr(route, "include_context", None), "prefix", "")
        if below and depth < DEEPEST:
            _collect(below, here, known, depth + 1)
        if isinstance(path, str):
            endpoint = getattr(route, "endpoint", None)
            for key in (route, endpoint if endpoint is not None else getattr(route, "app", None)):
                if key is not None:
                    known[id(key)] = key, here if known.get(id(key), (key, here))[1] == here else ""
