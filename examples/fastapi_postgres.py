"""A small shop on FastAPI, asyncpg and PostgreSQL. `make example-db` starts a database and says how to go on:

    DATABASE=postgresql:///postgres?host=… prefork serve fastapi_postgres:app --app-dir examples

It shows a pool of connections in each worker, made in the lifespan; a table that is created once though all workers
start together; a sale that cannot sell the same thing twice, whichever workers the buyers are connected to; and events
that reach the listeners of all workers, by LISTEN and NOTIFY. An ordinary ASGI app: uvicorn runs it too.
"""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import asyncpg
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

DATABASE = os.environ.get("DATABASE", "postgresql:///postgres")
CONNECTIONS = 5  # in each worker; workers × connections must stay below the database's max_connections, 100
UNHEARD = 100  # events that wait for one slow listener; then it is let go
CREATING = 0x5AFE  # the lock's number; any that nobody else uses in this database

TABLE = """
CREATE TABLE IF NOT EXISTS item (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE,
    stock integer NOT NULL CHECK (stock >= 0)
)
"""


class NewItem(BaseModel):
    name: str = Field(min_length=1, max_length=100)
    stock: int = Field(ge=0, le=1_000_000)


class Item(NewItem):
    id: int


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
    """Runs in each worker. A pool made at import would be shared by all of them, and its sockets with it."""
    async with asyncpg.create_pool(DATABASE, min_size=1, max_size=CONNECTIONS) as pool:
        async with pool.acquire() as connection, connection.transaction():
            # IF NOT EXISTS alone is no protection: two that look at the same moment both create.
            await connection.execute("SELECT pg_advisory_xact_lock($1)", CREATING)
            await connection.execute(TABLE)
        listeners: set[asyncio.Queue[str]] = set()
        async with pool.acquire() as connection:
            await connection.add_listener("sold", lambda *args: tell(listeners, args[-1]))
            yield {"pool": pool, "listeners": listeners}


app = FastAPI(title="Shop", lifespan=lifespan)


async def connection(request: Request) -> AsyncIterator[asyncpg.Connection]:
    async with request.state.pool.acquire() as connection:
        yield connection


Database = Annotated[asyncpg.Connection, Depends(connection)]


@app.get("/items")
async def items(database: Database) -> list[Item]:
    return [Item(**row) for row in await database.fetch("SELECT * FROM item ORDER BY name")]


@app.post("/items", status_code=201)
async def add(new: NewItem, database: Database) -> Item:
    try:
        row = await database.fetchrow("INSERT INTO item (name, stock) VALUES ($1, $2) RETURNING *", new.name, new.stock)
    except asyncpg.UniqueViolationError:
        raise HTTPException(409, f"there is a {new.name!r} already") from None
    return Item(**row)


@app.post("/items/{id}/sales", status_code=201)
async def sell(id: int, database: Database) -> Item:
    """One statement: PostgreSQL lets no two buyers have the last one."""
    async with database.transaction():
        row = await database.fetchrow("UPDATE item SET stock = stock - 1 WHERE id = $1 AND stock > 0 RETURNING *", id)
        if row is not None:
            item = Item(**row)
            await database.execute("SELECT pg_notify('sold', $1)", item.model_dump_json())  # sent at commit
            return item
    if await database.fetchval("SELECT true FROM item WHERE id = $1", id):
        raise HTTPException(409, "sold out")
    raise HTTPException(404, "there is no such item")


@app.get("/events")
async def events(request: Request) -> StreamingResponse:
    """Every sale, in whichever worker, as server-sent events."""

    async def stream() -> AsyncIterator[str]:
        queue: asyncio.Queue[str] = asyncio.Queue(UNHEARD + 1)
        request.state.listeners.add(queue)
        try:
            yield f"event: stock\ndata: {json.dumps(await stock(request.state.pool))}\n\n"
            while queue.qsize() <= UNHEARD:
                yield f"event: sold\ndata: {await queue.get()}\n\n"
        finally:
            request.state.listeners.discard(queue)

    return StreamingResponse(stream(), media_type="text/event-stream")


async def stock(pool: asyncpg.Pool) -> int:
    total: int = await pool.fetchval("SELECT coalesce(sum(stock), 0) FROM item")
    return total


def tell(listeners: set[asyncio.Queue[str]], payload: str) -> None:
    for queue in listeners:
        if not queue.full():
            queue.put_nowait(payload)
