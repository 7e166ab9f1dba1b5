"""Describe each setting from its declaration: kind, bounds, flag, variable and the words for them."""

from __future__ import annotations

from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from msgspec import Meta, Struct

from prefork.settings.about import KIB
from prefork.settings.declared import Settings

Kind = Literal["switch", "integer", "size", "number", "list", "text", "choice"]

KINDS: dict[object, Kind] = {bool: "switch", int: "integer", float: "number", list[str]: "list", str: "text"}
NOUNS: dict[Kind, str] = {
    "switch": "true or false",
    "integer": "a whole number",
    "size": "a size such as 512, 8K or 16M,",
    "number": "a number",
    "list": "a list of",
    "text": "a text that is not empty",
    "choice": "one of",
}
METAVARS: dict[Kind, str] = {"integer": "INTEGER", "size": "SIZE", "number": "FLOAT", "text": "TEXT"}
SINGULAR = {"addresses": "address"}  # the others lose their s
SUFFIXES = {"T": KIB**4, "G": KIB**3, "M": KIB**2, "K": KIB}


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting as help, docs and the readers of its sources see it.

    A number lies from `low` to `high`, `low` itself excluded if `above`. `words` are the words it takes: all there is
    to a choice, beside the numbers otherwise; of a number they may be forms, such as MIN:MAX. `type` is the declared
    annotation, bounds included; `items`: what a list holds.
    """

    name: str
    kind: Kind
    group: str
    unit: str
    items: str
    help: str
    default: object
    type: Any
    low: float | None
    high: float | None
    above: bool
    words: tuple[str, ...]
    secret: bool
    shortest: int  # of a text, in characters

    @property
    def flag(self) -> str:
        """Its command line flag: `--drain-seconds`."""
        return "--" + self.name.replace("_", "-")

    @property
    def off_flag(self) -> str:
        """The flag that turns a switch off: `--no-preload`."""
        return "--no-" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        """Its environment variable: `PREFORK_DRAIN_SECONDS`."""
        return "PREFORK_" + self.name.upper()

    @property
    def metavar(self) -> str:
        """What stands for its value in help: `FLOAT`, `INTEGER|auto`, `text|json`."""
        if self.kind == "list":
            return SINGULAR.get(self.items, self.items.removesuffix("s")).upper()
        return "|".join([METAVARS[self.kind], *self.words] if self.kind in METAVARS else self.words)

    @property
    def bounds(self) -> str:
        """Its bounds in words: `≥ 0.05 and ≤ 604800`, or nothing."""
        low = f"{'>' if self.above else '≥'} {self.show(self.low)}" if self.low is not None else ""
        high = f"≤ {self.show(self.high)}" if self.high is not None else ""
        return " and ".join(filter(None, [low, high]))

    @property
    def expected(self) -> str:
        """What a value must be, in words: `a whole number ≥ 1 and ≤ 1024, or auto`."""
        if self.kind == "choice":
            return f"{NOUNS['choice']} {', '.join(self.words)}"
        if self.kind == "list":
            return f"{NOUNS['list']} {self.items}" + (", at least one" if self.default else "")
        if self.kind == "text" and self.shortest > 1:
            return ", or ".join([f"a text of at least {self.shortest} characters", *self.words])
        noun = NOUNS[self.kind] + (f" of {self.unit}" if self.kind == "number" and self.unit else "")
        return ", or ".join([f"{noun} {self.bounds}".rstrip(), *self.words])

    def show(self, value: object) -> str:
        """A value of this setting as it could be written in a flag or variable; a secret is not shown."""
        if self.secret and value is not None:
            return "***"
        if isinstance(value, bool):
            return str(value).lower()
        if isinstance(value, int | float):
            for suffix, factor in SUFFIXES.items() if self.kind == "size" else ():
                if value and value % factor == 0:
                    return f"{int(value) // factor}{suffix}"
            return f"{value:.15g}"
        if isinstance(value, list):
            return ",".join(value)
        return "none" if value is None else str(value)


def describe(struct: type[Struct]) -> tuple[Setting, ...]:
    """The settings a struct declares, in its order. All its fields must have defaults and an `about()`."""
    defaults = struct()
    hints = get_type_hints(struct, include_extras=True)
    return tuple(_setting(name, hints[name], getattr(defaults, name)) for name in struct.__struct_fields__)


def _setting(name: str, hint: object, default: object) -> Setting:
    leaves, metas = _unfold(hint)
    extra = {key: value for meta in metas for key, value in (meta.extra or {}).items()}
    words = (*(leaf for leaf in leaves if isinstance(leaf, str)), *extra["forms"])
    kind: Kind = next((KINDS[leaf] for leaf in leaves if not isinstance(leaf, str) and leaf is not NoneType), "choice")
    return Setting(
        name=name,
        kind="size" if extra["unit"] == "bytes" else kind,
        group=extra["group"],
        unit=extra["unit"],
        items=extra["items"],
        help=next(meta.description for meta in metas if meta.description),
        default=default,
        type=hint,
        low=next((bound for meta in metas for bound in (meta.ge, meta.gt) if bound is not None), None),
        high=next((meta.le for meta in metas if meta.le is not None), None),
        above=any(meta.gt is not None for meta in metas),
        words=words,
        secret=extra["secret"],
        shortest=max((meta.min_length for meta in metas if meta.min_length is not None), default=0),
    )


def _unfold(hint: object) -> tuple[list[object], list[Meta]]:
    """The plain types and literal words an annotation is made of, and every Meta on the way to them."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        leaves, metas = _unfold(arguments[0])
        return leaves, [*metas, *arguments[1:]]
    if origin in (Union, UnionType):
        parts = [_unfold(argument) for argument in arguments]
        return [leaf for leaves, _ in parts for leaf in leaves], [meta for _, metas in parts for meta in metas]
    return (list(arguments), []) if origin is Literal else ([hint], [])


SETTINGS = {setting.name: setting for setting in describe(Settings)}
