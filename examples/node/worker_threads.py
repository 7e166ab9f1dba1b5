"""worker_threads with a SharedArrayBuffer: `prefork serve worker_threads:app --app-dir examples/node`, beside
worker_threads.js. Open http://127.0.0.1:8000/mandelbrot/400.bmp in a browser.

Python's threads compute one at a time, so here the workers are processes: jobs, which write into memory that all see.
"""

import asyncio
import os
import struct

from prefork import App, HTTPError, Request, Response, children, offload

WORKERS = len(os.sched_getaffinity(0))
DEPTH = 64

app = App()


@app.get("/mandelbrot/{name}")
async def mandelbrot(request: Request) -> Response:
    """Each job takes the next row until none is left, and writes it where it belongs. No pixel is sent or copied."""
    stem, _, suffix = request.path_params["name"].partition(".")
    if suffix != "bmp" or not stem.isdecimal() or not 4 <= int(stem) <= 1000:
        raise HTTPError(404)
    size = int(stem) // 4 * 4  # rows of a bitmap are multiples of four bytes
    with children.SharedBuffer(size * size) as pixels:
        rows = children.SharedCounter()
        await asyncio.gather(*(offload(draw, size, rows, pixels) for _ in range(WORKERS)))
        return Response(bitmap(size, bytes(pixels.view)), content_type="image/bmp")


def draw(size: int, rows: children.SharedCounter, pixels: children.SharedBuffer) -> None:
    """In an offloader."""
    view = pixels.view
    while (y := rows.add() - 1) < size:
        view[y * size : (y + 1) * size] = bytes(depth(x / size * 3 - 2.2, y / size * 3 - 1.5) for x in range(size))


def depth(real: float, imaginary: float) -> int:
    c, z, count = complex(real, imaginary), 0j, 0
    while count < DEPTH and z.real * z.real + z.imag * z.imag <= 4:
        z, count = z * z + c, count + 1
    return count


def bitmap(size: int, pixels: bytes) -> bytes:
    """A picture of one byte a pixel, with DEPTH + 1 shades of grey."""
    palette = b"".join(
        bytes((shade, shade, shade, 0)) for shade in (count * 255 // DEPTH for count in range(DEPTH + 1))
    )
    start = 14 + 40 + len(palette)
    return (
        struct.pack("<2sIHHI", b"BM", start + len(pixels), 0, 0, start)
        + struct.pack("<IiiHHIIiiII", 40, size, size, 1, 8, 0, len(pixels), 2835, 2835, DEPTH + 1, 0)
        + palette
        + pixels
    )
