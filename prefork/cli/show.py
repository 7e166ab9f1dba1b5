"""`prefork settings`: show every setting, its value and where it came from."""

from __future__ import annotations

from collections.abc import Mapping

import click
import msgspec

from prefork.cli.control import ask
from prefork.cli.options import SettingsCommand, load_settings
from prefork.errors import UsageError
from prefork.settings import GROUPS, SETTINGS, Loaded


@click.command(
    cls=SettingsCommand,
    params=[
        click.Option(["as_json", "--json"], is_flag=True, help="Print one JSON object."),
        click.Option(["--running"], is_flag=True, help="Those of a running server; --name or --control say which."),
    ],
)
def settings(as_json: bool, running: bool, **flags: object) -> None:
    """Show every setting, its value and where it came from; with --running those that a server runs with."""
    if running:
        _show_running(as_json, flags)
        return
    loaded = load_settings(flags)
    click.echo(_json(loaded) if as_json else _table(loaded))


def _show_running(as_json: bool, flags: Mapping[str, object]) -> None:
    given = {key: value for key, value in flags.items() if value not in (None, ())}
    for key in given.keys() - {"name", "control"}:
        raise UsageError(f"with --running, only --name and --control have a meaning, not {key}")
    name, control = given.get("name"), given.get("control")
    ask("settings", None if name is None else str(name), None if control is None else str(control), as_json, {})


def _json(loaded: Loaded) -> str:
    values = {"target": loaded.target, **msgspec.structs.asdict(loaded.settings)}
    values |= {name: setting.show(values[name]) for name, setting in SETTINGS.items() if setting.secret}
    found = {key: {"value": value, "origin": loaded.origin[key]} for key, value in values.items()}
    return msgspec.json.format(msgspec.json.encode(found), indent=2).decode()


def _table(loaded: Loaded) -> str:
    rows = {name: setting.show(getattr(loaded.settings, name)) for name, setting in SETTINGS.items()}
    rows["target"] = loaded.target or "none"
    first, second = max(map(len, rows)), max(map(len, rows.values()))
    groups = {"Target": ["target"]} | {
        title: [name for name, setting in SETTINGS.items() if setting.group == group] for group, title in GROUPS.items()
    }
    lines = []
    for title, names in groups.items():
        lines += ["", title, *(f"  {name:<{first}}  {rows[name]:<{second}}  {loaded.origin[name]}" for name in names)]
    return "\n".join(lines[1:])
