"""Opening files: no way out of a folder, with and without the kernel's help, and no waiting where it is not wanted."""

import os
import threading
from pathlib import Path

import pytest

from prefork.system import open_file, opening
from prefork.system.open_file import RECENT_FILES, RECENT_SECONDS, OpenFile
from prefork.system.opening import NO_SUCH_FILE, open_below, open_folder

CONTENT = b"in the folder"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a file in a folder, links that stay within and links that lead out."""
    (tmp_path / "secret").write_text("secret")
    folder = tmp_path / "folder"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "file").write_bytes(CONTENT)
    (folder / "within").symlink_to("sub/file")
    (folder / "up").symlink_to("../secret")
    (folder / "sub" / "up").symlink_to("../..")
    (folder / "absolute").symlink_to(tmp_path / "secret")
    (folder / "loop").symlink_to("loop")
    (folder / "magic").symlink_to("/proc/self/root")
    return folder


@pytest.fixture(params=["openat2", "step by step"])
def either_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "step by step":
        monkeypatch.setattr(opening, "can_stay_below", False)
    elif not opening.can_stay_below:
        pytest.skip("this kernel has no openat2(2), or the container does not let us call it")
    return str(request.param)


def read(folder: Path, path: bytes) -> bytes:
    at = open_folder(os.fsencode(folder), wait=True)
    try:
        descriptor = open_below(at, path, wait=True)
        with open(descriptor, "rb") as file:
            return file.read()
    finally:
        os.close(at)


def failure(folder: Path, path: bytes) -> int | None:
    """What errno it is; None if it can be read, which must be what is in the folder."""
    try:
        assert read(folder, path) == CONTENT
    except OSError as error:
        return error.errno
    return None


def test_file_below_the_folder(folder: Path, either_way: str) -> None:
    assert read(folder, b"sub/file") == CONTENT


@pytest.mark.parametrize(
    "path",
    [b"up", b"sub/up/secret", b"absolute", b"magic/etc/passwd", b"loop", b"none", b"sub/file/below", b"x" * 300],
)
def test_path_that_leads_out_or_nowhere(folder: Path, either_way: str, path: bytes) -> None:
    assert failure(folder, path) in NO_SUCH_FILE


def test_link_within_is_followed_if_the_kernel_watches(folder: Path, either_way: str) -> None:
    if either_way == "openat2":
        assert read(folder, b"within") == CONTENT
    else:
        assert failure(folder, b"within") in NO_SUCH_FILE


def test_folder_that_turns_into_a_link_gives_nothing_away(folder: Path, either_way: str, tmp_path: Path) -> None:
    """However a look-up and the exchange of a folder for a link fall together."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file").write_text("secret")
    (folder / "link").symlink_to("../outside")
    over = threading.Event()

    def exchange() -> None:
        while not over.is_set():
            for name, other in (("sub", "kept"), ("link", "sub"), ("sub", "link"), ("kept", "sub")):
                os.rename(folder / name, folder / other)

    thread = threading.Thread(target=exchange)
    thread.start()
    try:
        for _ in range(2000):
            seen = failure(folder, b"sub/file")
            assert seen in {*NO_SUCH_FILE, None}
    finally:
        over.set()
        thread.join()


def test_nul_is_a_value_error(folder: Path, either_way: str) -> None:
    with pytest.raises(ValueError, match="null"):
        read(folder, b"sub/file\0.html")


def test_no_descriptor_is_left(folder: Path, either_way: str) -> None:
    before = os.listdir("/proc/self/fd")
    for path in (b"sub/file", b"sub/none", b"sub/file/below/it", b"up"):
        failure(folder, path)
    assert os.listdir("/proc/self/fd") == before


def test_without_waiting_only_what_is_in_memory(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = os.fsencode(folder / "sub" / "file")
    if opening.knows_cached:
        os.stat(path)
        os.close(opening.open_file(path, wait=False))
    monkeypatch.setattr(opening, "knows_cached", False)
    with pytest.raises(BlockingIOError):
        opening.open_file(path, wait=False)
    os.close(opening.open_file(path, wait=True))
    monkeypatch.setattr(opening, "can_stay_below", False)
    with pytest.raises(BlockingIOError):
        open_below(-1, b"file", wait=False)


# -- reading


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def file(folder: Path) -> OpenFile:
    return OpenFile(os.open(folder / "sub" / "file", os.O_RDONLY))


@pytest.fixture
def cannot_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on overlayfs."""
    monkeypatch.setattr(OpenFile, "_read_from_memory", lambda self, offset, count: None)
    monkeypatch.setattr(open_file, "_recent", {})


def test_part_of_a_file(file: OpenFile) -> None:
    assert file.read(3, 3, wait=True) == CONTENT[3:6]
    assert (file.size, file.is_regular, file.is_folder) == (len(CONTENT), True, False)


def test_file_that_has_become_shorter(file: OpenFile, folder: Path) -> None:
    os.truncate(folder / "sub" / "file", 5)
    with pytest.raises(EOFError, match="8 bytes early"):
        file.read(0, file.size, wait=True)


def test_where_nobody_can_tell_a_file_read_lately_is_taken_to_be_in_memory(file: OpenFile, cannot_tell: None) -> None:
    clock = Clock()
    with pytest.raises(BlockingIOError):
        file.read(0, 5, wait=False, clock=clock)
    file.read(0, 5, wait=True, clock=clock)
    clock.now += RECENT_SECONDS - 1
    assert file.read(0, 5, wait=False, clock=clock) == CONTENT[:5]
    clock.now += RECENT_SECONDS - 1
    assert file.read(0, 5, wait=False, clock=clock) == CONTENT[:5]
    clock.now += RECENT_SECONDS
    with pytest.raises(BlockingIOError):
        file.read(0, 5, wait=False, clock=clock)


def test_number_of_files_remembered_is_bounded(cannot_tell: None) -> None:
    for number in range(RECENT_FILES + 1):
        open_file._remember((0, number), 0.0)
    assert len(open_file._recent) == RECENT_FILES
    assert (0, 0) not in open_file._recent


def test_descriptor_goes_with_its_last_reference(folder: Path) -> None:
    file = OpenFile(os.open(folder / "sub" / "file", os.O_RDONLY))
    descriptor = file.descriptor
    del file
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_descriptor_is_closed_once(folder: Path) -> None:
    file = OpenFile(os.open(folder / "sub" / "file", os.O_RDONLY))
    file.close()
    other = os.open(folder, os.O_RDONLY)  # likely the same number
    file.close()
    del file
    os.close(other)
