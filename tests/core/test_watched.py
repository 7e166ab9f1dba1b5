"""Which files are worth a reload."""

import pytest

from prefork.core.watched import Watched


@pytest.mark.parametrize("path", ["/app/shop.py", "/app/a/b/c/models.py", "/app/venv/tool.py"])
def test_python_files_count_wherever_they_lie(path: str) -> None:
    assert Watched(["/app"])(path)


@pytest.mark.parametrize(
    "path",
    [
        "/app/page.html",
        "/app/__pycache__/shop.cpython-311.pyc",
        "/app/__pycache__/shop.py",
        "/app/.git/hooks/check.py",
        "/app/a/.hidden/b/c.py",
        "/app/.venv/lib/site.py",
        "/app/node_modules/gyp/build.py",
        "/app/venv/lib/python3.11/site-packages/flask/app.py",
        "/app/.#shop.py",
        "/app/shop.py~",
        "/app/shop.py.swp",
        "/elsewhere/shop.py",
        "/app",
        "/apple/shop.py",
    ],
)
def test_other_files_do_not_count_unasked(path: str) -> None:
    assert not Watched(["/app"])(path)


def test_the_folder_itself_may_be_hidden_or_foreign() -> None:
    assert Watched(["/home/me/.work/node_modules/app"])("/home/me/.work/node_modules/app/shop.py")


def test_any_of_several_folders_may_hold_the_file() -> None:
    watched = Watched(["/app", "/app/.plugins", "/library"])
    assert watched("/library/tool.py")
    assert watched("/app/.plugins/tool.py")
    assert not watched("/app/.other/tool.py")


@pytest.mark.parametrize(
    ("glob", "path", "counts"),
    [
        ("*.html", "/app/templates/page.html", True),
        ("*.html", "/app/templates/page.htm", False),
        ("*.html", "/app/templates/.#page.html", False),
        ("*.html", "/app/node_modules/x/page.html", False),
        (".env", "/app/.env", True),
        (".env*", "/app/.env.local", True),
        ("static/*.css", "/app/shop/static/a.css", True),
        ("static/*.css", "/app/shop/styles/a.css", False),
        (".config/*.toml", "/app/.config/app.toml", True),
        ("/app/data/*", "/app/data/users", True),
        ("/app/data/*", "/app/more/data/users", False),
    ],
)
def test_include_globs_add_files(glob: str, path: str, counts: bool) -> None:
    assert Watched(["/app"], include=[glob])(path) is counts
    assert Watched(["/app"], include=[glob])("/app/shop.py")


@pytest.mark.parametrize(
    ("glob", "path"),
    [
        ("test_*", "/app/test_shop.py"),
        ("tests", "/app/tests/deep/inside.py"),
        ("tests/", "/app/tests/inside.py"),
        ("shop/generated", "/app/shop/generated/a/b.py"),
        ("/app/old", "/app/old/shop.py"),
        ("*.py", "/app/shop.py"),
    ],
)
def test_exclude_globs_take_files_and_folders_away(glob: str, path: str) -> None:
    assert not Watched(["/app"], exclude=[glob])(path)
    assert Watched(["/app"], exclude=[glob], include=["*.html"])("/app/other.html")


def test_an_exclude_glob_wins_over_an_include_glob() -> None:
    watched = Watched(["/app"], include=["*.html", "drafts/*.html"], exclude=["drafts"])
    assert watched("/app/page.html")
    assert not watched("/app/drafts/page.html")


def test_the_name_of_the_watched_folder_itself_excludes_nothing() -> None:
    assert Watched(["/tests"], exclude=["tests"])("/tests/shop.py")


@pytest.mark.parametrize("glob", [".", "./"])
def test_a_glob_that_cannot_match_is_refused(glob: str) -> None:
    with pytest.raises(ValueError, match="matches no file"):
        Watched(["/app"], include=[glob])
    with pytest.raises(ValueError, match="matches no file"):
        Watched(["/app"], exclude=[glob])
