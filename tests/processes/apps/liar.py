"""An app that speaks to the master in its mold's place: it claims to have forked the process named in `victim.pid`."""

import json
import os
import socket
from pathlib import Path
from typing import Any

VICTIM = int(Path("victim.pid").read_text())


def say(name: str, **fields: Any) -> None:
    """Send a message through every channel that can be found."""
    for descriptor in map(int, os.listdir("/proc/self/fd")):
        try:
            found = socket.socket(fileno=os.dup(descriptor))
        except OSError:  # no socket
            continue
        with found:
            if found.type == socket.SOCK_SEQPACKET:
                found.send(json.dumps([name, fields]).encode())


say("Forked", serial=987654, pid=VICTIM)


async def app(scope: Any, receive: Any, send: Any) -> None:
    """It never serves."""
