"""Read a multipart/form-data body (RFC 7578), part by part, as it comes."""

from collections.abc import AsyncIterator

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from prefork.web.forms import Form, FormLimits, Upload
from prefork.web.http_error import HTTPError


async def read_multipart(content_type: str, pieces: AsyncIterator[bytes], limits: FormLimits) -> Form:
    """Fields are kept in memory, uploads spooled to disk. Raises HTTPError (400 malformed, 413 beyond a limit)."""
    boundary = parse_options_header(content_type)[1].get(b"boundary")
    if not boundary:
        raise HTTPError(400, "multipart form without a boundary")
    parts = _Parts(limits)
    try:
        parser = MultipartParser(
            boundary,
            {
                "on_part_begin": parts.on_part_begin,
                "on_part_data": parts.on_part_data,
                "on_part_end": parts.on_part_end,
                "on_header_field": parts.on_header_field,
                "on_header_value": parts.on_header_value,
                "on_header_end": parts.on_header_end,
                "on_headers_finished": parts.on_headers_finished,
                "on_end": parts.on_end,
            },
        )
        async for piece in pieces:
            if not parts.complete:  # what follows the last boundary means nothing (RFC 2046, 5.1.1)
                parser.write(piece)
                await parts.write_uploads()
    except FormParserError as error:
        raise HTTPError(400, f"malformed multipart form: {error}") from None
    if not parts.complete:
        raise HTTPError(400, "malformed multipart form: it ends early")
    for _, upload in parts.files:
        await upload.seek(0)
    return Form(parts.fields, parts.files)


class _Parts:
    """What the parser reports, put together. Its callbacks are plain functions, so uploads are written after them."""

    def __init__(self, limits: FormLimits) -> None:
        self.limits = limits
        self.fields: list[tuple[str, str]] = []
        self.files: list[tuple[str, Upload]] = []
        self.complete = False
        self._headers: dict[bytes, bytes] = {}
        self._header_name = b""
        self._header_value = b""
        self._name = ""
        self._field = bytearray()
        self._upload: Upload | None = None
        self._unwritten: list[tuple[Upload, bytes]] = []

    async def write_uploads(self) -> None:
        for upload, data in self._unwritten:
            await upload.write(data)
        self._unwritten.clear()

    def on_part_begin(self) -> None:
        self._headers = {}
        self._field = bytearray()
        self._upload = None

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def on_header_end(self) -> None:
        self._headers[self._header_name.lower()] = self._header_value
        self._header_name = self._header_value = b""

    def on_headers_finished(self) -> None:
        kind, options = parse_options_header(self._headers.get(b"content-disposition"))
        if kind != b"form-data" or b"name" not in options:
            raise HTTPError(400, "malformed multipart form: a part without a name")
        self._name = _text(options[b"name"])
        if b"filename" in options:
            if len(self.files) == self.limits.files:
                raise HTTPError(413, f"the form has more than {self.limits.files} files")
            content_type = self._headers.get(b"content-type", b"application/octet-stream").decode("latin-1")
            self._upload = Upload(_text(options[b"filename"]), content_type)
            self.files.append((self._name, self._upload))
        elif len(self.fields) == self.limits.fields:
            raise HTTPError(413, f"the form has more than {self.limits.fields} fields")

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._upload is not None:
            self._unwritten.append((self._upload, data[start:end]))
        elif len(self._field) + end - start > self.limits.field_bytes:
            raise HTTPError(413, f"form field {self._name!r} is longer than {self.limits.field_bytes} bytes")
        else:
            self._field += data[start:end]

    def on_part_end(self) -> None:
        if self._upload is None:
            self.fields.append((self._name, _text(bytes(self._field))))

    def on_end(self) -> None:
        self.complete = True


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise HTTPError(400, "malformed multipart form: a name or field that is not UTF-8") from None
