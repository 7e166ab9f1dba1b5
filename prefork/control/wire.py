"""The control protocol's lines: one JSON object each way, a request and its answer."""

import re
from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec import Struct, field

from prefork.control.table import COMMANDS, Argument
from prefork.errors import CommandError

LINE_BYTES: Final = 64 * 1024  # of a request; the longest that makes sense has a hundred
ANSWER_BYTES: Final = 8 * 1024 * 1024  # events and connections are bounded, and far below this

_SHARE: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(%?)")


class Request(Struct, forbid_unknown_fields=True):
    """`{"command": "reload", "arguments": {"canary": 0.1}}`"""

    command: str
    arguments: dict[str, object] = field(default_factory=dict)


_decoder = msgspec.json.Decoder(Request)


def read_request(line: bytes) -> tuple[str, dict[str, object]]:
    """The command in a line and its arguments, checked. Raises CommandError."""
    try:
        request = _decoder.decode(line)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise CommandError(f"this is no command, but a line such as {SAMPLE} is: {error}") from None
    return request.command, check_arguments(request.command, request.arguments)


def answer(result: object) -> bytes:
    """The line of a result. A CommandError becomes that of an error."""
    if isinstance(result, CommandError):
        return error(str(result))
    line = msgspec.json.encode({"result": result}, enc_hook=str) + b"\n"
    return line if len(line) <= ANSWER_BYTES else error("the answer is too large; ask for less")


def error(words: str) -> bytes:
    """The line that says why a command is not done."""
    return msgspec.json.encode({"error": " ".join(words.split())}) + b"\n"


def check_arguments(command: str, given: Mapping[str, object]) -> dict[str, object]:
    """The arguments of a command, each as the type that the table declares; what is not given is not in there. Raises
    CommandError."""
    declared = COMMANDS.get(command)
    if declared is None:
        raise CommandError(f"there is no command {command[:40]!r}; there are {', '.join(COMMANDS)}")
    known = {argument.name: argument for argument in declared.arguments}
    for name in given:
        if name not in known:
            names = ", ".join(known) or "none"
            raise CommandError(f"{command} has no argument {name[:40]!r}; it has {names}")
    checked = {name: _check(known[name], value) for name, value in given.items() if value is not None}
    for argument in declared.arguments:
        if argument.required and argument.name not in checked:
            raise CommandError(f"{command} needs {argument.name}: {argument.help}")
    return checked


def _check(argument: Argument, value: object) -> object:
    name = argument.name
    if argument.kind == "share":
        return _share(name, value)
    if argument.kind == "switch":
        if isinstance(value, bool):
            return value
        raise CommandError(f"{name} is true or false, not {value!r:.40}")
    if argument.kind == "text":
        text = value if isinstance(value, str) else str(value) if isinstance(value, int) else None
        if text is None or isinstance(value, bool) or not text or not text.isprintable():
            raise CommandError(f"{name} is a text, not {value!r:.40}")
        if argument.choices and text not in argument.choices:
            raise CommandError(f"{name} is one of {', '.join(argument.choices)}, not {text!r:.40}")
        return text
    number = value
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,18}", value):
        number = int(value)
    if isinstance(number, bool) or not isinstance(number, int) or number < 0:
        raise CommandError(f"{name} is a whole number, 0 or more, not {value!r:.40}")
    return number


def _share(name: str, value: object) -> float:
    """`10%`, `0.1` or 0.1 as 0.1."""
    share: float | None = None
    if isinstance(value, str) and (found := _SHARE.fullmatch(value.strip())):
        share = float(found[1]) / (100 if found[2] else 1)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        share = float(value)
    if share is None or not 0 < share < 1:
        raise CommandError(f"{name} is a share such as 10% or 0.1, above 0 and below 1, not {value!r:.40}")
    return share


SAMPLE: Final = '{"command": "status"}'
