"""Places for children: bounded, in order, and never lost by who goes away."""

import asyncio

import pytest

from prefork.children.places import Places
from prefork.errors import ChildrenBusy


def test_who_waited_longest_gets_the_place_that_becomes_free() -> None:
    async def main() -> list[int]:
        places = Places(1, 60)
        await places.take()
        order: list[int] = []

        async def one(number: int) -> None:
            await places.take()
            order.append(number)
            places.free()

        tasks = [asyncio.create_task(one(number)) for number in range(5)]
        await asyncio.sleep(0)
        assert order == []
        places.free()
        await asyncio.gather(*tasks)
        assert places.taken == 0
        return order

    assert asyncio.run(main()) == [0, 1, 2, 3, 4]


def test_who_waits_too_long_is_told_how_many_run() -> None:
    async def main() -> None:
        places = Places(2, 0)
        await places.take()
        await places.take()
        with pytest.raises(ChildrenBusy, match=r"2 children run.*max_children.*within 0 s"):
            await places.take()
        places.free()
        await places.take()
        assert places.taken == 2

    asyncio.run(main())


@pytest.mark.parametrize("freed_first", [True, False])
def test_a_place_given_to_one_who_is_cancelled_at_that_moment_goes_on_to_the_next(freed_first: bool) -> None:
    async def main() -> None:
        places = Places(1, 60)
        await places.take()
        gone, stays = (asyncio.create_task(places.take()) for _ in range(2))
        await asyncio.sleep(0)
        if freed_first:
            places.free()
        gone.cancel()
        if not freed_first:
            places.free()
        await stays
        assert gone.cancelled()
        places.free()
        assert places.taken == 0

    asyncio.run(main())
