"""Read the NAME=value lines of an env file. Nothing is expanded, and no error tells a value."""

from __future__ import annotations

import re
from pathlib import Path

from prefork.errors import UsageError

_LINE = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*)", re.DOTALL)
_SINGLE = re.compile(r"'([^']*)'\s*(?:#.*)?")
_DOUBLE = re.compile(r'"((?:[^"\\]|\\.)*)"\s*(?:#.*)?')
_COMMENT = re.compile(r"(^|\s+)#.*")  # after a value without quotes; `a#b` is a value
_ESCAPE = re.compile(r"\\(.)")
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r", '"': '"', "\\": "\\", "$": "$", "`": "`"}


def read_env_file(path: str) -> dict[str, str]:
    """The variables of a file. Raises UsageError naming the file, and the line if one is wrong."""
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UsageError(f"env_file: cannot read {path}: {(error.strerror or str(error)).lower()}") from None
    except UnicodeDecodeError:
        raise UsageError(f"env_file: {path} is not UTF-8") from None
    return parse_env(text, path)


def parse_env(text: str, name: str) -> dict[str, str]:
    """The variables of a text: the last line counts for each. Raises UsageError with `name` and the line's number."""
    found: dict[str, str] = {}
    for number, line in enumerate(text.split("\n"), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        try:
            key, value = _assignment(line)
        except ValueError as error:
            raise UsageError(f"env_file: {name}, line {number}: {error}") from None
        found[key] = value
    return found


def _assignment(line: str) -> tuple[str, str]:
    """Raises ValueError."""
    match = _LINE.fullmatch(line)
    if match is None:
        raise ValueError("write NAME=value, the name of letters, digits and underscores")
    key, written = match.groups()
    if "\0" in written:
        raise ValueError(f"the value of {key} holds a zero byte")
    return key, _value(key, written)


def _value(key: str, written: str) -> str:
    if written.startswith("'"):
        match = _SINGLE.fullmatch(written)
        if match is None:
            raise ValueError(f"the value of {key} begins with a single quote and must end with one, on the same line")
        return match[1]
    if written.startswith('"'):
        match = _DOUBLE.fullmatch(written)
        if match is None:
            raise ValueError(f"the value of {key} begins with a double quote and must end with one, on the same line")
        return _ESCAPE.sub(lambda escape: _ESCAPED.get(escape[1], escape[0]), match[1])
    return _COMMENT.sub("", written, count=1)
