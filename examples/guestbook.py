"""A small whole app: a guestbook with pictures, kept in SQLite. `prefork serve --app-dir examples guestbook:app`.

It shows a lifespan, state, forms, uploads, files, cookies, middleware, exception handlers and a mounted JSON API.
"""

import os
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from fcntl import LOCK_EX, flock
from html import escape
from pathlib import Path
from tempfile import gettempdir
from typing import Any
from urllib.parse import quote, unquote
from uuid import uuid4

import msgspec

from prefork import App, FileResponse, HTTPError, JSONResponse, Redirect, Request, Response

FOLDER = Path(os.environ.get("GUESTBOOK_FOLDER", Path(gettempdir(), "guestbook")))
ENTRIES_SHOWN = 50
MESSAGE_LENGTH = 1000
PICTURE_BYTES = 5 * 1024 * 1024
PICTURES = {"image/png": ".png", "image/jpeg": ".jpg", "image/gif": ".gif", "image/webp": ".webp"}


class Entry(msgspec.Struct):
    """One entry; also what the API sends."""

    id: int
    name: str
    message: str
    picture: str | None
    written: str


class NewEntry(msgspec.Struct, forbid_unknown_fields=True):
    """What the API takes."""

    name: str
    message: str


class Book:
    """The entries in SQLite. Each worker opens its own: a connection does not survive a fork.

    Its methods are short and indexed, so handlers call them on the event loop; longer queries belong in a `def`.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(path, isolation_level=None)
        with path.with_suffix(".lock").open("w") as turn:
            flock(turn, LOCK_EX)  # workers start together, and SQLite does not wait for the change of journal
            self._db.execute("PRAGMA journal_mode = WAL")  # workers read while another writes
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS entry"
                " (id INTEGER PRIMARY KEY, name TEXT, message TEXT, picture TEXT, written TEXT)"
            )

    def add(self, name: str, message: str, picture: str | None = None) -> int:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        row = "INSERT INTO entry (name, message, picture, written) VALUES (?, ?, ?, ?)"
        return int(self._db.execute(row, (name, message, picture, now)).lastrowid or 0)

    def latest(self) -> list[Entry]:
        rows = self._db.execute("SELECT * FROM entry ORDER BY id DESC LIMIT ?", (ENTRIES_SHOWN,))
        return [Entry(*row) for row in rows]

    def entry(self, id: int) -> Entry:
        row = self._db.execute("SELECT * FROM entry WHERE id = ?", (id,)).fetchone()
        if row is None:
            raise NoSuchEntry(id)
        return Entry(*row)

    def close(self) -> None:
        self._db.close()


class NoSuchEntry(Exception):
    """There is no entry with this number."""


@asynccontextmanager
async def open_book(app: App) -> AsyncIterator[None]:
    """Runs in each worker: up to `yield` before it serves, the rest after its last request."""
    book = app.state.book = api.state.book = Book(FOLDER / "book.sqlite3")
    yield
    book.close()


app = App(lifespan=open_book)
api = App()
app.mount("/api", api)


@app.middleware
async def security_headers(request: Request, call_next: Callable[[Request], Any]) -> Response:
    response: Response = await call_next(request)
    response.headers["x-content-type-options"] = "nosniff"
    response.headers["content-security-policy"] = "default-src 'self'; style-src 'unsafe-inline'"
    return response


@app.exception_handler(NoSuchEntry)
async def no_such_entry(request: Request, error: NoSuchEntry) -> Response:
    return page("Not found", "<p>There is no such entry.</p>", status=404)


@app.exception_handler(404)
async def not_found(request: Request, error: HTTPError) -> Response:
    return page("Not found", "<p>There is nothing here.</p>", status=404)


@app.get("/")
async def index(request: Request) -> Response:
    book: Book = request.app.state.book
    name = unquote(request.cookies.get("name", ""))
    form = f"""<form method=post action=/entries enctype=multipart/form-data>
      <input name=name placeholder="Your name" value="{escape(name)}" required>
      <textarea name=message placeholder="Your message" required></textarea>
      <input type=file name=picture accept="{",".join(PICTURES)}"> <button>Sign</button></form>"""
    return page("Guestbook", form + "".join(show(entry) for entry in book.latest()))


@app.get("/entries/{id:int}")
async def one_entry(request: Request) -> Response:
    book: Book = request.app.state.book
    return page("Guestbook", show(book.entry(request.path_params["id"])))


@app.post("/entries", max_body=PICTURE_BYTES + 64 * 1024)
async def sign(request: Request) -> Response:
    form = await request.form(max_files=1)
    name, message = checked(form.get("name", ""), form.get("message", ""))
    picture = None
    upload = form.files.get("picture")
    if upload is not None and upload.size:
        suffix = PICTURES.get(upload.content_type)
        if suffix is None:
            raise HTTPError(415, "a picture is PNG, JPEG, GIF or WebP")
        picture = uuid4().hex + suffix  # a name of our own: the client's may lead anywhere
        await upload.save(FOLDER / picture)
    book: Book = request.app.state.book
    response = Redirect(f"/entries/{book.add(name, message, picture)}")
    response.set_cookie("name", quote(name), max_age=30 * 24 * 3600)
    return response


@app.post("/forget")
async def forget(request: Request) -> Response:
    response = Redirect("/")
    response.delete_cookie("name")
    return response


@app.get("/pictures/{name}")
async def picture(request: Request) -> FileResponse:
    name = Path(request.path_params["name"])
    if name.name != str(name) or name.suffix not in PICTURES.values():
        raise HTTPError(404)
    return FileResponse(FOLDER / name, headers={"cache-control": "max-age=31536000, immutable"})


@api.get("/entries")
async def api_entries(request: Request) -> list[Entry]:
    book: Book = request.app.state.book
    return book.latest()


@api.get("/entries/{id:int}")
async def api_entry(request: Request) -> Entry:
    book: Book = request.app.state.book
    return book.entry(request.path_params["id"])


@api.post("/entries")
async def api_sign(request: Request) -> Response:
    new = await request.json(type=NewEntry)  # 400 when it is not JSON, 422 when it is not a NewEntry
    book: Book = request.app.state.book
    number = book.add(*checked(new.name, new.message))
    return Response(status=201, headers={"location": f"/api/entries/{number}"})


@api.exception_handler(NoSuchEntry)
async def api_no_such_entry(request: Request, error: NoSuchEntry) -> Response:
    return JSONResponse({"error": "no such entry"}, 404)


def checked(name: str, message: str) -> tuple[str, str]:
    name, message = name.strip(), message.strip()
    if not 1 <= len(name) <= 100 or not 1 <= len(message) <= MESSAGE_LENGTH:
        raise HTTPError(422, f"a name (to 100 characters) and a message (to {MESSAGE_LENGTH}) are needed")
    return name, message


def page(title: str, body: str, status: int = 200) -> Response:
    style = "body { font: 1rem system-ui; max-width: 40rem; margin: 2rem auto } textarea, input { display: block }"
    html = f"<!doctype html><meta charset=utf-8><title>{title}</title><style>{style}</style><h1>{title}</h1>{body}"
    return Response(html, status, content_type="text/html")


def show(entry: Entry) -> str:
    image = f'<img src="/pictures/{entry.picture}" width=320 alt="">' if entry.picture else ""
    head = f"<h2>{escape(entry.name)}</h2><small><a href=/entries/{entry.id}>{entry.written}</a></small>"
    return f"<article>{head}<p>{escape(entry.message)}</p>{image}</article>"
