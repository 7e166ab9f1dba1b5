"""Types of command-line values that both scripts take."""

from argparse import ArgumentTypeError
from collections.abc import Callable, Sequence


def positive(word: str) -> int:
    """A whole number from 1."""
    if not word.isdigit() or int(word) < 1:
        raise ArgumentTypeError(f"{word!r} is not a whole number from 1")
    return int(word)


def names(known: Sequence[str]) -> Callable[[str], list[str]]:
    """A list of known names, separated by commas, in the order given."""

    def parse(word: str) -> list[str]:
        chosen = [name.strip() for name in word.split(",") if name.strip()]
        unknown = [name for name in chosen if name not in known]
        if unknown or not chosen:
            raise ArgumentTypeError(f"unknown: {', '.join(unknown) or repr(word)}; known: {', '.join(known)}")
        return list(dict.fromkeys(chosen))

    return parse
