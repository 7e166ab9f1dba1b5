// Ask again and again what is new, keep the last hour, and show it.
"use strict";

const POLL_MS = 700; // the server looks at itself once a second: so what happens is seen within two
const PATIENCE_MS = 4000; // for an answer; then the connection counts as lost
const SAMPLES = 3600 + 60; // an hour, at one a second
const EVENTS = 1000;
const MARKS = 1000;
const STEP_BACK_SECONDS = 1; // less is no clock that was set back: times are rounded, and events are newer than the status

// All that the page knows. Nothing else grows, and each of these has a bound.
const model = { status: null, samples: [], events: [], marks: [], requests: [], jobs: [] };
const asked = { sample: 0, event: 0 };
let seconds = 300, hovering = null, lostAt = null, timer = null, polling = false, drawing = false;

function take(live) {
  if (model.status && live.status.started_at !== model.status.started_at) startOver(live);
  if (live.status.now < asked.sample - STEP_BACK_SECONDS) turnBack(live.status.now);
  model.status = live.status;
  model.requests = live.requests;
  model.jobs = live.jobs;
  // An answer may repeat what is known: only what is newer is added.
  const samples = live.samples.filter((sample) => sample.at > asked.sample);
  const known = new Set(asked.event ? [] : model.events.map(nameOf));
  const events = live.events.filter((event) => event.number > asked.event && !known.has(nameOf(event)));
  keep(model.samples, samples, SAMPLES);
  keep(model.events, events, EVENTS, known.size > 0);
  keep(model.marks, events.map(markOf).filter(Boolean), MARKS, known.size > 0);
  asked.sample = samples.at(-1)?.at ?? asked.sample;
  asked.event = Math.max(asked.event, live.events.at(-1)?.number ?? 0);
}

// `mixed`: some of these are older than some that are there.
function keep(all, more, bound, mixed = false) {
  for (const one of more) all.push(one);
  if (mixed) all.sort((one, other) => one.at - other.at);
  if (all.length > bound) all.splice(0, all.length - bound);
}

// What an event is the same by, whoever tells of it.
const nameOf = (event) => `${event.at} ${event.text}`;

// Another server answers at this address, after an upgrade perhaps: it counts its events anew, knows those of the one
// before, and has some from before it took over. What is on the page stays; this answer's come again with the next one's.
function startOver(live) {
  asked.event = 0;
  live.events = [];
  met.clear();
  places.clear();
}

// The server's clock was set back: what it has called later than now would keep out what comes.
function turnBack(now) {
  model.samples = model.samples.filter((sample) => sample.at <= now);
  model.marks = model.marks.filter((one) => one.at <= now);
  asked.sample = model.samples.at(-1)?.at ?? 0;
  for (const known of met.values()) known.at = Math.min(known.at, now);
}

function slots() {
  const now = model.status.slots.map((one) => one.slot), working = model.status.workers.map((one) => one.slot);
  const wanted = [...new Set([...now, ...working])].sort((a, b) => a - b);
  return wanted.filter((slot) => slot < model.status.wanted || working.includes(slot));
}

// -- charts

const jobOf = (name) => (sample) => sample.jobs?.[name];
const charts = [
  new LineChart("throughput", "Throughput", [
    { name: "requests/s", value: (sample) => sample.requests, colour: "--blue", area: true, most: false },
    { name: "errors/s", value: (sample) => sample.errors, colour: "--red", bars: true },
  ], count),
  new LineChart("latency", "Latency", [
    { name: "p50", value: (sample) => sample.p50, colour: "--green", width: 2 },
    { name: "p90", value: (sample) => sample.p90, colour: "--amber", dash: [6, 3] },
    { name: "p99", value: (sample) => sample.p99, colour: "--violet", dash: [2, 2] },
  ], duration, { log: true, least: 0.001 }),
  new Timeline(),
  new SlotChart("inflight", "Requests in flight", (slot) => slot.in_flight, count),
  new SlotChart("lag", "Loop lag", (slot) => slot.lag, duration, { least: 0.02, ink: "--violet" }),
  new LineChart("queue", "Offloaded jobs", [
    { name: "running", value: jobOf("running"), colour: "--teal", area: true },
    { name: "waiting", value: jobOf("waiting"), colour: "--amber", dash: [6, 3] },
    { name: "done/s", value: jobOf("done"), colour: "--green", dash: [2, 2] },
    { name: "failed/s", value: jobOf("failed"), colour: "--red", bars: true },
  ], count),
  new LineChart("runtimes", "Offload times", [
    { name: "run p50", value: jobOf("run_p50"), colour: "--teal", width: 2 },
    { name: "run p99", value: jobOf("run_p99"), colour: "--violet", dash: [2, 2] },
    { name: "wait p99", value: jobOf("wait_p99"), colour: "--amber", dash: [6, 3] },
  ], duration, { log: true, least: 0.001 }),
];

