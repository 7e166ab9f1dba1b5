"""The settings: declared once in `declared`, described by `describe`, read from their sources by `sources`."""

from prefork.settings.address import Address, InheritedAddress, TcpAddress, UnixAddress, parse_bind
from prefork.settings.declared import GROUPS, Settings
from prefork.settings.describe import SETTINGS, Setting
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
    "load",
    "parse_bind",
]
