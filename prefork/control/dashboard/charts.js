// Charts on canvas. A chart is made once and drawn anew from the shared view: {samples, from, to, marks, slots, hover}.
"use strict";

const LEFT = 52, RIGHT = 6, TOP = 8, BOTTOM = 18; // room for the axes, in CSS pixels
const GAP_SECONDS = 3.5; // samples come each second; further apart than this the line is broken
const FONT = '11px -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Liberation Sans", system-ui, sans-serif';
const ROW = 22; // of a chart with a row for each slot
const SLOTS = 64; // of these at most

let colours = {}; // by variable; read again when the theme changes
const colour = (name) => (colours[name] ??= getComputedStyle(document.documentElement).getPropertyValue(name).trim());

// The canvas at the screen's own resolution, cleared. Null when it is not laid out.
function prepare(canvas) {
  const width = canvas.clientWidth, height = canvas.clientHeight, ratio = window.devicePixelRatio || 1;
  if (!width || !height) return null;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  const pen = canvas.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  pen.font = FONT;
  pen.lineJoin = "round";
  return { pen, width, height };
}

const across = (view, width) => (at) => LEFT + ((at - view.from) / (view.to - view.from)) * (width - LEFT - RIGHT);

// One point for each two pixels: an hour has more samples than a screen has columns. `most`: peaks must not vanish.
function points(view, width, value, most) {
  const columns = Math.max(1, Math.floor((width - LEFT - RIGHT) / 2)), span = view.to - view.from;
  const found = [];
  let column = -1, sum = 0, times = 0, top = 0, when = 0;
  const close = () => { if (times) found.push([when / times, most ? top : sum / times]); };
  for (const sample of view.samples) {
    if (sample.at < view.from || sample.at > view.to) continue;
    const y = value(sample);
    if (y == null) continue;
    const here = Math.floor(((sample.at - view.from) / span) * columns);
    if (here !== column) { close(); column = here; sum = times = when = 0; top = -Infinity; }
    sum += y; times += 1; when += sample.at; top = Math.max(top, y);
  }
  close();
  return found;
}

// A rounded top of the axis and its ticks.
function linear(top) {
  const rough = top / 3, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= rough);
  const ticks = [];
  for (let at = 0; at < top + step * 0.999; at += step) ticks.push(at);
  const end = ticks[ticks.length - 1];
  return { ticks, place: (value) => value / end };
}

function logarithmic(bottom, top) {
  const low = Math.floor(Math.log10(bottom)), high = Math.max(low + 1, Math.ceil(Math.log10(top)));
  const ticks = [];
  for (let power = low; power <= high; power++) ticks.push(10 ** power);
  return { ticks, place: (value) => (Math.log10(Math.max(value, 10 ** low)) - low) / (high - low) };
}

function timeAxis(pen, view, width, bottom, top) {
  const span = view.to - view.from;
  const step = [60, 120, 300, 600, 1200].find((s) => ((width - LEFT - RIGHT) / span) * s >= 56) ?? 1800;
  const x = across(view, width);
  pen.textAlign = "center";
  for (let at = Math.ceil(view.from / step) * step; at <= view.to; at += step) {
    pen.strokeStyle = colour("--grid");
    pen.beginPath(); pen.moveTo(x(at), top); pen.lineTo(x(at), bottom); pen.stroke();
    pen.fillStyle = colour("--muted");
    const right = Math.min(x(at), width - 16);
    pen.fillText(clock(at, false), right, bottom + 13);
  }
}

// Thin lines through every chart: what happened when this curve moved?
function markLines(pen, view, width, top, bottom) {
  const x = across(view, width);
  for (const one of view.marks) {
    if (!KINDS[one.kind].line || one.at < view.from || one.at > view.to) continue;
    pen.strokeStyle = colour(KINDS[one.kind].colour);
    pen.globalAlpha = 0.55; pen.setLineDash([2, 3]);
    pen.beginPath(); pen.moveTo(x(one.at), top); pen.lineTo(x(one.at), bottom); pen.stroke();
    pen.globalAlpha = 1; pen.setLineDash([]);
  }
}

function crosshair(pen, view, width, top, bottom) {
  if (view.hover == null) return;
  const at = across(view, width)(view.hover);
  pen.strokeStyle = colour("--muted");
  pen.beginPath(); pen.moveTo(at, top); pen.lineTo(at, bottom); pen.stroke();
}

