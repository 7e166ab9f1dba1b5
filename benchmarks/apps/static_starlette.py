"""Starlette's static files as an app of their own: /static is a folder in theirs, so that no router costs them more."""

from pathlib import Path

from starlette.staticfiles import StaticFiles

app = StaticFiles(directory=Path(__file__).resolve().parent.parent / ".peers" / "files")
