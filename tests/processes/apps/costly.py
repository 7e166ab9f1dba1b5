"""An app that costs: what `/who` takes of memory it keeps, and while it computes its worker does nothing else."""

import os
import time

from prefork import App, Request

LEAK_BYTES = 1 << 20
BURN_SECONDS = 0.02

leaking, burning = App(), App()
held: list[bytes] = []


@leaking.get("/who")
async def leak(request: Request) -> str:
    held.append(b"x" * LEAK_BYTES)
    return str(os.getpid())


@burning.get("/who")
async def burn(request: Request) -> str:
    end = time.monotonic() + BURN_SECONDS
    while time.monotonic() < end:
        pass
    return str(os.getpid())
