"""Dice on Quart: `prefork serve quart_dice:app --app-dir examples`, then open it.

It shows a page, JSON, a form, a streamed response, error responses and a WebSocket. An ordinary ASGI app: hypercorn and
uvicorn run it too.
"""

import random
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass

from quart import Quart, Response, jsonify, render_template_string, request, websocket
from werkzeug.exceptions import BadRequest, HTTPException

NOTATION = re.compile(r"([1-9]\d?)d([1-9]\d{0,3})([+-]\d{1,4})?")
MOST_ROLLS = 100_000

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Dice</title>
<style>body { font: 1rem system-ui; max-width: 30rem; margin: 2rem auto }</style>
<h1>Dice</h1>
<form method="post"><input name="dice" value="{{ dice }}"> <button>Roll</button></form>
{% if roll %}<p>{{ roll.dice }}: {{ roll.rolled|join(" + ") }} = <strong>{{ roll.total }}</strong></p>{% endif %}
<p>Or over a WebSocket: <input id="live" placeholder="3d6+1"> <output></output></p>
<script>
  const socket = new WebSocket(location.href.replace(/^http/, "ws") + "rolls");
  socket.onmessage = ({ data }) => document.querySelector("output").textContent = data;
  document.getElementById("live").onchange = (event) => socket.send(event.target.value);
</script>
"""

app = Quart(__name__)


@dataclass
class Roll:
    dice: str
    rolled: list[int]
    total: int


def roll(dice: str) -> Roll:
    """Roll `2d6+1`: two dice of six sides, and one more. Raises BadRequest."""
    match = NOTATION.fullmatch(dice.strip())
    if match is None:
        raise BadRequest(f"{dice!r} is no dice; try 2d6+1")
    rolled = [random.randint(1, int(match[2])) for _ in range(int(match[1]))]
    return Roll(match[0], rolled, sum(rolled) + int(match[3] or 0))


@app.get("/")
async def index() -> str:
    return await render_template_string(PAGE, dice="2d6")


@app.post("/")
async def roll_form() -> str:
    dice = (await request.form).get("dice", "")
    return await render_template_string(PAGE, dice=dice, roll=roll(dice))


@app.get("/rolls/<dice>")
async def roll_once(dice: str) -> Response:
    return jsonify(roll(dice))


@app.post("/rolls")
async def roll_several() -> Response:
    """JSON in, a list of dice; JSON out."""
    wanted = await request.get_json()
    if not isinstance(wanted, list) or not all(isinstance(dice, str) for dice in wanted):
        raise BadRequest("send a list of dice")
    return jsonify([roll(dice) for dice in wanted])


@app.get("/rolls/<dice>/<int:count>")
async def roll_many(dice: str, count: int) -> Response:
    """One total a line, sent while the rest is being rolled."""
    if count > MOST_ROLLS:
        raise BadRequest(f"at most {MOST_ROLLS} rolls")
    roll(dice)  # a mistake is answered with 400 while it can be

    async def lines() -> AsyncIterator[bytes]:
        for begin in range(0, count, 100):
            yield "".join(f"{roll(dice).total}\n" for _ in range(min(100, count - begin))).encode()

    return Response(lines(), content_type="text/plain")


@app.websocket("/rolls")
async def live() -> None:
    """Send dice, hear the total."""
    while True:
        dice = await websocket.receive()
        try:
            await websocket.send(str(roll(str(dice)).total))
        except BadRequest as error:
            await websocket.send(error.description)


@app.errorhandler(HTTPException)
async def problem(error: HTTPException) -> tuple[dict[str, str | None], int]:
    return {"error": error.description}, error.code or 500
