"""Questions to the master over a socket pair, from an event loop."""

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable

import pytest

from prefork.control.async_client import WAITING, AsyncClient, Silent
from prefork.control.wire import ANSWER_BYTES
from prefork.errors import CommandError


class Line:
    """Both ends: the client, and the master's."""

    def __init__(self, client: AsyncClient, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.client, self._reader, self._writer = client, reader, writer

    def ask(self, command: str = "status", seconds: float | None = None) -> "asyncio.Task[bytes]":
        return asyncio.create_task(self.client.ask(command, {}, seconds))

    async def asked(self) -> str:
        """The next command that arrives."""
        return str(json.loads(await self._reader.readline())["command"])

    def answer(self, *pieces: bytes) -> None:
        for piece in pieces:
            self._writer.write(piece)

    def close(self) -> None:
        self._writer.close()


def run(test: Callable[[Line], Awaitable[None]]) -> None:
    async def both() -> None:
        ours, theirs = socket.socketpair()
        reader, writer = await asyncio.open_unix_connection(sock=theirs)
        line = Line(await AsyncClient.connect(ours), reader, writer)
        async with asyncio.timeout(20):
            await test(line)
        line.close()

    asyncio.run(both())


def test_questions_are_answered_in_their_order_however_the_answers_are_cut() -> None:
    async def test(line: Line) -> None:
        first, second, third = line.ask("status"), line.ask("jobs"), line.ask("reload")
        assert [await line.asked() for _ in range(3)] == ["status", "jobs", "reload"]
        assert line.client.waiting == 3
        line.answer(b'{"result":', b' {"a": 1}}\n{"result": []}\n{"err', b'or": "the server stops"}\n')
        assert (await first, await second) == (b'{"a": 1}', b"[]")
        with pytest.raises(CommandError, match=r"^the server stops$"):
            await third
        assert line.client.waiting == 0

    run(test)


def test_an_answer_that_comes_too_late_goes_to_nobody() -> None:
    async def test(line: Line) -> None:
        late = line.ask("upgrade", seconds=0.0)
        with pytest.raises(Silent, match="did not answer within 0 s"):
            await late
        given_up = line.ask("stacks")
        await asyncio.sleep(0)
        given_up.cancel()
        fresh = line.ask("status")
        await asyncio.sleep(0)
        line.answer(b'{"result": "upgraded"}\n{"result": "stacks"}\n{"result": "fresh"}\n')
        assert await fresh == b'"fresh"'

    run(test)


def test_more_than_enough_questions_are_refused_at_once() -> None:
    async def test(line: Line) -> None:
        waiting = [line.ask() for _ in range(WAITING)]
        await asyncio.sleep(0)
        with pytest.raises(Silent, match=f"has {WAITING} commands to answer already"):
            await line.client.ask("status", {}, None)
        line.answer(b'{"result": 1}\n' * WAITING)
        assert await asyncio.gather(*waiting) == [b"1"] * WAITING

    run(test)


def test_a_master_that_hangs_up_is_told_to_all_who_wait_and_all_who_come() -> None:
    async def test(line: Line) -> None:
        waiting = line.ask()
        await line.asked()
        line.close()
        with pytest.raises(Silent, match=r"^the master has hung up$"):
            await waiting
        with pytest.raises(Silent, match=r"^the master has hung up$"):
            await line.client.ask("status", {}, None)

    run(test)


def test_an_answer_without_an_end_is_given_up() -> None:
    async def test(line: Line) -> None:
        waiting = line.ask()
        line.answer(b"x" * (2 * ANSWER_BYTES + 1))
        with pytest.raises(Silent, match=r"^the master has hung up$"):
            await waiting

    run(test)
