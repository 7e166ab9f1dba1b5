// The Node original of exec_file.py: node examples/node/exec_file.js
const { execFile } = require("node:child_process")
const { createServer } = require("node:http")
const { promisify } = require("node:util")

const REPOSITORY = process.env.REPOSITORY ?? "."
const REVISION = /^[0-9A-Za-z][0-9A-Za-z._/~^-]*$/
const run = promisify(execFile)

async function git(...args) {
  const options = { cwd: REPOSITORY, timeout: 10_000, maxBuffer: 4 * 1024 * 1024 }
  return (await run("git", args, options)).stdout
}

async function answer(request, response) {
  const { pathname, searchParams } = new URL(request.url, "http://localhost")
  if (pathname === "/log") {
    const count = searchParams.get("count") ?? "20"
    if (!/^\d+$/.test(count)) return response.writeHead(422).end()
    const lines = await git("log", `--max-count=${count}`, "--format=%h%x09%an%x09%s")
    const entries = lines.trim().split("\n").map((line) => line.split("\t"))
    response.setHeader("content-type", "application/json")
    return response.end(JSON.stringify(entries.map(([revision, author, subject]) => ({ revision, author, subject }))))
  }
  const revision = decodeURIComponent(pathname.slice("/show/".length))
  if (!pathname.startsWith("/show/")) return response.writeHead(404).end()
  if (!REVISION.test(revision)) return response.writeHead(422).end()
  response.setHeader("content-type", "text/plain")
  response.end(await git("show", "--stat", "--format=%h %s", revision))
}

createServer((request, response) => {
  answer(request, response).catch((error) => {
    if (error.code === "ERR_CHILD_PROCESS_STDIO_MAXBUFFER") return response.writeHead(422).end()
    if (error.killed) return response.writeHead(504).end()
    response.writeHead(404).end(`git: status ${error.code}\n`)
  })
}).listen(process.env.PORT ?? 8000, "127.0.0.1", function () {
  console.log(this.address().port)
})
