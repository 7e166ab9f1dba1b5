"""What goes between a parent and its forked child, with both ends in one process: order, bounds, descriptors."""

import asyncio
import os
import pickle
import resource
import select
import socket
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
import uvloop

from prefork.children.forks import packets
from prefork.children.forks.async_line import AsyncLine
from prefork.children.forks.line import FAILURE_BYTES, HEAVY_BYTES, HEAVY_PACKETS, Line
from prefork.children.forks.packets import Codec, WithFds
from prefork.children.forks.to_parent import Parent, ParentGone
from prefork.errors import ChildError, Unsendable
from prefork.jobs.failures import Failure, restore, take
from prefork.jobs.payload import BIG_BYTES
from prefork.system.channel import seqpacket_pair
from tests.processes.patience import GUARD_SECONDS

Pair = tuple[Line, Line]
MOST = 1 << 20


def lines(codec: Codec = "pickle", most: int = MOST) -> Pair:
    ours, theirs = seqpacket_pair()
    side, other = seqpacket_pair()
    return Line(ours, side, codec, most), Line(theirs, other, codec, most)


@pytest.fixture
def pair() -> Iterator[Pair]:
    pair = lines()
    before = open_files()
    yield pair
    assert open_files() == before, "a descriptor has stayed open"
    for line in pair:
        line.close()


