// The chat's page. It listens twice, by server-sent events and by WebSocket, and first checks that every way works:
// what is said by fetch must be heard on both, and what is said on the WebSocket too. `window.checked` is a promise of
// the verdict, for programs that drive the page.

const $ = (id) => document.getElementById(id);
const seen = new Set();
const waiting = []; // {way, text, resolve}: somebody waits to hear `text` by `way`

function hear(way, message) {
  for (const one of waiting) if (one.way === way && one.text === message.text) one.resolve();
  if (!seen.has(message.id)) { // the other way may have brought it already
    seen.add(message.id);
    const line = document.createElement("li");
    const name = document.createElement("b");
    name.textContent = message.name;
    line.append(name, message.text);
    $("messages").append(line);
  }
}

const heard = (way, text) => new Promise((resolve) => waiting.push({ way, text, resolve }));
const within = (seconds, what, promise) =>
  Promise.race([promise, new Promise((_, reject) => setTimeout(() => reject(Error(`${what} took too long`)), seconds * 1000))]);

const events = new EventSource("api/events");
const joined = new Promise((resolve) => events.addEventListener("joined", resolve, { once: true }));
events.addEventListener("message", (event) => hear("events", JSON.parse(event.data)));

const socket = new WebSocket(Object.assign(new URL("api/talk", location), { protocol: location.protocol.replace("http", "ws") }));
const opened = new Promise((resolve) => socket.addEventListener("open", resolve, { once: true }));
socket.addEventListener("message", (event) => hear("socket", JSON.parse(event.data)));

async function sayByFetch(name, text) {
  const response = await fetch("api/messages", { method: "POST", body: JSON.stringify({ name, text }) });
  if (response.status !== 201) throw Error(`status ${response.status}`);
  return response.json();
}

async function check(id, work) {
  try {
    await within(10, id, work());
    $(id).className = "good";
    return true;
  } catch (error) {
    $(id).className = "bad";
    $(id).title = error.message;
    return false;
  }
}

async function checkAll() {
  const me = `visitor ${Math.random().toString(36).slice(2, 6)}`;
  const byFetch = `${me} came in`;
  const bySocket = `${me} says hello ☺`;
  const first = [heard("events", byFetch), heard("socket", byFetch)];
  const second = [heard("events", bySocket), heard("socket", bySocket)];
  const results = await Promise.all([
    check("fetch", async () => {
      for (const message of await (await fetch("api/messages")).json()) hear("fetch", message);
      await Promise.all([joined, opened]); // so that both can hear it
      await sayByFetch(me, byFetch);
    }),
    check("upload", async () => {
      const bytes = new Uint8Array(1_000_000).map((_, index) => index % 251);
      const response = await fetch("api/digest", { method: "PUT", body: bytes });
      const digest = [...new Uint8Array(await crypto.subtle.digest("SHA-256", bytes))];
      const wanted = digest.map((byte) => byte.toString(16).padStart(2, "0")).join("");
      const { size, sha256 } = await response.json();
      if (size !== bytes.length || sha256 !== wanted) throw Error(`${size} bytes, ${sha256}`);
    }),
    check("events", () => Promise.all([first[0], second[0]])),
    check("socket", async () => {
      await first[1];
      socket.send(JSON.stringify({ name: me, text: bySocket }));
      await second[1];
    }),
  ]);
  return ($("verdict").textContent = results.every(Boolean) ? "all good" : "something is wrong");
}

$("say").addEventListener("submit", (event) => {
  event.preventDefault();
  const form = event.target;
  socket.send(JSON.stringify({ name: form.name.value, text: form.text.value }));
  form.text.value = "";
});

window.checked = checkAll();
