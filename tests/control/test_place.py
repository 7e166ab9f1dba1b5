"""Where the control socket is: claimed by name, never in another's place, and whatever is in the way, no error."""

import logging
import os
import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from prefork.control import address
from prefork.control.finding import dial
from prefork.control.place import ControlPlace, claim, is_taken
from prefork.errors import CommandError


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A runtime folder of this test; abstract names have its own prefix."""
    monkeypatch.setattr(address, "abstract", lambda name: f"\0{tmp_path}-{name}")
    folder = tmp_path / "run"
    folder.mkdir(0o700)
    return folder


@pytest.fixture
def places() -> Iterator[list[ControlPlace]]:
    made: list[ControlPlace] = []
    yield made
    for place in made:
        place.close()


def here(runtime: Path) -> dict[str, str]:
    return {"XDG_RUNTIME_DIR": str(runtime)}


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_a_socket_of_ours_alone_in_the_runtime_folder(runtime: Path) -> None:
    before = os.umask(0)
    try:
        place = claim("auto", "main", here(runtime))
    finally:
        os.umask(before)
    path = runtime / "prefork" / "main.sock"
    assert place.address == str(path)
    assert mode(path) == 0o600
    assert mode(path.parent) == 0o700
    place.close()
    assert not path.exists()


def test_the_file_has_its_mode_from_the_start(tmp_path: Path) -> None:
    """What `place` relies on: bind(2) takes the mode that fchmod(2) has set on the socket."""
    before = os.umask(0)
    try:
        with socket.socket(socket.AF_UNIX) as end:
            os.fchmod(end.fileno(), 0o600)
            end.bind(str(tmp_path / "socket"))
    finally:
        os.umask(before)
    assert mode(tmp_path / "socket") == 0o600


def test_a_second_server_of_that_name_gets_a_number(
    runtime: Path, places: list[ControlPlace], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    places += [claim("auto", "main", here(runtime)) for _ in range(3)]
    assert [place.name for place in places] == ["main", "main-2", "main-3"]
    assert "a server called main runs already: this one is called main-2" in caplog.text
    assert is_taken("auto", "main", here(runtime))
    assert not is_taken("auto", "other", here(runtime))
    places[1].close()
    assert not is_taken("auto", "main-2", here(runtime))
    places.append(claim("auto", "main", here(runtime)))
    assert places[-1].name == "main-2"


def test_more_namesakes_than_there_are_numbers_run_without(
    runtime: Path, places: list[ControlPlace], caplog: pytest.LogCaptureFixture
) -> None:
    places += [claim("auto", "main", here(runtime)) for _ in range(10)]
    assert places[-1].listener is None
    assert "there is no control socket: 9 servers called main" in caplog.text


def test_what_a_killed_server_left_is_replaced(runtime: Path, places: list[ControlPlace]) -> None:
    killed = claim("auto", "main", here(runtime))
    assert killed.listener is not None
    killed.listener.close()
    assert (runtime / "prefork" / "main.sock").exists()
    places.append(claim("auto", "main", here(runtime)))
    assert places[0].name == "main"
    with dial("main", None, here(runtime)):
        pass


def test_a_file_that_another_server_has_by_now_is_not_removed(runtime: Path, places: list[ControlPlace]) -> None:
    path = runtime / "prefork" / "main.sock"
    first = claim("auto", "main", here(runtime))
    path.unlink()  # by a cleaner of old files
    places.append(claim("auto", "main", here(runtime)))
    first.close()
    with dial("main", None, here(runtime)):
        pass


def test_an_abstract_name_without_a_folder_that_is_ours_alone(runtime: Path, places: list[ControlPlace]) -> None:
    runtime.chmod(0o777)
    places.append(claim("auto", "main", here(runtime)))
    assert places[0].address == f"@{runtime.parent}-main"
    places.append(claim("auto", "main", {}))
    assert places[1].name == "main-2"
    assert not (runtime / "prefork").exists()


def test_a_folder_that_others_may_enter_is_not_used(runtime: Path, places: list[ControlPlace]) -> None:
    (runtime / "prefork").mkdir()
    (runtime / "prefork").chmod(0o755)
    places.append(claim("auto", "main", here(runtime)))
    assert places[0].address is not None
    assert places[0].address.startswith("@")


def test_a_file_that_is_no_socket_stays(
    runtime: Path, places: list[ControlPlace], caplog: pytest.LogCaptureFixture
) -> None:
    path = runtime / "important"
    path.write_text("text")
    place = claim(str(path), "main", {})
    assert place.listener is None
    assert f"there is no control socket: {path}: there is another file" in caplog.text
    assert path.read_text() == "text"


@pytest.mark.parametrize("path", ["/nonexistent/socket", "/proc/socket", "/tmp/" + "x" * 120])
def test_a_path_that_cannot_be_is_a_warning_and_no_more(path: str, caplog: pytest.LogCaptureFixture) -> None:
    assert claim(path, "main", {}).listener is None
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert path in record.getMessage()


def test_a_path_that_another_server_has_is_left_to_it(
    runtime: Path, places: list[ControlPlace], caplog: pytest.LogCaptureFixture
) -> None:
    path = str(runtime / "socket")
    places += [claim(path, "main", {}), claim(path, "other", {})]
    assert places[1].listener is None
    assert "another server has" in caplog.text
    with dial(None, path, {}):
        pass


def test_none_and_an_explicit_abstract_name(tmp_path: Path, places: list[ControlPlace]) -> None:
    places += [claim("none", "main", {}), claim(f"@{tmp_path}", "main", {})]
    assert places[0].listener is None
    assert places[1].address == f"@{tmp_path}"
    with dial(None, f"@{tmp_path}", {}):
        pass


@pytest.mark.parametrize(
    ("target", "name"),
    [
        ("main:app", "main"),
        ("shop.web.asgi:make_app()", "shop.web.asgi"),
        ("./site", "site"),
        ("/srv/a b/", "a-b"),
        ("ünï:app", "n"),
        ("..:app", "app"),
        ("x" * 99, "x" * 64),
    ],
)
def test_a_server_is_called_as_its_module(target: str, name: str) -> None:
    assert address.name_of(target) == name


@pytest.fixture
def alone(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No other servers of this machine are seen."""
    monkeypatch.setattr(address, "_abstract_names", lambda: iter(()))
    return runtime


