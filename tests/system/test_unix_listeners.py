"""Unix sockets: a dead server's file is replaced, a live one's and everybody else's is not."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from prefork.errors import BindError
from prefork.system.listeners import Listener, open_beside, open_listeners


@pytest.fixture
def path(tmp_path: Path) -> Iterator[str]:
    """A path short enough for sun_path, which pytest's own may not be."""
    here = os.open(tmp_path, os.O_DIRECTORY)
    yield f"/proc/self/fd/{here}/s"
    os.close(here)


def open_one(path: str) -> Listener:
    (listener,) = open_listeners([f"unix:{path}"], backlog=16, reuse_port=False)
    return listener


def refuse(path: str) -> str:
    with pytest.raises(BindError) as caught:
        open_one(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def connect(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)


def test_a_socket_is_made_named_and_answers(path: str) -> None:
    listener = open_one(path)
    assert listener.name == f"unix:{path}"
    assert listener.shared
    connect(path)
    listener.close()


def test_a_stale_socket_is_replaced(path: str) -> None:
    open_one(path).close()  # its file stays, as after a kill
    assert os.path.exists(path)
    listener = open_one(path)
    connect(path)
    listener.close()


def test_a_live_socket_is_refused_and_goes_on(path: str) -> None:
    live = open_one(path)
    assert refuse(path) == f"cannot bind unix:{path}: another server listens there"
    connect(path)
    live.close()


def test_a_live_socket_whose_backlog_is_full_is_refused_without_waiting(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as live, socket.socket(socket.AF_UNIX) as client:
        live.bind(path)
        live.listen(0)
        client.connect(path)
        refuse(path)
        assert os.path.exists(path)


def test_a_file_that_is_no_socket_is_never_removed(path: str) -> None:
    Path(path).write_text("precious")
    assert refuse(path) == f"cannot bind unix:{path}: there is a file of that name that is no socket"
    assert Path(path).read_text() == "precious"


def test_a_missing_folder_is_one_clear_line(path: str) -> None:
    assert refuse(f"{path}/no/such") == f"cannot bind unix:{path}/no/such: no such file or directory"


def test_the_file_is_removed_at_the_end(path: str) -> None:
    listener = open_one(path)
    listener.close()
    listener.unlink()
    assert not os.path.exists(path)
    listener.unlink()


def test_when_another_address_fails_no_file_stays(path: str) -> None:
    with pytest.raises(BindError):
        open_listeners([f"unix:{path}", "192.0.2.1:0"], backlog=16, reuse_port=False)
    assert not os.path.exists(path)


def test_a_file_that_another_server_has_put_there_since_is_left(path: str) -> None:
    first = open_one(path)
    first.close()
    second = open_one(path)
    os.utime(path, (1, 1))  # made at another time, which the coarse clock of the file system might not tell
    first.unlink()
    connect(path)
    second.close()


def test_a_unix_socket_is_shared_between_those_who_accept(path: str) -> None:
    listener = open_one(path)
    beside = open_beside(listener, backlog=16)
    listener.close()
    connect(path)
    beside.close()
    beside.unlink()
    assert os.path.exists(path)  # only the listener that made the file removes it


def test_an_inherited_unix_socket_is_used_and_its_file_left_to_its_owner(path: str) -> None:
    owner = open_one(path)
    (inherited,) = open_listeners([f"fd://{owner.socket.fileno()}"], backlog=16, reuse_port=False)
    assert inherited.name == f"unix:{path}"
    inherited.close()
    inherited.unlink()
    connect(path)
    owner.close()
