"""Write the pages that are made from code, docs/settings.md and docs/lifecycle.md, or check that they are fresh."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from prefork.core.lifecycle import MOVES, Event, State
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


LIFECYCLE = """\
# The life of a worker

<!-- Written by `{command}` from prefork/core/lifecycle.py. Do not edit. -->

What a worker is, as far as the master was told, and what each event makes of it. An empty cell cannot happen: the
master would stop with an error that names both words, rather than guess.

```mermaid
stateDiagram-v2
    [*] --> booting
{arrows}    gone --> [*]
```

| state | {events} |
| --- |{rules}
{rows}"""


def settings_page() -> str:
    """The text of docs/settings.md."""
    parts = [HEADER.format(command=COMMAND)]
    for group, title in GROUPS.items():
        parts.append(TABLE.format(title=title))
        parts += [_row(setting) for setting in SETTINGS.values() if setting.group == group]
    return "".join(parts)


def lifecycle_page() -> str:
    """The text of docs/lifecycle.md."""
    arrows = "".join(
        f"    {state.value} --> {after.value}: {event.value}\n"
        for (state, event), after in MOVES.items()
        if after is not state
    )
    rows = "".join(f"| {state.value} | {' | '.join(_after(state, event) for event in Event)} |\n" for state in State)
    events = " | ".join(event.value for event in Event)
    return LIFECYCLE.format(command=COMMAND, arrows=arrows, events=events, rules=" --- |" * len(Event), rows=rows)


def _after(state: State, event: Event) -> str:
    after = MOVES.get((state, event))
    return "" if after is None else after.value


def _row(setting: Setting) -> str:
    flag = f"`{setting.flag}`" + (f"<br>`{setting.off_flag}`" if setting.kind == "switch" else "")
    value = " or ".join(f"`{word}`" for word in setting.words)
    if setting.kind != "choice":
        unit = setting.unit if setting.kind == "number" else setting.kind
        value = ", or ".join(filter(None, [f"{unit} {setting.bounds}".strip(), value]))
    default = f"`{setting.show(setting.default)}`"
    cells = [f"`{setting.name}`", flag, f"`{setting.variable}`", value, default, setting.help]
    return f"| {' | '.join(cells)} |\n"


PAGES = {"settings.md": settings_page, "lifecycle.md": lifecycle_page}


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
