// Piscina as a pool of one thread: node offload_piscina.js SCENARIO SECONDS [exit|kill]. Prints JSON lines.
// The file is both sides: the main thread measures, the thread of the pool runs the jobs.
// Values travel by structured clone; the array is not transferred, which would take it from the caller.
'use strict';
const { isMainThread } = require('node:worker_threads');
const { writeSync } = require('node:fs');

const TRIPS = 3000, TRIPS_WARM_UP = 300;
const ARRAYS = 100, ARRAYS_WARM_UP = 5, ARRAY_BYTES = 10_000_000;
const IN_FLIGHT = 64, WARM_UP_SECONDS = 0.5;
const CRASH_JOBS = 1000;
const crashes = (number) => number % 100 === 50;

const jobs = {
  empty: () => undefined,
  add: ([first, second]) => first + second,
  changedCopy: (array) => {
    const result = array.slice();
    result[0] += 1;
    return result;
  },
  squareOrCrash: ([number, how]) => {
    if (crashes(number)) {
      if (how === 'kill') process.kill(process.pid, 'SIGKILL'); // a crash in native code is of the process, too
      process.exit(1); // ends the thread only
    }
    return number * number;
  },
};

const now = () => Number(process.hrtime.bigint()) / 1e9;
const write = (line) => writeSync(1, JSON.stringify(line) + '\n'); // at once: the next job may kill this process
const median = (values) => {
  const sorted = values.toSorted((a, b) => a - b), middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
};

async function timed(call, right, most, warmUp, seconds) {
  for (let i = 0; i < warmUp; i++) await call();
  const times = [], end = now() + seconds;
  while (times.length < most && (!times.length || now() < end)) {
    const start = now();
    const result = await call();
    times.push(now() - start);
    if (!right(result)) throw new Error('wrong answer');
  }
  write({ value: median(times), count: times.length });
}

async function clients(pool, seconds) {
  const end = now() + seconds;
  const client = async (number) => {
    let answered = 0;
    for (; now() < end; answered++) {
      const result = await pool.run([number, answered], { name: 'add' });
      if (result !== number + answered) throw new Error('wrong answer');
    }
    return answered;
  };
  const counts = await Promise.all(Array.from({ length: IN_FLIGHT }, (_, number) => client(number)));
  return counts.reduce((sum, count) => sum + count, 0);
}

const scenarios = {
  'round-trip': (pool, seconds) => timed(
    () => pool.run(undefined, { name: 'empty' }), (result) => result === undefined, TRIPS, TRIPS_WARM_UP, seconds),
  'array': (pool, seconds) => {
    const sent = Float64Array.from({ length: ARRAY_BYTES / 8 }, (_, i) => i);
    const right = (result) => result.length === sent.length && result[0] === 1 && result.at(-1) === sent.at(-1);
    return timed(() => pool.run(sent, { name: 'changedCopy' }), right, ARRAYS, ARRAYS_WARM_UP, seconds);
  },
  'throughput': async (pool, seconds) => {
    await clients(pool, WARM_UP_SECONDS);
    const start = now(), count = await clients(pool, seconds);
    write({ value: count / (now() - start), count });
  },
  'crash': (pool, seconds, how) => {
    const one = async (number) => {
      let outcome;
      try {
        const result = await pool.run([number, how], { name: 'squareOrCrash' });
        outcome = result === number * number ? 'right' : 'other';
      } catch (error) {
        outcome = /exited/.test(error.message) ? 'crash' : 'other';
      }
      write({ crashing: crashes(number), outcome });
    };
    const late = new Promise((resolve) => setTimeout(resolve, seconds * 1000));
    return Promise.race([late, Promise.all(Array.from({ length: CRASH_JOBS }, (_, number) => one(number)))]);
  },
};

if (isMainThread) {
  const { Piscina } = require('piscina');
  const [scenario, seconds, how] = process.argv.slice(2);
  const pool = new Piscina({ filename: __filename, minThreads: 1, maxThreads: 1 });
  scenarios[scenario](pool, Number(seconds), how).then(
    () => process.exit(0),
    (error) => { console.error(error.message); process.exit(1); },
  );
} else {
  module.exports = jobs;
}
