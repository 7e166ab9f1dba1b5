"""child_process.fork: a process to talk to. `prefork serve fork:app --app-dir examples/node`, beside fork.js.

seq 1000000 | curl -T - http://127.0.0.1:8000/sum
curl -N http://127.0.0.1:8000/primes/200000
"""

from collections.abc import AsyncIterator

from prefork import App, Event, EventStream, Request, children
from prefork.children import parent

app = App()


@app.route("/sum", ["PUT", "POST"], max_body=2**40)
async def sum_up(request: Request) -> dict[str, float]:
    """Numbers, one a line: the child computes while more of them come, and is ended with the block."""
    async with await children.fork(add) as child:
        rest = b""
        async for piece in request.stream():
            whole, _, rest = (rest + piece).rpartition(b"\n")
            await child.send(whole)  # waits while the child has enough to do
        await child.send(rest)
        await child.send(None)
        result: dict[str, float] = await child.receive()
        return result


@app.get("/primes/{below:int}")
async def primes(request: Request) -> EventStream:
    """What the child sends, as it comes. A client that leaves ends it."""
    child = await children.fork(find_primes, request.path_params["below"])

    async def events() -> AsyncIterator[Event]:
        async for message in child:
            yield Event(message)

    return EventStream(events())


# -- in the child: plain functions, with the app's modules imported


def add() -> None:
    count, total = 0, 0.0
    for lines in parent:
        if lines is None:
            parent.send({"count": count, "total": total})
        else:
            numbers = list(map(float, lines.split()))
            count, total = count + len(numbers), total + sum(numbers)


def find_primes(below: int) -> None:
    """Tells of each tenth of the way."""
    found = 0
    for number in range(2, below):
        found += all(number % divisor for divisor in range(2, int(number**0.5) + 1))
        if (number + 1) % max(1, below // 10) == 0:
            parent.send({"below": number + 1, "primes": found})
