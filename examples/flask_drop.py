"""A place to drop files, on Flask: `prefork serve flask_drop:app --app-dir examples`, then open it.

It shows a form, uploads, downloads with ranges, a streamed response and error pages. An ordinary WSGI app:
`gunicorn --chdir examples flask_drop:app` runs it too. Each request has a thread (`--threads`), so it may block.
"""

import os
from collections.abc import Iterator
from hashlib import file_digest
from pathlib import Path
from tempfile import gettempdir

from flask import Flask, Response, abort, redirect, render_template_string, request, send_from_directory, url_for
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException
from werkzeug.utils import secure_filename

FOLDER = Path(os.environ.get("DROP_FOLDER", Path(gettempdir(), "drop"))).absolute()
UPLOAD_BYTES = 10 * 1024 * 1024

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Drop</title>
<style>body { font: 1rem system-ui; max-width: 40rem; margin: 2rem auto } form { display: inline }</style>
<h1>Drop</h1>
{% if problem %}<p><strong>{{ problem }}</strong></p>{% endif %}
<form method="post" action="{{ url_for('drop') }}" enctype="multipart/form-data">
  <input type="file" name="file" required> <button>Drop it</button>
</form>
<ul>
{% for file in files %}
  <li><a href="{{ url_for('fetch', name=file.name) }}">{{ file.name }}</a> {{ file.stat().st_size|filesizeformat }}
    <form method="post" action="{{ url_for('remove', name=file.name) }}"><button>Remove</button></form>
{% else %}
  <li>Nothing here yet.
{% endfor %}
</ul>
<p><a href="{{ url_for('digests') }}">SHA256SUMS</a></p>
"""

app = Flask(__name__)
app.config["MAX_CONTENT_LENGTH"] = UPLOAD_BYTES


def files() -> list[Path]:
    return sorted(path for path in FOLDER.glob("*") if path.is_file())


@app.get("/")
def index() -> ResponseReturnValue:
    return render_template_string(PAGE, files=files())


@app.post("/files")
def drop() -> ResponseReturnValue:
    upload = request.files.get("file")
    name = secure_filename(upload.filename or "") if upload else ""
    if upload is None or not name:
        abort(400, "choose a file first")
    FOLDER.mkdir(parents=True, exist_ok=True)
    upload.save(FOLDER / name)
    return redirect(url_for("index"), 303)


@app.get("/files/<name>")
def fetch(name: str) -> ResponseReturnValue:
    return send_from_directory(FOLDER, name, as_attachment=True, conditional=True)


@app.post("/files/<name>/removal")
def remove(name: str) -> ResponseReturnValue:
    try:
        (FOLDER / secure_filename(name)).unlink()
    except OSError:
        abort(404)
    return redirect(url_for("index"), 303)


@app.get("/SHA256SUMS")
def digests() -> ResponseReturnValue:
    """As `sha256sum` writes them, each line sent when it is known."""

    def lines() -> Iterator[str]:
        for path in files():
            with path.open("rb") as file:
                yield f"{file_digest(file, 'sha256').hexdigest()}  {path.name}\n"

    return Response(lines(), content_type="text/plain; charset=utf-8")


@app.errorhandler(HTTPException)
def problem(error: HTTPException) -> ResponseReturnValue:
    return render_template_string(PAGE, files=files(), problem=error.description), error.code or 500
