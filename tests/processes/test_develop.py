"""With --reload an edit is served at once, and a broken one is shown in the browser while the old code goes on."""

import os
import signal
from pathlib import Path

import pytest

from tests.processes.client import Client, Lost, Reply
from tests.processes.gate import Gate
from tests.processes.proc import Death, children
from tests.processes.tree import CALM, Tree

pytestmark = pytest.mark.processes

SHOP = """
import asyncio

from prefork import App, EventStream, Response

app = App()


@app.on_startup
async def start():
    {hook}


@app.get("/")
async def page(request):
    return Response("<!doctype html><h1>{text}</h1>", content_type="text/html")


@app.get("/json")
async def data(request):
    return {{"text": "{text}"}}


@app.get("/events")
async def events(request):
    async def tell():
        yield "{text}"
        await asyncio.Event().wait()

    return EventStream(tell())
"""

# Waits at the gate, and never gets through.
WAIT = """
import socket
end = socket.socket(socket.AF_UNIX)
end.connect("gate")
end.recv(1)
"""

BROWSER = "accept: text/html\r\n"
SYNTAX = "def broken(:\n"
READY = r"worker \d+ \(generation {}, .* is ready"
SHOWN = "pages show why the code cannot start"


def shop(text: str, hook: str = "pass") -> str:
    return SHOP.format(text=text, hook=hook)


def start(tree: Tree, *flags: str, workers: int = 2, target: str = "shop:app") -> None:
    """Serve the server's own folder, and wait until the watcher watches, so that each edit is one change."""
    develop = ("--reload", "--log-level", "debug", "--app-dir", str(tree.folder))
    tree.start(target, *develop, *CALM, *flags, workers=workers)
    tree.log.wait("^watching ")


def edit(tree: Tree, text: str, name: str = "shop.py") -> int:
    """Replace a file as editors do, in one step. Returns the place in the log before that."""
    since = tree.log.mark()
    tree.write("shop.new", text)
    (tree.folder / "shop.new").rename(tree.folder / name)
    return since


def wait_served(tree: Tree, since: int, old: int = 2) -> None:
    """Wait until new workers have taken over from `old` ones."""
    tree.log.wait("has drained", since, count=old)


def page(tree: Tree) -> Reply:
    return tree.get("/", BROWSER)


def wait_shown(tree: Tree, since: int, workers: int = 2) -> None:
    tree.log.wait(SHOWN, since, count=workers)


def test_an_edit_is_served_and_the_file_named(tree: Tree) -> None:
    tree.write("shop.py", shop("old"))
    start(tree)
    assert "old" in page(tree).text
    since = edit(tree, shop("new"))
    wait_served(tree, since)
    assert {page(tree).text for _ in range(4)} == {"<!doctype html><h1>new</h1>"}
    tree.log.wait("^shop.py changed: reloading$", since)
    assert tree.stop() == 0


def test_only_the_watcher_holds_what_watches(tree: Tree) -> None:
    tree.write("shop.py", shop("old"))
    start(tree)
    everybody = {tree.master: "master", **{child.pid: child.role for child in children(tree.master)}}
    holders = [role for pid, role in everybody.items() if "_rust_notify" in Path(f"/proc/{pid}/maps").read_text()]
    assert holders == ["watcher"]


def test_that_this_is_for_development_is_said_once(tree: Tree) -> None:
    tree.write("shop.py", shop("old"))
    start(tree, "--debug")
    assert len(tree.log.find("--debug and --reload: for development only")) == 1


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (SYNTAX, "SyntaxError: invalid syntax"),
        ("import no_such_module", "ModuleNotFoundError: No module named &#x27;no_such_module&#x27;"),
        ("other = 1", "target &#x27;shop:app&#x27;: module &#x27;shop&#x27; has no &#x27;app&#x27;"),
        ("import sys\nsys.exit(5)", "SystemExit: 5"),
        ("import os\nos._exit(5)", r"mold (generation 2"),
        (shop("bad", hook='raise RuntimeError("no database")'), "RuntimeError: no database"),
    ],
    ids=["syntax", "import", "no app", "exit", "hard exit", "hook"],
)
def test_a_broken_edit_keeps_the_old_code_and_shows_why_until_it_is_mended(tree: Tree, broken: str, said: str) -> None:
    tree.write("shop.py", shop("old"))
    start(tree)
    since = edit(tree, broken)
    tree.log.wait("reload failed: generation 1 keeps serving", since)
    wait_shown(tree, since)
    for _ in range(2):
        shown = page(tree)
        assert shown.status == 200
        assert shown.text.startswith("<!doctype html><h1>old</h1>")
        assert "<prefork-overlay>" in shown.text
        assert said in shown.text
        assert "x-prefork-broken: " in shown.head
        assert tree.get("/json", BROWSER).text == '{"text":"old"}'
        assert tree.get("/").text == "<!doctype html><h1>old</h1>"  # fetched by something that wants no page
    since = edit(tree, shop("new"))
    wait_served(tree, since)
    assert {page(tree).text for _ in range(4)} == {"<!doctype html><h1>new</h1>"}
    assert tree.stop() == 0


