"""The command `prefork`: its subcommands, and one clear line and an exit code for every error."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence

import click

from prefork import __version__
from prefork.cli.serve import serve
from prefork.errors import PreforkError

__all__ = ["command", "main"]

INTERRUPTED = 128 + 2  # what a shell reports for SIGINT


class Subcommands(click.Group):
    """Imports all of them only when another than `serve` is asked for: what a server does not need would delay its
    start, and stay with all its processes."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        from prefork.cli.subcommands import ALL

        return sorted(ALL)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name == serve.name:
            return serve
        from prefork.cli.subcommands import ALL

        return ALL.get(cmd_name)


@click.group(cls=Subcommands, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="%(prog)s %(version)s")
@click.pass_context
def command(context: click.Context) -> None:
    """A pre-fork HTTP server for Python apps."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help(), err=True)
        context.exit(2)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    0 done, 1 other errors, 2 usage, 3 the app cannot start, 4 an address cannot be bound.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # help holds ≥, which not every locale can print
    try:
        code = command.main(arguments, prog_name="prefork", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except click.ClickException as error:
        return _fail(error.format_message(), error.exit_code)
    except PreforkError as error:
        return _fail(str(error), getattr(error, "exit_code", 1))
    except click.Abort:
        return INTERRUPTED


def _fail(message: str, exit_code: int) -> int:
    click.echo(f"prefork: error: {' '.join(message.split())}", err=True)
    return exit_code
