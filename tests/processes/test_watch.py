"""What --reload needs, and what a watcher tells of files that changed before it came."""

import importlib.util
import os
from pathlib import Path
from typing import Any

import pytest

from prefork.core.watched import Watched
from prefork.errors import UsageError
from prefork.processes.watch import check_watch, drain_seconds, watched_folders
from prefork.processes.watcher import changes, forget_bytecode
from prefork.settings import Settings


def test_without_watchfiles_the_way_to_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"--reload needs watchfiles: pip install prefork\[standard\]"):
        check_watch(Settings(reload=True))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"reload_dir": [".", "nowhere"]}, "--reload-dir .*/nowhere: there is no such folder"),
        ({"reload_dir": ["file.py"]}, "--reload-dir .*/file.py: there is no such folder"),
        ({"app_dir": "nowhere"}, "--app-dir .*/nowhere: there is no such folder"),
        ({"reload_include": ["."]}, r"--reload-include '\.' matches no file"),
        ({"reload_exclude": ["*.html", "./"]}, r"--reload-exclude '\./' matches no file"),
    ],
)
def test_what_cannot_be_watched_is_refused(
    settings: dict[str, Any], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file.py").touch()
    check_watch(Settings(reload=True))
    with pytest.raises(UsageError, match=said):
        check_watch(Settings(reload=True, **settings))


def test_the_apps_folder_is_watched_unless_others_are_named(tmp_path: Path) -> None:
    assert watched_folders(Settings(app_dir=str(tmp_path))) == [str(tmp_path)]
    assert watched_folders(Settings(app_dir=str(tmp_path), reload_dir=["/a", "/b"])) == ["/a", "/b"]


@pytest.mark.parametrize(("reload", "wanted", "given"), [(False, 30.0, 30.0), (True, 30.0, 1.0), (True, 0.2, 0.2)])
def test_old_workers_leave_soon_in_development(reload: bool, wanted: float, given: float) -> None:
    assert drain_seconds(Settings(reload=reload, drain_seconds=wanted)) == given


def test_what_changed_before_the_watcher_came_is_told_with_its_first_news(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for name in ("old.py", "page.html", "deep/moved.py"):
        (tmp_path / name).touch()
    news = changes([str(tmp_path)], Watched([str(tmp_path)]), since=0.0)
    assert next(news) == {str(tmp_path / "old.py"), str(tmp_path / "deep/moved.py")}
    (tmp_path / "page.html").write_text("not watched")
    (tmp_path / "new.py").touch()
    assert next(news) == {str(tmp_path / "new.py")}


def test_only_what_changed_since_is_told(tmp_path: Path) -> None:
    (tmp_path / "old.py").touch()
    since = os.stat(tmp_path / "old.py").st_ctime
    news = changes([str(tmp_path)], Watched([str(tmp_path)]), since)
    (tmp_path / "new.py").touch()
    while os.stat(tmp_path / "new.py").st_ctime <= since:  # the kernel's clock ticks coarsely
        (tmp_path / "new.py").touch()
    assert next(news) == {str(tmp_path / "new.py")}


def test_a_folder_that_is_replaced_is_noticed(tmp_path: Path) -> None:
    folder = tmp_path / "app"
    folder.mkdir()
    (folder / "shop.py").touch()
    news = changes([str(folder)], Watched([str(folder)]), since=0.0)
    next(news)
    folder.rename(tmp_path / "away")
    folder.mkdir()
    with pytest.raises(FileNotFoundError, match="moved away or replaced"):
        list(news)


def test_bytecode_of_a_changed_file_is_not_trusted(tmp_path: Path) -> None:
    source, page = tmp_path / "shop.py", tmp_path / "page.html"
    cached = Path(importlib.util.cache_from_source(str(source)))
    cached.parent.mkdir()
    cached.touch()
    forget_bytecode({str(source), str(page)})
    assert not cached.exists()
    forget_bytecode({str(source)})  # nothing left to forget
