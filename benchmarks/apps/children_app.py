"""A heavy app in a worker: GET /SCENARIO/SECONDS measures in its handler, GET /hold/TOOL/COUNT starts some to stay."""

import json
from collections.abc import Awaitable

import children_heavy
import children_tools
from children_scenarios import SCENARIOS
from children_timing import Line

from prefork import App, Request, Response

app = App()
app.state.imported = children_heavy.TABLE  # what the mold has, and what is forked from it
MEASURED = {**SCENARIOS, **children_tools.SCENARIOS}


def answer(lines: list[Line]) -> Response:
    """As the programs print them."""
    return Response("".join(json.dumps(line) + "\n" for line in lines), content_type="application/jsonl")


async def answered(lines: Awaitable[list[Line]]) -> Response:
    """What a scenario has found, or why it has not."""
    try:
        return answer(await lines)
    except Exception as error:  # the harness prints it
        return Response(f"{error!r}", status=500)


@app.get("/hold/{tool}/{count:int}")
async def hold(request: Request) -> Response:
    """Start some, which stay, idle, until the server ends."""
    return await answered(children_tools.hold(request.path_params["tool"], request.path_params["count"]))


@app.get("/{scenario}/{seconds:int}")
async def measured(request: Request) -> Response:
    """The lines of a scenario."""
    return await answered(MEASURED[request.path_params["scenario"]](float(request.path_params["seconds"])))
