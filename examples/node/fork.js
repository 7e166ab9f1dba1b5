// The Node original of fork.py: node examples/node/fork.js
const { fork } = require("node:child_process")
const { createServer } = require("node:http")

// -- in the child: this file again, for fork() starts a new Node

function add() {
  let count = 0
  let total = 0
  process.on("message", (lines) => {
    if (lines === null) return process.send({ count, total })
    for (const number of lines.split("\n").filter(Boolean)) (total += Number(number)), count++
  })
}

function findPrimes(below) {
  let found = 0
  for (let number = 2; number < below; number++) {
    let prime = true
    for (let divisor = 2; divisor * divisor <= number; divisor++) if (number % divisor === 0) prime = false
    found += prime
    if ((number + 1) % Math.max(1, Math.floor(below / 10)) === 0) process.send({ below: number + 1, primes: found })
  }
  process.disconnect()
}

if (process.argv[2] === "add") add()
else if (process.argv[2] === "primes") findPrimes(Number(process.argv[3]))
else
  createServer((request, response) => {
    if (request.url === "/sum") {
      const child = fork(__filename, ["add"])
      let rest = ""
      response.on("close", () => child.kill())
      child.on("error", () => response.writeHead(500).end())
      child.on("message", (result) => {
        response.setHeader("content-type", "application/json")
        response.end(JSON.stringify(result))
      })
      request.setEncoding("latin1")
      request.on("data", (piece) => {
        const text = rest + piece
        const end = text.lastIndexOf("\n") + 1
        rest = text.slice(end)
        child.send(text.slice(0, end)) // queues without an end when the child is slow
      })
      request.on("end", () => (child.send(rest), child.send(null)))
    } else {
      const child = fork(__filename, ["primes", request.url.split("/")[2]])
      response.on("close", () => child.kill())
      response.setHeader("content-type", "text/event-stream")
      child.on("message", (message) => response.write(`data: ${JSON.stringify(message)}\n\n`))
      child.on("exit", () => response.end())
    }
  }).listen(process.env.PORT ?? 8000, "127.0.0.1", function () {
    console.log(this.address().port)
  })
