// The Node original of cluster.py: node examples/node/cluster.js
const cluster = require("node:cluster")
const { createServer } = require("node:http")

if (cluster.isPrimary) {
  let hits = 0
  const start = () => {
    const worker = cluster.fork()
    worker.on("message", ({ ask }) => worker.send({ answer: ask, hits: ++hits }))
  }
  const workers = Number(process.env.WORKERS ?? 4)
  for (let number = 0; number < workers; number++) start()
  cluster.on("exit", start) // at once and for ever, also when the code is broken
  let listening = 0
  cluster.on("listening", (worker, { port }) => ++listening === workers && console.log(port))
} else {
  const waiting = new Map()
  let number = 0
  process.on("message", ({ answer, hits }) => waiting.get(answer)?.(hits))
  createServer(async (request, response) => {
    if (request.url === "/crash") process.exit(1)
    const hits = await new Promise((resolve) => {
      waiting.set(++number, resolve)
      process.send({ ask: number })
    })
    waiting.delete(number)
    response.setHeader("content-type", "application/json")
    response.end(JSON.stringify({ worker: process.pid, "requests of all workers": hits }))
  }).listen(process.env.PORT ?? 8000, "127.0.0.1")
}
