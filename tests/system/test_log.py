"""Log lines: who speaks, one line a record, and nothing a client sent can break out of its line."""

import json
import logging
import os
import re
import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefork.errors import UsageError
from prefork.settings import Settings
from prefork.system import log
from prefork.system.log import JsonFormatter, LogFile, TextFormatter

TEXT_LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} ([a-z]+) +(.+) \[(\d+)\] ([a-z.]+): (.*)")


@pytest.fixture(autouse=True)
def identity() -> Iterator[None]:
    log.identify("worker", 2, 5)
    yield
    log.identify("master")
    log.working_on(None, None)


def record(message: str, *arguments: object, error: BaseException | None = None, **extra: object) -> logging.LogRecord:
    info = (type(error), error, None) if error is not None else None
    made = logging.LogRecord("prefork.test", logging.WARNING, __file__, 1, message, arguments, info)
    vars(made).update(extra)
    return made


def text_lines(made: logging.LogRecord) -> list[str]:
    return TextFormatter().format(made).split("\n")


def test_a_text_line_says_who_speaks() -> None:
    (line,) = text_lines(record("%d connections", 3))
    found = TEXT_LINE.fullmatch(line)
    assert found is not None
    assert found.groups() == ("warning", "worker 2 g5", str(os.getpid()), "prefork.test", "3 connections")


def test_a_json_line_has_the_same_facts_as_fields() -> None:
    line = json.loads(JsonFormatter().format(record("%d connections", 3, signal="SIGKILL")))
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "warning",
        "role": "worker",
        "slot": 2,
        "generation": 5,
        "pid": os.getpid(),
        "logger": "prefork.test",
        "message": "3 connections",
        "signal": "SIGKILL",
    }


def test_the_process_title_carries_the_same_identity() -> None:
    assert log.title("worker", 2, 5) == "prefork worker 2 g5"
    assert log.title("mold", generation=5) == "prefork mold g5"
    assert log.title("master") == "prefork master"


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029"])
def test_a_line_break_in_a_message_cannot_forge_a_text_line(ending: str) -> None:
    forged = "2026-01-01 00:00:00.000 error   master [1] prefork: all is lost"
    lines = TextFormatter().format(record("client said %s", "x" + ending + forged)).splitlines()
    assert not [line for line in lines[1:] if not line.startswith("    ")]


def test_a_line_break_in_an_exception_cannot_forge_a_text_line() -> None:
    forged = ValueError("bad value x\n2026-01-01 00:00:00.000 error   master [1] prefork: all is lost")
    lines = text_lines(record("request failed", error=forged))
    assert len(lines) > 1
    assert not [line for line in lines[1:] if not line.startswith("    ")]


@given(st.text())
def test_a_text_line_shows_no_control_character_but_tabs(message: str) -> None:
    for line in text_lines(record("%s", message)):
        assert all(character.isprintable() or character == "\t" for character in line)


@given(st.text(st.characters()))
def test_any_message_is_one_json_line_and_reads_back(message: str) -> None:
    line = JsonFormatter().format(record("%s", message))
    assert "\n" not in line
    assert json.loads(line)["message"] == message.encode("utf-8", "replace").decode()


def test_quotes_and_braces_in_a_message_do_not_break_a_json_line() -> None:
    message = '"} {"level": "error'
    assert json.loads(JsonFormatter().format(record("%s", message)))["message"] == message


def test_a_json_line_holds_the_traceback_and_what_json_cannot_encode_as_text() -> None:
    line = json.loads(JsonFormatter().format(record("failed", error=ValueError("a\nb"), path=Path("/x"))))
    assert line["traceback"].endswith("ValueError: a\nb")
    assert line["path"] == "/x"


def test_a_log_file_gets_whole_lines_and_is_opened_anew_by_name(tmp_path: Path) -> None:
    path, rotated = tmp_path / "log", tmp_path / "log.1"
    handler = LogFile(str(path))
    handler.handle(record("before"))
    path.rename(rotated)
    handler.handle(record("still to the old one"))
    handler.reopen()
    handler.handle(record("after"))
    assert rotated.read_text() == "before\nstill to the old one\n"
    assert path.read_text() == "after\n"
    os.close(handler.descriptor)


