"""The commands that ask a running server, made from the command table: `prefork status`, `prefork reload`, others."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from prefork.cli import reports
from prefork.cli.tables import show, terminal_width
from prefork.control.client import ANSWER_SECONDS, Client
from prefork.control.finding import dial
from prefork.control.status import (
    ChildStatus,
    ConnectionsReport,
    Done,
    EventStatus,
    JobStatus,
    ServerStatus,
    StackStatus,
    WorkerStatus,
)
from prefork.control.table import COMMANDS, Argument, Command
from prefork.control.wire import check_arguments
from prefork.errors import CommandError, UsageError
from prefork.settings import load

FOLLOW_SECONDS = 0.25  # between two questions for events
RETURN_SECONDS = 1.0  # after an upgrade, for the new master to be there
SECONDS = {"upgrade": 3600.0}  # how long an answer may take: a boot takes as long as the app does

F = TypeVar("F", bound=Callable[..., Any])

# What a command's result is, and how it is shown.
SHOWN: dict[str, tuple[Any, Callable[[Any], str]]] = {
    "status": (ServerStatus, lambda found: reports.status(found, terminal_width())),
    "workers": (list[WorkerStatus], lambda found: reports.workers(found, terminal_width())),
    "connections": (ConnectionsReport, lambda found: reports.connections(found, terminal_width())),
    "jobs": (list[JobStatus], lambda found: reports.jobs(found, terminal_width())),
    "children": (list[ChildStatus], lambda found: reports.children(found, terminal_width())),
    "events": (list[EventStatus], reports.events),
    "stacks": (list[StackStatus], reports.stacks),
    "settings": (dict[str, Any], reports.settings),
}


def control_options(function: F) -> F:
    """Add --name and --control, which say which server is meant."""
    path = click.option("--control", metavar="PATH", help="Path of its control socket; @NAME for an abstract one.")
    name = click.option("--name", metavar="NAME", help="Which server, if several run here.")
    return name(path(function))


def connect(name: str | None, control: str | None, seconds: float = ANSWER_SECONDS) -> Client:
    """A connection to the server that is meant: by these flags, by PREFORK_NAME and PREFORK_CONTROL or the settings
    file of the current folder, or because it is the only one. Raises CommandError."""
    if name is None and control is None:
        name, control = _named_by_settings()
    return dial(name, control, os.environ, seconds)


def _named_by_settings() -> tuple[str | None, str | None]:
    try:
        loaded = load({}, os.environ, Path())
    except UsageError:  # another program's folder, or a file that is being edited
        return os.environ.get("PREFORK_NAME"), os.environ.get("PREFORK_CONTROL")
    given = {key: getattr(loaded.settings, key) for key in ("name", "control") if loaded.origin[key] != "default"}
    return given.get("name"), given.get("control")


def ask(command: str, name: str | None, control: str | None, as_json: bool, arguments: dict[str, object]) -> None:
    """Have a command done, and print what comes of it."""
    checked = check_arguments(command, arguments)
    with connect(name, control, SECONDS.get(command, ANSWER_SECONDS)) as client:
        answer = client.ask_raw(command, checked)
    result = json.loads(answer)["result"]
    if as_json:
        click.echo(json.dumps(result, indent=2))
        return
    kind, text = SHOWN.get(command, (Done, lambda found: found.done))
    show(text(msgspec.convert(result, kind)))


def make(command: Command) -> click.Command:
    """The subcommand of a command of the table."""

    def run(name: str | None, control: str | None, as_json: bool, **arguments: object) -> None:
        given = {key: value for key, value in arguments.items() if value is not None and value is not False}
        try:
            check_arguments(command.name, given)
        except CommandError as error:
            raise UsageError(str(error)) from None
        ask(command.name, name, control, as_json, given)

    options = click.option("as_json", "--json", is_flag=True, help="Print JSON.")(run)
    made = click.command(command.name, help=command.help)(control_options(options))
    made.params = [*(_parameter(argument) for argument in command.arguments), *made.params]
    return made


def _parameter(argument: Argument) -> click.Parameter:
    kind = click.Choice(argument.choices) if argument.choices else None
    if not argument.option:
        return click.Argument([argument.name], required=argument.required, type=kind or str)
    if argument.kind == "switch":
        return click.Option([f"--{argument.name}"], is_flag=True, help=argument.help)
    metavar = {"integer": "N", "share": "SHARE"}.get(argument.kind)
    return click.Option([f"--{argument.name}"], type=kind or str, metavar=metavar, help=argument.help)


def _events() -> click.Command:
    """`events`, which can follow."""
    made = make(COMMANDS["events"])
    plain = made.callback
    assert plain is not None

    def run(follow: bool, **more: Any) -> None:
        if follow:
            _follow(more["name"], more["control"], more["as_json"], more["since"], more["limit"])
        else:
            plain(**more)

    made.callback = run
    made.params.append(click.Option(["-f", "--follow"], is_flag=True, help="Go on with what comes, until interrupted."))
    return made


def _follow(name: str | None, control: str | None, as_json: bool, since: str | None, limit: str | None) -> None:
    """Print events as they come. After an upgrade, those of the new master."""
    client = connect(name, control)
    last = since
    arguments: dict[str, object] = check_arguments("events", {"since": since, "limit": limit})
    while True:
        try:
            found = msgspec.convert(json.loads(client.ask_raw("events", arguments))["result"], list[EventStatus])
        except CommandError:
            client.close()
            client, arguments = _connect_again(name, control), {"since": 0}
            continue
        for event in found:
            if as_json:
                click.echo(msgspec.json.encode(event).decode())
            else:
                show(reports.event(event))
            last = str(event.number)
        arguments = {"since": int(last or 0)}
        time.sleep(FOLLOW_SECONDS)


def _connect_again(name: str | None, control: str | None) -> Client:
    """To the master that has taken over, if there is one. Raises CommandError."""
    until = time.monotonic() + RETURN_SECONDS
    while True:
        try:
            return connect(name, control)
        except CommandError:
            if time.monotonic() >= until:
                raise CommandError("the server has ended") from None
            time.sleep(FOLLOW_SECONDS)


SUBCOMMANDS: list[click.Command] = [
    _events() if command.name == "events" else make(command)
    for command in COMMANDS.values()
    if command.name != "settings"  # `prefork settings --running`
]