def test_the_latest_failure_is_shown(tree: Tree) -> None:
    tree.write("shop.py", shop("old"))
    start(tree)
    wait_shown(tree, edit(tree, SYNTAX))
    wait_shown(tree, edit(tree, "import no_such_module"))
    text = page(tree).text
    assert "ModuleNotFoundError" in text
    assert "SyntaxError" not in text


def test_a_worker_that_comes_back_meanwhile_shows_it_too(tree: Tree) -> None:
    tree.write("shop.py", shop("old"))
    start(tree)
    wait_shown(tree, edit(tree, SYNTAX))
    since = tree.log.mark()
    os.kill(tree.worker(0), signal.SIGKILL)
    wait_shown(tree, since, workers=1)
    assert all("SyntaxError" in page(tree).text for _ in range(2))


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (SYNTAX, "SyntaxError: invalid syntax"),
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("", "target 'shop:app': module 'shop' has no 'app'"),
        ("import os\nos._exit(5)", "exit status 5"),
        (shop("bad", hook='raise RuntimeError("no database")'), "RuntimeError: no database"),
        (shop("bad", hook="import os; os._exit(5)"), "exit status 5"),
    ],
    ids=["syntax", "import", "no app", "hard exit", "hook", "hook exits"],
)
def test_an_app_that_is_broken_from_the_start_is_explained_on_every_path_until_it_is_mended(
    tree: Tree, broken: str, said: str
) -> None:
    tree.write("shop.py", broken)
    start(tree)
    plain = tree.get("/any/where")
    assert plain.status == 500
    assert "content-type: text/plain" in plain.head
    assert said in plain.text
    shown = page(tree)
    assert shown.status == 500
    assert shown.text.startswith("<!doctype html>")
    assert "<script>" in shown.text
    since = edit(tree, shop("new"))
    wait_served(tree, since)
    assert {page(tree).text for _ in range(4)} == {"<!doctype html><h1>new</h1>"}
    assert tree.stop() == 0


def test_a_factory_that_fails_is_explained(tree: Tree) -> None:
    tree.write("shop.py", 'def make():\n    raise LookupError("no settings")')
    start(tree, target="shop:make()")
    assert "LookupError: no settings" in tree.get("/").text


def test_a_module_that_does_not_exist_yet_is_explained_and_then_served(tree: Tree) -> None:
    start(tree)
    assert "there is no module 'shop'" in tree.get("/").text
    wait_served(tree, edit(tree, shop("new")))
    assert "new" in page(tree).text


def test_while_it_has_never_started_the_latest_failure_is_shown(tree: Tree) -> None:
    tree.write("shop.py", SYNTAX)
    start(tree)
    wait_shown(tree, edit(tree, "import no_such_module"))
    text = tree.get("/").text
    assert "ModuleNotFoundError" in text
    assert "SyntaxError" not in text


def test_without_reload_a_broken_app_ends_the_server(tree: Tree) -> None:
    tree.write("shop.py", SYNTAX)
    tree.launch("shop:app")
    assert tree.wait_exit() == 3


def test_an_open_stream_holds_nothing_up_and_is_ended(tree: Tree) -> None:
    tree.write("shop.py", shop("old"))
    start(tree, workers=1)
    stream = tree.asking("/events")
    stream.receive_until(b"data: old\n\n")
    old = Death(tree.worker(0))
    since = edit(tree, shop("new"))
    tree.log.wait(READY.format(2), since)
    assert "new" in page(tree).text
    wait_cut(stream)
    old.wait()
    again = tree.asking("/events")  # as an EventSource does by itself
    again.receive_until(b"data: new\n\n")


def wait_cut(client: Client) -> None:
    with pytest.raises((Lost, ConnectionResetError)):
        client.receive_until(b"nothing that is ever sent")


def test_an_edit_while_the_one_before_is_imported_replaces_it(tree: Tree, gate: Gate) -> None:
    tree.write("shop.py", shop("old"))
    start(tree)
    edit(tree, WAIT + shop("between"))
    importing = gate.wait_entered()
    since = edit(tree, shop("new"))
    importing.wait_gone()
    wait_served(tree, since)
    assert "new" in page(tree).text
    assert not tree.log.find("reload failed")


def test_an_edit_while_the_one_before_starts_replaces_it(tree: Tree, gate: Gate) -> None:
    tree.write("shop.py", shop("old"))
    start(tree)
    edit(tree, shop("between", hook="exec(WAIT)").replace("import asyncio", f"import asyncio\nWAIT = {WAIT!r}"))
    starting = gate.wait_entered()
    since = edit(tree, shop("new"))
    starting.wait_gone()
    wait_served(tree, since)
    assert "new" in page(tree).text
    assert not tree.log.find("reload failed")