// The latest sample at or before the pointer; without a pointer the last one.
function sampleAt(view) {
  const { samples, hover } = view;
  if (hover == null) return samples[samples.length - 1];
  let low = 0, high = samples.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (samples[middle].at <= hover) low = middle + 1; else high = middle;
  }
  const found = samples[low - 1];
  return found && hover - found.at < GAP_SECONDS ? found : undefined;
}

function stroke(pen, line, x, y, style) {
  pen.beginPath();
  let before = -Infinity;
  for (const [at, value] of line) {
    if (at - before > style.gap) pen.moveTo(x(at), y(value)); else pen.lineTo(x(at), y(value));
    before = at;
  }
  pen.strokeStyle = colour(style.colour); pen.lineWidth = style.width ?? 1.6; pen.setLineDash(style.dash ?? []);
  pen.stroke();
  pen.lineWidth = 1; pen.setLineDash([]);
}

function fill(pen, line, x, y, ground, style) {
  pen.beginPath();
  let before = -Infinity, last = 0;
  for (const [at, value] of line) {
    if (at - before > style.gap) {
      if (before > 0) { pen.lineTo(last, ground); pen.closePath(); }
      pen.moveTo(x(at), ground);
    }
    pen.lineTo(x(at), y(value));
    before = at; last = x(at);
  }
  if (before > 0) { pen.lineTo(last, ground); pen.closePath(); }
  pen.fillStyle = colour(style.colour); pen.globalAlpha = style.opacity ?? 0.16; pen.fill(); pen.globalAlpha = 1;
}

const gapOf = (view, width) => Math.max(GAP_SECONDS, ((view.to - view.from) / (width - LEFT - RIGHT)) * 4);

// Lines over time. `series`: {name, value(sample), colour, dash, width, area, bars, most}; `log`: the scale.
class LineChart {
  constructor(id, title, series, format, { log = false, least = 1, unit = "" } = {}) {
    Object.assign(this, { title, series, format, log, least, unit });
    this.canvas = $(id).querySelector("canvas");
    this.legend = $(id).querySelector(".legend");
    list(this.legend, series, () => element("li"), (item, one) => item.append(sampleOfLine(one), `${one.name} `, element("b")));
    follow(this.canvas);
  }

  draw(view) {
    this.tell(view);
    const made = prepare(this.canvas);
    if (!made) return;
    const { pen, width, height } = made, bottom = height - BOTTOM, gap = gapOf(view, width);
    const lines = this.series.map((one) => points(view, width, one.value, one.most ?? true));
    const all = lines.flat().map(([, value]) => value);
    const top = Math.max(this.least, ...all.slice(0, 1), all.reduce((a, b) => Math.max(a, b), 0));
    const low = all.filter((value) => value > 0).reduce((a, b) => Math.min(a, b), top);
    const scale = this.log ? logarithmic(Math.max(low, 1e-6), top) : linear(top);
    const x = across(view, width), y = (value) => bottom - scale.place(value) * (bottom - TOP);
    this.axis(pen, scale, y, width);
    timeAxis(pen, view, width, bottom, TOP);
    markLines(pen, view, width, TOP, bottom);
    this.series.forEach((one, index) => {
      const style = { ...one, gap };
      if (one.bars) return bars(pen, lines[index], x, y, bottom, style);
      if (one.area) fill(pen, lines[index], x, y, bottom, style);
      stroke(pen, lines[index], x, y, style);
    });
    crosshair(pen, view, width, TOP, bottom);
  }

  axis(pen, scale, y, width) {
    pen.textAlign = "right";
    for (const tick of scale.ticks) {
      pen.strokeStyle = colour("--grid");
      pen.beginPath(); pen.moveTo(LEFT, y(tick)); pen.lineTo(width - RIGHT, y(tick)); pen.stroke();
      pen.fillStyle = colour("--muted");
      pen.fillText(this.format(tick), LEFT - 7, y(tick) + 4);
    }
  }

