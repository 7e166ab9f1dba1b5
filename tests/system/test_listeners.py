"""The sockets the server listens on: TCP, inherited, and what goes wrong with them."""

import errno
import os
import select
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from prefork.errors import BindError
from prefork.system.listeners import Listener, open_beside, open_listeners, systemd_binds
from tests.processes.patience import GUARD_SECONDS


@contextmanager
def opened(*binds: str, reuse_port: bool = False) -> Iterator[list[Listener]]:
    listeners = open_listeners(list(binds), backlog=16, reuse_port=reuse_port)
    with ExitStack() as stack:
        for listener in listeners:
            stack.callback(listener.close)
        yield listeners


@contextmanager
def connected(listener: Listener) -> Iterator[socket.socket]:
    """The accepted side of a connection."""
    with socket.socket(listener.socket.family) as client:
        client.settimeout(GUARD_SECONDS)
        client.connect(listener.socket.getsockname())
        accepted, _ = listener.socket.accept()
        with accepted:
            yield accepted


def bind_of(end: socket.socket) -> str:
    host, port = end.getsockname()
    return f"{host}:{port}"


def refuse(*binds: str) -> str:
    with pytest.raises(BindError) as caught:
        open_listeners(list(binds), backlog=16, reuse_port=False)
    reason = str(caught.value)
    assert "\n" not in reason
    return reason


@pytest.mark.parametrize(("bind", "name"), [("127.0.0.1:0", "http://127.0.0.1:"), ("[::1]:0", "http://[::1]:")])
def test_a_free_port_is_taken_and_named(bind: str, name: str) -> None:
    with opened(bind) as (listener,):
        port = listener.socket.getsockname()[1]
        assert port > 0
        assert listener.name == f"{name}{port}"
        assert not listener.shared
        with connected(listener):
            pass


@pytest.mark.parametrize("bind", ["127.0.0.1:0", "[::1]:0"])
def test_accepted_connections_have_no_delay(bind: str) -> None:
    with opened(bind) as (listener,), connected(listener) as connection:
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0


def test_connections_accepted_from_an_inherited_socket_have_no_delay() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as inherited,
        opened(f"fd://{inherited.fileno()}") as (listener,),
        connected(listener) as connection,
    ):
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0


def test_listeners_do_not_block_and_are_not_inherited_by_what_is_executed() -> None:
    with opened("127.0.0.1:0") as (listener,):
        assert listener.socket.getblocking() is False
        assert listener.socket.get_inheritable() is False


def test_ipv4_and_ipv6_wildcards_can_share_a_port() -> None:
    with opened("[::]:0") as (six,):
        port = six.socket.getsockname()[1]
        with opened(f"0.0.0.0:{port}") as (four,):
            assert four.socket.getsockname()[1] == port


def test_a_host_name_with_port_zero_opens_one_socket() -> None:
    with opened("localhost:0") as listeners:
        assert len(listeners) == 1


def test_several_addresses_are_opened_in_order() -> None:
    with opened("127.0.0.1:0", "[::1]:0") as (four, six):
        assert four.socket.family == socket.AF_INET
        assert six.socket.family == socket.AF_INET6


def test_a_port_in_use_is_one_clear_line_that_names_it() -> None:
    with opened("127.0.0.1:0") as (listener,):
        bind = bind_of(listener.socket)
        assert refuse(bind) == f"cannot bind {bind}: address already in use"
        assert refuse("127.0.0.1:0", bind).startswith(f"cannot bind {bind}")


def test_a_port_that_lingers_in_time_wait_can_be_bound_again() -> None:
    with opened("127.0.0.1:0") as (listener,):
        bind = bind_of(listener.socket)
        with connected(listener) as connection:
            connection.close()  # the side that closes first keeps the address in TIME_WAIT
    with opened(bind):
        pass


def test_when_one_address_fails_none_stays_open() -> None:
    with opened("127.0.0.1:0") as (taken,), socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = bind_of(probe)
        probe.close()
        refuse(free, bind_of(taken.socket))
        with opened(free):
            pass


def test_an_address_of_another_machine_is_one_clear_line() -> None:
    assert refuse("192.0.2.1:0") == "cannot bind 192.0.2.1:0: cannot assign requested address"


def test_an_inherited_socket_is_used_as_it_is_and_left_open() -> None:
    with socket.create_server(("127.0.0.1", 0)) as inherited:
        with opened(f"fd://{inherited.fileno()}") as (listener,):
            assert listener.shared
            assert listener.socket.getsockname() == inherited.getsockname()
        assert inherited.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1


def test_a_descriptor_that_is_no_stream_socket_is_refused() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        assert "not a TCP or Unix stream socket" in refuse(f"fd://{datagrams.fileno()}")
    read, write = os.pipe()
    assert f"cannot use fd://{read}" in refuse(f"fd://{read}")
    os.close(read)
    os.close(write)
    assert f"cannot use fd://{read}: bad file descriptor" in refuse(f"fd://{read}")


def test_a_listener_that_refuses_keeps_its_backlog_and_answers_nobody_else() -> None:
    with opened("127.0.0.1:0") as (listener,), socket.socket() as early, socket.socket() as late:
        early.connect(listener.socket.getsockname())
        listener.refuse()
        late.setblocking(False)
        assert late.connect_ex(listener.socket.getsockname()) == errno.EINPROGRESS
        accepted, address = listener.socket.accept()
        accepted.close()
        assert address == early.getsockname()
        assert select.select([late], [late], [], 0) == ([], [], [])  # neither connected nor reset
        with pytest.raises(BlockingIOError):
            listener.socket.accept()


def test_an_address_can_be_opened_again_beside_itself() -> None:
    with opened("127.0.0.1:0", reuse_port=True) as (first,):
        second = open_beside(first, backlog=16)
        assert second.socket.getsockname() == first.socket.getsockname()
        second.close()


def test_a_shared_socket_is_duplicated_instead() -> None:
    with socket.create_server(("127.0.0.1", 0)) as inherited, opened(f"fd://{inherited.fileno()}") as (first,):
        second = open_beside(first, backlog=16)
        assert os.path.sameopenfile(second.socket.fileno(), first.socket.fileno())
        second.close()


def test_systemd_passes_sockets_from_descriptor_three_on() -> None:
    environment = {"LISTEN_FDS": "2", "LISTEN_PID": str(os.getpid()), "LISTEN_FDNAMES": "a:b", "HOME": "/"}
    assert systemd_binds(environment) == ["fd://3", "fd://4"]
    assert environment == {"HOME": "/"}


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"LISTEN_FDS": "2"},
        {"LISTEN_FDS": "2", "LISTEN_PID": "1"},
        {"LISTEN_FDS": "x", "LISTEN_PID": str(os.getpid())},
    ],
)
def test_sockets_meant_for_another_process_are_not_taken(
    environment: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    warned = "LISTEN_FDS" in environment
    assert systemd_binds(environment) == []
    assert environment == {}
    assert ("LISTEN_FDS" in caplog.text) is warned
