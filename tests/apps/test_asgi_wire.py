"""What comes over the wire has the same outcome for an ASGI app: nothing that is no request reaches it."""

from pathlib import Path

import pytest

from prefork.apps.asgi import AsgiApplication
from prefork.settings import Settings
from prefork.web.asgi_types import Receive, Scope, Send
from tests.apps.asgi_server import body, start
from tests.http.server import App
from tests.http.test_wire import CASES, load, run


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_each_case_has_the_same_outcome(path: Path) -> None:
    data, expected, options = load(path)
    settings, rest = options.pop("settings", {}), options

    def noting(handled: list[str]) -> App:
        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            pieces, more = [], True
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return
                pieces.append(message["body"])
                more = message["more_body"]
            target = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
            content = b"".join(pieces).decode("latin-1")
            handled.append(f"{scope['method']} {target.decode()} {content}")
            await send(start())
            await send(body(b"answer"))

        return AsgiApplication(app, Settings(**settings, lifespan="off"))

    assert run([data], settings, make=noting, **rest) == expected
    assert run([data[at : at + 1] for at in range(len(data))], settings, make=noting, **rest) == expected
