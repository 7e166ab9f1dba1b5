"""Forms: fields, uploads, limits, and what a broken one gets."""

import sys
from pathlib import Path
from typing import Any

import pytest

from prefork.web import HTTPError, Request, Upload
from prefork.web.forms import SPOOL_BYTES
from tests.web.fake_exchange import FakeExchange, ask

URLENCODED = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data; boundary=cut"


def part(name: str, value: bytes, filename: str | None = None, extra: str = "") -> bytes:
    named = "" if filename is None else f'; filename="{filename}"'
    head = f'--cut\r\nContent-Disposition: form-data; name="{name}"{named}\r\n{extra}\r\n'
    return head.encode() + value + b"\r\n"


END = b"--cut--\r\n"


async def echo(request: Request) -> Any:
    form = await request.form()
    assert await request.form() is form
    files = [
        [name, upload.filename, upload.content_type, upload.size, (await upload.read()).decode()]
        for name, upload in form.files.pairs()
    ]
    return [form.pairs(), files]


def post(content_type: str, body: Any, handler: Any = echo) -> FakeExchange:
    return ask(handler, "POST", headers=[("Content-Type", content_type)], body=body)


def test_urlencoded_fields() -> None:
    body = b"name=Ann+B%C3%A9&empty=&name=2&plus=%2B"
    expected = '[[["name","Ann Bé"],["name","2"],["empty",""],["plus","+"]],[]]'
    assert post(URLENCODED, body).text == expected
    assert post(URLENCODED + "; charset=utf-8", body).text == expected


def test_multipart_fields_and_uploads_in_any_cut() -> None:
    body = (
        part("title", "Grüße".encode())
        + part("photo", b"\r\n--cu", "p.png", "Content-Type: image/png\r\n")
        + part("photo", b"", "")
        + END
        + b"epilogue"
    )
    expected = (
        '[[["title","Grüße"]],'
        '[["photo","p.png","image/png",6,"\\r\\n--cu"],["photo","","application/octet-stream",0,""]]]'
    )
    assert post(MULTIPART, body).text == expected
    assert post(MULTIPART, [body[i : i + 1] for i in range(len(body))]).text == expected
    assert post('Multipart/Form-Data; charset=utf-8; boundary="cut"', body).text == expected


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"nonsense",
        part("a", b"1"),  # no end
        (part("a", b"1") + END)[:-6],
        b"--cut\r\nContent-Type: text/plain\r\n\r\n1\r\n" + END,  # no disposition
        b"--cut\r\nContent-Disposition: form-data\r\n\r\n1\r\n" + END,  # no name
        b'--cut\r\nContent-Disposition: attachment; name="a"\r\n\r\n1\r\n' + END,
        b"--cut\r\nContent Disposition: x\r\n\r\n1\r\n" + END,
        part("a", b"\xff") + END,
    ],
)
def test_malformed_multipart_is_400(body: bytes) -> None:
    exchange = post(MULTIPART, body)
    assert exchange.status == 400
    assert exchange.text.startswith("malformed multipart form")


@pytest.mark.parametrize("content_type", ["multipart/form-data", "multipart/form-data; boundary=" + "x" * 300])
def test_multipart_without_a_usable_boundary_is_400(content_type: str) -> None:
    assert post(content_type, part("a", b"1") + END).status == 400


def test_urlencoded_that_is_not_utf8_is_400() -> None:
    assert post(URLENCODED, b"a=%ff").status == 400
    assert post(URLENCODED, b"a=\xff").status == 400


@pytest.mark.parametrize("content_type", ["", "application/json", "multipart/mixed; boundary=cut"])
def test_what_is_no_form_is_415(content_type: str) -> None:
    assert post(content_type, b"a=1").status == 415


@pytest.mark.parametrize(
    ("fields", "files", "size", "status"),
    [(2, 1, 3, 200), (3, 1, 3, 413), (2, 2, 3, 413), (2, 1, 4, 413)],
)
def test_limits_of_a_multipart_form(fields: int, files: int, size: int, status: int) -> None:
    async def limited(request: Request) -> None:
        await request.form(max_fields=2, max_files=1, max_field_size=3)

    body = part("a", b"x" * size) * fields + part("f", b"long enough", "f") * files + END
    assert post(MULTIPART, body, limited).status == (204 if status == 200 else status)


@pytest.mark.parametrize(("body", "status"), [(b"a=1&b=123", 204), (b"a=1&b=2&c=3", 413), (b"a=1234", 413)])
def test_limits_of_a_urlencoded_form(body: bytes, status: int) -> None:
    async def limited(request: Request) -> None:
        await request.form(max_fields=2, max_field_size=3)

    assert post(URLENCODED, body, limited).status == status


@pytest.mark.parametrize(("size", "on_disk"), [(SPOOL_BYTES, False), (SPOOL_BYTES + 1, True)])
def test_upload_past_a_mebibyte_goes_to_disk_and_reads_the_same(size: int, on_disk: bool, tmp_path: Path) -> None:
    content = bytes(range(256)) * (size // 256) + b"x" * (size % 256)

    async def store(request: Request) -> Any:
        upload = (await request.form()).files["f"]
        assert upload.on_disk is on_disk
        assert upload.file._rolled is on_disk  # type: ignore[attr-defined]
        await upload.save(tmp_path / "saved")
        await upload.seek(10)
        return (await upload.read(5)).hex()

    body = part("f", content, "f") + END
    exchange = post(MULTIPART, [body[i : i + 65536] for i in range(0, len(body), 65536)], store)
    assert exchange.text == f"{content[10:15].hex()}"
    assert (tmp_path / "saved").read_bytes() == content


def test_upload_closes_its_file_when_nothing_refers_to_it() -> None:
    upload = Upload("f", "text/plain")
    file = upload.file
    del upload
    assert file.closed


def test_filename_is_only_what_the_client_says() -> None:
    body = part("f", b"x", "../../etc/passwd") + END
    assert '"../../etc/passwd"' in post(MULTIPART, body).text


def test_missing_package_is_named_with_its_extra(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delitem(sys.modules, "prefork.web.multipart", raising=False)
    monkeypatch.setitem(sys.modules, "python_multipart.exceptions", None)
    assert post(MULTIPART, part("a", b"1") + END).status == 500
    assert "pip install prefork[standard]" in caplog.text
    assert post(URLENCODED, b"a=1").status == 200


def test_http_error_reads_as_its_status_and_detail() -> None:
    assert str(HTTPError(413, "too much")) == "413 too much"
