"""A bookshelf on Litestar: `prefork serve litestar_shelf:app --app-dir examples`, then open /schema.

It shows a controller, msgspec structs, dependencies, a lifespan, an upload, a streamed response, a WebSocket and error
responses. The books are in one SQLite file, which each worker opens for itself. An ordinary ASGI app: uvicorn runs it
too.
"""

import csv
import io
import os
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from fcntl import LOCK_EX, flock
from pathlib import Path
from tempfile import gettempdir
from typing import Annotated

from litestar import Controller, Litestar, delete, get, post, websocket_listener
from litestar.datastructures import State, UploadFile
from litestar.di import Provide
from litestar.enums import RequestEncodingType
from litestar.exceptions import NotFoundException, ValidationException
from litestar.params import Body, Parameter
from litestar.response import Stream
from msgspec import Meta, Struct, convert

FOLDER = Path(os.environ.get("SHELF_FOLDER", Path(gettempdir(), "shelf")))

Text = Annotated[str, Meta(min_length=1, max_length=200)]


class NewBook(Struct):
    title: Text
    author: Text
    year: Annotated[int, Meta(ge=-3000, le=3000)]


class Book(NewBook, kw_only=True):
    id: int


class Shelf:
    """The books. Queries are short and indexed, so handlers call them on the event loop."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(path, isolation_level=None)
        with path.with_suffix(".lock").open("w") as turn:
            flock(turn, LOCK_EX)  # workers start together, and SQLite does not wait for the change of journal
            self._db.execute("PRAGMA journal_mode = WAL")  # workers read while another writes
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS book (id INTEGER PRIMARY KEY, title TEXT, author TEXT, year INTEGER)"
            )
            self._db.execute("CREATE INDEX IF NOT EXISTS by_title ON book (title COLLATE NOCASE)")

    def add(self, new: NewBook) -> Book:
        row = (new.title, new.author, new.year)
        added = self._db.execute("INSERT INTO book (title, author, year) VALUES (?, ?, ?)", row)
        return Book(*row, id=added.lastrowid or 0)

    def remove(self, id: int) -> bool:
        return self._db.execute("DELETE FROM book WHERE id = ?", (id,)).rowcount == 1

    def books(self, after: int = 0, limit: int = -1) -> Iterator[Book]:
        rows = self._db.execute("SELECT * FROM book WHERE id > ? ORDER BY id LIMIT ?", (after, limit))
        return (Book(*row, id=id) for id, *row in rows)

    def book(self, id: int) -> Book | None:
        rows = self._db.execute("SELECT * FROM book WHERE id = ?", (id,))
        return next((Book(*row, id=id) for id, *row in rows), None)

    def titles(self, beginning: str) -> list[str]:
        query = "SELECT title FROM book WHERE title COLLATE NOCASE BETWEEN ? AND ? ORDER BY title LIMIT 10"
        return [title for (title,) in self._db.execute(query, (beginning, beginning + "\U0010ffff"))]

    def close(self) -> None:
        self._db.close()


@asynccontextmanager
async def open_shelf(app: Litestar) -> AsyncIterator[None]:
    """Runs in each worker: a connection to SQLite does not survive a fork."""
    app.state.shelf = Shelf(FOLDER / "shelf.sqlite3")
    yield
    app.state.shelf.close()


async def the_shelf(state: State) -> Shelf:
    shelf: Shelf = state.shelf
    return shelf


class Books(Controller):
    path = "/books"

    @get()
    async def page(
        self, shelf: Shelf, after: int = 0, limit: Annotated[int, Parameter(ge=1, le=100)] = 20
    ) -> list[Book]:
        return list(shelf.books(after, limit))

    @post()
    async def add(self, shelf: Shelf, data: NewBook) -> Book:
        return shelf.add(data)

    @get("/{id:int}")
    async def one(self, shelf: Shelf, id: int) -> Book:
        book = shelf.book(id)
        if book is None:
            raise NotFoundException(f"there is no book {id}")
        return book

    @delete("/{id:int}")
    async def remove(self, shelf: Shelf, id: int) -> None:
        if not shelf.remove(id):
            raise NotFoundException(f"there is no book {id}")


@get("/books.csv", media_type="text/csv")
async def export(shelf: Shelf) -> Stream:
    async def lines() -> AsyncIterator[str]:
        yield "title,author,year\r\n"
        for book in shelf.books():
            yield csv_line(book.title, book.author, book.year)

    return Stream(lines(), media_type="text/csv")


@post("/books.csv")
async def load(
    shelf: Shelf, data: Annotated[UploadFile, Body(media_type=RequestEncodingType.MULTI_PART)]
) -> dict[str, int]:
    """Add all the books of a file, or none."""
    try:
        table = csv.DictReader(io.StringIO((await data.read()).decode()))
        new = [convert(row, NewBook, strict=False) for row in table]
    except ValueError as error:  # not UTF-8, or no book
        raise ValidationException(f"not a file of title, author and year: {error}") from None
    return {"added": len([shelf.add(book) for book in new])}


@websocket_listener("/titles")
async def titles(data: str, shelf: Shelf) -> list[str]:
    """Send what was typed so far, hear the titles that begin so."""
    return shelf.titles(data)


def csv_line(*values: object) -> str:
    line = io.StringIO()
    csv.writer(line).writerow(values)
    return line.getvalue()


app = Litestar(
    [Books, export, load, titles],
    lifespan=[open_shelf],
    dependencies={"shelf": Provide(the_shelf)},
    logging_config=None,  # its own logs from a thread, which workers forked from this process would not have
)
