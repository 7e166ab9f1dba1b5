"""Turn one setting's text or file value into its typed value, bounds checked."""

from __future__ import annotations

import math
import re
from collections.abc import Callable

import msgspec

from prefork.settings.address import parse_bind
from prefork.settings.describe import SUFFIXES, Setting
from prefork.settings.items import check_token, parse_admin, parse_mount, parse_network, parse_workers

# What reads the items of a list: ValueError says what would be right. Lists of plain texts have none.
ITEMS: dict[str, Callable[[str], object]] = {
    "addresses": parse_bind,
    "networks": parse_network,
    "mounts": parse_mount,
}
# What reads a text that is more than that, by the setting's name. ValueError as above.
TEXTS: dict[str, Callable[[str], object]] = {
    "admin": parse_admin,
    "admin_token": check_token,
    "workers": parse_workers,
}
SWITCH = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
WHOLE = re.compile(r"[+-]?[0-9]{1,20}")
SIZE = re.compile(r"([0-9]{1,20})([KMGT]?)", re.IGNORECASE)


def from_text(setting: Setting, text: str) -> object:
    """The value a flag or variable spells; a list is separated by commas. ValueError says what would be right."""
    text = text.strip()
    return from_file(setting, text if text in setting.words else _spelled(setting, text))


def from_file(setting: Setting, value: object) -> object:
    """The value a TOML file or a caller gives; a size may be a text such as "16M". ValueError as above."""
    if setting.kind == "size" and isinstance(value, str):
        value = _spelled(setting, value.strip())
    try:
        value = msgspec.convert(value, setting.type)
    except msgspec.ValidationError:
        raise ValueError(f"must be {setting.expected}") from None
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"must be {setting.expected}")
    if isinstance(value, str):
        if setting.name in TEXTS:
            TEXTS[setting.name](value)
        return printable(value)
    if isinstance(value, list):
        _refuse_bad_items(value, ITEMS.get(setting.items))
    return value


def printable(text: str) -> str:
    """The text, if it can be printed and be a path. ValueError for control characters and undecodable bytes."""
    if not text.isprintable():
        raise ValueError("must be a text without control characters, in UTF-8")
    return text


def _spelled(setting: Setting, text: str) -> object:
    """The text as a plain value of the setting's kind, or unchanged where it spells none."""
    match setting.kind:
        case "switch":
            return SWITCH.get(text.lower(), text)
        case "integer" if WHOLE.fullmatch(text):
            return int(text)
        case "size" if match := SIZE.fullmatch(text):
            return int(match[1]) * SUFFIXES.get(match[2].upper(), 1)
        case "number":
            try:
                return float(text)
            except ValueError:
                return text
        case "list":
            return [item.strip() for item in text.split(",")] if text else []
    return text


def _refuse_bad_items(texts: list[str], read: Callable[[str], object] | None) -> None:
    seen = set()
    for text in texts:
        try:
            item = read(printable(text)) if read else printable(text)
        except ValueError as error:
            raise ValueError(f"holds {text!r}: {error}") from None
        if not text:
            raise ValueError("holds an empty text")
        if read and item in seen:
            raise ValueError(f"names {text!r} twice")
        seen.add(item)
