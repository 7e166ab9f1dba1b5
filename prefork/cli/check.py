"""`prefork check`: read the settings and import the app, as a dry run."""

from __future__ import annotations

import click

from prefork.cli.options import SettingsCommand, load_settings, need_target
from prefork.errors import BootError, PreforkError
from prefork.settings import SETTINGS


@click.command(cls=SettingsCommand)
def check(**flags: object) -> None:
    """Read the settings and import TARGET without serving it.

    Exit code 0: all is well; 2: a setting or the target is wrong; 3: importing the app failed.
    """
    loaded = load_settings(flags)
    target = need_target(loaded)
    # Here, because the master that `serve` becomes never loads the app layer.
    from prefork.apps.load import load
    from prefork.processes import surroundings
    from prefork.system.tracebacks import app_traceback

    settings = loaded.settings
    surroundings.set_umask(settings)
    surroundings.fill_environment(settings)
    surroundings.change_folder(settings)
    surroundings.limit_descriptors(settings)
    if settings.otel:
        from prefork.system import telemetry

        telemetry.check()
        telemetry.load()
    if settings.tls_cert:
        from prefork.system.tls import check as check_certificates

        check_certificates(settings)
    surroundings.drop(settings)  # as a server's processes do
    try:
        application = load(target, settings)
    except PreforkError:
        raise
    except (Exception, SystemExit) as error:  # whatever the app's own code raises, also sys.exit()
        click.echo(app_traceback(error), err=True, nl=False)
        raise BootError(f"{target}: importing the app raised {type(error).__name__}") from None
    surroundings.limit_memory(settings)
    click.echo(f"target    {target} ({loaded.origin['target']}): {application!r}")
    given = [f"{key} ({origin})" for key, origin in loaded.origin.items() if key in SETTINGS and origin != "default"]
    click.echo(f"settings  {', '.join(given) or 'all at their defaults'}")
    click.echo("ok")
