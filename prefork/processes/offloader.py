"""The offloader: a process that runs CPU-heavy jobs for one worker, one at a time. No event loop."""

from collections.abc import Callable
from typing import NoReturn

from prefork.jobs import client
from prefork.jobs.runner import Runner
from prefork.processes.owned_start import OwnedStart, begin_owned
from prefork.system import process
from prefork.system.channel import adopt
from prefork.system.tracebacks import app_traceback


def run_offloader(start: OwnedStart, prepare: Callable[[], None]) -> NoReturn:
    """The life of an offloader, in a fresh child. `prepare` imports what jobs need and is not there yet."""
    begin_owned(start)
    channel = adopt(start.channel)
    channel.setblocking(True)
    runner = Runner(channel, start.settings)
    client.forbid("offload() within a job: an offloader runs one job at a time; call the function itself")
    code = 0
    try:
        try:
            prepare()
            runner.start()
        except BaseException as error:
            runner.not_ready(app_traceback(error))
            process.leave(1)
        runner.serve()
        code = runner.stop()
    finally:
        process.leave(code)
