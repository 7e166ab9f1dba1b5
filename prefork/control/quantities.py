"""Numbers as people read them in a narrow column."""

_UNITS = ((1 << 40, "T"), (1 << 30, "G"), (1 << 20, "M"), (1 << 10, "k"))


def count(number: float | None) -> str:
    """`0`, `3.5`, `1,234`, `12.3k`, `4.5M`."""
    if number is None:
        return "-"
    if number >= 999_950:
        return f"{number / 1e6:.1f}M"
    if number >= 9_999.5:
        return f"{number / 1e3:.1f}k"
    if number >= 10 or number == int(number):
        return f"{round(number):,}"
    return f"{number:.1f}"


def duration(seconds: float | None) -> str:
    """`250us`, `1.2ms`, `45ms`, `2.5s`, `3m04s`, `5h12m`, `2d03h`."""
    if seconds is None:
        return "-"
    if seconds <= 0:
        return "0ms"
    if seconds < 0.0009995:
        return f"{max(1, round(seconds * 1e6))}us"
    if seconds < 0.00995:
        return f"{seconds * 1e3:.1f}ms"
    if seconds < 0.9995:
        return f"{round(seconds * 1e3)}ms"
    if seconds < 9.95:
        return f"{seconds:.1f}s"
    if seconds < 59.5:
        return f"{round(seconds)}s"
    whole = int(seconds + 0.5)
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02}h"


def percent(share: float) -> str:
    """A share as people write it: `10%`, `0.5%`."""
    return f"{share * 100:.10g}%"


def size(number: int | None) -> str:
    """`512B`, `1.5M`, `200M`, `1.2G`."""
    if number is None:
        return "-"
    for unit, letter in _UNITS:
        if number >= unit:
            return f"{number / unit:.1f}{letter}" if number < 10 * unit else f"{round(number / unit)}{letter}"
    return f"{number}B"
