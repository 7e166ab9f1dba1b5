"""Sudoku on FastAPI: `prefork serve fastapi_sudoku:app --app-dir examples`, then open /docs.

Solving takes from milliseconds to seconds of pure Python. `await offload(solve, grid)` has it done in a process beside
the worker, so everybody else's requests and WebSockets stay quick. That is the one line that knows of prefork, and it
works under uvicorn too.
"""

from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException, Query, WebSocket, WebSocketDisconnect
from pydantic import BaseModel, StringConstraints

from prefork import offload

Grid = Annotated[str, StringConstraints(pattern=r"^[1-9.]{81}$")]
"""Nine rows of nine digits, one after the other; a dot is an empty cell."""

ROWS = [[9 * row + column for column in range(9)] for row in range(9)]
COLUMNS = [[9 * row + column for row in range(9)] for column in range(9)]
BOXES = [[9 * (row + i) + column + j for i in range(3) for j in range(3)] for row in (0, 3, 6) for column in (0, 3, 6)]
UNITS = ROWS + COLUMNS + BOXES
PEERS = [sorted({peer for unit in UNITS if cell in unit for peer in unit} - {cell}) for cell in range(81)]

PUZZLES = {
    "easy": "53..7....6..195....98....6.8...6...34..8.3..17...2...6.6....28....419..5....8..79",
    "hard": "4.....8.5.3..........7......2.....6.....8.4......1.......6.3.7.5..2.....1.4......",
    "cruel": "..............5.63..7.9.......3.8.....2...7...4.......3......85..9.7........2...4",
}


class Puzzle(BaseModel):
    grid: Grid


class Solution(BaseModel):
    grid: Grid
    guesses: int


class Check(BaseModel):
    """Cells, from 0 to 80, whose digit another cell in the same row, column or box has too."""

    conflicts: list[int]
    complete: bool


app = FastAPI(title="Sudoku")


def clues(puzzle: Puzzle) -> str:
    """A dependency: the puzzle's grid, which breaks no rule yet."""
    if conflicts(puzzle.grid):
        raise HTTPException(422, f"the cells {conflicts(puzzle.grid)} are in conflict")
    return puzzle.grid


@app.post("/solutions")
async def solution(grid: Annotated[str, Depends(clues)]) -> Solution:
    found = await offload(solve, grid)
    if found is None:
        raise HTTPException(422, "it has no solution")
    return Solution(grid=found[0], guesses=found[1])


@app.get("/puzzles/{name}")
async def puzzle(name: str) -> Puzzle:
    if name not in PUZZLES:
        raise HTTPException(404, f"there are only {', '.join(PUZZLES)}")
    return Puzzle(grid=PUZZLES[name])


@app.get("/check")
async def check(grid: Annotated[Grid, Query()]) -> Check:
    return checked(grid)


@app.websocket("/play")
async def play(socket: WebSocket) -> None:
    """Send the grid after each move, hear at once what is wrong with it."""
    await socket.accept()
    try:
        while True:
            try:
                move = Puzzle.model_validate_json(await socket.receive_text())
            except ValueError:
                await socket.send_json({"error": "send a grid of 81 digits or dots"})
            else:
                await socket.send_text(checked(move.grid).model_dump_json())
    except WebSocketDisconnect:
        pass


def checked(grid: str) -> Check:
    wrong = conflicts(grid)
    return Check(conflicts=wrong, complete=not wrong and "." not in grid)


def conflicts(grid: str) -> list[int]:
    return [cell for cell in range(81) if grid[cell] != "." and any(grid[cell] == grid[peer] for peer in PEERS[cell])]


def solve(grid: str) -> tuple[str, int] | None:
    """The first solution, and how many guesses it took; None when there is none."""
    guesses = 0

    def filled(cells: list[str]) -> list[str] | None:
        nonlocal guesses
        empty = [(len(options), cell, options) for cell in range(81) if (options := possible(cells, cell)) is not None]
        if not empty:
            return cells
        _, cell, options = min(empty)  # the cell with the fewest choices
        for digit in options:
            guesses += 1
            if done := filled([*cells[:cell], digit, *cells[cell + 1 :]]):
                return done
        return None

    done = filled(list(grid))
    return ("".join(done), guesses) if done else None


def possible(cells: list[str], cell: int) -> str | None:
    """The digits that may stand in an empty cell; None if it is filled."""
    if cells[cell] != ".":
        return None
    taken = {cells[peer] for peer in PEERS[cell]}
    return "".join(digit for digit in "123456789" if digit not in taken)