@pytest.mark.parametrize("where", ["import", "hook"])
def test_an_edit_while_the_first_one_starts_replaces_it(tree: Tree, gate: Gate, where: str) -> None:
    hanging = WAIT if where == "import" else shop("hanging", hook=f"exec({WAIT!r})")
    tree.write("shop.py", hanging)
    tree.launch("shop:app", "--reload", *CALM, "--app-dir", str(tree.folder), workers=1)
    entered = gate.wait_entered()
    tree.log.wait("^watching ")
    since = edit(tree, shop("new"))
    entered.wait_gone()
    tree.log.wait("serving on", since)
    assert tree.stop() == 0


def test_other_files_count_when_they_are_included_and_none_that_is_excluded(tree: Tree) -> None:
    tree.write("shop.py", shop("old"))
    start(tree, "--reload-include", "*.html", "--reload-exclude", "draft_*")
    since = tree.log.mark()
    tree.write("draft_one.py", "")
    tree.write("draft_two.html", "")
    tree.write("notes.txt", "")
    edit(tree, "<p>", "page.html")
    wait_served(tree, since)
    assert [match.string for match in tree.log.find("changed: reloading", since)] == ["page.html changed: reloading"]


def test_a_folder_beside_the_app_is_watched(tree: Tree, tmp_path_factory: pytest.TempPathFactory) -> None:
    tree.write("shop.py", shop("old"))
    library = tmp_path_factory.mktemp("library")
    start(tree, "--reload-dir", str(library), "--reload-dir", str(tree.folder))
    since = tree.log.mark()
    (library / "tool.py").touch()
    wait_served(tree, since)
    tree.log.wait("tool.py changed: reloading", since)


def test_what_is_saved_at_once_is_one_reload(tree: Tree) -> None:
    tree.write("shop.py", shop("old"))
    start(tree)
    [watcher] = tree.processes("watcher")
    os.kill(watcher.pid, signal.SIGSTOP)  # so that it sees all of it at once, however slow we are
    since = tree.log.mark()
    for number in range(20):
        tree.write(f"part{number:02}.py", "")
    os.kill(watcher.pid, signal.SIGCONT)
    wait_served(tree, since)
    assert [match.string for match in tree.log.find("changed: reloading", since)] == [
        "part00.py and 19 more changed: reloading"
    ]


def test_a_watcher_that_dies_is_replaced_and_nothing_is_missed(tree: Tree) -> None:
    tree.write("shop.py", shop("old"))
    start(tree)
    [watcher] = tree.processes("watcher")
    since = tree.log.mark()
    os.kill(watcher.pid, signal.SIGSTOP)
    edit(tree, shop("new"))  # nobody sees it
    os.kill(watcher.pid, signal.SIGKILL)
    tree.log.wait(rf"watcher \(pid {watcher.pid}\) died: signal SIGKILL; the next one starts", since)
    wait_served(tree, since)
    assert "new" in page(tree).text
    assert [process.pid for process in tree.processes("watcher")] != [watcher.pid]


def test_a_watcher_that_cannot_watch_says_so_and_tries_again(tree: Tree, tmp_path: Path) -> None:
    tree.write("shop.py", shop("old"))
    extra = tmp_path / "extra"
    extra.mkdir()
    start(tree, "--reload-dir", str(extra))
    since = tree.log.mark()
    extra.rmdir()
    tree.log.wait("cannot watch .*extra: .*No such file or directory", since)
    tree.log.wait(r"watcher .* died: exit status 1; the next one starts in", since)
    extra.mkdir()
    since = tree.log.mark()
    tree.log.wait("^watching ", since)
    (extra / "tool.py").touch()
    wait_served(tree, since)


def test_when_the_master_is_killed_the_watcher_goes_too(tree: Tree) -> None:
    tree.write("shop.py", shop("old"))
    start(tree)
    deaths = [Death(child.pid) for child in children(tree.master)]
    assert len(tree.processes("watcher")) == 1
    tree.send_signal(signal.SIGKILL)
    for death in deaths:
        death.wait()


def test_a_service_managers_stop_to_all_is_not_taken_for_a_dead_watcher(tree: Tree) -> None:
    tree.write("shop.py", shop("old"))
    start(tree)
    tree.send_signal_to_all(signal.SIGTERM)
    assert tree.wait_exit() == 0
    assert not tree.log.find("watcher .* died")


def test_without_the_flag_nothing_watches(tree: Tree) -> None:
    tree.write("shop.py", shop("old"))
    tree.start("shop:app")
    assert [child.role for child in children(tree.master)] == ["mold", "worker", "worker"]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--reload-dir", "nowhere"], "--reload-dir .*/nowhere: there is no such folder to watch"),
        (["--reload-exclude", "."], "--reload-exclude '.' matches no file"),
    ],
)
def test_what_cannot_be_watched_is_one_clear_line_and_exit_code_2(tree: Tree, flags: list[str], said: str) -> None:
    tree.write("shop.py", shop("old"))
    tree.launch("shop:app", "--reload", *flags)
    assert tree.wait_exit() == 2
    assert len(tree.log.records) == len(tree.log.find(f"^prefork: error: {said}")) == 1
