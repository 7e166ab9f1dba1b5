// Everything that is not a chart: head, tiles, workers, balance, lists, events.
"use strict";

const ROWS = 100; // of requests and jobs; there may be thousands
const LINES = 200; // of events that are drawn; more are searched
const RECENT_SECONDS = 15; // for how long a death stays on top of the page
const MEAN_SECONDS = 3, BALANCE_SECONDS = 10; // rates of one second jump

// -- sums

const lastOf = (samples, seconds) => {
  const end = samples.at(-1)?.at ?? 0;
  let from = samples.length;
  while (from > 0 && end - samples[from - 1].at < seconds - 0.5) from--;
  return samples.slice(from);
};

function rateOf(samples, slot, seconds) {
  const seen = lastOf(samples, seconds).map((sample) => sample.slots?.[slot]?.requests).filter((rate) => rate != null);
  return seen.length ? seen.reduce((a, b) => a + b, 0) / seen.length : null;
}

const stateOf = (worker) => (worker.retiring && worker.state === "ready" ? "retiring" : worker.state);
const held = (worker) => worker.state === "stalled"; // its loop does not turn

// -- head

function showHead({ status }) {
  write($("name"), status.name);
  write($("state"), status.upgrading ? "upgrading" : status.state);
  mark($("state"), "state", status.state);
  const facts = [
    ["", status.target], ["generation", status.generation], ["up", duration(status.now - status.started_at)],
    ["pid", status.pid], ["on", status.addresses.join(", ")], ["prefork", status.version],
  ];
  list($("facts"), facts, () => element("span"), (node, [word, value]) => {
    if (!node.children.length) node.append("", element("b"));
    if (node.firstChild.data !== word + " ") node.firstChild.data = word ? word + " " : "";
    write(node.lastChild, String(value));
  });
  const sick = status.workers.filter(held).length;
  const sign = sick || status.state !== "ready" ? "▲ " : "";
  const title = `${sign}${status.name} · ${sick ? many(sick, "worker") + " stalled" : status.state}`;
  if (document.title !== title) document.title = title;
}

// -- what is wrong now

function troubles({ status, requests, events }) {
  const found = [];
  const ready = status.workers.filter((worker) => worker.state === "ready");
  if (!ready.length && status.state === "ready") found.push(["bad", "No worker is ready: connections wait."]);
  for (const worker of status.workers.filter(held)) {
    const oldest = requests.filter((one) => one.pid === worker.pid).sort((a, b) => b.age - a.age)[0];
    const what = oldest ? ` Oldest request: ${oldest.request}, for ${duration(oldest.age)}.` : "";
    found.push(["bad", `Worker ${worker.slot} (pid ${worker.pid}) is stalled: its event loop has not turned for ${duration(worker.beat_age)}.${what}`]);
  }
  for (const event of events.slice(-50)) {
    if (Math.abs(status.now - event.at) < RECENT_SECONDS && markOf(event)?.kind === "died") {
      found.push(["bad", `${clock(event.at)}  ${event.text.split("\n", 1)[0]}`]);
    }
  }
  if (status.connections.waiting) found.push(["warn", `${many(status.connections.waiting, "connection")} accepted, and no worker may take more.`]);
  if (status.canary) {
    const { generation, share, left } = status.canary;
    found.push(["warn", `Canary: generation ${generation} gets ${percent(share)} of connections; verdict in ${duration(left)}.`]);
  }
  if (status.upgrading) found.push(["warn", "An upgrade is going on: a new master starts."]);
  return found.slice(0, 6);
}

function showTroubles(model) {
  const found = troubles(model);
  // Read aloud when it changes; so without the ages, which always do.
  write($("announced"), found.map(([, text]) => text.split(/: its event loop|\. Oldest|; verdict/)[0]).join(". "));
  list($("attention"), found, () => element("li"), (item, [kind, text]) => {
    if (item.className !== kind) item.className = kind;
    write(item, text);
  });
}

