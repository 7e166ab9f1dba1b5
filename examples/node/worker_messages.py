"""worker_threads with messages: a worker that stays. `prefork serve worker_messages:app --app-dir examples/node`,
beside worker_messages.js. It searches the texts of a folder, FOLDER or ./docs: /search?q=shared+memory

The index is made once, before the first request, and held once for all workers of the server. More processes, with
`count=2`, would have an index each: fine for what is only asked, but here a text is added to one.
"""

import os
import re
from collections import defaultdict
from pathlib import Path

from prefork import App, HTTPError, Request

WORD = re.compile(r"[a-z]{2,}")


class Index:
    """In a process of its own, which does one call after another."""

    def __init__(self, folder: str) -> None:
        self._found: defaultdict[str, set[str]] = defaultdict(set)
        for path in sorted(Path(folder).glob("*.md")):
            self.add(path.name, path.read_text())

    def add(self, name: str, text: str) -> int:
        words = set(WORD.findall(text.lower()))
        for word in words:
            self._found[word].add(name)
        return len(words)

    def search(self, text: str) -> list[str]:
        """The names of the texts that have all of these words."""
        found = [self._found.get(word, set()) for word in WORD.findall(text.lower())]
        return sorted(set.intersection(*found)) if found else []


app = App()
index = app.actor(Index, os.environ.get("FOLDER", "docs"), timeout=2)


@app.get("/search")
async def search(request: Request) -> list[str]:
    """Too busy is 503, too slow 504, by themselves; what `search` raises is raised here."""
    if not request.query.get("q"):
        raise HTTPError(422, "what for?")
    return await index.search(request.query["q"])


@app.route("/texts/{name}", ["PUT"])
async def add(request: Request) -> dict[str, int]:
    """Seen by all workers at once: the state is in one place."""
    return {"words": await index.add(request.path_params["name"], await request.text())}
