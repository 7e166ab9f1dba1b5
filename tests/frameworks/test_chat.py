"""The chat: on Starlette, and the same in prefork's own words."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from hashlib import sha256
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed

from tests.frameworks.site import Site, serve
from tests.processes.patience import GUARD_SECONDS

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module", params=["chat.on_starlette:app", "chat.on_prefork:app"])
def site(request: pytest.FixtureRequest, folder: Path, environment: pytest.MonkeyPatch) -> Iterator[Site]:
    environment.setenv("CHAT_FOLDER", str(folder / request.param.partition(":")[0]))
    with serve(request.param, folder) as site:
        yield site


def events(lines: Iterator[str]) -> Iterator[tuple[str, object]]:
    """Name and data of each event, from the lines of a stream of them."""
    for line in lines:
        if line.startswith("event: "):
            yield line.removeprefix("event: "), json.loads(next(lines).removeprefix("data: "))


def test_its_page_is_there(site: Site) -> None:
    page = site.http.get("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "<title>Chat</title>" in page.text
    script = site.http.get("/chat.js")
    assert "javascript" in script.headers["content-type"]
    again = site.http.get("/chat.js", headers={"if-none-match": script.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert site.http.get("/none").status_code == 404
    assert site.http.get("/..%2Froom.py").status_code in (400, 404)


def test_what_is_posted_is_heard_everywhere(site: Site) -> None:
    with ExitStack() as stack:
        sockets = [stack.enter_context(site.socket("/api/talk")) for _ in range(4)]  # on both workers
        stream = stack.enter_context(site.http.stream("GET", "/api/events"))
        heard = events(stream.iter_lines())
        assert next(heard)[0] == "joined"
        said = site.http.post("/api/messages", json={"name": "Ann", "text": "hello"})
        assert (said.status_code, said.json()["text"]) == (201, "hello")
        assert next(heard) == ("message", said.json())
        assert [json.loads(socket.recv(GUARD_SECONDS)) for socket in sockets] == [said.json()] * 4


def test_what_is_said_on_a_socket_is_heard_everywhere(site: Site) -> None:
    with ExitStack() as stack:
        sockets = [stack.enter_context(site.socket("/api/talk")) for _ in range(4)]
        text = "☺" * 2000
        sockets[0].send(json.dumps({"name": "Bob", "text": text}))
        heard = [json.loads(socket.recv(GUARD_SECONDS)) for socket in sockets]
        assert heard[0]["text"] == text
        assert heard == heard[:1] * 4
        for _ in range(2):  # each worker remembers it
            with site.client() as client:
                assert heard[0] in client.get("/api/messages").json()


def test_an_upload_is_taken_as_it_comes(site: Site) -> None:
    piece = bytes(range(256)) * 256
    chunked = site.http.put("/api/digest", content=(piece for _ in range(40)))
    assert chunked.json() == {"size": 40 * len(piece), "sha256": sha256(piece * 40).hexdigest()}
    whole = site.http.put("/api/digest", content=piece)
    assert whole.json() == {"size": len(piece), "sha256": sha256(piece).hexdigest()}


def test_a_wrong_message_is_refused(site: Site) -> None:
    assert site.http.post("/api/messages", json={"name": "Ann"}).status_code == 422
    assert site.http.post("/api/messages", content=b"{").status_code == 400
    assert site.http.delete("/api/messages").status_code == 405
    with site.socket("/api/talk") as socket:
        socket.send("[]")
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(GUARD_SECONDS)
    assert closed.value.rcvd is not None
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1008, "a name of 1 to 40 characters is needed")
