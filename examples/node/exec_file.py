"""child_process.execFile: a program and no shell. `prefork serve exec_file:app --app-dir examples/node`, beside
exec_file.js. It shows a git repository, that of the current folder or of REPOSITORY: /log?count=3, /show/HEAD~1
"""

import os
import re

from prefork import App, HTTPError, Request, Response, children
from prefork.errors import ChildFailed, OutputTooLarge

REPOSITORY = os.environ.get("REPOSITORY", ".")
REVISION = re.compile(r"[0-9A-Za-z][0-9A-Za-z._/~^-]*")  # no shell reads it, but git would read a leading dash

app = App()


async def git(*arguments: str) -> str:
    done = await children.exec_file(
        "git", *arguments, cwd=REPOSITORY, timeout=10, max_output=4 * 1024 * 1024, check=True, encoding="utf-8"
    )
    return done.stdout


@app.get("/log")
async def log(request: Request) -> list[dict[str, str]]:
    count = request.query.get("count", "20")
    if not count.isdecimal():
        raise HTTPError(422, "count is a number")
    lines = await git("log", f"--max-count={count}", "--format=%h%x09%an%x09%s")
    entries = [line.split("\t", 2) for line in lines.splitlines()]
    return [{"revision": revision, "author": author, "subject": subject} for revision, author, subject in entries]


@app.get("/show/{revision:path}")
async def show(request: Request) -> Response:
    revision = request.path_params["revision"]
    if not REVISION.fullmatch(revision):
        raise HTTPError(422, "no such name of a revision")
    return Response(await git("show", "--stat", "--format=%h %s", revision), content_type="text/plain")


@app.exception_handler(ChildFailed)
async def git_says_no(request: Request, error: ChildFailed) -> Response:
    return Response(f"git: status {error.status}\n", 404)


@app.exception_handler(OutputTooLarge)
async def too_much(request: Request, error: OutputTooLarge) -> Response:
    return Response("that is too much to show\n", 422)
