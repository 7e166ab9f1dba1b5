"""prefork.serve(): a program becomes the server, whose workers have its app under a name."""

import os
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.processes.patience import GUARD_SECONDS
from tests.processes.tree import ROOT, Tree

pytestmark = pytest.mark.processes

# The tree gives every command the number of its --ready-fd; a duplicate of it is not inheritable by itself.
READY = "ready_fd=os.dup(int(sys.argv[sys.argv.index('--ready-fd') + 1])), bind='127.0.0.1:0', log_format='json'"
HEAD = "import os, sys, prefork\nfrom prefork import App, offload\n"
APP = """
app = App()
@app.get("/")
async def version(request):
    return "first"
@app.get("/who")
async def who(request):
    return f"{__name__} {len(os.sched_getaffinity(0))}"
def double(number):
    return 2 * number
@app.get("/offload")
async def offloaded(request):
    return str(await offload(double, 21))
"""
MAIN = f"""{HEAD}{APP}
if __name__ == "__main__":
    prefork.serve(app, workers=2, {READY})
"""
SCRIPT = (sys.executable, "main.py")


def program(folder: Path, text: str, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a program that is to end by itself."""
    (folder / "main.py").write_text(HEAD + text)
    ours = {name: value for name, value in os.environ.items() if not name.startswith("PREFORK_")}
    return subprocess.run(
        [sys.executable, *(command or ("main.py",))],
        cwd=folder,
        env={**ours, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=GUARD_SECONDS,
        check=False,
    )


def test_a_script_becomes_the_master_of_workers_that_import_it(tree: Tree) -> None:
    tree.write("main.py", MAIN)
    tree.start(command=SCRIPT)
    assert len(tree.processes("worker")) == 2
    assert tree.get("/").text == "first"
    assert tree.get("/who").text.startswith("main ")
    assert tree.get("/offload").text == "42"
    assert tree.stop() == 0


def test_the_master_holds_nothing_of_the_script(tree: Tree) -> None:
    tree.write("main.py", MAIN.replace("import os", "import sqlite3, os"))
    tree.start(command=SCRIPT)
    assert "_sqlite3" in Path(f"/proc/{tree.processes('worker')[0].pid}/maps").read_text()
    assert "_sqlite3" not in Path(f"/proc/{tree.master}/maps").read_text()


def test_a_reload_serves_the_changed_script(tree: Tree) -> None:
    tree.write("main.py", MAIN)
    tree.start(command=SCRIPT)
    tree.write("main.py", MAIN.replace("first", "second"))
    reload_and_wait(tree)
    assert tree.get("/").text == "second"


def test_a_reload_serves_a_changed_module_although_the_script_had_imported_it(tree: Tree) -> None:
    tree.write("shop.py", HEAD + APP)
    tree.write("main.py", f"{HEAD}import shop\nif __name__ == '__main__':\n    prefork.serve('shop:app', {READY})")
    tree.start(command=SCRIPT)
    assert tree.get("/").text == "first"
    tree.write("shop.py", (HEAD + APP).replace("first", "second"))
    reload_and_wait(tree)
    assert tree.get("/").text == "second"


def test_with_reload_a_change_of_the_script_is_served_by_itself(tree: Tree) -> None:
    tree.write("main.py", MAIN.replace("workers=2", "workers=1, reload=True"))
    tree.start(command=SCRIPT)
    tree.write("main.py", MAIN.replace("first", "second"))
    tree.log.wait(r"worker 0 \(generation 1, .* has drained")
    assert tree.get("/").text == "second"


def test_a_module_of_a_package_is_found_from_any_folder(tree: Tree) -> None:
    package = tree.folder / "code" / "shop"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "site.py").write_text(HEAD + APP)
    tree.write("main.py", f"import sys\nsys.path.insert(0, 'code')\n{HEAD}from shop import site\n{call('site.app')}")
    tree.start(command=SCRIPT)
    assert tree.get("/who").text.startswith("shop.site ")
    assert tree.stop() == 0


def test_a_module_that_is_run_keeps_its_whole_name(tree: Tree) -> None:
    package = tree.folder / "shop"
    package.mkdir()
    (package / "site.py").write_text(f"{HEAD}{APP}\n{guarded('app')}")
    tree.start(command=(sys.executable, "-m", "shop.site"))
    assert tree.get("/who").text.startswith("shop.site ")


def test_a_target_is_found_where_the_script_would_import_it_from(tree: Tree) -> None:
    code = tree.folder / "code"
    code.mkdir()
    (code / "shop.py").write_text(HEAD + APP)
    (code / "main.py").write_text(f"{HEAD}{call(repr('shop:app'))}")
    tree.start(command=(sys.executable, "code/main.py"))
    assert tree.get("/who").text.startswith("shop ")


@pytest.mark.parametrize("init", [["__init__.py"], []], ids=["package", "namespace"])
def test_a_package_is_found_where_the_script_would_import_it_from(tree: Tree, init: list[str]) -> None:
    package = tree.folder / "code" / "shop"
    package.mkdir(parents=True)
    for name in init:
        (package / name).touch()
    (package / "site.py").write_text(HEAD + APP)
    (tree.folder / "code" / "main.py").write_text(f"{HEAD}{call(repr('shop.site:app'))}")
    tree.start(command=(sys.executable, "code/main.py"))
    assert tree.get("/who").text.startswith("shop.site ")


def test_an_app_in_an_archive_is_served(tree: Tree) -> None:
    with zipfile.ZipFile(tree.folder / "shop.pyz", "w") as archive:
        archive.writestr("shop.py", HEAD + APP)
        archive.writestr("__main__.py", f"{HEAD}{call(repr('shop:app'))}")
    tree.start(command=(sys.executable, "shop.pyz"))
    assert tree.get("/who").text.startswith("shop ")


def test_a_folder_with_odd_characters_is_passed_on_as_it_is(tree: Tree) -> None:
    folder = tree.folder / "a 'b\" $c; é"
    folder.mkdir()
    (folder / "main.py").write_text(MAIN)
    tree.start(command=(sys.executable, str(folder / "main.py")))
    assert tree.get("/").text == "first"


def test_the_working_folder_hides_no_module_of_the_servers(tree: Tree) -> None:
    tree.write("click.py", "raise RuntimeError('not this one')")
    code = tree.folder / "code"
    code.mkdir()
    (code / "main.py").write_text(MAIN)
    tree.start(command=(sys.executable, "code/main.py"))
    assert tree.get("/").text == "first"


def test_flags_of_the_interpreter_are_kept(tree: Tree) -> None:
    tree.write("main.py", MAIN.replace("{__name__} ", "{sys.flags.optimize} {sys._xoptions} {sys.warnoptions} "))
    tree.start(command=(sys.executable, "-O", "-X", "faulthandler", "-W", "error::BytesWarning", "main.py"))
    assert tree.get("/who").text.startswith("1 {'faulthandler': True} ['error::BytesWarning'] ")


def test_signals_and_output_that_the_script_had_turned_off_are_no_obstacle(tree: Tree) -> None:
    block = "__import__('signal').pthread_sigmask(0, range(1, 65))"  # SIG_BLOCK
    tree.write("main.py", MAIN.replace("    prefork", f"    {block}\n    sys.stdout = None\n    prefork"))
    tree.start(command=SCRIPT)
    assert tree.get("/").text == "first"
    assert tree.stop() == 0


def test_an_asgi_app_is_found_by_its_name_too(tree: Tree) -> None:
    tree.write("main.py", f"{HEAD}from starlette.applications import Starlette\nsite = Starlette()\n{guarded('site')}")
    tree.start(command=SCRIPT)
    assert tree.get("/nowhere").text == "Not Found"


def test_arguments_win_over_files(tree: Tree) -> None:
    tree.write("prefork.toml", 'workers = 3\nserver_header = false\ntarget = "nothing:app"\n')
    tree.write("main.py", MAIN.replace("workers=2", "workers=1"))
    tree.start(command=SCRIPT)
    assert len(tree.processes("worker")) == 1
    assert "server:" not in tree.get("/").head


def test_what_the_program_leaves_is_done_before(tree: Tree) -> None:
    tree.write(
        "main.py", MAIN.replace("    prefork", "    import atexit\n    atexit.register(print, 'bye')\n    prefork")
    )
    tree.start(command=SCRIPT)
    tree.output.wait("bye")
    assert tree.get("/").text == "first"


@pytest.mark.parametrize(
    ("more", "code", "said"),
    [
        ("workers=0", 2, "--workers: workers = '0' must be a whole number ≥ 1"),
        ("workers=True", 2, "--workers: workers = 'True' must be a whole number ≥ 1"),
        ("bind='localhost'", 2, "HOST:PORT"),
        ("bind=8000", 2, "HOST:PORT"),
        ("bind='fd://99'", 4, "cannot use fd://99"),
    ],
)
def test_a_wrong_value_is_the_commands_one_line(tmp_path: Path, more: str, code: int, said: str) -> None:
    done = program(tmp_path, f"app = App()\nif __name__ == '__main__':\n    prefork.serve(app, {more})")
    assert done.returncode == code
    assert said in done.stderr.replace("\\u2265", "≥")
    assert "Traceback" not in done.stderr


def test_a_start_up_that_fails_ends_with_exit_code_3(tmp_path: Path) -> None:
    text = "app = App()\n@app.on_startup\ndef fail():\n    raise RuntimeError('no database')\n"
    done = program(tmp_path, f"{text}if __name__ == '__main__':\n    prefork.serve(app, bind='127.0.0.1:0')")
    assert done.returncode == 3
    assert "no database" in done.stderr


def test_without_a_guard_the_error_says_what_to_write(tmp_path: Path) -> None:
    done = program(tmp_path, "app = App()\nprefork.serve(app, bind='127.0.0.1:0')")
    assert done.returncode == 2
    assert 'put it below `if __name__ == "__main__":`' in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def main():\n    prefork.serve(App())\nmain()", "no module holds this app (App)"),
        ("prefork.serve(lambda request: 'x')", "no module holds this app (function)"),
        ("prefork.serve(42)", "this is no app, but of type int: 42"),
        ("prefork.serve('main:app', worker=2)", "serve() has no setting worker; did you mean workers?"),
        ("prefork.serve('main:app', port=80)", 'serve() has no setting port; say bind="HOST:PORT"'),
        ("sys.executable = '/nowhere'\nprefork.serve('main:app')", "sys.executable is '/nowhere'"),
        (
            "import asyncio\nasync def main():\n    prefork.serve('main:app')\nasyncio.run(main())",
            "use `async with prefork.Server(app)`",
        ),
        (
            "import threading\nthreading.Thread(target=prefork.serve, args=('main:app',)).start()",
            "serve() was called in a thread",
        ),
        (
            "import threading\nend = threading.Event()\nthreading.Thread(target=end.wait, name='mine').start()\n"
            "try:\n    prefork.serve('main:app')\nfinally:\n    end.set()",
            "would end threads of this program (mine)",
        ),
    ],
)
def test_what_cannot_be_is_a_clear_error(tmp_path: Path, text: str, said: str) -> None:
    done = program(tmp_path, text)
    assert "UsageError: " in done.stderr
    assert said in done.stderr


def test_an_app_that_was_typed_in_has_no_file(tmp_path: Path) -> None:
    done = program(tmp_path, "", "-c", "import prefork; app = prefork.App(); prefork.serve(app)")
    assert "no file holds this program; workers import it by name" in done.stderr


@pytest.mark.parametrize("name", ["my-app.py", "my.app.py", "app"])
def test_a_script_whose_name_is_none_in_python_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("import prefork\napp = prefork.App()\nprefork.serve(app)")
    done = program(tmp_path, "", name)
    assert f"{name} cannot be imported by that name; rename it" in done.stderr


def test_a_script_without_a_name_is_told_under_which_its_app_goes(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text("import prefork\napp = prefork.App()")
    done = program(tmp_path, "", "-c", "import prefork\nfrom shop import app\nprefork.serve(app)")
    assert 'no file holds this program; pass its name, "shop:app"' in done.stderr


def test_a_child_of_multiprocessing_does_not_become_a_server(tmp_path: Path) -> None:
    text = """
import multiprocessing
app = App()
def work():
    print("worked", flush=True)
if __name__ == "__main__":
    child = multiprocessing.get_context("spawn").Process(target=work)
    child.start()
    child.join()
else:
    prefork.serve(app)
"""
    done = program(tmp_path, text)
    assert 'put it below `if __name__ == "__main__":`' in done.stderr


def call(app: str) -> str:
    return f"prefork.serve({app}, {READY})\n"


def guarded(app: str) -> str:
    return f"if __name__ == '__main__':\n    {call(app)}"


def reload_and_wait(tree: Tree) -> None:
    """Until the old generation takes no requests any more."""
    tree.send_signal(signal.SIGHUP)
    tree.log.wait(r"worker . \(generation 1, .* has drained", count=len(tree.announced_workers))
