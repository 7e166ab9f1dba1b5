"""Forms: what a browser sends from one, urlencoded or multipart."""

import os
import shutil
from collections.abc import Iterable
from tempfile import SpooledTemporaryFile
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import parse_qsl

from prefork.web.http_error import HTTPError
from prefork.web.multidict import MultiDict
from prefork.web.threads import in_thread

if TYPE_CHECKING:
    from prefork.web.request import Request

SPOOL_BYTES: Final = 1024 * 1024  # an upload beyond this goes to disk


class FormLimits(NamedTuple):
    """Most fields, most files, most bytes of one field."""

    fields: int
    files: int
    field_bytes: int


class Upload:
    """A file from a form. `filename` is what the client says: never use it as a path. `size` in bytes."""

    def __init__(self, filename: str, content_type: str) -> None:
        self.filename = filename  # empty when the user chose no file
        self.content_type = content_type
        self.size = 0
        self.file = SpooledTemporaryFile[bytes](max_size=SPOOL_BYTES)

    def __repr__(self) -> str:
        return f"<Upload {self.filename!r} {self.size} bytes>"

    def __del__(self) -> None:
        self.file.close()

    @property
    def on_disk(self) -> bool:
        """Whether it was too large to stay in memory."""
        return self.size > SPOOL_BYTES

    async def write(self, data: bytes) -> None:
        """Append; touches the disk only from the thread pool."""
        self.size += len(data)
        if self.on_disk:
            await in_thread(self.file.write, data)
        else:
            self.file.write(data)

    async def read(self, size: int = -1) -> bytes:
        """The next `size` bytes, or all that is left."""
        if self.on_disk:
            return await in_thread(self.file.read, size)
        return self.file.read(size)

    async def seek(self, offset: int) -> None:
        """Continue reading at `offset` bytes from the start."""
        self.file.seek(offset)

    async def save(self, path: str | os.PathLike[str]) -> None:
        """Write the whole file to `path`, replacing what is there. Raises OSError."""
        await in_thread(self._copy_to, path)

    def _copy_to(self, path: str | os.PathLike[str]) -> None:
        self.file.seek(0)
        with open(path, "wb") as target:
            shutil.copyfileobj(self.file, target)


class Form(MultiDict[str]):
    """A form's fields by name; its uploads are in `files`."""

    __slots__ = ("files",)

    def __init__(self, fields: Iterable[tuple[str, str]] = (), files: Iterable[tuple[str, Upload]] = ()) -> None:
        super().__init__(fields)
        self.files = MultiDict(files)


async def read_form(content_type: str, request: "Request", limits: FormLimits) -> Form:
    """Read a request's body as the form its content type says. Raises HTTPError (400, 413, 415)."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "application/x-www-form-urlencoded":
        return _parse_urlencoded(await request.body(), limits)
    if kind == "multipart/form-data":
        try:
            from prefork.web.multipart import read_multipart
        except ModuleNotFoundError as error:
            raise RuntimeError("multipart forms need python-multipart: pip install prefork[standard]") from error
        return await read_multipart(content_type, request.stream(), limits)
    raise HTTPError(415, "expected a form: application/x-www-form-urlencoded or multipart/form-data")


def _parse_urlencoded(body: bytes, limits: FormLimits) -> Form:
    try:
        pairs = parse_qsl(
            body.decode(), keep_blank_values=True, errors="strict", separator="&", max_num_fields=limits.fields
        )
    except UnicodeDecodeError:
        raise HTTPError(400, "the form is not UTF-8") from None
    except ValueError:
        raise HTTPError(413, f"the form has more than {limits.fields} fields") from None
    for name, value in pairs:
        if len(value.encode()) > limits.field_bytes:
            raise HTTPError(413, f"form field {name!r} is longer than {limits.field_bytes} bytes")
    return Form(pairs)
