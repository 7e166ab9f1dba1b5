"""A server runs as the user, in the folder, with the environment and within the limits that it was told."""

import grp
import json
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.certificates import Folder
from tests.cli import run_python
from tests.handshake import client_context
from tests.processes.client import fetch
from tests.processes.secure import SecureClient
from tests.processes.tree import APPS, CALM, ROOT, Tree

pytestmark = pytest.mark.processes

NOBODY = pwd.getpwnam("nobody")
SIGKILL = int(signal.SIGKILL)


def interpreter() -> str | None:
    """A Python like ours that nobody may run, or None: ours is often in somebody's home."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    for path in (sys.executable, f"/usr/bin/python{version}"):
        test = [path, "-c", "import sys; print(sys.version_info[:2])"]
        try:
            done = subprocess.run(test, user="nobody", group=NOBODY.pw_gid, cwd="/", capture_output=True, text=True)
        except OSError:
            continue
        if done.stdout.strip() == str(sys.version_info[:2]):
            return path
    return None


PYTHON = interpreter() if os.geteuid() == 0 else None
as_root = pytest.mark.skipif(PYTHON is None, reason="needs root, and a Python that nobody may run")
# Tree's own interpreter comes first in the arguments: another one takes its place, with the same packages.
COMMAND = (
    "sh",
    "-c",
    f'shift; export PYTHONPATH="$PYTHONPATH:{sysconfig.get_path("purelib")}"; exec {PYTHON} "$@"',
    "sh",
)


@pytest.fixture
def open_tree() -> Iterator[Tree]:
    """A tree in a folder that everybody may enter, and root alone may change."""
    folder = Path(tempfile.mkdtemp(prefix="prefork-test-", dir="/tmp"))
    folder.chmod(0o755)
    tree = Tree(folder)
    yield tree
    tree.close()
    if tree.master:
        print(tree.report())
    shutil.rmtree(folder)


def told(tree: Tree, path: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(tree.get(path).text)
    return found


def start_as_nobody(tree: Tree, *flags: str, target: str = "surroundings:app", workers: int = 1) -> None:
    tree.start(target, "--user", "nobody", *flags, *CALM, workers=workers, command=COMMAND)


@as_root
def test_all_that_may_run_code_of_the_app_is_that_user_from_the_import_on(open_tree: Tree) -> None:
    start_as_nobody(open_tree, "--offload-max", "1")
    found = {path: told(open_tree, path) for path in ("/worker", "/job", "/actor", "/fork", "/fork?fresh")}
    for path, process in found.items():
        assert process["ids"] == [NOBODY.pw_uid] * 3 + [NOBODY.pw_gid] * 3, path
        assert process["groups"] == sorted(os.getgrouplist("nobody", NOBODY.pw_gid)), path
        assert process["imported_as"] == NOBODY.pw_uid, path
        assert (process["home"], process["user"]) == (NOBODY.pw_dir, "nobody"), path
        assert process["dies_with"] == SIGKILL, path
        assert process["dumpable"] == 1, path
    assert open_tree.get("/program").text == str(NOBODY.pw_uid)
    assert open_tree.get("/count").text == "2"  # in memory and under a lock that root has made
    owners = {p.role: Path(f"/proc/{p.pid}").stat().st_uid for p in open_tree.processes("mold")}
    assert owners == {"mold": NOBODY.pw_uid}
    assert Path(f"/proc/{open_tree.master}").stat().st_uid == 0
    os.kill(open_tree.worker(0), signal.SIGKILL)  # and so are those that come later
    assert open_tree.wait_ready(0, since=0)
    assert told(open_tree, "/worker")["ids"][0] == NOBODY.pw_uid


@as_root
def test_killing_a_master_of_root_ends_the_processes_of_its_user(open_tree: Tree) -> None:
    start_as_nobody(open_tree)
    open_tree.send_signal(signal.SIGKILL)
    assert open_tree.wait_exit() == -SIGKILL  # all of them hold the pipe that this waits for


@as_root
def test_app_code_cannot_have_root_end_what_is_roots(open_tree: Tree) -> None:
    with subprocess.Popen(["sleep", "1000"]) as victim:
        try:
            (open_tree.folder / "victim.pid").write_text(str(victim.pid))
            open_tree.launch("liar:app", "--user", "nobody", workers=1, command=COMMAND)
            assert open_tree.wait_exit() == 3
            open_tree.log.wait(f"mold .* said what it cannot say and is killed: process {victim.pid} is none of ours")
            assert victim.poll() is None
        finally:
            victim.kill()


@as_root
def test_code_that_root_runs_and_the_user_may_change_is_told(open_tree: Tree) -> None:
    """`python -m` imports from the working folder first."""
    os.chown(open_tree.folder, NOBODY.pw_uid, -1)
    open_tree.launch("faults:app", "--user", "nobody", "--max-memory", "1M", workers=1, command=COMMAND)
    assert open_tree.wait_exit() == 2
    open_tree.log.wait(f"user nobody may write to {open_tree.folder}, where root imports code from")


@as_root
def test_logs_and_sockets_are_made_for_the_user(open_tree: Tree) -> None:
    group = grp.getgrnam("daemon").gr_gid
    bind = f"unix:{open_tree.folder}/web.sock"
    flags = ("--log-file", "server.log", "--access-log", "--access-log-file", "access.log", "--bind", bind)
    start_as_nobody(open_tree, "--group", "daemon", "--umask", "007", *flags)
    paths = [open_tree.folder / name for name in ("server.log", "access.log", "web.sock")]
    assert [(p.stat().st_uid, p.stat().st_gid) for p in paths] == [(NOBODY.pw_uid, group)] * 3
    assert stat.S_IMODE(paths[2].stat().st_mode) == 0o770
    for path in paths[:2]:
        path.rename(path.with_suffix(".old"))
    open_tree.send_signal(signal.SIGUSR1)
    for _ in range(1000):
        fetch(bind, "/worker")
        if paths[1].exists() and paths[1].stat().st_size:
            break
    assert paths[0].stat().st_uid == paths[1].stat().st_uid == NOBODY.pw_uid
    assert open_tree.stop() == 0
    assert "stopped" in paths[0].read_text()


@as_root
def test_a_log_file_that_is_a_link_to_what_only_root_may_write_is_refused(open_tree: Tree) -> None:
    theirs = open_tree.folder / "theirs"
    theirs.mkdir()
    os.chown(theirs, NOBODY.pw_uid, NOBODY.pw_gid)
    precious = open_tree.folder / "precious"
    precious.write_text("untouched")
    (theirs / "server.log").symlink_to(precious)
    done = run_python(
        open_tree.folder,
        "-m",
        "prefork",
        "serve",
        "surroundings:app",
        "--user",
        "nobody",
        "--log-file",
        "theirs/server.log",
    )
    assert done.returncode == 2
    assert done.stderr.startswith("prefork: error: user nobody may not write the log file theirs/server.log")
    assert (precious.read_text(), precious.stat().st_uid) == ("untouched", 0)


@as_root
def test_a_key_that_only_root_may_read_serves_and_is_renewed_by_a_reload(open_tree: Tree) -> None:
    pki = Path(tempfile.mkdtemp(prefix="pki-", dir=open_tree.folder))  # mode 0700
    folder = Folder(pki)
    cert, key = folder.make("a", "localhost", "127.0.0.1")
    os.chmod(key, 0o600)
    start_as_nobody(open_tree, "--tls-cert", cert, "--tls-key", key)
    context = client_context(folder.authority)

    def serial() -> str:
        client = SecureClient(open_tree.address, context, "localhost")
        try:
            assert client.get("/worker").status == 200
            return str((client.session.getpeercert() or {})["serialNumber"])
        finally:
            client.close()

    first = serial()
    open_tree.log.wait("may not read the TLS key .* after a renewal, reload")
    folder.make("a", "localhost", "127.0.0.1")
    os.chmod(key, 0o600)
    open_tree.send_signal(signal.SIGHUP)
    open_tree.log.wait(r"worker 0 \(generation 2, pid \d+\) is ready")
    open_tree.log.wait(r"worker 0 \(generation 1, pid \d+\) drains")
    assert serial() != first
    assert not open_tree.log.find("no good")


@as_root
def test_an_app_that_the_user_may_not_read_is_one_clear_line(open_tree: Tree) -> None:
    hidden = open_tree.folder / "hidden"
    hidden.mkdir(mode=0o700)
    (hidden / "main.py").write_text("async def app(request):\n    return ''\n")
    open_tree.launch("main:app", "--app-dir", str(hidden), "--user", "nobody", workers=1, command=COMMAND)
    assert open_tree.wait_exit() == 2
    open_tree.log.wait(f"user nobody may not read {hidden} \\(app_dir\\)")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--user", "nosuch"), "user = nosuch: there is no such user"),
        (("--user", "nobody", "--group", "nosuch"), "group = nosuch: there is no such group"),
        (("--user", "987654"), "user = 987654: no user has this number, so group has to be given too"),
        (("--user", "nobody", "--group", "99999999999"), "99999999999 is no number of a user or group"),
    ],
)
def test_a_user_that_is_not_there_is_one_line_and_exit_code_2(
    tmp_path: Path, flags: tuple[str, ...], words: str
) -> None:
    done = run_python(tmp_path, "-m", "prefork", "serve", "main:app", *flags)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith(f"prefork: error: {words}")


@as_root
def test_only_root_can_become_another_user(open_tree: Tree) -> None:
    for user, code in (("nobody", 0), ("daemon", 2)):
        done = subprocess.run(
            [*COMMAND, sys.executable, "-m", "prefork", "check", "surroundings:app", "--user", user],
            cwd=open_tree.folder,
            env={"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"], "PREFORK_APP_DIR": str(APPS)},
            user=NOBODY.pw_uid,
            group=NOBODY.pw_gid,
            extra_groups=[],
            capture_output=True,
            text=True,
        )
        assert done.returncode == code, done.stderr
    assert done.stderr == "prefork: error: user = daemon: only root can become another user; we are nobody\n"


@as_root
def test_root_without_its_capabilities_is_one_clear_line(open_tree: Tree) -> None:
    lacking = ["setpriv", "--bounding-set=-setuid,-setgid", "--inh-caps=-setuid,-setgid"]
    done = subprocess.run(
        [*lacking, *COMMAND, sys.executable, "-m", "prefork", "serve", "surroundings:app", "--user", "nobody"],
        cwd=open_tree.folder,
        env={"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"], "PREFORK_LOG_FILE": "server.log"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("prefork: error: user = nobody: the system does not let us change our user")
    assert done.stderr.count("\n") == 1


@as_root
def test_check_imports_as_the_user(open_tree: Tree) -> None:
    hidden = open_tree.folder / "hidden"
    hidden.mkdir(mode=0o700)
    flags = ("surroundings:app", "--user", "nobody", "--app-dir", str(hidden))
    done = run_python(open_tree.folder, "-m", "prefork", "check", *flags)
    assert done.returncode == 2
    assert done.stderr.startswith("prefork: error: user nobody may not read ")


def test_the_folder_is_changed_before_the_import_and_paths_count_from_there(tree: Tree) -> None:
    (tree.folder / "there" / "src").mkdir(parents=True)
    shutil.copy(ROOT / "tests/processes/apps/surroundings.py", tree.folder / "there" / "src" / "placed.py")
    shutil.copytree(tree.folder / "there", tree.folder / "next")
    (tree.folder / "current").symlink_to("there")
    (tree.folder / "here.env").write_text("FROM_FILE=first\nPREFORK_PID_FILE=server.pid\n")
    (tree.folder / "prefork.toml").write_text('umask = "027"\n')  # found where the command was given
    flags = ("--env-file", "here.env", "--chdir", "current", "--app-dir", "src")
    tree.start("placed:app", *flags, "--max-descriptors", "2000", "--max-memory", "4G", *CALM, workers=1)
    found = told(tree, "/worker")
    assert found["folder"] == str(tree.folder / "there")
    assert (found["umask"], found["files"], found["memory"]) == (0o027, 2000, 4 << 30)
    assert found["variable"] == "first"
    assert told(tree, "/job")["memory"] != 4 << 30
    pid_file = tree.folder / "there" / "server.pid"
    assert int(pid_file.read_text()) == tree.master
    (tree.folder / "here.env").write_text("export FROM_FILE='second'\n")
    (tree.folder / "current").unlink()
    (tree.folder / "current").symlink_to("next")
    tree.send_signal(signal.SIGHUP)
    tree.log.wait(r"worker 0 \(generation 1, pid \d+\) drains")
    found = told(tree, "/worker")
    assert (found["variable"], found["folder"]) == ("second", str(tree.folder / "next"))
    assert tree.get("/allocate/8000").status == 500  # and the worker lives
    assert told(tree, "/worker")["variable"] == "second"
    (tree.folder / "here.env").write_text("nonsense\n")
    tree.send_signal(signal.SIGHUP)
    tree.log.wait("here.env, line 1: write NAME=value")
    assert tree.stop() == 0
    assert not pid_file.exists()


def test_a_second_server_does_not_take_the_pid_file_of_one_that_lives(tree: Tree) -> None:
    tree.start("faults:app", "--pid-file", "server.pid", workers=1)
    done = run_python(
        tree.folder, "-m", "prefork", "serve", "faults:app", "--bind", "127.0.0.1:0", "--pid-file", "server.pid"
    )
    assert done.returncode == 2
    assert f"server.pid: the server with pid {tree.master} is running" in done.stderr
    tree.send_signal(signal.SIGKILL)
    tree.wait_exit()
    assert int((tree.folder / "server.pid").read_text()) == tree.master  # stale: the next one replaces it


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--max-descriptors", "10"), "max_descriptors = 10: must be 0 or ≥ 256"),
        (("--chdir", "nowhere"), "/nowhere: no such file or directory"),
        (("--env-file", "nowhere.env"), "env_file: cannot read nowhere.env: no such file or directory"),
        (("--pid-file", "main.py"), "main.py: there is a file of that name that holds no pid"),
        (("--pid-file", "nowhere/pid"), "nowhere/pid: no such file or directory"),
    ],
)
def test_what_cannot_be_is_one_line_and_exit_code_2(tmp_path: Path, flags: tuple[str, ...], words: str) -> None:
    (tmp_path / "main.py").write_text("async def app(request):\n    return ''\n")
    done = run_python(tmp_path, "-m", "prefork", "serve", "main:app", "--bind", "unix:web.sock", *flags)
    assert done.returncode == 2, done.stderr
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "web.sock").exists()


def test_a_worker_that_is_larger_than_its_limit_says_so(tree: Tree) -> None:
    tree.launch("faults:app", "--max-memory", "1M", workers=1)
    assert tree.wait_exit() == 2
    tree.log.wait("max_memory = 1048576: a worker has [0-9]+ bytes of address space")
