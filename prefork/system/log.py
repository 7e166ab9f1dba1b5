"""Log lines that say which process speaks: role, slot, generation, pid; as text or JSON, one write each."""

import contextlib
import errno
import json
import logging
import os
import select
import stat
import sys
import time
from collections.abc import Callable
from typing import Final

from prefork.errors import UsageError
from prefork.settings import Settings

PIPE_BYTES: Final = 4096  # PIPE_BUF, pipe(7): what goes into a pipe as one piece
_STANDARD_FIELDS: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}

_identity: dict[str, object] = {"role": "master"}
_work: tuple[int | None, str | None] = (None, None)  # job and request


def identify(role: str, slot: int | None = None, generation: int | None = None) -> None:
    """Say who this process is; every line it logs from now on carries it."""
    _identity.clear()
    _identity["role"] = role
    if slot is not None:
        _identity["slot"] = slot
    if generation is not None:
        _identity["generation"] = generation


def identity() -> dict[str, object]:
    """Who this process is, as its lines say."""
    return dict(_identity)


def working_on(job: int | None, request: str | None) -> None:
    """Say which job this process runs, and for which request; every line it logs meanwhile carries both."""
    global _work
    _work = (job, request)


def title(role: str, slot: int | None = None, generation: int | None = None) -> str:
    """The same identity as a process title: `prefork worker 0 g1`."""
    words = ["prefork", role]
    if slot is not None:
        words.append(str(slot))
    if generation is not None:
        words.append(f"g{generation}")
    return " ".join(words)


class TextFormatter(logging.Formatter):
    """`2026-01-31 12:00:00.123 warning worker 0 g1 [123] prefork: message`

    In a job: `… offloader 0 g1 [123] job 17 request 8f2c… app.reports: message`
    """

    def format(self, record: logging.LogRecord) -> str:
        who = title(str(_identity["role"]), _number("slot"), _number("generation")).removeprefix("prefork ")
        work = "".join(f" {key} {value}" for key, value in _working_on().items())
        text = record.getMessage()
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.created))
        who = f"{record.levelname.lower():7} {who} [{os.getpid()}]{work}"
        return f"{when}.{int(record.msecs):03d} {who} {record.name}: {_escape(text)}"


