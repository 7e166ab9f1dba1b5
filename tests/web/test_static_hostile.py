"""Paths that want out of the folder, or at what is in it but not for everybody."""

import os
import socket
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prefork.system import opening
from prefork.web import App
from prefork.web.static import file_path
from tests.web.fake_exchange import ask

SECRET = "secret"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files that may be seen say "public", all others "secret"."""
    root = tmp_path_factory.mktemp("hostile")
    folder = root / "public"
    (folder / "sub").mkdir(parents=True)
    (folder / ".well-known").mkdir()
    (folder / ".git").mkdir()
    for path in ("file", "sub/file", ".well-known/security.txt", "..hidden", "back\\slash"):
        (folder / path).write_text("public")
    for path in (".env", ".git/config", "sub/.htpasswd", "..hidden", "..."):
        (folder / path).write_text(SECRET)
    (root / "secret").write_text(SECRET)
    (root / "public-not").mkdir()
    (root / "public-not" / "file").write_text(SECRET)
    (folder / "out").symlink_to("../secret")
    (folder / "out-folder").symlink_to("..")
    (folder / "absolute").symlink_to(root / "secret")
    (folder / "root").symlink_to("/")
    (folder / "loop").symlink_to("loop")
    (folder / "dangling").symlink_to("nowhere")
    os.mkfifo(folder / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "socket"))
    return folder


@pytest.fixture(scope="module")
def app(folder: Path) -> App:
    app = App()
    app.static("/assets", folder)
    return app


HOSTILE = [
    "..",
    "../secret",
    "../../../../../../etc/passwd",
    "sub/../../secret",
    "sub/../file",
    "./file",
    "%2e%2e/secret",
    "%2E%2E/secret",
    ".%2e/secret",
    "%2e/file",
    "sub/%2e%2e/%2e%2e/secret",
    "..%2fsecret",
    "..%2Fsecret",
    "%2e%2e%2fsecret",
    "sub%2ffile",
    "sub%2Ffile",
    "%2fetc%2fpasswd",
    "/etc/passwd",
    "//etc/passwd",
    "%2f/etc/passwd",
    "..\\secret",
    "..%5csecret",
    "..%5c..%5csecret",
    "sub\\file",
    "%252e%252e/secret",
    "%252e%252e%252fsecret",
    "..%252fsecret",
    "%c0%ae%c0%ae/secret",
    "%c0%ae%c0%ae%c0%afsecret",
    "..%c0%afsecret",
    "%e0%80%ae%e0%80%ae/secret",
    "%uff0e%uff0e/secret",
    "．．/secret",
    "....//secret",
    "..;/secret",
    "..%00/secret",
    "%2e%2e%00",
    "file%00",
    "file%00.html",
    "%00",
    "file/",
    "file/.",
    "file/..",
    "file//",
    "sub//file",
    "sub/./file",
    "file%2f",
    "file%20",
    "file.",
    "file::$DATA",
    "../public-not/file",
    "-not/file",
    "out",
    "out-folder/secret",
    "out-folder/public/file",
    "absolute",
    "root/etc/passwd",
    "loop",
    "loop/file",
    "dangling",
    "fifo",
    "socket",
    "x" * 256,
    "x" * 5000,
    "x/" * 3000,
    "%41" * 300,
    ".env",
    "%2eenv",
    ".git/config",
    ".git",
    "sub/.htpasswd",
    "sub/%2ehtpasswd",
    "..hidden",
    "...",
    ".well-known",
    ".well-known/",
    ".well-known/../.env",
    ".well-known/..%2f.env",
    ".well-known%2f../.env",
]


@pytest.mark.parametrize("path", HOSTILE)
def test_hostile_path_is_404(app: App, path: str) -> None:
    for prefix in ("/assets/", "/%61ssets/"):
        for ending in ("", "?x=../../secret"):
            exchange = ask(app, path=prefix + path + ending)
            assert (exchange.status, exchange.text) == (404, "Not Found\n")


@pytest.mark.parametrize("path", HOSTILE)
def test_hostile_path_is_404_without_help_of_the_kernel(app: App, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "can_stay_below", False)
    monkeypatch.setattr(opening, "knows_cached", False)
    assert ask(app, path=f"/assets/{path}").status == 404


@pytest.mark.parametrize("path", ["file", "sub/file", ".well-known/security.txt", "back%5Cslash", "back\\slash"])
def test_what_may_be_seen(app: App, path: str) -> None:
    assert ask(app, path=f"/assets/{path}").text == "public"


def test_prefix_is_of_whole_segments(app: App) -> None:
    for path in ("/assets-not/file", "/assetsfile", "/assets%2ffile", "/assets/../assets/file", "//assets/file"):
        assert ask(app, path=path).status == 404


_PARTS = ["..", ".", "", "file", "sub", "secret", "out", "out-folder", "root", "etc", "%2e", "%2f", "%5c", "%00", "/"]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(_PARTS) | st.text("/.%2fe\\", max_size=4), max_size=8).map("".join))
def test_no_path_gives_a_secret_away(app: App, path: str) -> None:
    exchange = ask(app, path="/assets/" + path)
    assert exchange.status in (200, 301, 404)
    assert exchange.body in (b"", b"public", b"Not Found\n")


@given(st.lists(st.binary(max_size=12), min_size=1, max_size=5))
def test_relative_path_stays_relative_and_plain(segments: list[bytes]) -> None:
    path = file_path(segments)
    if path is not None:
        assert not path.startswith(b"/")
        assert b"\0" not in path
        assert b"//" not in path
        assert not {b"..", b"."} & set(path.split(b"/"))
