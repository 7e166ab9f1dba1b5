"""What a new master that ends before it serves tells the old one."""

import os

import pytest

from prefork.errors import BindError
from prefork.messages import Unable
from prefork.processes.takeover import VARIABLE, telling_failure
from prefork.system.channel import Channel, ChannelClosed


def test_an_error_before_it_serves_is_told() -> None:
    old, new = Channel.pair()
    error = BindError("cannot bind 127.0.0.1:80")
    with pytest.raises(BindError), telling_failure({VARIABLE: str(new.fileno())}):
        raise error
    assert old.receive() == (Unable(str(error)), [])
    old.close()
    new.close()


def test_once_it_has_begun_it_keeps_no_descriptor_for_that() -> None:
    old, new = Channel.pair()
    with telling_failure({VARIABLE: str(new.fileno())}) as over:
        over()
        new.close()
        with pytest.raises(ChannelClosed):
            old.receive()
    old.close()


def test_a_server_that_follows_nobody_tells_nobody() -> None:
    read, write = os.pipe()
    for value in ("", "no number", "99999", str(read)):
        with pytest.raises(BindError), telling_failure({VARIABLE: value}):
            raise BindError("wrong")
    os.close(read)
    os.close(write)
