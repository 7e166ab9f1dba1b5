"""All subcommands, by name."""

from typing import Final

import click

from prefork.cli.check import check
from prefork.cli.control import SUBCOMMANDS
from prefork.cli.serve import serve
from prefork.cli.show import settings
from prefork.cli.top import top

ALL: Final[dict[str, click.Command]] = {str(one.name): one for one in (serve, check, settings, top, *SUBCOMMANDS)}