def test_the_only_server_is_meant_and_of_several_the_names_are_said(alone: Path, places: list[ControlPlace]) -> None:
    with pytest.raises(CommandError, match=r"no server runs here as uid \d+ \(looked in "):
        dial(None, None, here(alone))
    places.append(claim("auto", "shop", here(alone)))
    (alone / "prefork" / "killed.sock").touch()
    with dial(None, None, here(alone)):
        pass
    places.append(claim("auto", "blog", here(alone)))
    with pytest.raises(CommandError, match="2 servers run here: blog, shop; say which one with --name"):
        dial(None, None, here(alone))
    with dial("shop", None, here(alone)):
        pass
    with pytest.raises(CommandError, match="no server called nobody runs here; there are blog, shop"):
        dial("nobody", None, here(alone))
    with pytest.raises(CommandError, match="no server listens at /nonexistent"):
        dial(None, "/nonexistent", {})


def test_abstract_names_of_this_user_are_found() -> None:
    name = f"test-{os.getpid()}"
    place = claim("auto", name, {})
    try:
        assert address.known({})[name] == address.abstract(name)
    finally:
        place.close()
    assert name not in address.known({})


def test_a_server_of_another_user_is_not_spoken_to(
    alone: Path, places: list[ControlPlace], monkeypatch: pytest.MonkeyPatch
) -> None:
    places.append(claim("auto", "shop", here(alone)))
    monkeypatch.setattr("prefork.control.finding.peer_uid", lambda end: 4711)
    with pytest.raises(CommandError, match=r"belongs to another user \(uid 4711\)"):
        dial("shop", None, here(alone))


def test_a_server_with_a_full_backlog_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(tmp_path / "main.sock")
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as first:
        listener.bind(path)
        listener.listen(0)
        first.connect(path)
        monkeypatch.setattr(time, "sleep", lambda seconds: listener.accept()[0].close())
        with dial(None, path, {}):
            pass
