"""An app that logs in its own name."""

import logging


async def app(request: object) -> str:
    logging.getLogger("shop.orders").warning("said by the app")
    return "done"
