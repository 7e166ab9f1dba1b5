"""The settings: declared once in `declared`, described by `describe`, read from their sources by `sources`."""

from prefork.settings.about import GROUPS
from prefork.settings.address import Address, InheritedAddress, TcpAddress, UnixAddress, parse_bind
from prefork.settings.declared import Settings
from prefork.settings.describe import SETTINGS, Setting
from prefork.settings.items import WorkerRange, parse_admin, parse_workers
from prefork.settings.sources import Loaded, load

__all__ = [
    "GROUPS",
    "SETTINGS",
    "Address",
    "InheritedAddress",
    "Loaded",
    "Setting",
    "Settings",
    "TcpAddress",
    "UnixAddress",
    "WorkerRange",
    "load",
    "parse_admin",
    "parse_bind",
    "parse_workers",
]
