"""Tell an error from where the app's own code begins."""

import asyncio
import importlib
import os
import traceback

import prefork

# Where code lies that is not the app's.
_FOREIGN = (*(os.path.dirname(str(module.__file__)) for module in (asyncio, importlib, prefork)), "<frozen ")


def app_traceback(error: BaseException) -> str:
    """The traceback of an error, without the frames that led into the app."""
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename.startswith(_FOREIGN):
        frames = frames.tb_next
    return "".join(traceback.format_exception(type(error), error, frames))
