"""User, folder, environment and limits of the processes of a server: what the master sets for all of them, and what
each of its own children does before anything of the app is imported."""

import logging
import os
import sys
from typing import Final

import msgspec

import prefork
from prefork.errors import UsageError
from prefork.settings import Settings
from prefork.settings.env_file import read_env_file
from prefork.system import process, reach
from prefork.system.identity import ROOT, Identity, acting_as, become, find_identity
from prefork.system.listeners import Listener
from prefork.system.log import LogFile, set_up
from prefork.system.owned_files import give_sockets, make_log_files
from prefork.system.pid_file import PidFile

LEAST_DESCRIPTORS: Final = 256  # a process needs about half of them for what is no connection

_log = logging.getLogger("prefork.system")


class Surroundings:
    """The master's: made before it opens anything."""

    def __init__(self, settings: Settings, taking_over_from: int | None = None) -> None:
        """Change folder and umask, limit descriptors. Raises UsageError for what is impossible here.

        `taking_over_from`: the pid of the master that this one is to follow (upgrade), which may have the pid file.
        """
        self.started_in = _working_folder()  # where a command line that is run once more has to be run
        # Molds use these anew, and by then we are in another folder.
        self.settings = settings = msgspec.structs.replace(
            settings,
            chdir=None if settings.chdir is None else os.path.abspath(settings.chdir),
            env_file=[os.path.abspath(path) for path in settings.env_file],
        )
        set_umask(settings)
        change_folder(settings)
        self._identity = find_identity(settings)
        if self._identity is not None and self._identity.uid != ROOT:
            reach.limit_to(self._identity.uid)
        limit_descriptors(settings)
        self.pid_file = None if settings.pid_file is None else PidFile(settings.pid_file)
        self._follows = taking_over_from is not None
        if self.pid_file is not None:
            self.pid_file.check(taking_over_from)

    def open_log(self) -> LogFile:
        """Make the log files, for the user who is to write them, and log there. Raises UsageError."""
        self._make_log_files()
        with acting_as(self._identity):
            log_file = set_up(self.settings)
            _warn_of_code(self._identity)
        return log_file

    def reopen_log(self, log_file: LogFile) -> None:
        """Log files were moved away: make new ones, before others of that user look for theirs."""
        try:
            self._make_log_files()
        except UsageError as error:
            _log.error("%s", error)
        with acting_as(self._identity):
            log_file.reopen()

    def bound(self, listeners: list[Listener]) -> None:
        """The server listens: give its socket files to the user, and write the pid file, which has to wait if another
        master has it. Raises UsageError; nothing stays open then."""
        try:
            if self._identity is not None:
                give_sockets(self._identity, listeners)
            if self.pid_file is not None and not self._follows:
                self.pid_file.write()
        except BaseException:
            for listener in listeners:
                listener.unlink()
                listener.close()
            raise

    def take_pid_file(self) -> None:
        """The master that had the pid file lets us have it."""
        try:
            if self.pid_file is not None:
                self.pid_file.write()
        except UsageError as error:
            _log.error("%s", error)

    def leave(self) -> None:
        """The server ends."""
        if self.pid_file is not None:
            self.pid_file.remove()

    def _make_log_files(self) -> None:
        settings = self.settings
        if self._identity is not None:
            access = [settings.access_log_file] if settings.access_log else []
            make_log_files(self._identity, [settings.log_file, *access])


def set_umask(settings: Settings) -> None:
    """What files that are made from now on do not permit."""
    if settings.umask is not None:
        os.umask(int(settings.umask, 8))


def change_folder(settings: Settings) -> None:
    """Change to --chdir, anew wherever a symbolic link there leads by now. Raises UsageError."""
    if settings.chdir is None:
        return
    try:
        os.chdir(settings.chdir)
    except OSError as error:
        raise UsageError(f"chdir = {settings.chdir}: {(error.strerror or str(error)).lower()}") from None


def fill_environment(settings: Settings) -> None:
    """Add what the env files have that the environment has not. Raises UsageError."""
    found: dict[str, str] = {}
    for path in settings.env_file:
        found |= read_env_file(path)
    for name, value in found.items():
        os.environ.setdefault(name, value)


def drop(settings: Settings) -> None:
    """Become --user, in a child that has read what only root may. Raises UsageError.

    Whoever wants to die with its parent has to say so once more: `process.die_with_parent`.
    """
    identity = find_identity(settings)
    if identity is None:
        return
    become(identity)
    _check_readable(settings, identity)


def limit_descriptors(settings: Settings) -> None:
    """Put --max-descriptors on this process and all that come of it. Raises UsageError."""
    most = settings.max_descriptors
    if not most:
        return
    if most < LEAST_DESCRIPTORS:
        raise UsageError(f"max_descriptors = {most}: must be 0 or ≥ {LEAST_DESCRIPTORS}")
    try:
        process.limit_descriptors(most)
    except (OSError, ValueError):
        raise UsageError(f"max_descriptors = {most}: the system allows fewer (ulimit -Hn, fs.nr_open)") from None


def limit_memory(settings: Settings) -> None:
    """Put --max-memory on this process, a worker. Raises UsageError when that is less than it has already."""
    if not settings.max_memory:
        return
    has = process.address_space_bytes()
    if has >= settings.max_memory:
        raise UsageError(
            f"max_memory = {settings.max_memory}: a worker has {has} bytes of address space before its first request"
        )
    process.limit_memory(settings.max_memory)


def _working_folder() -> str:
    try:
        return os.getcwd()
    except FileNotFoundError:
        raise UsageError("the working folder does not exist any more") from None


def _warn_of_code(identity: Identity | None) -> None:
    """Asked while we act as that user. The master imports as root, and so do molds until they have read what only root
    may."""
    if identity is None or identity.uid == ROOT:
        return
    folders = dict.fromkeys(os.path.realpath(path) for path in [*sys.path, os.path.dirname(prefork.__file__)])
    writable = [folder for folder in folders if os.access(folder, os.W_OK, effective_ids=True)]
    if writable:
        _log.warning("user %s may write to %s, where root imports code from", identity, ", ".join(writable))


def _check_readable(settings: Settings, identity: Identity) -> None:
    """Better said than found out: an app that may not be read seems not to exist."""
    folders = {
        os.path.abspath(settings.app_dir): "app_dir",
        os.path.dirname(prefork.__file__): "prefork",
        sys.prefix: "its Python environment",
        sys.base_prefix: "its Python",
    }
    for path, what in folders.items():
        if not identity.may_read(path):
            raise UsageError(f"user {identity} may not read {path} ({what}), or a folder that leads there")
    for path in settings.tls_key:
        if not identity.may_read(path):
            _log.info("user %s may not read the TLS key %s: after a renewal, reload (SIGHUP)", identity, path)