def open_files() -> list[str]:
    """What this process has open, but for what it takes to look."""
    return sorted(os.readlink(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd") if alive(name))


def alive(name: str) -> bool:
    return os.path.lexists(f"/proc/self/fd/{name}")


def post(line: Line, value: Any, fds: Any = ()) -> bool:
    """Offer one message."""
    packet = line.pack(value, fds)
    try:
        return line.offer(packet)
    finally:
        packet.close()


def fill_up(line: Line, value: Any) -> int:
    """Send until there is no room. Returns how many went."""
    count = 0
    while post(line, value):
        count += 1
        assert count < 10_000, "there is no bound"
    return count


def run(loops: Callable[[], asyncio.AbstractEventLoop], program: Coroutine[Any, Any, Any]) -> Any:
    with asyncio.Runner(loop_factory=loops) as runner:
        return runner.run(program)


each_loop = pytest.mark.parametrize("loops", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])


# -- messages


def test_messages_come_whole_and_in_order_small_and_large_mixed(pair: Pair) -> None:
    near, far = pair
    sent = [1, "two", {"three": [3.0, None]}, b"x" * BIG_BYTES, b"y" * (BIG_BYTES - 1), b"", ["z" * 200_000], 8]
    for value in sent:
        assert post(near, value)
    assert [far.take() for _ in sent] == [(packets.MESSAGE, value) for value in sent]
    with pytest.raises(BlockingIOError):
        far.take()


def test_plain_data_can_go_by_msgspec() -> None:
    near, far = lines("msgspec")
    sent = [1, {"rows": [1, 2]}, "ä" * BIG_BYTES, b"x" * 100_000]
    for value in sent:
        assert post(near, value)
    assert [far.take()[1] for _ in sent] == sent
    near.close()
    far.close()


def test_what_a_codec_cannot_carry_is_refused_by_name(pair: Pair) -> None:
    near, far = lines("msgspec")
    with pytest.raises(Unsendable, match=r"type object cannot be sent by msgspec.*codec='pickle'"):
        near.pack(object())
    with pytest.raises(Unsendable, match=r"type generator cannot be pickled.*send plain data"):
        pair[0].pack(number for number in range(3))
    near.close()
    far.close()


def test_a_message_may_have_as_many_bytes_as_it_may_and_not_one_more() -> None:
    near, far = lines("msgspec", most=1000)
    largest = b"x" * (1000 - packets.HEADER.size - 3)  # three bytes: what it is, and how long
    assert post(near, largest)
    assert far.take()[1] == largest
    with pytest.raises(Unsendable, match="a message of 1001 bytes is larger than max_message = 1000 allows"):
        near.pack(largest + b"x")
    near.close()
    far.close()


def test_large_buffers_are_seen_in_place_and_stay_after_more_messages(pair: Pair) -> None:
    near, far = pair
    assert post(near, memoryview(b"a" * 300_000))
    first = far.take()[1]
    assert post(near, memoryview(b"b" * 300_000))
    second = far.take()[1]
    assert isinstance(first, memoryview)
    assert (bytes(first[:3]), bytes(second[-3:])) == (b"aaa", b"bbb")
    with open("/proc/self/maps") as maps:
        mapped = maps.read().count("/memfd:prefork-arena")
    assert mapped >= 2, "they are copies"
    del first, second


class Fragile:
    """Cannot be made anew."""

    def __reduce__(self) -> tuple[Any, ...]:
        return int, ("not a number",)


@pytest.mark.parametrize("size", [1, BIG_BYTES])
def test_a_message_that_cannot_be_made_anew_is_lost_alone(pair: Pair, size: int) -> None:
    near, far = pair
    reading, writing = os.pipe()
    assert post(near, [Fragile(), b"x" * size], [reading])
    assert post(near, "next")
    with pytest.raises(ChildError, match="cannot be made anew here: ValueError"):
        far.take()
    assert far.take()[1] == "next"
    os.close(reading)
    os.close(writing)


readers: list[Line] = []


def takes_another() -> Any:
    """What a message may do when it is made anew; a thread may do so meanwhile at any time."""
    return readers.pop().take()[1]


class TakesAnother:
    def __reduce__(self) -> tuple[Any, ...]:
        return takes_another, ()


def test_who_reads_while_a_message_is_made_anew_does_not_disturb_it(pair: Pair) -> None:
    near, far = pair
    assert post(near, [TakesAnother(), "first"])
    assert post(near, "x" * 1000)
    readers.append(far)
    assert far.take()[1] == ["x" * 1000, "first"]


# -- descriptors


def test_descriptors_and_sockets_come_with_their_message(pair: Pair) -> None:
    near, far = pair
    reading, writing = os.pipe()
    one, other = socket.socketpair()
    assert post(near, "take these", [reading, one])
    os.close(reading)
    one.close()
    message = far.take()[1]
    assert isinstance(message, WithFds)
    assert message.message == "take these"
    pipe, stream = message.take()
    assert not os.get_inheritable(pipe)
    os.write(writing, b"through the pipe")
    assert os.read(pipe, 100) == b"through the pipe"
    with socket.socket(fileno=stream) as came:
        came.send(b"through the socket")
    assert other.recv(100) == b"through the socket"
    os.close(pipe)
    os.close(writing)
    other.close()


def test_descriptors_that_nobody_takes_are_closed_with_their_message(pair: Pair) -> None:
    near, far = pair
    reading, writing = os.pipe()
    assert post(near, None, [writing])
    os.close(writing)
    message = far.take()[1]
    assert len(message.fds) == 1
    del message
    assert os.read(reading, 1) == b""
    os.close(reading)


def test_a_message_with_descriptors_is_not_sent_on_as_a_copy_that_would_close_those_of_others(pair: Pair) -> None:
    near, far = pair
    assert post(near, "look", [0])
    came = far.take()[1]
    with pytest.raises(Unsendable, match=r"send\(it\.message, fds=it\.fds\)"):
        far.pack([came])
    assert post(far, came.message, came.fds)
    assert len(near.take()[1].fds) == 1


def test_more_descriptors_than_fit_are_refused(pair: Pair) -> None:
    near, far = pair
    assert post(near, None, [0] * packets.MOST_ATTACHED)
    assert len(far.take()[1].fds) == packets.MOST_ATTACHED
    with pytest.raises(Unsendable, match=f"at most {packets.MOST_ATTACHED} descriptors"):
        near.pack(None, [0] * (packets.MOST_ATTACHED + 1))


def test_a_descriptor_that_is_none_is_told_and_the_line_goes_on(pair: Pair) -> None:
    near, far = pair
    reading, writing = os.pipe()
    os.close(reading)
    os.close(writing)
    with pytest.raises(ChildError, match="could not be sent: Bad file descriptor"):
        post(near, "no", [reading])
    assert post(near, "yes")
    assert far.take()[1] == "yes"


def test_a_message_whose_descriptors_find_no_room_is_told_and_lost_alone(pair: Pair) -> None:
    near, far = pair
    for _ in range(HEAVY_PACKETS):
        assert post(near, "no room", [0, 0])
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)  # the number that the next descriptor will have
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + 1, hard))
    try:
        with pytest.raises(ChildError, match="too many open files"):
            far.take()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert post(near, "there is room under way again", [0])
    assert len([far.take() for _ in range(HEAVY_PACKETS)]) == HEAVY_PACKETS


