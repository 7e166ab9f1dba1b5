"""Answer with a file from disk."""

import asyncio
import errno
import mimetypes
import os
import stat
from email.utils import formatdate
from typing import BinaryIO, ClassVar, Literal
from urllib.parse import quote

from prefork.web.conditions import choose_part
from prefork.web.exchange import Exchange
from prefork.web.headers import FieldTuple, HeaderInput, Headers, encode_field
from prefork.web.http_error import HTTPError
from prefork.web.response import Response, build_fields, with_charset

_ATTR_CHARS = "!#$&+-.^_`|~"  # RFC 8187, 3.2.1, beside letters and digits

# The path is at fault; anything else (no descriptors left, a broken disk) is the server's.
_NO_SUCH_FILE = {errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.ENAMETOOLONG, errno.ELOOP, errno.ENXIO}


class FileResponse(Response):
    """A file, sent by sendfile(2), with ETag, Last-Modified and single ranges (RFC 9110, 13 and 14).

    `filename` makes it a download under that name (RFC 6266); `disposition="inline"` names it only. The file is opened
    in the thread pool when the response is sent; a path that is no readable regular file then answers 404. Never build
    the path from a request without checking where it leads.
    """

    __slots__ = ("path",)

    streams: ClassVar[bool] = True

    def __init__(
        self,
        path: str | os.PathLike[str],
        status: int = 200,
        headers: HeaderInput = None,
        content_type: str | None = None,
        filename: str | None = None,
        disposition: Literal["attachment", "inline"] = "attachment",
    ) -> None:
        self.path = os.fspath(path)
        self.body = b""
        self.status = status
        default = (encode_field("content-type", guess_type(filename or self.path)),)
        self.fields = build_fields(default, headers, content_type)
        if filename is not None:
            self.headers["content-disposition"] = content_disposition(filename, disposition)

    async def send(self, exchange: Exchange) -> None:
        """Raises HTTPError(404) when there is no such file."""
        file, info = await asyncio.to_thread(_open, self.path)
        with file:
            size, modified = info.st_size, int(info.st_mtime)
            etag = f'"{info.st_mtime_ns:x}-{size:x}"'
            fields: FieldTuple = (
                *self.fields,
                (b"accept-ranges", b"bytes"),
                (b"etag", etag.encode()),
                (b"last-modified", formatdate(modified, usegmt=True).encode()),
            )
            status, offset, count = self.status, 0, size
            if status == 200:
                status, offset, count = choose_part(exchange.method, Headers(exchange.fields), size, etag, modified)
            if status == 304:
                kept = tuple(field for field in fields if field[0] != b"content-type")
                exchange.respond(304, kept)
            elif status == 416:
                exchange.respond(416, ((b"content-range", b"bytes */%d" % size),))
            else:
                if status == 206:
                    fields += ((b"content-range", b"bytes %d-%d/%d" % (offset, offset + count - 1, size)),)
                exchange.start(status, fields, count)
                if count:
                    await exchange.send_file(file, offset, count)
                exchange.finish()


def _open(path: str) -> tuple[BinaryIO, os.stat_result]:
    try:
        # Non-blocking, or opening a FIFO would wait for its writer. Regular files do not care.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except ValueError:  # a NUL in the path
        raise HTTPError(404) from None
    except OSError as error:
        if error.errno in _NO_SUCH_FILE:
            raise HTTPError(404) from None
        raise
    info = os.fstat(descriptor)
    if not stat.S_ISREG(info.st_mode):
        os.close(descriptor)
        raise HTTPError(404)
    return open(descriptor, "rb", buffering=0), info


def guess_type(name: str) -> str:
    """The content type a file's name tells; of a compressed file that of the compression, so that it stays so."""
    kind, compression = mimetypes.guess_type(name)
    if compression is not None:
        return "application/gzip" if compression == "gzip" else "application/octet-stream"
    return with_charset(kind or "application/octet-stream")


def content_disposition(filename: str, disposition: str) -> str:
    """A Content-Disposition value (RFC 6266), with the name in UTF-8 (RFC 8187) where ASCII does not do."""
    plain = "".join(char if " " <= char <= "~" and char not in '"\\%' else "_" for char in filename)
    value = f'{disposition}; filename="{plain}"'
    if plain != filename:
        value += f"; filename*=UTF-8''{quote(filename, safe=_ATTR_CHARS)}"
    return value