class JsonFormatter(logging.Formatter):
    """One JSON object a line; what a caller passed as `extra` becomes a field of it."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": _iso(record.created),
            "level": record.levelname.lower(),
            **_identity,
            **_working_on(),
            "pid": os.getpid(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line.update(extra_fields(record))
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False).encode("utf-8", "replace").decode()


def extra_fields(record: logging.LogRecord) -> dict[str, object]:
    """What its caller passed as `extra`."""
    return {key: value for key, value in vars(record).items() if key not in _STANDARD_FIELDS}


class LogFile(logging.Handler):
    """Writes lines to a file, or to standard error for `-`. Each line is one write, so processes can share it.

    Nobody waits for a reader that stands still, and a full disk ends nothing: what cannot be written is lost, and told
    on standard error, by `on_lost`, and in the file itself once there is room again.
    """

    def __init__(self, path: str) -> None:
        super().__init__()
        self.on_lost: Callable[[], None] = lambda: None
        self._path = path
        self._descriptor = open_log(path, 2)
        self._lost = 0  # lines since the last that was written
        self._why = ""
        self._cut = False  # what was written last ends within a line

    def emit(self, record: logging.LogRecord) -> None:
        try:
            if self._lost:
                words = "%d lines before this one are lost: %s"
                details = (self._lost, self._why)
                self._write(logging.LogRecord("prefork.log", logging.WARNING, "", 0, words, details, None))
                self._lost = 0
            self._write(record)
        except OSError as error:
            self._lose(error.strerror or str(error))
        except Exception:
            self.handleError(record)

    def _write(self, record: logging.LogRecord) -> None:
        """Raises OSError."""
        line = ("\n" if self._cut else "") + self.format(record) + "\n"
        data = line.encode("utf-8", "backslashreplace")
        while data:
            if not self._takes_more():
                raise BlockingIOError(errno.EAGAIN, "nobody reads them")
            data = data[os.write(self._descriptor, data[:PIPE_BYTES] if self._may_block() else data) :]
            self._cut = bool(data)

    def _lose(self, why: str) -> None:
        self._lost += 1
        self._why = why
        if self._lost == 1 and self._path != "-":
            complain(f"cannot write the log file {self._path}: {why.lower()}; lines are lost")
        self.on_lost()

    def _may_block(self) -> bool:
        return not stat.S_ISREG(os.fstat(self._descriptor).st_mode)

    def _takes_more(self) -> bool:
        return takes_more(self._descriptor)

    def reopen(self) -> None:
        """Open the file anew by its name: it was rotated away."""
        self._descriptor = reopen_log(self._path, self._descriptor, 2)
        self._cut = False

    @property
    def descriptor(self) -> int:
        return self._descriptor


def takes_more(descriptor: int) -> bool:
    """Whether a write of PIPE_BYTES returns at once (poll(2): a pipe is writable when it has room for PIPE_BUF)."""
    waiting = select.poll()
    waiting.register(descriptor, select.POLLOUT)
    return bool(waiting.poll(0))


def complain(words: str) -> None:
    """Say on standard error what the log cannot say, if it takes that."""
    with contextlib.suppress(OSError):
        if takes_more(2):
            os.write(2, f"prefork: {words}\n".encode("utf-8", "backslashreplace")[:PIPE_BYTES])


def set_up(settings: Settings) -> LogFile:
    """Send prefork's loggers to the log file. Raises UsageError when it cannot be opened."""
    handler = LogFile(settings.log_file)
    handler.setFormatter(JsonFormatter() if settings.log_format == "json" else TextFormatter())
    logger = logging.getLogger("prefork")
    logger.handlers = [handler]
    logger.setLevel(settings.log_level.upper())
    logger.propagate = False
    return handler


def set_level(handler: logging.Handler, level: str) -> None:
    """Log from this level on; the app's loggers too, where they write where ours do and have no level of their own."""
    logging.getLogger("prefork").setLevel(level.upper())
    root = logging.getLogger()
    if handler in root.handlers:
        root.setLevel(level.upper())


def serve_root(handler: logging.Handler, settings: Settings) -> None:
    """When the app has been imported: let its loggers write where ours do, unless it has set up logging itself.

    Ours go on: `logging.config` disables each logger that it finds and is not told of.
    """
    for name, logger in logging.root.manager.loggerDict.items():
        if isinstance(logger, logging.Logger) and name.partition(".")[0] == "prefork":
            logger.disabled = False
    root = logging.getLogger()
    if not root.handlers:
        root.addHandler(handler)
        root.setLevel(settings.log_level.upper())


def open_log(path: str, standard: int) -> int:
    """A descriptor to append to; `standard` for `-`. Raises UsageError."""
    if path == "-":
        return standard
    try:
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise UsageError(f"cannot write the log file {path}: {(error.strerror or str(error)).lower()}") from error


def reopen_log(path: str, descriptor: int, standard: int) -> int:
    """The descriptor of `path` opened anew; the old one when that fails, which is said on standard error."""
    if path == "-":
        return descriptor
    try:
        fresh = open_log(path, standard)
    except UsageError as error:
        sys.stderr.write(f"prefork: {error}; going on with the old one\n")
        return descriptor
    os.close(descriptor)
    return fresh


def _working_on() -> dict[str, object]:
    return {key: value for key, value in zip(("job", "request"), _work, strict=True) if value is not None}


def _number(key: str) -> int | None:
    value = _identity.get(key)
    return value if isinstance(value, int) else None


def _escape(text: str) -> str:
    """Control characters made visible, further lines set in: what a client sent cannot forge a line."""
    if text.isprintable():
        return text
    visible = (c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)
    return "".join(visible).replace("\n", "\n    ")


def _iso(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{int(seconds % 1 * 1000):03d}Z"
