"""Apps as people write them: checked by wsgiref's validator, and made with Flask and with Django."""

import gc
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from wsgiref.validate import validator

import django
import flask
import pytest
from django.conf import settings as django_settings
from django.http import FileResponse, HttpRequest, HttpResponse, StreamingHttpResponse
from django.urls import path

from tests.apps.wsgi_server import WsgiServer

CLOSE = b"connection: close\r\n"
HEADS = [
    b"host: a\r\n",
    b"host: a\r\ncookie: a=b\r\ncookie: c=d\r\nx-a: 1\r\nx-a: 2\r\nx_a: 3\r\n",
    b"host: a\r\naccept: \xff\r\n",
]
BODIES = [
    b"\r\n",
    b"content-length: 0\r\n\r\n",
    b"content-length: 5\r\ncontent-type: text/plain\r\n\r\nhello",
    b"transfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\ntrailer: x\r\n\r\n",
    b"transfer-encoding: chunked\r\n\r\n0\r\n\r\n",
]
TARGETS = [b"/", b"/a%20b/%ff?x=%20", b"//a/b?", b"http://b.org/c"]


class Parts:
    """What an app may return: all at once, piece by piece, nothing, by write()."""

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        body = environ["wsgi.input"]
        found = body.read(2) + body.readline() + b"".join(body)
        environ["wsgi.errors"].flush()
        headers = [("Content-Type", "text/plain")]
        if environ["REQUEST_METHOD"] == "DELETE":
            start_response("204 No Content", [])
            return []
        write = start_response("200 OK", headers)
        if environ["QUERY_STRING"]:
            write(b"written ")
        if environ["PATH_INFO"] == "/":
            return [b"read ", found]
        return self.pieces(found)

    def pieces(self, found: bytes) -> Iterator[bytes]:
        yield b"read "
        yield b""
        yield found


