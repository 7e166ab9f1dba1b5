// The Node original of spawn.py: node examples/node/spawn.js
const { spawn } = require("node:child_process")
const { createServer } = require("node:http")
const { createInterface } = require("node:readline")

const FILE = process.env.FILE ?? "/var/log/syslog"

createServer((request, response) => {
  if (request.url === "/gzip") {
    const child = spawn("gzip", ["-c"])
    child.on("error", () => response.writeHead(500).end())
    child.on("close", (code) => code === 0 || response.destroy()) // else half a file would look whole
    child.stdin.on("error", () => {}) // EPIPE when gzip has ended
    response.on("close", () => child.kill())
    response.setHeader("content-type", "application/gzip")
    request.pipe(child.stdin)
    child.stdout.pipe(response)
  } else {
    const child = spawn("tail", ["-n", "10", "-F", FILE])
    child.on("error", () => response.destroy())
    response.on("close", () => child.kill())
    response.setHeader("content-type", "text/event-stream")
    createInterface({ input: child.stdout }).on("line", (line) => response.write(`data: ${line}\n\n`))
  }
}).listen(process.env.PORT ?? 8000, "127.0.0.1", function () {
  console.log(this.address().port)
})
