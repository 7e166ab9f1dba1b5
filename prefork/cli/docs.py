"""Write the pages that are made from code, docs/settings.md and the lives of workers and jobs, or check them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from enum import Enum
from functools import partial
from pathlib import Path
from typing import TypeVar

import click

from prefork.cli.control_page import control_page
from prefork.cli.metrics_page import metrics_page
from prefork.core import job, lifecycle
from prefork.settings import GROUPS, SETTINGS, Setting

COMMAND = "python -m prefork.cli.docs"
HEADER = """\
# Settings

<!-- Written by `{command}` from prefork/settings/declared.py. Do not edit. -->

Every setting can be given in four places. The first that names it wins:

1. a flag: `prefork serve main:app --drain-seconds 10`
2. an environment variable: `PREFORK_DRAIN_SECONDS=10`; an empty one counts as not set
3. `prefork.toml` in the current folder, or the file named by `--config` or `PREFORK_CONFIG`: `drain_seconds = 10`
4. the table `[tool.prefork]` of `pyproject.toml` in the current folder

`prefork settings` shows what is in force and where it came from. An unknown key or a value out of bounds is an error
(exit code 2), also where a source of higher rank overrides it.

- A **switch** has two flags, `--preload` and `--no-preload`; a variable says `true` or `false` (also 1, 0, yes, no,
  on, off).
- A **size** is a number of bytes, or a text with K, M, G or T (powers of 1024): `16M`.
- A **list** repeats its flag, separates by commas in a variable, and is an array in a file.
- Times are in seconds and may have a fraction. Paths are relative to the current folder.
- The target itself may be given as the argument, as `PREFORK_TARGET`, or as the key `target`.

A whole `prefork.toml`:

```toml
target = "main:app"
bind = ["0.0.0.0:8000", "unix:/run/prefork.sock"]
workers = 4
max_body = "64M"
access_log = true
```
"""
TABLE = """
## {title}

| key | flag | variable | value | default | meaning |
| --- | --- | --- | --- | --- | --- |
"""


WORKER = """\
# The life of a worker

<!-- Written by `{command}` from prefork/core/lifecycle.py. Do not edit. -->

What a worker is, as far as the master was told, and what each event makes of it. An empty cell cannot happen: the
master would stop with an error that names both words, rather than guess.
"""
JOB = """\
# The life of a job

<!-- Written by `{command}` from prefork/core/job.py. Do not edit. -->

What a job is, as the worker that submitted it knows, and what each event makes of it. What is refused is never a job.
An empty cell cannot happen: news of a job that is over is dropped by its number.
"""
LIFE = """
```mermaid
stateDiagram-v2
    [*] --> {first}
{arrows}{ends}```

| state | {events} |
| --- |{rules}
{rows}"""

S = TypeVar("S", bound=Enum)
E = TypeVar("E", bound=Enum)


def settings_page() -> str:
    """The text of docs/settings.md."""
    parts = [HEADER.format(command=COMMAND)]
    for group, title in GROUPS.items():
        parts.append(TABLE.format(title=title))
        parts += [_row(setting) for setting in SETTINGS.values() if setting.group == group]
    return "".join(parts)


def worker_page() -> str:
    """The text of docs/lifecycle.md."""
    return WORKER.format(command=COMMAND) + _life(lifecycle.State, lifecycle.Event, lifecycle.MOVES)


def job_page() -> str:
    """The text of docs/jobs.md."""
    return JOB.format(command=COMMAND) + _life(job.State, job.Event, job.MOVES)


def _life(states: type[S], events: type[E], moves: Mapping[tuple[S, E], S]) -> str:
    """A table of moves as a diagram and a table. The first state is where a life begins."""

    def name(state: S) -> str:
        return str(state.value).replace(" ", "_")  # a diagram's names have no spaces

    def after(state: S, event: E) -> str:
        found = moves.get((state, event))
        return "" if found is None else str(found.value)

    left = {state for state, _ in moves}
    return LIFE.format(
        first=name(next(iter(states))),
        arrows="".join(
            f"    {name(state)} --> {name(found)}: {event.value}\n"
            for (state, event), found in moves.items()
            if found is not state
        ),
        ends="".join(f"    {name(state)} --> [*]\n" for state in states if state not in left),
        events=" | ".join(event.value for event in events),
        rules=" --- |" * len(events),
        rows="".join(
            f"| {state.value} | {' | '.join(after(state, event) for event in events)} |\n" for state in states
        ),
    )


def _row(setting: Setting) -> str:
    flag = f"`{setting.flag}`" + (f"<br>`{setting.off_flag}`" if setting.kind == "switch" else "")
    value = " or ".join(f"`{word}`" for word in setting.words)
    if setting.kind != "choice":
        unit = setting.unit if setting.kind == "number" else setting.kind
        value = ", or ".join(filter(None, [f"{unit} {setting.bounds}".strip(), value]))
    default = f"`{setting.show(setting.default)}`"
    cells = [f"`{setting.name}`", flag, f"`{setting.variable}`", value, default, setting.help]
    return f"| {' | '.join(cells)} |\n"


PAGES: dict[str, Callable[[], str]] = {
    "settings.md": settings_page,
    "lifecycle.md": worker_page,
    "jobs.md": job_page,
    "metrics.md": lambda: metrics_page(COMMAND),
    "control.md": partial(control_page, COMMAND),
}


@click.command()
@click.option("--check", is_flag=True, help="Write nothing; exit code 1 if a page is not up to date.")
@click.argument("folder", type=click.Path(path_type=Path), default=Path("docs"))
def main(check: bool, folder: Path) -> None:
    """Write the generated pages into FOLDER (docs)."""
    for name, page in PAGES.items():
        file = folder / name
        if not check:
            file.write_text(page(), encoding="utf-8")
        elif not file.exists() or file.read_text(encoding="utf-8") != page():
            click.echo(f"{file} does not match the code; run: {COMMAND}", err=True)
            sys.exit(1)


if __name__ == "__main__":
    main()