// -- tiles

function showTiles({ status, samples }) {
  const last = samples.at(-1), recent = lastOf(samples, MEAN_SECONDS);
  const mean = (pick) => (recent.length ? recent.reduce((sum, sample) => sum + (pick(sample) ?? 0), 0) / recent.length : null);
  const ready = status.workers.filter((worker) => worker.state === "ready").length;
  const flying = status.workers.reduce((sum, worker) => sum + worker.in_flight, 0);
  const oldest = Math.max(0, ...status.workers.map((worker) => worker.oldest));
  const pss = samples.findLast((sample) => sample.pss != null)?.pss;
  const errors = mean((sample) => sample.errors);
  const restarts = status.slots.reduce((sum, slot) => sum + slot.restarts, 0);
  const refused = status.jobs.ended.refused ?? 0;
  const range = status.low === status.high ? "" : `, from ${status.low} to ${status.high}`;
  const tiles = [
    ["Requests/s", count(mean((sample) => sample.requests)), `${count(status.slots.reduce((sum, slot) => sum + slot.requests, 0))} since start`],
    ["Errors/s", count(errors), `${count(status.slots.reduce((sum, slot) => sum + slot.errors, 0))} since start`, errors > 0],
    ["Latency p99", duration(last?.p99), last?.p50 == null ? "no requests" : `p50 ${duration(last.p50)}`],
    ["In flight", count(flying), flying ? `oldest ${duration(oldest)}` : "none"],
    ["Connections", count(status.connections.open), `${count(status.connections.accepted)} accepted`],
    ["Workers ready", `${ready} of ${status.wanted}`, `${many(restarts, "restart")}${range}`, ready < status.wanted],
    ["Jobs", `${count(status.jobs.running)} run`, `${count(status.jobs.waiting)} wait, ${count(refused)} refused`],
    ["Memory (PSS)", size(pss), "of all processes"],
  ];
  list($("tiles"), tiles, () => {
    const tile = element("div");
    tile.append(element("dt"), element("dd"), element("dd", "note"));
    return tile;
  }, (tile, [name, value, note, bad]) => {
    tile.classList.toggle("bad", Boolean(bad));
    write(tile.children[0], name); write(tile.children[1], value); write(tile.children[2], note);
  });
}

// -- tables

// `columns`: {name, text(item), number, fill(cell, item), className, look(cell, item)}
function table(id, columns, items, nothing, look = () => {}) {
  const [head, body] = [$(id).tHead, $(id).tBodies[0]];
  if (!head.rows.length) {
    const row = head.insertRow();
    for (const { name, number } of columns) {
      const cell = element("th", number ? "number" : "", name);
      cell.scope = "col";
      row.append(cell);
    }
  }
  if (!items.length) {
    if (body.querySelector(".empty")) return;
    body.replaceChildren();
    const cell = body.insertRow().insertCell();
    cell.className = "empty"; cell.colSpan = columns.length; cell.textContent = nothing;
    return;
  }
  body.querySelector(".empty")?.parentNode.remove();
  list(body, items, () => {
    const row = element("tr");
    for (const { name, number, className } of columns) {
      const cell = row.insertCell();
      cell.className = [number ? "number" : "", className ?? ""].join(" ").trim();
      if (name) cell.dataset.label = name;
    }
    return row;
  }, (row, item) => {
    columns.forEach((column, index) => {
      const cell = row.cells[index];
      if (column.fill) column.fill(cell, item); else write(cell, column.text(item));
      column.look?.(cell, item);
    });
    look(row, item);
  });
}

