"""examples/node/ does what it says, and what its originals in Node do, wherever there is Node to ask them."""

import gzip
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.processes.jobs import family
from tests.processes.patience import GUARD_SECONDS
from tests.processes.proc import Death
from tests.processes.tree import CALM, Tree

pytestmark = pytest.mark.processes

EXAMPLES = Path(__file__).parents[2] / "examples" / "node"
NODE = shutil.which("node")


class Example:
    """One that runs, and a client of it."""

    def __init__(self, address: str, tree: Tree | None) -> None:
        self.http = httpx.Client(base_url=address, timeout=GUARD_SECONDS, trust_env=False)
        self.tree = tree


Serve = Callable[[str], Example]


@pytest.fixture(params=["prefork", pytest.param("node", marks=pytest.mark.skipif(NODE is None, reason="no node here"))])
def serve(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Serve]:
    """Serves an example by its name with two workers, or its original. It must end in order."""
    tree: Tree | None = request.getfixturevalue("tree") if request.param == "prefork" else None
    started: list[Example] = []
    originals: list[subprocess.Popen[str]] = []

    def serve(name: str) -> Example:
        if tree is not None:
            tree.start(f"{name}:app", "--app-dir", str(EXAMPLES), "--disconnect-grace-seconds", "0", *CALM)
            address = tree.address
        else:
            address = f"http://127.0.0.1:{original(name)}"
        started.append(Example(address, tree))
        return started[0]

    def original(name: str) -> int:
        assert NODE is not None
        command = [NODE, str(EXAMPLES / f"{name}.js")]
        environment = {**os.environ, "PORT": "0", "WORKERS": "2"}
        process = subprocess.Popen(command, env=environment, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
        originals.append(process)
        assert process.stdout is not None
        return int(process.stdout.readline())

    yield serve
    for example in started:
        example.http.close()
    for process in originals:
        process.terminate()
        process.communicate(timeout=GUARD_SECONDS)
    if tree is not None:
        assert tree.stop() == 0


def test_exec_counts_the_words_of_a_text(serve: Serve) -> None:
    client = serve("exec").http
    counted = client.post("/words", content="To be, or not to be: that is\nthe question. $(id) `id`; id")
    assert counted.json() == {
        "id": 3, "be": 2, "to": 2, "is": 1, "not": 1, "or": 1, "question": 1, "that": 1, "the": 1,
    }  # fmt: skip
    assert client.post("/words", content="...").json() == {}


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """With two commits."""
    path = tmp_path / "repository"
    who = ["-c", "user.name=Ann", "-c", "user.email=ann@localhost", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "init", "--quiet", str(path)], check=True)
    for text in ("first\n", "first\nsecond\n"):
        (path / "names.txt").write_text(text)
        subprocess.run(["git", "-C", str(path), "add", "names.txt"], check=True)
        message = f"{text.count(chr(10))}: 'quoted'; & more"
        subprocess.run(["git", "-C", str(path), *who, "commit", "--quiet", "-m", message], check=True)
    monkeypatch.setenv("REPOSITORY", str(path))
    return path


@pytest.mark.skipif(shutil.which("git") is None, reason="no git here")
@pytest.mark.usefixtures("repository")
def test_exec_file_asks_git(serve: Serve) -> None:
    client = serve("exec_file").http
    log = client.get("/log").json()
    assert [(entry["author"], entry["subject"]) for entry in log] == [
        ("Ann", "2: 'quoted'; & more"),
        ("Ann", "1: 'quoted'; & more"),
    ]
    assert len(client.get("/log?count=1").json()) == 1
    assert "names.txt | 1 +" in client.get("/show/HEAD~0").text
    assert client.get("/show/nowhere").text == "git: status 128\n"
    assert client.get("/show/--output=x").status_code == client.get("/log?count=-1").status_code == 422


