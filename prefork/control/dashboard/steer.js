// Commands, for who has the token. Without it no button is made.
"use strict";

const TOKEN = "prefork-token"; // in the tab's session storage: gone with the tab
const ANSWER_MS = 60_000; // a command may wait for workers
const SAID_MS = 12_000;

const store = { // a browser may refuse both storages; then a choice lasts as long as the page
  get(where, key) { try { return window[where].getItem(key); } catch { return null; } },
  set(where, key, value) { try { value == null ? window[where].removeItem(key) : window[where].setItem(key, value); } catch { /* see above */ } },
};

let quiet = null; // timer
let token = store.get("sessionStorage", TOKEN);

// In a corner, wherever the page is scrolled to; a good answer goes by itself.
function say(text, bad = false) {
  clearTimeout(quiet);
  write($("said"), text);
  $("said").classList.toggle("bad", bad);
  if (!bad) quiet = setTimeout(say, SAID_MS, "");
}

async function order(name, given, words = {}) {
  const answer = await fetch(`command/${name}`, {
    method: "POST", body: JSON.stringify(words), signal: AbortSignal.timeout(ANSWER_MS), cache: "no-store",
    headers: { "authorization": `Bearer ${given}`, "content-type": "application/json" },
  });
  const text = await answer.text();
  let said = text;
  try { said = JSON.parse(text); } catch { /* a plain line */ }
  if (!answer.ok) throw Object.assign(new Error(said?.error ?? (text.trim() || `status ${answer.status}`)), { status: answer.status });
  return said?.result ?? said;
}

async function command(name, words = {}) {
  say(`${name} …`);
  try {
    const result = await order(name, token, words);
    say(`${clock(Date.now() / 1000)}  ${name}: ${result?.done ?? "done"}`);
  } catch (error) {
    if (error.status === 401) forget();
    say(`${name}: ${error.message}`, true);
  }
  soon();
}

// Ask in a dialog, then do it. `field`: a text to ask for, as {label, value}.
function ask(title, text, word, then, field = null) {
  const dialog = $("ask"), form = dialog.querySelector("form"), input = $("ask-field").querySelector("input");
  write($("ask-title"), title); write($("ask-text"), text);
  write(dialog.querySelector(".danger"), word);
  $("ask-field").hidden = !field;
  if (field) { write($("ask-field").querySelector("span"), field.label); input.value = field.value; }
  // Not on the dialog's close event: that comes later, perhaps when another question is asked already.
  form.onsubmit = () => { form.onsubmit = null; then(input.value.trim()); };
  form.querySelector("[type=button]").onclick = () => dialog.close();
  dialog.showModal();
}

function actions(cell, worker) {
  if (!token) {
    cell.replaceChildren();
    delete cell.dataset.slot;
    return;
  }
  if (!cell.firstChild) {
    const retire = element("button", "", "Retire"), kill = element("button", "danger", "Kill");
    retire.onclick = () => ask(`Retire worker ${cell.dataset.slot}?`, "Another is ready before it drains; no request is lost.", "Retire",
      () => command("retire", { slot: Number(cell.dataset.slot) }));
    kill.onclick = () => ask(`Kill worker ${cell.dataset.slot}?`, "SIGKILL: the requests it has in flight are lost. Its slot gets another worker.", "Kill",
      () => command("kill", { slot: Number(cell.dataset.slot) }));
    cell.append(retire, kill);
  }
  if (cell.dataset.slot === String(worker.slot)) return;
  cell.dataset.slot = String(worker.slot);
  for (const button of cell.children) button.ariaLabel = `${button.textContent} worker ${worker.slot}`;
}

const COMMANDS = [
  ["Reload", () => ask("Reload?", "The app is imported afresh and the workers are replaced, one by one.", "Reload", () => command("reload"))],
  ["Scale …", () => ask("Scale", "How many workers? N, or MIN:MAX.", "Scale", (workers) => command("scale", { workers }),
    { label: "Workers", value: String(model.status?.wanted ?? "") })],
  ["Stop", () => ask("Stop the server?", "It finishes open requests, then ends. Nothing starts it again from here.", "Stop", () => command("stop"))],
];

function showSteering() {
  $("token-form").hidden = Boolean(token);
  $("commands").hidden = !token;
  if (!token) return $("commands").replaceChildren();
  if ($("commands").firstChild) return undefined;
  for (const [word, act] of COMMANDS) {
    const button = element("button", word === "Stop" ? "danger" : "", word);
    button.onclick = act;
    $("commands").append(button);
  }
  const leave = element("button", "", "Forget the token");
  leave.onclick = () => { forget(); say("The token is forgotten."); };
  $("commands").append(leave);
  return undefined;
}

function forget() {
  token = null;
  store.set("sessionStorage", TOKEN, null);
  showSteering();
  show();
}

function steering() {
  $("token-form").onsubmit = async (event) => {
    event.preventDefault();
    const given = $("token").value;
    try {
      await order("status", given); // changes nothing, and tells whether the token is right
      token = given;
      store.set("sessionStorage", TOKEN, given);
      $("token").value = "";
      say("");
    } catch (error) {
      say(error.status === 401 ? "That is not the token." : error.message, true);
    }
    showSteering();
    show();
  };
  if (token) $("steer").open = true;
  showSteering();
}
