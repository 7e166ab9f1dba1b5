"""Find the route for a method and a path. Paths come in as segments, split before they were percent-decoded."""

import re
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple
from urllib.parse import unquote
from uuid import UUID

Endpoint = Callable[..., Coroutine[Any, Any, Any]]


class Route(NamedTuple):
    """Where a request goes. `max_body` in bytes; None: what the settings say. `path` is its template, for metrics; none
    for what is no route of the app's."""

    endpoint: Endpoint
    handler: Callable[..., Any]  # as the app wrote it, for messages
    max_body: int | None = None
    path: str = ""


class Pattern(NamedTuple):
    """A route's path: literal segments as str, parameters as (name, converter)."""

    segments: tuple[str | tuple[str, str], ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(segment[0] for segment in self.segments if not isinstance(segment, str))


Methods = dict[str, tuple[Route, Pattern]]

_INT = re.compile(r"[0-9]{1,18}")  # fits 64 bits, so that no database chokes on it
_FLOAT = re.compile(r"[0-9]{1,18}(\.[0-9]{1,18})?")
_UUID = re.compile(r"(?i:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})")
_PARAMETER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)(?::([a-z]+))?\}")
_METHOD = re.compile(r"[A-Z][A-Z-]*")

# From a segment to its value, or None if it does not fit. A segment is tried in this order, the strictest first.
CONVERTERS: Final[dict[str, Callable[[str], Any]]] = {
    "int": lambda segment: int(segment) if _INT.fullmatch(segment) else None,
    "uuid": lambda segment: UUID(segment) if _UUID.fullmatch(segment) else None,
    "float": lambda segment: float(segment) if _FLOAT.fullmatch(segment) else None,
    "str": lambda segment: segment or None,
}
_ORDER = list(CONVERTERS)


def parse_pattern(path: str) -> Pattern:
    """Read `/users/{id:int}/files/{rest:path}`. Raises ValueError that says what is wrong."""
    if not isinstance(path, str) or not path.startswith("/"):
        raise ValueError(f"route {path!r}: a path starts with /")
    if "?" in path or "#" in path:
        raise ValueError(f"route {path!r}: a path holds no ? or #; query parameters are in request.query")
    parts = path[1:].split("/")
    segments: list[str | tuple[str, str]] = []
    for index, part in enumerate(parts):
        if "{" not in part and "}" not in part:
            segments.append(part)
            continue
        match = _PARAMETER.fullmatch(part)
        if match is None:
            raise ValueError(f"route {path!r}: {part!r} is not a parameter; write a whole segment as {{name}}")
        name, converter = match[1], match[2] or "str"
        if converter != "path" and converter not in CONVERTERS:
            raise ValueError(f"route {path!r}: no converter {converter!r}; there are {', '.join(_ORDER)} and path")
        if converter == "path" and index != len(parts) - 1:
            raise ValueError(f"route {path!r}: {part} takes the rest of the path, so it must stand last")
        if any(name == known[0] for known in segments if not isinstance(known, str)):
            raise ValueError(f"route {path!r}: two parameters are called {name!r}")
        segments.append((name, converter))
    return Pattern(tuple(segments))


def split_path(target: bytes) -> list[str]:
    """The segments of a request target's path, each decoded by itself: an encoded slash separates nothing."""
    path = target.partition(b"?")[0].decode("latin-1")
    segments = path[1:].split("/")
    return [unquote(segment) for segment in segments] if "%" in path else segments


@dataclass(slots=True)
class _Node:
    """What may follow the segments that led here."""

    literals: dict[str, "_Node"] = field(default_factory=dict)
    parameters: dict[str, "_Node"] = field(default_factory=dict)  # by converter, in the order they are tried
    here: Methods = field(default_factory=dict)
    rest: Methods = field(default_factory=dict)


class Router:
    """The routes of one App. Literal segments win over parameters, strict parameters over loose ones."""

    __slots__ = ("_root", "exact", "methods")

    def __init__(self) -> None:
        # Paths without parameters, by method and target as most clients send it: one look-up.
        self.exact: dict[tuple[str, bytes], Route] = {}
        self.methods: set[str] = set()
        self._root = _Node()

    def add(self, path: str, methods: Iterable[str], route: Route) -> None:
        """Raises ValueError for a bad path or method, and when a route like it exists."""
        pattern = parse_pattern(path)
        names = list(methods)
        if not names or isinstance(methods, str):
            raise ValueError(f"route {path!r}: methods is a list of names, such as ['GET', 'POST']")
        here = self._place(pattern)
        for method in names:
            if not _METHOD.fullmatch(method):
                raise ValueError(f"route {path!r}: {method!r} is not a method; names are in upper case")
            if method in here:
                raise ValueError(f"route {method} {path!r} is defined already, as {_written(here[method][1])!r}")
        for method in names:
            here[method] = (route, pattern)
            self.methods.add(method)
            if not pattern.names and "%" not in path:
                self.exact[method, path.encode()] = route
                if method == "GET" and "HEAD" not in here:
                    self.exact["HEAD", path.encode()] = route

    def _place(self, pattern: Pattern) -> Methods:
        node = self._root
        for segment in pattern.segments:
            if isinstance(segment, str):
                node = node.literals.setdefault(segment, _Node())
            elif segment[1] == "path":
                return node.rest
            else:
                node.parameters.setdefault(segment[1], _Node())
                node.parameters = {key: node.parameters[key] for key in _ORDER if key in node.parameters}
                node = node.parameters[segment[1]]
        return node.here

    def find(self, method: str, segments: list[str], allowed: set[str]) -> tuple[Route, dict[str, Any]] | None:
        """The route and its parameters. If there is none, `allowed` gets the methods the path does have."""
        values: list[Any] = []
        found = _walk(self._root, segments, 0, method, values, allowed)
        if found is None:
            return None
        route, pattern = found
        return route, dict(zip(pattern.names, values, strict=True))


def _walk(
    node: _Node, segments: list[str], at: int, method: str, values: list[Any], allowed: set[str]
) -> tuple[Route, Pattern] | None:
    if at == len(segments):
        return _choose(node.here, method, allowed)
    segment = segments[at]
    child = node.literals.get(segment)
    if child is not None:
        found = _walk(child, segments, at + 1, method, values, allowed)
        if found is not None:
            return found
    for converter, child in node.parameters.items():
        value = CONVERTERS[converter](segment)
        if value is not None:
            values.append(value)
            found = _walk(child, segments, at + 1, method, values, allowed)
            if found is not None:
                return found
            values.pop()
    if node.rest:
        found = _choose(node.rest, method, allowed)
        if found is not None:
            values.append("/".join(segments[at:]))
            return found
    return None


def _choose(methods: Methods, method: str, allowed: set[str]) -> tuple[Route, Pattern] | None:
    found = methods.get(method)
    if found is None and method == "HEAD":
        found = methods.get("GET")
    if found is None:
        allowed.update(methods)
    return found


def _written(pattern: Pattern) -> str:
    return "/" + "/".join(part if isinstance(part, str) else f"{{{part[0]}:{part[1]}}}" for part in pattern.segments)


def allow_field(methods: Iterable[str]) -> str:
    """The Allow field's value (RFC 9110, 10.2.1), with the methods that are answered by themselves."""
    names = {*methods, "OPTIONS"}
    if "GET" in names:
        names.add("HEAD")
    return ", ".join(sorted(names))
