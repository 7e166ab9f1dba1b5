// Node's child_process.fork: node children_node.js SCENARIO SECONDS. Prints JSON lines.
// The file is both sides: with no arguments it is the child, which greets and sends back what it gets.
'use strict';
const { fork } = require('node:child_process');

const MESSAGE = 'a small message', WARM_UP = 200;

const now = () => Number(process.hrtime.bigint()) / 1e9;
const median = (values) => {
  const sorted = values.toSorted((a, b) => a - b), middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
};
const next = (child) => new Promise((resolve) => child.once('message', resolve));
const check = (found, wanted) => {
  if (found !== wanted) throw new Error(`${found} instead of ${wanted}`);
};

async function timed(call, seconds) {
  const times = [], end = now() + seconds;
  while (!times.length || now() < end) times.push(await call());
  console.log(JSON.stringify({ name: 'node', value: median(times), count: times.length }));
}

const scenarios = {
  message: async (seconds) => {
    const child = fork(__filename);
    await next(child);
    const call = async () => {
      const start = now();
      child.send(MESSAGE);
      const answer = await next(child);
      const took = now() - start;
      check(answer, MESSAGE);
      return took;
    };
    for (let i = 0; i < WARM_UP; i++) await call();
    await timed(call, seconds);
    child.disconnect();
  },
  fork: (seconds) => timed(async () => {
    const start = now();
    const child = fork(__filename);
    check(await next(child), child.pid);
    const took = now() - start;
    const gone = new Promise((resolve) => child.once('exit', resolve));
    child.disconnect();
    await gone;
    return took;
  }, seconds),
};

const [scenario, seconds] = process.argv.slice(2);
if (scenario) {
  scenarios[scenario](Number(seconds)).catch((error) => {
    console.error(error.message);
    process.exit(1);
  });
} else {
  process.on('message', (message) => process.send(message));
  process.send(process.pid);
}
