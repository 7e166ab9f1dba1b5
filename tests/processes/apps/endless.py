"""An app that never comes up: `factory()` blocks the import, `app` its start-up hook."""

import time

from prefork import App

app = App()


@app.on_startup
async def wait() -> None:
    time.sleep(3600)  # noqa: ASYNC251 (it is the fault)


def factory() -> App:
    time.sleep(3600)
    return app