  // The legend says in words what the pointer, or the right end, is at; so does the canvas to who cannot see it.
  tell(view) {
    const sample = sampleAt(view);
    const said = this.series.map((one) => (sample ? this.format(one.value(sample)) : "–") + this.unit);
    said.forEach((text, index) => write(this.legend.children[index].lastChild, text));
    const now = this.series.map((one, index) => `${one.name} ${said[index]}`).join(", ");
    this.canvas.setAttribute("aria-label", `${this.title} over time. ${view.hover == null ? "Now" : "There"}: ${now}`);
  }
}

function bars(pen, line, x, y, bottom, style) {
  pen.fillStyle = colour(style.colour);
  for (const [at, value] of line) {
    if (value > 0) pen.fillRect(x(at) - 1, Math.min(y(value), bottom - 3), 2, Math.max(bottom - y(value), 3));
  }
}

// A short piece of the line, as drawn, so that dashes tell what colours tell.
function sampleOfLine({ colour: name, dash = [], width = 1.6, bars: solid }) {
  const space = "http://www.w3.org/2000/svg", drawn = document.createElementNS(space, "svg");
  const line = document.createElementNS(space, "line");
  const values = { x1: 0, x2: 18, y1: 5, y2: 5, stroke: `var(${name})`, "stroke-width": solid ? 7 : width + 0.6,
    "stroke-dasharray": solid ? "2 3" : dash.join(" ") };
  for (const [key, value] of Object.entries(values)) line.setAttribute(key, value);
  drawn.setAttribute("aria-hidden", "true");
  drawn.append(line);
  return drawn;
}

// A row for each slot, all on one scale: any number of workers stays readable, and no colour has to be learnt.
class SlotChart {
  constructor(id, title, value, format, { least = 1, ink = "--blue" } = {}) {
    Object.assign(this, { title, value, format, least, ink });
    this.canvas = $(id).querySelector("canvas");
    this.note = $(id).querySelector("small");
    follow(this.canvas);
  }

  draw(view) {
    const slots = view.slots.slice(0, SLOTS), wanted = `${slots.length * ROW + TOP + BOTTOM}px`;
    if (this.canvas.style.height !== wanted) this.canvas.style.height = wanted;
    const made = prepare(this.canvas), sample = sampleAt(view);
    const now = slots.map((slot) => this.at(sample, slot));
    this.canvas.setAttribute("aria-label",
      `${this.title} by slot. ` + slots.map((slot, index) => `Slot ${slot}: ${this.format(now[index])}`).join(", "));
    if (!made) return;
    const { pen, width, height } = made, right = 54, plot = width - right;
    const lines = slots.map((slot) => points(view, plot, (one) => this.at(one, slot), true));
    const top = lines.flat().reduce((most, [, value]) => Math.max(most, value), this.least);
    const bottom = height - BOTTOM, x = across(view, plot), gap = gapOf(view, plot);
    const left = view.slots.length - slots.length;
    write(this.note, `by slot, each up to ${this.format(top)}${left ? `; ${left} more are not drawn` : ""}`);
    timeAxis(pen, view, plot, bottom, TOP);
    markLines(pen, view, plot, TOP, bottom);
    slots.forEach((slot, index) => {
      const ground = TOP + (index + 1) * ROW - 2, y = (value) => ground - (value / top) * (ROW - 6);
      const style = { colour: this.ink, gap, width: 1.2, opacity: 0.28 };
      fill(pen, lines[index], x, y, ground, style);
      stroke(pen, lines[index], x, y, style);
      pen.fillStyle = colour("--muted"); pen.textAlign = "right";
      pen.fillText(`slot ${slot}`, LEFT - 9, ground - 3);
      pen.fillStyle = colour("--ink");
      pen.fillText(this.format(now[index]), width - 2, ground - 3);
    });
    crosshair(pen, view, plot, TOP, bottom);
  }

  at(sample, slot) {
    const found = sample?.slots?.[slot];
    return found == null ? null : this.value(found);
  }
}

// The pointer's place in time is shared by all charts.
function follow(canvas) {
  canvas.addEventListener("pointermove", (event) => {
    const box = canvas.getBoundingClientRect(), right = canvas.closest("#inflight, #lag") ? 54 : 0;
    const share = (event.clientX - box.left - LEFT) / (box.width - right - LEFT - RIGHT);
    hoverAt(share < 0 || share > 1 ? null : share, canvas);
  });
  canvas.addEventListener("pointerleave", () => hoverAt(null, canvas));
}
