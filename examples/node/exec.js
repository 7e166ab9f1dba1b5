// The Node original of exec.py: node examples/node/exec.js
const { exec } = require("node:child_process")
const { createServer } = require("node:http")

const WORDS = "tr -cs A-Za-z '\\n' | tr A-Z a-z | grep . | sort | uniq -c | sort -k1,1rn -k2 | head -n 10"

createServer((request, response) => {
  const options = { env: { PATH: "/usr/bin:/bin", LC_ALL: "C" }, timeout: 5000, maxBuffer: 1024 * 1024 }
  const child = exec(WORDS, options, (error, stdout) => {
    if (error) return response.writeHead(error.killed ? 504 : 500).end()
    const lines = stdout.trim().split("\n").filter(Boolean).map((line) => line.trim().split(" "))
    response.setHeader("content-type", "application/json")
    response.end(JSON.stringify(Object.fromEntries(lines.map(([count, word]) => [word, Number(count)]))))
  })
  response.on("close", () => child.kill()) // the shell dies, what it has started goes on
  request.pipe(child.stdin)
}).listen(process.env.PORT ?? 8000, "127.0.0.1", function () {
  console.log(this.address().port)
})
