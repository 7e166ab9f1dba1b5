"""Where control sockets are: in $XDG_RUNTIME_DIR/prefork, else in the abstract namespace (unix(7)), by server name.

An abstract name has no permissions, and anybody may take it: so both sides ask the kernel for the other's uid.
"""

import os
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

FOLDER: Final = "prefork"  # in $XDG_RUNTIME_DIR
SUFFIX: Final = ".sock"
NAME_CHARACTERS: Final = 64

_NOT_IN_NAMES: Final = re.compile(r"[^A-Za-z0-9._-]+")


def name_of(target: str) -> str:
    """What a server of this target is called, unless it is told: as its module."""
    module = target.partition(":")[0].rstrip("/").rpartition("/")[2]
    return _NOT_IN_NAMES.sub("-", module).strip("._-")[:NAME_CHARACTERS] or "app"


def runtime_folder(environment: Mapping[str, str], make: bool = False) -> Path | None:
    """The folder of the sockets, if there is one that is ours alone; `make` it if need be."""
    base = environment.get("XDG_RUNTIME_DIR", "")
    folder = Path(base, FOLDER)
    if not base.startswith("/") or not _is_own(Path(base), 0o022):  # nobody else may rename what is in it
        return None
    if make:
        try:
            folder.mkdir(0o700, exist_ok=True)
        except OSError:
            return None
    return folder if _is_own(folder, 0o077) else None


def path_in(folder: Path, name: str) -> str:
    """The path of a server's socket."""
    return str(folder / f"{name}{SUFFIX}")


def abstract(name: str) -> str:
    """Its abstract name, as an address to bind or connect to."""
    return f"\0prefork-{os.geteuid()}-{name}"


def show(address: str) -> str:
    """An address for people: abstract ones begin with @, as in ss(8)."""
    return address.replace("\0", "@", 1)


def parse(text: str) -> str:
    """An address that people have written."""
    return "\0" + text[1:] if text.startswith("@") else text


def known(environment: Mapping[str, str]) -> dict[str, str]:
    """The addresses of our user's servers by name, in order; some may have been left by servers that were killed."""
    found = dict(_abstract_names())
    folder = runtime_folder(environment)
    if folder is not None:
        paths = (path for path in folder.glob(f"*{SUFFIX}") if path.is_socket())
        found |= {path.name.removesuffix(SUFFIX): str(path) for path in paths}
    return dict(sorted(found.items()))


def _abstract_names() -> Iterator[tuple[str, str]]:
    """What listens there (proc(5), /proc/net/unix)."""
    prefix = f"@prefork-{os.geteuid()}-"
    try:
        lines = Path("/proc/net/unix").read_text(errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        fields = line.split(maxsplit=7)
        if len(fields) == 8 and fields[7].startswith(prefix) and int(fields[3], 16) & _LISTENS:
            yield fields[7].removeprefix(prefix), parse(fields[7])


_LISTENS: Final = 0x10000  # __SO_ACCEPTCON of the kernel


def _is_own(folder: Path, forbidden: int) -> bool:
    """Whether it is a folder of ours, and others have none of these permissions."""
    try:
        found = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & forbidden
