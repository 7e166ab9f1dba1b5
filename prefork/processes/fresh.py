"""A forked child in an interpreter of its own: nothing of the app is imported but what its target needs."""

import os
import pickle
import sys
from functools import partial
from multiprocessing import spawn

from prefork.children import home
from prefork.children.forks.life import live
from prefork.processes.forked import FreshStart
from prefork.system import log, named_memory, process
from prefork.system.channel import adopt


def main() -> None:
    """Descriptors in the arguments: the channel, the stacks file, and a file with a `FreshStart`."""
    channel, stacks, file = (int(word) for word in sys.argv[1:])
    with open(file, "rb") as opened:
        start: FreshStart = pickle.load(opened)
    process.die_with_parent(start.parent)
    for descriptor in (channel, stacks):
        os.set_inheritable(descriptor, False)
    if start.python_path is None:
        del os.environ["PYTHONPATH"]
    else:
        os.environ["PYTHONPATH"] = start.python_path
    named_memory.inherit(start.named)
    log_file = log.set_up(start.settings)
    log.identify("child", start.slot, start.generation)
    process.set_title(log.title("child", start.slot, start.generation))
    process.watch_end(stacks)
    home.use(start.settings)
    code = 1
    try:
        code = live(adopt(channel), partial(_prepare, start, log_file))
    finally:
        process.leave(code)


def _prepare(start: FreshStart, log_file: log.LogFile) -> None:
    spawn.prepare(start.preparation)
    log.serve_root(log_file, start.settings)


if __name__ == "__main__":
    main()