@pytest.mark.filterwarnings("default::wsgiref.validate.WSGIWarning")
@pytest.mark.parametrize("method", [b"GET", b"POST", b"HEAD", b"PUT", b"DELETE", b"OPTIONS"])
def test_the_validator_finds_nothing(
    method: bytes, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    with WsgiServer(validator(Parts())) as server:
        for target in TARGETS:
            for head in HEADS:
                for body in BODIES:
                    answer = server.exchange(b"%b %b HTTP/1.1\r\n" % (method, target) + head + CLOSE + body)
                    assert answer.startswith(b"HTTP/1.1 204 " if method == b"DELETE" else b"HTTP/1.1 200 "), answer
                    if method in (b"POST", b"PUT"):
                        assert (b"hello" in answer.replace(b"\r\n", b"")) == (b"llo" in body)
    gc.collect()  # the validator complains when an iterable that was not closed is collected
    assert capsys.readouterr().err == ""
    assert not caplog.records


def test_the_validator_may_see_the_strangest_target() -> None:
    with WsgiServer(validator(Parts())) as server:
        assert b" 200 OK" in server.exchange(b"OPTIONS * HTTP/1.1\r\nhost: a\r\n" + CLOSE + b"\r\n")


# -- Flask


def flask_app(file: Path) -> flask.Flask:
    app = flask.Flask(__name__)

    @app.post("/echo")
    def echo() -> tuple[dict[str, Any], int]:
        return {
            "body": flask.request.get_data(as_text=True),
            "url": flask.request.url,
            "ip": flask.request.remote_addr,
        }, 201

    @app.post("/form")
    def form() -> str:
        return f"{flask.request.form['name']} {flask.request.files['file'].read().decode()}"

    @app.get("/stream")
    def stream() -> flask.Response:
        return flask.Response(flask.stream_with_context(part for part in ("a", flask.request.path, "ü")))

    @app.get("/file")
    def send() -> flask.Response:
        return flask.send_file(file, mimetype="text/plain", conditional=True)

    @app.get("/fail")
    def fail() -> str:
        raise ValueError("in Flask")

    return app


FORM = b"""--b\r
content-disposition: form-data; name="name"\r
\r
ann\r
--b\r
content-disposition: form-data; name="file"; filename="f"\r
\r
content\r
--b--\r
"""


def test_a_flask_app(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"0123456789" * 1000)
    with WsgiServer(flask_app(file), root_path="/below", max_body=1000) as server:
        client = server.client()
        reply = client.post("/echo?x", b"caf\xc3\xa9")
        assert reply.status == 201
        assert reply.text == '{"body":"caf\\u00e9","ip":"127.0.0.1","url":"http://test/below/echo?x"}\n'
        client.send(
            "/form", f"content-type: multipart/form-data; boundary=b\r\ncontent-length: {len(FORM)}\r\n", "POST", FORM
        )
        assert client.receive().text == "ann content"
        assert client.get("/file").text == "0123456789" * 1000
        part = client.get("/file", "range: bytes=5-7\r\n")
        assert (part.status, part.text) == (206, "567")
        etag = reply_field(client.get("/file").head, "etag")
        client.send("/file", f"if-none-match: {etag}\r\n")
        assert client.receive_until(b"\r\n\r\n").startswith(b"HTTP/1.1 304 ")
        assert client.get("/nowhere").status == 404
        assert client.get("/fail").status == 500
        assert "ValueError: in Flask" in caplog.text
        streamed = server.exchange(b"GET /stream HTTP/1.0\r\n\r\n")
        assert streamed.endswith("a/streamü".encode())
        chunked = server.client()
        chunked.send("/echo", "transfer-encoding: chunked\r\n", "POST", b"3\r\nabc\r\n0\r\n\r\n")
        assert '"body":"abc"' in chunked.receive().text
        large = server.client()
        large.send("/echo", "transfer-encoding: chunked\r\nexpect: 100-continue\r\n", "POST")
        large.receive_until(b"HTTP/1.1 100 Continue\r\n\r\n")
        large.send_raw(b"800\r\n" + b"x" * 0x800 + b"\r\n0\r\n\r\n")
        assert large.receive().status == 413  # Flask itself makes 400 of it


def reply_field(head: str, name: str) -> str:
    return next(line.partition(": ")[2] for line in head.split("\r\n") if line.lower().startswith(name + ":"))


# -- Django


def echo(request: HttpRequest) -> HttpResponse:
    response = HttpResponse(request.body, content_type="text/plain")
    response["X-Url"] = request.build_absolute_uri()
    response.set_cookie("a", "b")
    response.set_cookie("c", "d")
    return response


def stream(request: HttpRequest) -> StreamingHttpResponse:
    return StreamingHttpResponse(iter([b"one ", "zwölf".encode()]))


def file(request: HttpRequest) -> FileResponse:
    name = request.GET.get("name")
    return FileResponse(open(name, "rb") if name else io.BytesIO(b"in memory"))  # closed by the response


def fail(request: HttpRequest) -> HttpResponse:
    raise ValueError("in Django")


urlpatterns = [path("echo", echo), path("stream", stream), path("file", file), path("fail", fail)]


def test_a_django_app(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    if not django_settings.configured:
        django_settings.configure(
            ROOT_URLCONF=__name__,
            ALLOWED_HOSTS=["*"],
            SECRET_KEY="not one",
            MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
            LOGGING_CONFIG=None,
        )
        django.setup()
    from django.core.wsgi import get_wsgi_application

    on_disk = tmp_path / "file"
    on_disk.write_bytes(b"0123456789" * 1000)
    with WsgiServer(get_wsgi_application(), root_path="/below") as server:
        client = server.client()
        reply = client.post("/echo", b"caf\xc3\xa9")
        assert (reply.status, reply.text) == (200, "café")
        assert "X-Url: http://test/below/echo" in reply.head
        assert reply.head.count("Set-Cookie: ") == 2
        assert client.get(f"/file?name={on_disk}").text == "0123456789" * 1000
        assert client.get("/file").text == "in memory"
        assert client.get("/nowhere").status == 404
        assert client.get("/fail").status == 500
        assert "ValueError: in Django" in caplog.text
        assert server.exchange(b"GET /stream HTTP/1.0\r\nhost: a\r\n\r\n").endswith("one zwölf".encode())
        head = server.exchange(b"HEAD /echo HTTP/1.1\r\nhost: a\r\n" + CLOSE + b"\r\n")
        assert b"Content-Length: 0" in head or b"content-length: 0" in head
