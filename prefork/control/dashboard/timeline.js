// What happened to whom, on a time line with a lane for each slot, from the events.
"use strict";

// By the field `event` of what the master logs. Each has a sign of its own beside its colour. `line`: drawn through all
// charts too.
const KINDS = {
  died: { sign: "✕", word: "died", colour: "--red", line: true },
  killed: { sign: "†", word: "killed", colour: "--red", line: false },
  stalled: { sign: "■", word: "stalled", colour: "--amber", line: true },
  recovered: { sign: "□", word: "runs again", colour: "--green", line: false },
  ready: { sign: "▲", word: "ready", colour: "--green", line: false },
  drains: { sign: "▽", word: "drains", colour: "--violet", line: false },
  reload: { sign: "◆", word: "reload", colour: "--blue", line: true },
  canary: { sign: "◇", word: "canary", colour: "--blue", line: true },
  upgrade: { sign: "★", word: "upgrade", colour: "--blue", line: true },
  scale: { sign: "±", word: "scale", colour: "--teal", line: true },
  stop: { sign: "●", word: "stop", colour: "--violet", line: true },
};
const LANE = 22;

// The mark of an event, or null: {at, kind, slot, text}. `slot` is null for what concerns the whole server.
function markOf({ at, text, fields }) {
  const kind = fields?.event;
  if (!Object.hasOwn(KINDS, kind)) return null;
  return { at, kind, slot: fields.worker?.slot ?? null, text: text.split("\n", 1)[0] };
}

class Timeline {
  constructor() {
    const figure = $("timeline");
    this.canvas = figure.querySelector("canvas");
    this.readout = figure.querySelector(".readout");
    list(figure.querySelector(".legend"), Object.values(KINDS), () => element("li"), (item, kind) => {
      const sign = element("i", "", kind.sign);
      sign.style.color = `var(${kind.colour})`;
      item.append(sign, kind.word);
    });
    follow(this.canvas);
  }

  draw(view) {
    const lanes = [null, ...view.slots.slice(0, SLOTS)], wanted = `${lanes.length * LANE + TOP + BOTTOM}px`;
    if (this.canvas.style.height !== wanted) this.canvas.style.height = wanted;
    const shown = view.marks.filter((one) => one.at >= view.from && one.at <= view.to);
    this.canvas.setAttribute("aria-label", `Time line: ${many(shown.length, "event")}. The list of events has their text.`);
    this.tell(view, shown);
    const made = prepare(this.canvas);
    if (!made) return;
    const { pen, width, height } = made, bottom = height - BOTTOM, x = across(view, width);
    timeAxis(pen, view, width, bottom, TOP);
    lanes.forEach((slot, index) => {
      const middle = TOP + index * LANE + LANE / 2;
      pen.strokeStyle = colour("--grid");
      pen.beginPath(); pen.moveTo(LEFT, middle); pen.lineTo(width - RIGHT, middle); pen.stroke();
      pen.fillStyle = colour("--muted"); pen.textAlign = "right";
      pen.fillText(slot == null ? "server" : `slot ${slot}`, LEFT - 9, middle + 4);
    });
    pen.textAlign = "center";
    pen.font = 'bold 14px system-ui, "DejaVu Sans", sans-serif';
    const taken = lanes.map(() => -Infinity); // up to where a lane has a sign: a death hides not behind the next start
    for (const one of shown) {
      const lane = Math.max(0, lanes.indexOf(one.slot)), middle = TOP + lane * LANE + LANE / 2;
      const at = Math.min(Math.max(x(one.at), Math.min(taken[lane] + 12, x(one.at) + 30)), width - 7);
      pen.fillStyle = colour(KINDS[one.kind].colour);
      pen.fillText(KINDS[one.kind].sign, at, middle + 5);
      taken[lane] = at;
    }
    crosshair(pen, view, width, TOP, bottom);
  }

  // The mark next to the pointer; without a pointer the latest.
  tell(view, shown) {
    const near = (view.to - view.from) / 60;
    const found = view.hover == null ? shown.at(-1)
      : shown.filter((one) => Math.abs(one.at - view.hover) < near)
          .sort((a, b) => Math.abs(a.at - view.hover) - Math.abs(b.at - view.hover))[0];
    write(this.readout, found ? `${clock(found.at)}  ${KINDS[found.kind].sign} ${found.text}` : view.hover == null ? "Nothing happened in this time." : clock(view.hover));
  }
}
