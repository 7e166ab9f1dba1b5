// The Node original of worker_messages.py: node examples/node/worker_messages.js
const { createServer } = require("node:http")
const { readFileSync, readdirSync } = require("node:fs")
const { text } = require("node:stream/consumers")
const { Worker, isMainThread, parentPort, workerData } = require("node:worker_threads")

const WORD = /[a-z]{2,}/g

if (isMainThread) {
  const worker = new Worker(__filename, { workerData: process.env.FOLDER ?? "docs" })
  const waiting = new Map() // grows without an end when the worker hangs
  let number = 0
  worker.on("message", ({ id, result }) => {
    waiting.get(id)(result)
    waiting.delete(id)
  })
  const call = (method, ...args) =>
    new Promise((resolve) => {
      waiting.set(++number, resolve)
      worker.postMessage({ id: number, method, args })
    })

  createServer(async (request, response) => {
    const { pathname, searchParams } = new URL(request.url, "http://localhost")
    if (pathname === "/search" && !searchParams.get("q")) return response.writeHead(422).end()
    const result =
      pathname === "/search"
        ? await call("search", searchParams.get("q"))
        : { words: await call("add", pathname.split("/")[2], await text(request)) }
    response.setHeader("content-type", "application/json")
    response.end(JSON.stringify(result))
  }).listen(process.env.PORT ?? 8000, "127.0.0.1", function () {
    console.log(this.address().port)
  })
} else {
  const found = new Map()
  const methods = {
    add(name, content) {
      const words = new Set(content.toLowerCase().match(WORD))
      for (const word of words) found.set(word, (found.get(word) ?? new Set()).add(name))
      return words.size
    },
    search(query) {
      const [first, ...others] = (query.toLowerCase().match(WORD) ?? []).map((word) => found.get(word) ?? new Set())
      return [...(first ?? [])].filter((name) => others.every((names) => names.has(name))).sort()
    },
  }
  for (const name of readdirSync(workerData))
    if (name.endsWith(".md")) methods.add(name, readFileSync(`${workerData}/${name}`, "utf8"))
  parentPort.on("message", ({ id, method, args }) => parentPort.postMessage({ id, result: methods[method](...args) }))
}