const badgeCell = (cell, worker) => {
  const badge = cell.firstElementChild ?? cell.appendChild(element("span", "badge"));
  write(badge, stateOf(worker));
  mark(badge, "state", worker.state);
};
const busyCell = (cell, worker) => {
  if (!cell.firstElementChild) {
    const share = element("span", "share");
    share.append(element("i"));
    cell.append(share, element("span"));
  }
  cell.firstElementChild.firstElementChild.style.width = `${Math.round(worker.busy * 100)}%`;
  write(cell.lastElementChild, percent(worker.busy));
};
const slow = (limit) => (cell, age) => cell.classList.toggle("slow", age >= limit);
const lagged = slow(0.25), aged = slow(1);

// The most of the last second; of a stalled worker, for how long it has been silent.
const lagOf = (worker) => (held(worker) ? worker.beat_age : Math.max(worker.lag, worker.lag_peak ?? 0));

const WORKER_COLUMNS = [
  { name: "Slot", text: (worker) => String(worker.slot) },
  { name: "State", fill: badgeCell },
  { name: "PID", text: (worker) => String(worker.pid ?? "–"), className: "mono pid" },
  { name: "Generation", number: true, text: (worker) => String(worker.generation) },
  { name: "Up", number: true, text: (worker) => duration(worker.age) },
  { name: "Requests/s", number: true, text: (worker) => (worker.state === "draining" ? "–" : count(worker.rate)) },
  { name: "In flight", number: true, text: (worker) => count(worker.in_flight) },
  { name: "Oldest", number: true, text: (worker) => (worker.in_flight ? duration(worker.oldest) : "–"), look: (cell, worker) => aged(cell, worker.oldest) },
  { name: "Connections", number: true, text: (worker) => count(worker.connections) },
  { name: "Loop lag", number: true, text: (worker) => (worker.beat_age == null ? "–" : duration(lagOf(worker))), look: (cell, worker) => lagged(cell, lagOf(worker)) },
  { name: "Busy", fill: busyCell },
  { name: "Memory", number: true, text: (worker) => size(worker.rss) },
  { name: "", className: "note", text: (worker) => worker.note },
  { name: "", className: "acts", fill: (cell, worker) => actions(cell, worker) },
];

const met = new Map(); // pid → when it was first seen, and whose place it took; only of workers that are there
const places = new Map(); // slot → the pid that was there last, also while it has none

function meet(workers, now) {
  const first = places.size === 0;
  for (const { pid, slot, state } of workers) {
    if (pid == null) continue;
    if (!met.has(pid)) met.set(pid, { at: first ? -Infinity : now, before: places.get(slot) });
    if (state !== "draining") places.set(slot, pid);
  }
  const there = new Set(workers.map((worker) => worker.pid));
  for (const pid of met.keys()) if (!there.has(pid)) met.delete(pid);
}

function noteOf(worker, now) {
  const said = [];
  const known = met.get(worker.pid);
  if (worker.canary) said.push("canary");
  if (worker.retiring) said.push(worker.retiring);
  if (held(worker)) said.push(`no heartbeat for ${duration(worker.beat_age)}`);
  if (known?.before && now - known.at < 60) said.push(`in the place of pid ${known.before}`);
  return said.join(", ");
}

function showWorkers({ status, samples }) {
  meet(status.workers, status.now);
  const workers = status.workers
    .map((worker) => ({ ...worker, rate: rateOf(samples, worker.slot, MEAN_SECONDS), note: noteOf(worker, status.now) }))
    .sort((a, b) => a.slot - b.slot || b.age - a.age);
  table("workers", WORKER_COLUMNS, workers, "There are no workers.", (row, worker) => {
    const fresh = status.now - (met.get(worker.pid)?.at ?? 0) < 12;
    row.classList.toggle("fresh", fresh);
    mark(row, "slot", String(worker.slot));
  });
}

