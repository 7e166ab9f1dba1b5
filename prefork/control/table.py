"""The commands of a running server, declared once: the socket, the command line, the admin server and docs/control.md
are made from this table."""

from dataclasses import dataclass
from typing import Final, Literal

Access = Literal["read", "write"]
Kind = Literal["integer", "number", "text", "switch", "share"]


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of a command. `share` is part of a whole: 10% or 0.1. An `option` is a flag."""

    name: str
    kind: Kind
    help: str
    required: bool = False
    option: bool = False
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Command:
    """One command. `read` ones change nothing."""

    name: str
    access: Access
    help: str
    arguments: tuple[Argument, ...] = ()


SLOT: Final = Argument("slot", "integer", "Slot of a worker.", required=True)

COMMANDS: Final[dict[str, Command]] = {
    command.name: command
    for command in (
        Command("status", "read", "Show the server: workers, connections, jobs."),
        Command("workers", "read", "Show the workers."),
        Command(
            "connections",
            "read",
            "Show requests in flight and open connections.",
            (Argument("requests", "switch", "Only requests in flight, which no worker is asked for.", option=True),),
        ),
        Command("jobs", "read", "Show offloaded jobs and calls of actors that wait or run."),
        Command("children", "read", "Show offloaders, programs, forks and actors."),
        Command("settings", "read", "Show the settings the server runs with."),
        Command(
            "events",
            "read",
            "Show what the master did and saw, the latest last.",
            (
                Argument("since", "integer", "Only events with a greater number.", option=True),
                Argument("limit", "integer", "At most so many.", option=True),
            ),
        ),
        Command(
            "reload",
            "write",
            "Import the app afresh and replace the workers, one by one.",
            (Argument("canary", "share", "First give that share of connections to the new code.", option=True),),
        ),
        Command("upgrade", "write", "Start a new master with new code, which takes the listeners over."),
        Command("scale", "write", "Want so many workers.", (Argument("workers", "text", "N, or MIN:MAX.", True),)),
        Command("retire", "write", "Replace a worker: another is ready before it drains.", (SLOT,)),
        Command("kill", "write", "Kill a worker (SIGKILL); its slot gets another.", (SLOT,)),
        Command(
            "stacks",
            "write",
            "Show the Python stacks of workers and their offloaders, also of blocked ones.",
            (Argument("slot", "integer", "Slot of a worker; all without."),),
        ),
        Command("drain", "write", "Say no at /readyz and go on serving, until told to stop."),
        Command(
            "stop", "write", "Finish open requests, then end.", (Argument("fast", "switch", "Cut them.", option=True),)
        ),
        Command(
            "log-level",
            "write",
            "Log from this level on.",
            (
                Argument(
                    "level",
                    "text",
                    "The least severe level.",
                    True,
                    choices=("debug", "info", "warning", "error", "critical"),
                ),
            ),
        ),
    )
}
