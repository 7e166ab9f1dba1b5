"""What all tests share: hypothesis without a stop-watch, which a busy machine would trip, and our own bytecode."""

import compileall
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("prefork", deadline=None)
settings.load_profile("prefork")


@pytest.fixture(scope="session", autouse=True)
def _compiled() -> None:
    """Have what an installation has. Servers under test write no bytecode, and each of these hundreds would compile all
    of prefork, half of it in its master and half in its mold."""
    compileall.compile_dir(Path(__file__).parents[1] / "prefork", quiet=1)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Reports travel between the processes that tests run in, as UTF-8; what a test has logged may be none."""
    report = yield
    report.sections = [(title, text.encode("utf-8", "backslashreplace").decode()) for title, text in report.sections]
    return report
