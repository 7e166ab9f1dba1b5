"""What every declared setting has beside its type: group, meaning, unit; and the sizes and times bounds are made of."""

from typing import Literal

from msgspec import Meta

GROUPS = {
    "processes": "Processes",
    "lifecycle": "Life of workers",
    "connections": "Connections",
    "http": "HTTP limits",
    "websocket": "WebSocket",
    "tls": "TLS",
    "proxy": "Behind a proxy",
    "app": "Application",
    "development": "Development",
    "offload": "Offload",
    "children": "Children",
    "operations": "Operations",
    "system": "User, folder and limits",
    "logging": "Logging and readiness",
}

KIB = 1024
MIB = 1024 * KIB
TIB = 1024 * 1024 * MIB

# Seconds, one week. Far above any sensible wait, and far below the 2^31 milliseconds that epoll_wait(2) can count.
LONGEST = 604_800


def about(
    group: str,
    text: str,
    unit: Literal["", "seconds", "bytes"] = "",
    items: str = "",
    forms: tuple[str, ...] = (),
    secret: bool = False,
) -> Meta:
    """What help and docs say of a setting. Values in `bytes` may be written with K, M, G or T; `items` is what a list
    is a list of; `forms` are what a number may be written as beside; what is `secret` is shown nowhere."""
    extra = {"group": group, "unit": unit, "items": items, "forms": forms, "secret": secret}
    return Meta(description=text, extra=extra)