def test_spawn_streams_there_and_back_and_follows_a_file(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    followed = tmp_path / "server.log"
    followed.write_text("line 1\n")
    monkeypatch.setenv("FILE", str(followed))
    example = serve("spawn")
    client = example.http
    text = b"".join(b"%d\n" % number for number in range(200_000))
    pieces = (text[at : at + 100_000] for at in range(0, len(text), 100_000))
    assert gzip.decompress(client.put("/gzip", content=pieces).content) == text

    with client.stream("GET", "/tail") as response:
        lines = response.iter_lines()
        assert next(line for line in lines if line) == "data: line 1"
        with followed.open("a") as file:
            file.write("line 2\n")
        assert next(line for line in lines if line) == "data: line 2"
        tails = [Death(one.pid) for one in family(example.tree.master) if "tail" in one.title] if example.tree else []
    client.close()
    for tail in tails:
        tail.wait()
    assert len(tails) == (0 if example.tree is None else 1)


def test_fork_talks_to_a_process(serve: Serve) -> None:
    client = serve("fork").http
    numbers = "".join(f"{number}\n" for number in range(1, 50_001)).encode()
    pieces = (numbers[at : at + 7000] for at in range(0, len(numbers), 7000))  # cut within numbers
    assert client.put("/sum", content=pieces).json() == {"count": 50_000, "total": 50_000 * 50_001 / 2}
    with client.stream("GET", "/primes/1000") as response:
        events = [json.loads(line.removeprefix("data: ")) for line in response.iter_lines() if line]
    assert [event["below"] for event in events] == list(range(100, 1001, 100))
    assert events[-1]["primes"] == 168


def test_cluster_counts_over_all_workers_and_replaces_one_that_dies(serve: Serve) -> None:
    client = serve("cluster").http

    def ask() -> tuple[int, int]:
        found = client.get("/", headers={"connection": "close"}).json()
        return found["worker"], found["requests of all workers"]

    asked = [ask() for _ in range(4)]
    assert len({worker for worker, _ in asked}) == 2
    assert [hits for _, hits in asked] == [1, 2, 3, 4]
    with pytest.raises(httpx.RemoteProtocolError):
        client.get("/crash", headers={"connection": "close"})
    workers = {worker for worker, _ in asked}
    for hits in range(5, 1000):
        worker, counted = ask()
        assert counted == hits
        if worker not in workers:
            break
    assert worker not in workers


def test_worker_threads_draw_into_shared_memory(serve: Serve) -> None:
    client = serve("worker_threads").http
    size = 32
    picture = client.get(f"/mandelbrot/{size}.bmp")
    assert picture.headers["content-type"] == "image/bmp"
    assert picture.content.startswith(b"BM")
    assert list(picture.content[-size * size :]) == [
        depth(complex(x / size * 3 - 2.2, y / size * 3 - 1.5)) for y in range(size) for x in range(size)
    ]
    assert client.get("/mandelbrot/2.bmp").status_code == 404


def test_worker_messages_search_what_one_worker_holds_for_all(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = tmp_path / "texts"
    texts.mkdir()
    (texts / "one.md").write_text("Shared memory, by name")
    (texts / "two.md").write_text("Memory of an actor")
    monkeypatch.setenv("FOLDER", str(texts))
    client = serve("worker_messages").http

    def search(words: str) -> object:
        return client.get("/search", params={"q": words}, headers={"connection": "close"}).json()

    assert search("MEMORY") == ["one.md", "two.md"]
    assert search("shared memory") == ["one.md"]
    assert client.put("/texts/three.md", content="in shared memory, and a name").json() == {"words": 5}
    assert [search("shared name") for _ in range(4)] == [["one.md", "three.md"]] * 4  # whichever worker is asked
    assert search("nowhere memory") == search("?") == []
    assert client.get("/search").status_code == 422


def depth(c: complex) -> int:
    z, count = 0j, 0
    while count < 64 and z.real * z.real + z.imag * z.imag <= 4:
        z, count = z * z + c, count + 1
    return count


def test_pm2s_commands_are_signals_to_the_master(tree: Tree) -> None:
    """The sequence of examples/node/README.md."""
    tree.write("release.txt", "one")
    tree.start("pm2:app", "--app-dir", str(EXAMPLES), *CALM)
    assert json.loads(tree.get("/").text)["release"] == "one"

    mark = tree.log.mark()
    tree.send_signal(signal.SIGTTIN)
    tree.wait_ready(2, mark)
    tree.send_signal(signal.SIGTTOU)
    tree.log.wait("worker 2 .* has drained", mark)

    slow = tree.asking("/slow?seconds=0.2")
    tree.log.wait("a slow request begins")
    tree.write("release.txt", "two")
    mark = tree.log.mark()
    tree.send_signal(signal.SIGHUP)
    tree.log.wait("has drained", mark, count=2)
    assert slow.receive().text == "one"  # finished by the code that had begun it
    assert json.loads(tree.get("/").text)["release"] == "two"

    slow.close()
    assert tree.stop() == 0
    assert len(tree.log.find("a worker says goodbye")) == 5  # of the third, of both old ones, of both new ones
