"""A prefork App that serves the same files as a part of itself: routes and middleware could stand beside them."""

from pathlib import Path

from prefork import App

app = App()
app.static("/static", Path(__file__).resolve().parent.parent / ".peers" / "files" / "static")
