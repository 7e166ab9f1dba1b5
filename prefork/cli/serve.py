"""`prefork serve`: read the settings and become the master."""

from __future__ import annotations

import os

import click

from prefork.cli.options import SettingsCommand, load_settings, need_target


@click.command(cls=SettingsCommand)
def serve(**flags: object) -> int:
    """Serve TARGET, an app named as module:name or module:factory()."""
    from prefork.processes.takeover import telling_failure  # here, because the other commands need no server

    with telling_failure(os.environ) as over:
        loaded = load_settings(flags)
        target = need_target(loaded)
        from prefork.processes.master import run

        return run(loaded.settings, target, over)