const slotOf = { name: "Slot", text: (one) => String(one.slot) };
const REQUEST_COLUMNS = [
  { name: "Age", number: true, text: (one) => duration(one.age), look: (cell, one) => aged(cell, one.age) },
  slotOf,
  { name: "PID", text: (one) => String(one.pid ?? "–"), className: "mono" },
  { name: "Request", text: (one) => one.request, className: "mono text" },
];
const JOB_COLUMNS = [
  { name: "Age", number: true, text: (one) => duration(one.age) },
  { name: "Runs", number: true, text: (one) => (one.runs ? duration(one.runs) : "–") },
  { name: "State", text: (one) => one.state },
  slotOf,
  { name: "PID", text: (one) => String(one.pid ?? "–"), className: "mono" },
  { name: "Job", text: (one) => [one.actor && `${one.actor}:`, one.name, one.request && `(request ${one.request})`].filter(Boolean).join(" "), className: "mono text" },
];

function showLists({ requests, jobs }) {
  const oldest = (a, b) => b.age - a.age, cut = (all) => all.toSorted(oldest).slice(0, ROWS);
  const said = (all) => (all.length > ROWS ? `the oldest ${ROWS} of ${count(all.length)}` : all.length ? count(all.length) : "");
  table("requests", REQUEST_COLUMNS, cut(requests), "None at this moment.");
  table("jobs", JOB_COLUMNS, cut(jobs), "None at this moment.");
  write($("requests-count"), said(requests));
  write($("jobs-count"), said(jobs));
}

function showBalance({ samples }, slots) {
  const rates = slots.map((slot) => [slot, rateOf(samples, slot, BALANCE_SECONDS) ?? 0]);
  const most = Math.max(1e-9, ...rates.map(([, rate]) => rate)), sum = rates.reduce((all, [, rate]) => all + rate, 0);
  list($("balance"), rates, () => {
    const row = element("li"), track = element("span", "track");
    track.append(element("span", "fill"), element("span", "even"));
    row.append(element("span"), track, element("span"));
    return row;
  }, (row, [slot, rate]) => {
    const [fill, even] = row.children[1].children;
    write(row.children[0], String(slot));
    fill.style.width = `${(rate / most) * 100}%`;
    even.style.left = `${Math.min(100, (sum / rates.length / most) * 100)}%`;
    even.hidden = sum === 0;
    row.children[1].title = "The line is an even share.";
    write(row.children[2], `${count(rate)} · ${sum ? percent(rate / sum) : "–"}`);
  });
}

// -- events

const LEVELS = { debug: 10, info: 20, warning: 30, error: 40, critical: 50 };
let eventsDrawn = ""; // what the list was drawn from, to leave it alone (and its open details) until that differs

function showEvents({ events }) {
  const least = Number($("level").value), wanted = $("search").value.trim().toLowerCase();
  const now = `${events.at(-1)?.number} ${events.length} ${least} ${wanted}`;
  if (now === eventsDrawn) return;
  eventsDrawn = now;
  const found = events.filter((event) => (LEVELS[event.level.toLowerCase()] ?? 20) >= least
    && (!wanted || `${event.text} ${event.source}`.toLowerCase().includes(wanted)));
  const opened = new Set([...$("events").querySelectorAll("details[open]")].map((one) => one.dataset.number));
  $("events").replaceChildren(...found.slice(-LINES).reverse().map((event) => eventLine(event, opened)));
  write($("events-count"), found.length > LINES ? `the latest ${LINES} of ${count(found.length)}` : `${count(found.length)} of ${count(events.length)}`);
}

function eventLine(event, opened) {
  const line = element("li"), level = element("span", "level", event.level.toLowerCase()), text = element("div", "text");
  const time = element("time", "", clock(event.at)), [first, ...rest] = event.text.split("\n");
  time.dateTime = new Date(event.at * 1000).toISOString();
  time.title = new Date(event.at * 1000).toLocaleString();
  level.dataset.level = event.level.toLowerCase();
  if (rest.length) {
    const more = element("details");
    more.dataset.number = String(event.number);
    more.open = opened.has(more.dataset.number);
    more.append(element("summary", "", first), element("pre", "mono", rest.join("\n")));
    text.append(more);
  } else {
    text.textContent = first;
  }
  line.append(time, level, text);
  return line;
}
