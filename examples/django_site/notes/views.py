"""Pages, a form, and two streamed responses."""

import asyncio
import csv
from collections.abc import AsyncIterator, Iterator

from django import forms
from django.contrib import messages
from django.core.handlers.asgi import ASGIRequest
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404, redirect, render

from notes.models import Note

SHOWN = 20
MOST_TICKS = 100


class NoteForm(forms.ModelForm):
    class Meta:
        model = Note
        fields = ("title", "text")


def index(request: HttpRequest) -> HttpResponse:
    form = NoteForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        note = form.save()
        request.session["written"] = request.session.get("written", 0) + 1
        messages.success(request, f"“{note.title}” is kept.")
        return redirect(note)
    context = {"form": form, "notes": Note.objects.all()[:SHOWN], "written": request.session.get("written", 0)}
    return render(request, "index.html", context, status=422 if form.errors else 200)


def note(request: HttpRequest, id: int) -> HttpResponse:
    return render(request, "note.html", {"note": get_object_or_404(Note, pk=id)})


def export(request: HttpRequest) -> StreamingHttpResponse:
    """All notes, row by row. Under ASGI Django wants an asynchronous iterator, under WSGI an ordinary one."""
    notes = Note.objects.order_by("id")
    lines = lines_async(notes) if isinstance(request, ASGIRequest) else lines_sync(notes)
    return StreamingHttpResponse(lines, content_type="text/csv", headers={"content-disposition": "attachment"})


def lines_sync(notes: QuerySet[Note]) -> Iterator[str]:
    for note in notes.iterator():
        yield csv_line(note)


async def lines_async(notes: QuerySet[Note]) -> AsyncIterator[str]:
    async for note in notes.aiterator():
        yield csv_line(note)


class Echo:
    """A file for csv.writer that gives back what is written."""

    def write(self, line: str) -> str:
        return line


def csv_line(note: Note) -> str:
    return csv.writer(Echo()).writerow([note.pk, note.title, note.text])


async def ticks(request: HttpRequest, count: int) -> StreamingHttpResponse:
    """Server-sent events from an async view. Under ASGI each is sent at once, under WSGI all of them at the end."""

    async def events() -> AsyncIterator[str]:
        for number in range(min(count, MOST_TICKS)):
            yield f"data: {number}\n\n"
            await asyncio.sleep(0.1)

    return StreamingHttpResponse(events(), content_type="text/event-stream")
