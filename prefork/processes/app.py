"""What a mold or worker serves: the app; in development, what shows why it is not the app as it is now."""

import logging

from prefork.apps.application import Application
from prefork.apps.broken import BrokenApplication
from prefork.apps.load import load
from prefork.apps.overlay import Overlay
from prefork.processes.start import MoldStart

_log = logging.getLogger("prefork.worker")


def make_app(start: MoldStart) -> Application:
    """Import the app. Raises what `load` does."""
    if start.broken:
        return BrokenApplication(start.broken)
    if start.settings.otel:
        from prefork.system import telemetry  # here: without --otel nothing of it is imported

        telemetry.load()
    app = load(start.target, start.settings)
    if start.settings.otel:
        from prefork.apps.tracing import TracedApplication

        app = TracedApplication(app, start.settings, start.target.partition(":")[0])
    return Overlay(app) if start.settings.reload else app


def show_failure(app: Application, traceback: str) -> None:
    """Have pages show why the app's code cannot start; an empty text: it can."""
    if isinstance(app, Overlay | BrokenApplication):
        app.show(traceback)
        _log.debug("pages show why the code cannot start" if traceback else "pages are as the app makes them")
