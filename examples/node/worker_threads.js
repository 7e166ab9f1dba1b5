// The Node original of worker_threads.py: node examples/node/worker_threads.js
const { createServer } = require("node:http")
const { availableParallelism } = require("node:os")
const { Worker, isMainThread, workerData } = require("node:worker_threads")

const DEPTH = 64

function depth(real, imaginary) {
  let x = 0, y = 0, count = 0
  while (count < DEPTH && x * x + y * y <= 4) [x, y, count] = [x * x - y * y + real, 2 * x * y + imaginary, count + 1]
  return count
}

function bitmap(size, pixels) {
  const head = Buffer.alloc(54 + 4 * (DEPTH + 1))
  head.write("BM")
  head.writeUInt32LE(head.length + pixels.length, 2)
  head.writeUInt32LE(head.length, 10)
  const fields = [40, size, size, 1 | (8 << 16), 0, pixels.length, 2835, 2835, DEPTH + 1, 0]
  fields.forEach((field, index) => head.writeUInt32LE(field, 14 + 4 * index))
  for (let count = 0; count <= DEPTH; count++) head.fill(Math.floor((count * 255) / DEPTH), 54 + 4 * count, 57 + 4 * count)
  return Buffer.concat([head, pixels])
}

if (isMainThread)
  createServer(async (request, response) => {
    const size = Math.floor(Number(request.url.match(/^\/mandelbrot\/(\d+)\.bmp$/)?.[1]) / 4) * 4
    if (!(size >= 4 && size <= 1000)) return response.writeHead(404).end()
    const pixels = new SharedArrayBuffer(size * size)
    const rows = new SharedArrayBuffer(4)
    const worker = () =>
      new Promise((resolve, reject) => {
        new Worker(__filename, { workerData: { size, rows, pixels } }).on("exit", resolve).on("error", reject)
      })
    await Promise.all(Array.from({ length: availableParallelism() }, worker))
    response.setHeader("content-type", "image/bmp")
    response.end(bitmap(size, Buffer.from(pixels)))
  }).listen(process.env.PORT ?? 8000, "127.0.0.1", function () {
    console.log(this.address().port)
  })
else {
  const { size, rows, pixels } = workerData
  const view = new Uint8Array(pixels)
  const next = new Int32Array(rows)
  for (let y; (y = Atomics.add(next, 0, 1)) < size; )
    for (let x = 0; x < size; x++) view[y * size + x] = depth((x / size) * 3 - 2.2, (y / size) * 3 - 1.5)
}
