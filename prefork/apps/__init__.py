"""Apps as the server runs them: loading a target, and one adapter for each kind of app."""

from prefork.apps.application import Application
from prefork.apps.load import load

__all__ = ["Application", "load"]
