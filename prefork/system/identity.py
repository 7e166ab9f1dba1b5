"""The user and groups that a process runs as: found by name or number, and taken on for good or for a moment."""

import contextlib
import grp
import os
import pwd
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from prefork.errors import UsageError
from prefork.settings import Settings
from prefork.system import process

ROOT: Final = 0


@dataclass(frozen=True, slots=True)
class Identity:
    """A user with a group, and the further groups of initgroups(3). `name` and `home` are those of the user."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    name: str
    home: str

    def __str__(self) -> str:
        return self.name

    def may_read(self, path: str) -> bool:
        """Whether we may, who have become this user; of a folder, also whether we may go through it."""
        return os.access(path, os.R_OK | os.X_OK if os.path.isdir(path) else os.R_OK)


def find_identity(settings: Settings) -> Identity | None:
    """Who is to run the app; None: whoever we are. Raises UsageError for an unknown name, and where we cannot become
    that user."""
    if settings.user is None:
        return None
    identity = _look_up(settings.user, settings.group)
    if os.geteuid() == ROOT:
        return identity
    if (identity.uid, identity.gid) == (os.geteuid(), os.getegid()):
        return None
    group = f" with group {settings.group}" if settings.group is not None else ""
    raise UsageError(f"user = {settings.user}{group}: only root can become another user; we are {_name(os.geteuid())}")


def become(identity: Identity) -> None:
    """Be that user from now on; there is no way back. HOME, USER and LOGNAME are that user's. Raises UsageError.

    The kernel forgets with it whom we want to die with (prctl(2), PR_SET_PDEATHSIG): say so again afterwards.
    """
    try:
        os.setgroups(identity.groups)
        os.setresgid(identity.gid, identity.gid, identity.gid)
        os.setresuid(identity.uid, identity.uid, identity.uid)
    except OSError as error:
        raise _refused(identity, error) from None
    process.leave_terminal()  # root's
    process.allow_dumps()
    os.environ.update(HOME=identity.home, USER=identity.name, LOGNAME=identity.name)


@contextlib.contextmanager
def acting_as(identity: Identity | None) -> Iterator[None]:
    """Do something with that user's rights, as root: what that user could have put in our way, such as a symbolic link
    in the place of a log file, leads no further than that user could go. The process must have no threads. Raises
    UsageError."""
    if identity is None or os.geteuid() != ROOT:
        yield
        return
    groups = os.getgroups()
    gid = os.getegid()
    try:
        os.setgroups(identity.groups)
        os.setegid(identity.gid)
        os.seteuid(identity.uid)
    except OSError as error:
        raise _refused(identity, error) from None
    try:
        yield
    finally:
        os.seteuid(ROOT)
        os.setegid(gid)
        os.setgroups(groups)
        process.allow_dumps()


def _refused(identity: Identity, error: OSError) -> UsageError:
    """Root without its capabilities, as in some containers."""
    words = (error.strerror or str(error)).lower()
    return UsageError(f"user = {identity}: the system does not let us change our user (SETUID, SETGID): {words}")


def _look_up(user: str, group: str | None) -> Identity:
    try:
        entry = pwd.getpwuid(_number(user)) if user.isdecimal() else pwd.getpwnam(user)
    except KeyError:
        if not user.isdecimal():
            raise UsageError(f"user = {user}: there is no such user") from None
        if group is None:
            raise UsageError(f"user = {user}: no user has this number, so group has to be given too") from None
        return Identity(_number(user), _group(group), (), user, "/")
    gid = entry.pw_gid if group is None else _group(group)
    return Identity(entry.pw_uid, gid, tuple(os.getgrouplist(entry.pw_name, gid)), entry.pw_name, entry.pw_dir)


def _group(group: str) -> int:
    if group.isdecimal():
        return _number(group)
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        raise UsageError(f"group = {group}: there is no such group") from None


def _number(text: str) -> int:
    number = int(text) if len(text) <= 10 else 1 << 32
    if number >= (1 << 32) - 1:  # (uid_t) -1 means: no change
        raise UsageError(f"{text} is no number of a user or group: they end below {(1 << 32) - 1}")
    return number


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"