function view() {
  const to = model.status.now, from = to - seconds; // events come before the sample of their second
  const hover = hovering == null ? null : from + hovering * seconds;
  return { samples: model.samples, from, to, marks: model.marks, slots: slots(), hover };
}

function draw() {
  if (!model.status || document.hidden) return;
  const now = view();
  for (const chart of charts) chart.draw(now);
}

// However often the pointer moves, charts are drawn once a frame.
function drawSoon() {
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(() => { drawing = false; draw(); });
}

function hoverAt(share) {
  hovering = share;
  drawSoon();
}

function show() {
  if (!model.status || document.hidden) return;
  showHead(model);
  showTroubles(model);
  showTiles(model);
  showWorkers(model);
  showBalance(model, slots());
  showLists(model);
  showEvents(model);
  drawSoon();
}

// -- the connection

async function poll() {
  clearTimeout(timer);
  if (polling || document.hidden) return;
  polling = true;
  const began = performance.now();
  try {
    const answer = await fetch(`live?sample=${asked.sample}&event=${asked.event}`, { signal: AbortSignal.timeout(PATIENCE_MS), cache: "no-store" });
    const said = await answer.json().catch(() => ({ error: `status ${answer.status}` }));
    if (!answer.ok || !said.status) throw new Error(said.error ?? `status ${answer.status}`);
    take(said);
    found();
    show();
  } catch (error) {
    lost(error);
  } finally {
    polling = false;
    if (!document.hidden) timer = setTimeout(poll, Math.max(100, POLL_MS - (performance.now() - began)));
  }
}

function soon() {
  clearTimeout(timer);
  timer = setTimeout(poll, 100);
}

function found() {
  lostAt = null;
  $("lost").hidden = true;
  document.body.classList.remove("stale");
  if (!document.hidden) pulse("live", "live"); // an answer may come after the page was hidden
}

function lost(error) {
  lostAt ??= Date.now() / 1000;
  const why = error.name === "TimeoutError" ? "it does not answer" : error instanceof TypeError ? "nobody answers" : error.message;
  const then = model.status ? " What you see is from before." : "";
  write($("lost"), `Connection to the server lost at ${clock(lostAt)}: ${why}.${then} Trying again.`);
  $("lost").hidden = false;
  document.body.classList.add("stale");
  pulse("lost", "connection lost");
  if (model.status) document.title = `✕ ${model.status.name} · connection lost`;
}

function pulse(is, text) {
  mark($("pulse"), "is", is);
  write($("pulse"), text);
}

// -- choices

const dark = matchMedia("(prefers-color-scheme: dark)");

function theme() {
  const chosen = $("theme").value;
  document.documentElement.dataset.theme = chosen === "auto" ? (dark.matches ? "dark" : "light") : chosen;
  colours = {};
  draw();
}

function begin() {
  $("theme").value = store.get("localStorage", "prefork-theme") ?? "auto";
  $("theme").onchange = () => { store.set("localStorage", "prefork-theme", $("theme").value); theme(); };
  dark.addEventListener("change", theme);
  $("window").onchange = (event) => { seconds = Number(event.target.value); draw(); };
  $("level").onchange = $("search").oninput = () => { if (model.status) showEvents(model); };
  new ResizeObserver(drawSoon).observe(document.body);
  // Hidden, the page asks nothing and draws nothing; shown again, it asks for what it has missed.
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) { clearTimeout(timer); pulse("paused", "paused"); } else poll();
  });
  theme();
  steering();
  poll();
}

begin();
