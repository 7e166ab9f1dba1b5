"""Decide which files of an app are worth a reload when they change (--reload). Paths only: nothing is looked up."""

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Final

SUFFIX: Final = ".py"
# Folders whose files are not the app's own, wherever they lie; those of a virtual environment are in site-packages.
FOREIGN_FOLDERS: Final = (".*", "__pycache__", "node_modules", "site-packages")


class Watched:
    """The files to watch: *.py and `include` in or below `folders`, without `exclude`.

    A glob is compared with the end of a path, part by part: `*.html`, `static/*.css`. Excluded is also what lies below
    a folder that an exclude glob matches. An exclude glob wins over all; an include glob with a slash wins over the
    folders that are left out unasked.
    """

    def __init__(self, folders: Sequence[str], include: Sequence[str] = (), exclude: Sequence[str] = ()) -> None:
        """`folders` are absolute. Raises ValueError for a glob that cannot match, such as `.`."""
        self._folders = [PurePosixPath(folder) for folder in folders]
        self._include = [_checked(glob) for glob in include]
        self._exclude = [_checked(glob) for glob in exclude]

    def __call__(self, path: str) -> bool:
        """Whether a change of the file at this absolute path counts."""
        file = PurePosixPath(path)
        return any(folder in file.parents and self._counts(file, folder) for folder in self._folders)

    def _counts(self, file: PurePosixPath, folder: PurePosixPath) -> bool:
        between = [parent for parent in file.parents if folder in parent.parents]
        if any(part.match(glob) for part in (file, *between) for glob in self._exclude):
            return False
        matching = [glob for glob in self._include if file.match(glob) and (not _hidden(file.name) or _hidden(glob))]
        if any("/" in glob for glob in matching):
            return True
        if any(parent.match(glob) for parent in between for glob in FOREIGN_FOLDERS):
            return False
        return bool(matching) or (file.suffix == SUFFIX and not _hidden(file.name))


def _checked(glob: str) -> str:
    try:
        PurePosixPath("/file").match(glob)
    except ValueError as error:
        raise ValueError(f"{glob!r} matches no file: {error}") from None
    return glob


def _hidden(path: str) -> bool:
    """Whether the last part of a path or glob begins with a dot: an editor's own files do, next to yours."""
    return path.rpartition("/")[2].startswith(".")