def test_a_log_file_that_cannot_be_reopened_goes_on_with_the_old_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    handler = LogFile(str(folder / "log"))
    folder.rename(tmp_path / "moved")
    handler.reopen()
    handler.handle(record("not lost"))
    assert (tmp_path / "moved/log").read_text() == "not lost\n"
    assert "going on with the old one" in capsys.readouterr().err
    os.close(handler.descriptor)


def test_a_log_file_that_cannot_be_opened_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^cannot write the log file .*/no/log: no such file or directory$"):
        LogFile(str(tmp_path / "no/log"))


def test_a_reader_that_is_gone_does_not_end_the_server(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    handler = LogFile(str(tmp_path / "pipe"))
    os.close(reader)
    handler.handle(record("to nobody"))
    os.close(handler.descriptor)


def test_a_full_disk_is_told_on_standard_error_and_in_the_file_once_there_is_room(
    tmp_path: Path, full: Callable[[int], None], capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "log"
    handler = LogFile(str(path))
    handler.setFormatter(JsonFormatter())
    lost: list[None] = []
    handler.on_lost = lambda: lost.append(None)
    handler.handle(record("before"))
    full(path.stat().st_size + 20)  # within the next line
    for _ in range(3):
        handler.handle(record("lost"))
    assert len(lost) == 3
    assert capfd.readouterr().err == f"prefork: cannot write the log file {path}: file too large; lines are lost\n"
    full(resource.RLIM_INFINITY)
    handler.handle(record("after"))
    before, cut, told, after = path.read_text().splitlines()
    assert [json.loads(line)["message"] for line in (before, told, after)] == [
        "before",
        "3 lines before this one are lost: File too large",
        "after",
    ]
    assert len(cut) == 20
    os.close(handler.descriptor)


@pytest.fixture
def full() -> Iterator[Callable[[int], None]]:
    """Files cannot become longer than so many bytes: as with a full disk, a write is cut, and the next one fails."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda most: resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_records_below_the_level_are_not_written_and_the_root_is_left_to_the_app(tmp_path: Path) -> None:
    logger = logging.getLogger("prefork")
    before = logger.handlers, logger.level, logger.propagate
    try:
        handler = log.set_up(Settings(log_file=str(tmp_path / "log"), log_level="error", log_format="json"))
        logging.getLogger("prefork.x").warning("too mild")
        logging.getLogger("prefork.x").error("bad enough")
        (line,) = (tmp_path / "log").read_text().splitlines()
        assert json.loads(line)["message"] == "bad enough"
        assert handler not in logging.getLogger().handlers
        os.close(handler.descriptor)
    finally:
        logger.handlers, logger.level, logger.propagate = before


def test_a_dash_is_standard_error_and_never_reopened() -> None:
    handler = LogFile("-")
    handler.reopen()
    assert handler.descriptor == 2


@pytest.mark.parametrize(
    ("job", "request_id", "words", "fields"),
    [
        (17, "8f2c", " job 17 request 8f2c", {"job": 17, "request": "8f2c"}),
        (17, None, " job 17", {"job": 17}),
        (None, "8f2c", " request 8f2c", {"request": "8f2c"}),
        (None, None, "", {}),
    ],
)
def test_a_line_that_is_written_in_a_job_says_which_and_for_which_request(
    job: int | None, request_id: str | None, words: str, fields: dict[str, object]
) -> None:
    log.identify("offloader", 0, 1)
    log.working_on(job, request_id)
    (line,) = text_lines(record("hello"))
    assert line.endswith(f" offloader 0 g1 [{os.getpid()}]{words} prefork.test: hello")
    parsed = json.loads(JsonFormatter().format(record("hello")))
    assert {key: parsed[key] for key in ("job", "request") if key in parsed} == fields
    assert (parsed["role"], parsed["slot"], parsed["generation"]) == ("offloader", 0, 1)


def test_a_line_that_is_written_after_the_job_does_not_name_it() -> None:
    log.working_on(17, "8f2c")
    log.working_on(None, None)
    (line,) = text_lines(record("hello"))
    assert "job" not in line
    assert "job" not in json.loads(JsonFormatter().format(record("hello")))


def test_what_a_caller_says_of_a_job_goes_before_what_this_process_runs() -> None:
    log.working_on(17, None)
    assert json.loads(JsonFormatter().format(record("job 3 timed out", job=3)))["job"] == 3
