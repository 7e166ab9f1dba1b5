"""Serve the files of a folder: from the path of a request to a response."""

import os
import re
from collections.abc import Sequence
from functools import lru_cache, partial
from typing import Final
from urllib.parse import quote, unquote_to_bytes

from prefork.system.open_file import OpenFile
from prefork.web.codings import Coding, accepted
from prefork.web.content_types import guess_type, may_shrink
from prefork.web.exchange import Exchange
from prefork.web.headers import FieldTuple, encode_field
from prefork.web.http_error import HTTPError
from prefork.web.looking import Tree, without_waiting
from prefork.web.parts import etag_of, respond_with, validators
from prefork.web.request import Request
from prefork.web.response import Response

IMMUTABLE: Final = "public, max-age=31536000, immutable"  # a year (RFC 8246); caches take no longer time seriously

_VISIBLE: Final = b".well-known"  # the one name with a dot that is there to be fetched (RFC 8615)
_LOCATION_SAFE: Final = "%:/?@!$&'()*+,;=-._~[]"


class StaticFolder:
    """A folder that is served. See `App.static` for the arguments.

    Nothing is kept between requests but what follows from a file's name, size and time: a changed file, and a folder
    that was replaced, are seen at once.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        index: str | None = "index.html",
        cache_control: str | None = "no-cache",
        immutable: str | None = None,
    ) -> None:
        """Raises ValueError for what is no folder, no file name or no regular expression."""
        self.folder = os.path.abspath(folder)
        if not os.path.isdir(self.folder):
            raise ValueError(f"there is no folder {self.folder}")
        if index is not None and (not index or "/" in index):
            raise ValueError(f"index is the name of a file, not {index!r}")
        try:
            self._immutable = None if immutable is None else re.compile(immutable)
        except re.error as error:
            raise ValueError(f"immutable is a regular expression for file names, not {immutable!r}: {error}") from None
        self._path = os.fsencode(self.folder)
        self._index = None if index is None else os.fsencode(index)
        self._caching = () if cache_control is None else (encode_field("cache-control", cache_control),)
        self._describe = lru_cache(maxsize=1024)(self._described)

    def __repr__(self) -> str:
        return f"<StaticFolder {self.folder}>"

    async def handle(self, request: Request) -> Response:
        """Answer GET or HEAD below the path that this folder is mounted at. Raises HTTPError(404)."""
        exchange = request.exchange
        return await self.respond(exchange, raw_segments(exchange.target)[request.mount_path.count("/") :])

    async def respond(self, exchange: Exchange, segments: Sequence[bytes]) -> Response:
        """Answer GET or HEAD: `segments` are those of the target below the folder's own path, not decoded; none if it
        is that path, without a slash at its end. Raises HTTPError(404).
        """
        path = file_path(segments) if segments else None
        if segments and path is None:
            raise HTTPError(404)
        response = await without_waiting(partial(self._look, exchange, path))
        if response is None:
            raise HTTPError(404)
        return response

    def _look(self, exchange: Exchange, path: bytes | None, wait: bool) -> Response | None:
        """`path` is relative: of a folder if it is empty or ends with a slash; None for our own without its slash."""
        try:
            tree = Tree(self._path, wait=wait)
        except (FileNotFoundError, NotADirectoryError):  # it is being replaced
            return None
        with tree:
            if path is None:
                return self._redirect(exchange, tree, b"")
            if not path or path.endswith(b"/"):
                if self._index is None:
                    return None
                path += self._index
            file = tree.open(path)
            if file is not None and file.is_regular:
                return self._answer(exchange, tree, path, file, wait)
            return self._redirect(exchange, tree, path + b"/") if file is not None and file.is_folder else None

    def _redirect(self, exchange: Exchange, tree: Tree, path: bytes) -> Response | None:
        """A folder's address ends with a slash, or links within its index would lead elsewhere.

        The location is relative to the request's own, so that it cannot lead to another host, and fits behind a proxy
        that cut a prefix off.
        """
        if self._index is None or tree.open_regular(path + self._index) is None:
            return None
        before, mark, query = exchange.target.partition(b"?")
        location = b"./" + before.rpartition(b"/")[2] + b"/" + mark + query
        response = Response(b"", 301)
        response.fields = ((b"location", quote(location, safe=_LOCATION_SAFE).encode()), *self._caching)
        return response

    def _answer(self, exchange: Exchange, tree: Tree, path: bytes, file: OpenFile, wait: bool) -> Response:
        fields, shrinks = self._describe(path.rpartition(b"/")[2])
        suffix = ""
        if shrinks:
            for coding in _wanted(exchange.fields):
                found = tree.open_regular(path + coding.suffix)
                # Older, it was made from another version. In whole seconds: some tools give it the time of the file
                # they compressed, and cut it to that.
                if found is not None and found.modified >= file.modified:
                    file, suffix = found, "-" + coding.name.decode()
                    fields = ((b"content-encoding", coding.name), *fields)
                    break
        etag = etag_of(file, suffix)
        fields += validators(etag, file.modified)
        return respond_with(file, fields, etag, exchange.method, exchange.fields, wait=wait)

    def _described(self, name: bytes) -> tuple[FieldTuple, bool]:
        """The fields that a file's name decides, and whether a compressed one is looked for beside it."""
        text = os.fsdecode(name)
        content_type = guess_type(text)
        shrinks = may_shrink(content_type)
        fields: FieldTuple = (encode_field("content-type", content_type), (b"x-content-type-options", b"nosniff"))
        if self._immutable is not None and self._immutable.search(text):
            fields += (encode_field("cache-control", IMMUTABLE),)
        else:
            fields += self._caching
        if shrinks:
            fields += ((b"vary", b"accept-encoding"),)
        return fields, shrinks


def raw_segments(target: bytes) -> list[bytes]:
    """The segments of a request target's path, as sent."""
    return target.partition(b"?")[0][1:].split(b"/")


def file_path(segments: Sequence[bytes]) -> bytes | None:
    """The relative path of a file, decoded; with a slash at its end, or empty, that of a folder.

    None for what is never served: an empty segment within, `.` and `..`, names with a dot before them but for
    .well-known, and what would separate or end a name once it is decoded.
    """
    decoded = [unquote_to_bytes(segment) if b"%" in segment else segment for segment in segments]
    for name in decoded[:-1] if decoded[-1] == b"" else decoded:
        if not name or (name[0] == 0x2E and name != _VISIBLE) or b"/" in name or b"\0" in name:
            return None
    return b"/".join(decoded)


def _wanted(asked: Sequence[tuple[bytes, bytes]]) -> tuple[Coding, ...]:
    """The codings to look for.

    A part is cut from the file as it is: few clients can use a part of a compressed one. But one that goes on with what
    it has of a compressed file says so by If-Range, and there the entity tag names the coding.
    """
    codings = accepted(asked)
    if codings and any(name == b"range" for name, _ in asked):
        tags = [value for name, value in asked if name == b"if-range"]
        return tuple(coding for coding in codings if any(tag.endswith(b'-%b"' % coding.name) for tag in tags))
    return codings
