// Node's cluster with its default round-robin: node node_cluster.js PORT WORKERS
'use strict';
const cluster = require('node:cluster');
const http = require('node:http');

const [port, workers] = process.argv.slice(2).map(Number);
const BODY = 'Hello, world!';
const FIELDS = { 'Content-Type': 'text/plain; charset=utf-8', 'Content-Length': BODY.length };

if (cluster.isPrimary) {
  for (let i = 0; i < workers; i++) cluster.fork();
  process.on('SIGTERM', () => process.exit(0)); // the workers follow when their channel closes
} else {
  http.createServer((request, response) => {
    response.writeHead(200, FIELDS);
    response.end(BODY);
  }).listen(port, '127.0.0.1');
}