# -- bounds


def test_small_messages_are_bounded_in_number_and_in_bytes(pair: Pair) -> None:
    near, far = pair
    small = fill_up(near, None)
    assert 100 < small < 600
    for _ in range(small):
        far.take()
    assert fill_up(near, "x" * 60_000) < 8
    assert far.take()[1] == "x" * 60_000


@pytest.mark.parametrize("weighs", ["memory", "descriptors"])
def test_what_the_kernel_does_not_count_is_bounded_in_number(pair: Pair, weighs: str) -> None:
    near, far = pair
    value, fds = ("x" * BIG_BYTES, []) if weighs == "memory" else (None, [0])
    for _ in range(HEAVY_PACKETS):
        assert post(near, value, fds)
    assert not post(near, value, fds)
    assert post(near, "a small one")
    far.take()
    assert post(near, value, fds)
    assert not post(near, value, fds)
    for _ in range(HEAVY_PACKETS + 1):
        far.take()


def test_shared_memory_under_way_is_bounded_and_one_larger_message_goes_alone() -> None:
    near, far = lines(most=HEAVY_BYTES * 2)
    half = bytes(HEAVY_BYTES // 2 - 4096)
    assert post(near, half)
    assert post(near, half)
    assert not post(near, half)
    far.take()
    far.take()
    assert post(near, bytes(HEAVY_BYTES + 1))
    assert not post(near, bytes(BIG_BYTES))
    assert len(far.take()[1]) == HEAVY_BYTES + 1
    assert post(near, bytes(BIG_BYTES))
    near.close()
    far.close()


# -- waiting


@each_loop
def test_who_sends_waits_until_the_other_side_reads_and_all_comes_in_order(loops: Any) -> None:
    near, far = lines()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        ours, theirs = AsyncLine(near, loop), AsyncLine(far, loop)
        sizes = [10, BIG_BYTES, 40_000]

        async def feed(first: int) -> None:
            for number in range(first, 600, 3):
                await ours.send((number, b"x" * sizes[number % 3]))

        tasks = [asyncio.create_task(feed(first)) for first in range(3)]
        for _ in range(20):
            await asyncio.sleep(0)
        assert not any(task.done() for task in tasks), "there is no bound"
        found = [(await theirs.receive())[1][0] for _ in range(600)]
        assert sorted(found) == list(range(600))
        for first in range(3):
            mine = [number for number in found if number % 3 == first]
            assert mine == sorted(mine)
        await asyncio.gather(*tasks)
        ours.close()
        theirs.close()

    run(loops, main())


@each_loop
@pytest.mark.parametrize("weight", [0, BIG_BYTES])
def test_a_send_that_is_cancelled_while_it_waits_sends_nothing_and_holds_nobody_up(loops: Any, weight: int) -> None:
    near, far = lines()

    async def main() -> list[Any]:
        loop = asyncio.get_running_loop()
        ours, theirs = AsyncLine(near, loop), AsyncLine(far, loop)
        count = fill_up(near, bytes(weight))
        waiting = [asyncio.create_task(ours.send(name + "." * weight)) for name in ("first", "second", "third")]
        await asyncio.sleep(0)
        waiting[0].cancel()
        waiting[1].cancel()
        await asyncio.wait(waiting[:2])
        for _ in range(count):
            await theirs.receive()
        await waiting[2]
        await ours.send("fourth")
        found = [(await theirs.receive())[1].rstrip(".") for _ in range(2)]
        ours.close()
        theirs.close()
        return found

    assert run(loops, main()) == ["third", "fourth"]


@each_loop
def test_several_receivers_get_one_message_each_in_turn_and_none_is_lost_with_a_cancelled_one(loops: Any) -> None:
    near, far = lines()

    async def main() -> list[Any]:
        loop = asyncio.get_running_loop()
        ours = AsyncLine(near, loop)
        receivers = [asyncio.create_task(ours.receive()) for _ in range(4)]
        await asyncio.sleep(0)
        receivers[1].cancel()
        post(far, "one")
        await receivers[0]
        for value in ("two", "three", "four"):
            post(far, value)
        found = [(await receivers[index])[1] for index in (0, 2, 3)]
        late = asyncio.create_task(ours.receive())
        await late
        found.append(late.result()[1])
        # One that is cancelled when its message has just come gives it to the next.
        unlucky = asyncio.create_task(ours.receive())
        lucky = asyncio.create_task(ours.receive())
        await asyncio.sleep(0)
        post(far, "five")
        ours._read()
        unlucky.cancel()
        found.append((await lucky)[1])
        assert unlucky.cancelled()
        # And with nobody waiting, to who comes later.
        unlucky = asyncio.create_task(ours.receive())
        await asyncio.sleep(0)
        post(far, "six")
        ours._read()
        unlucky.cancel()
        await asyncio.wait([unlucky])
        found.append((await ours.receive())[1])
        ours.close()
        far.close()
        return found

    assert run(loops, main()) == ["one", "two", "three", "four", "five", "six"]


@each_loop
def test_a_quick_sender_does_not_keep_the_loop_from_its_other_tasks(loops: Any) -> None:
    near, far = lines()

    async def main() -> int:
        ours = AsyncLine(near, asyncio.get_running_loop())
        turns = 0

        async def other() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        task = asyncio.create_task(other())
        for number in range(1000):
            post(far, number)
            assert (await ours.receive())[1] == number
        task.cancel()
        ours.close()
        far.close()
        return turns

    assert run(loops, main()) >= 10


# -- the end


@each_loop
def test_what_was_sent_before_the_end_is_received_then_the_end(loops: Any) -> None:
    near, far = lines()

    async def main() -> list[Any]:
        ours = AsyncLine(near, asyncio.get_running_loop())
        post(near, "never read")  # so that its end is a reset
        post(far, "last")
        post(far, b"x" * BIG_BYTES)
        far.close()
        found = [(await ours.receive())[1] for _ in range(2)]
        for _ in range(2):
            with pytest.raises(EOFError):
                await ours.receive()
        for value in ("small", b"x" * BIG_BYTES):
            with pytest.raises(BrokenPipeError):
                await ours.send(value)
        ours.close()
        return found

    assert run(loops, main()) == ["last", b"x" * BIG_BYTES]


@each_loop
def test_who_waits_is_told_of_the_end(loops: Any) -> None:
    near, far = lines()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        ours = AsyncLine(near, loop)
        fill_up(near, None)
        receiving = [asyncio.create_task(ours.receive()) for _ in range(2)]
        sending = [asyncio.create_task(ours.send(None)) for _ in range(2)]
        await asyncio.sleep(0)
        far.close()
        ends = await asyncio.gather(*receiving, *sending, return_exceptions=True)
        assert [type(end) for end in ends] == [EOFError, EOFError, BrokenPipeError, BrokenPipeError]
        ours.close()

    run(loops, main())


@pytest.mark.parametrize("size", [1000, BIG_BYTES])
@each_loop
def test_who_waits_to_send_is_told_when_its_own_side_disconnects(loops: Any, size: int) -> None:
    async def program() -> None:
        near, far = lines()
        line = AsyncLine(near, asyncio.get_running_loop())
        fill_up(near, bytes(size))
        sending = [asyncio.create_task(line.send(bytes(size))) for _ in range(2)]
        await asyncio.sleep(0)
        line.hang_up()
        async with asyncio.timeout(GUARD_SECONDS):
            for task in sending:
                with pytest.raises(BrokenPipeError):
                    await task
        line.close()
        far.close()

    run(loops, program())


@pytest.mark.parametrize("size", [1000, BIG_BYTES])
def test_who_waits_to_send_is_told_when_the_child_disconnects_there_and_here(size: int) -> None:
    near, far = lines()
    for line in (near, far):
        fill_up(line, bytes(size))
    held = [line.pack(bytes(size)) for line in (near, far)]
    polls = []
    for line, packet in zip((near, far), held, strict=True):
        waiting = select.poll()
        waiting.register(*line.waits_for(packet))
        assert not waiting.poll(0)
        polls.append(waiting)
    far.hang_up()
    for line, packet, waiting in zip((near, far), held, polls, strict=True):
        assert waiting.poll(0)
        with pytest.raises(BrokenPipeError):
            line.offer(packet)
        packet.close()
    far.fail(take(ValueError("told all the same")))
    near.hear()
    assert near.failure is not None
    near.close()
    far.close()


def test_a_process_that_is_gone_ends_the_line_even_if_another_holds_its_end() -> None:
    near, far = lines()

    async def main() -> None:
        ours = AsyncLine(near, asyncio.get_running_loop())
        waiting = [asyncio.create_task(ours.receive()) for _ in range(2)]
        await asyncio.sleep(0)
        post(far, "last")
        ours.end()
        found = await asyncio.gather(*waiting, return_exceptions=True)
        assert found[0] == (packets.MESSAGE, "last")
        assert isinstance(found[1], EOFError)
        ours.close()
        far.close()

    asyncio.run(main())


def test_what_the_other_side_has_raised_is_heard_before_what_it_had_sent(pair: Pair) -> None:
    near, far = pair
    post(far, "unread")
    try:
        raise ValueError("on purpose")
    except ValueError as error:
        far.fail(take(error))
    near.hear()
    assert near.failure is not None
    assert repr(restore(near.failure)) == "ValueError('on purpose')"
    near.take()


def test_of_an_exception_that_is_too_long_the_end_is_told(pair: Pair) -> None:
    near, far = pair
    far.fail(Failure(pickle.dumps(ValueError("x" * FAILURE_BYTES)), "ValueError: xxx", "line\n" * 20_000 + "the end"))
    near.hear()
    assert near.failure is not None
    assert near.failure.words == "ValueError: xxx"
    assert near.failure.traceback.endswith("the end")


# -- the child's side


def test_a_parent_can_only_be_talked_to_in_a_forked_child() -> None:
    nobody = Parent()
    assert not nobody
    with pytest.raises(RuntimeError, match=r"not forked by prefork\.children\.fork"):
        nobody.send(1)
    with pytest.raises(RuntimeError, match=r"not forked by prefork\.children\.fork"):
        asyncio.run(nobody.areceive())


def test_loops_in_several_threads_of_a_child_do_not_lose_each_others_waiting_tasks() -> None:
    near, far = lines()
    parent = Parent()
    parent.attach(far)
    other = asyncio.new_event_loop()

    async def main() -> None:
        first = asyncio.create_task(parent.areceive())
        await asyncio.sleep(0)
        await asyncio.to_thread(other.run_until_complete, parent.asend("hello"))
        second = asyncio.create_task(parent.areceive())
        await asyncio.sleep(0)
        post(near, 1)
        post(near, 2)
        async with asyncio.timeout(GUARD_SECONDS):
            assert [await first, await second] == [1, 2]

    asyncio.run(main())
    other.close()
    near.close()
    far.close()


def test_a_child_reads_until_its_parent_disconnects_then_is_told() -> None:
    near, far = lines()
    parent = Parent()
    parent.attach(far)
    assert parent
    for number in range(3):
        post(near, number)
    near.hang_up()
    assert list(parent) == [0, 1, 2]
    with pytest.raises(ParentGone):
        parent.receive()
    with pytest.raises(ParentGone):
        parent.send(1)
    near.close()
    far.close()


def test_a_child_that_disconnects_says_so_after_what_it_sent() -> None:
    near, far = lines()
    parent = Parent()
    parent.attach(far)
    parent.send("last")
    parent.disconnect()
    assert not parent
    assert [near.take()[0], near.take()[0]] == [packets.MESSAGE, packets.BYE]
    with pytest.raises(EOFError):
        near.take()
    with pytest.raises(ParentGone, match="this process has disconnected"):
        parent.send("more")
    near.close()
    far.close()
