"""Derive the command line flags and their help from the declared settings."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from prefork.errors import UsageError
from prefork.settings import GROUPS, SETTINGS, Loaded, Setting, load

WIDTH = 100  # columns; help wider than this is hard to read


class SettingOption(click.Option):
    """The flag of one setting. It passes text on as it is: the settings' own reader checks every source alike."""

    def __init__(self, setting: Setting) -> None:
        switch, many = setting.kind == "switch", setting.kind == "list"
        super().__init__(
            [f"{setting.flag}/{setting.off_flag}" if switch else setting.flag, setting.name],
            default=() if many else None,
            multiple=many,
            metavar=None if switch else setting.metavar,
            help=f"{setting.help} [{'; '.join(notes(setting))}]",
        )
        self.group = setting.group


class SettingsCommand(click.Command):
    """A command that takes TARGET, --config and every setting, and shows them in groups."""

    def __init__(self, name: str | None, *, params: list[click.Parameter] | None = None, **more: Any) -> None:
        own: list[click.Parameter] = [
            click.Argument(["target"], required=False),
            click.Option(
                ["--config"],
                metavar="FILE",
                help="Settings file in TOML. [PREFORK_CONFIG; default: prefork.toml, if there is one]",
            ),
        ]
        settings = [SettingOption(setting) for setting in SETTINGS.values()]
        more["context_settings"] = {"max_content_width": WIDTH} | more.get("context_settings", {})
        super().__init__(name, params=[*own, *(params or []), *settings], **more)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the flags under their groups' titles."""
        sections: dict[str, list[tuple[str, str]]] = {title: [] for title in ("Options", *GROUPS.values())}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx) if isinstance(param, click.Option) else None
            if record is not None:
                sections[GROUPS[param.group] if isinstance(param, SettingOption) else "Options"].append(record)
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)


def notes(setting: Setting) -> list[str]:
    """What help says in brackets: unit, bounds, repeatable, variable, default."""
    unit = setting.unit if setting.kind == "number" else ""
    repeatable = "repeatable" if setting.kind == "list" else ""
    default = f"default: {setting.show(setting.default)}"
    return list(filter(None, [unit, setting.bounds, repeatable, setting.variable, default]))


def load_settings(flags: Mapping[str, object]) -> Loaded:
    """The settings for these flags, this process's environment and the current folder."""
    return load(flags, os.environ, Path())


def need_target(loaded: Loaded) -> str:
    """The target that some source named. UsageError if none did."""
    if loaded.target is None:
        raise UsageError(
            'which app? Give a target such as main:app, or set PREFORK_TARGET, or target = "main:app" in prefork.toml'
        )
    return loaded.target
