// How things are written, and the few ways in which this page touches the document.
// Paths, log lines and names come from outside: they are only ever set as textContent, never as markup.
"use strict";

const $ = (id) => document.getElementById(id);

function element(tag, className = "", text = "") {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text) made.textContent = text;
  return made;
}

// Writing only what differs keeps selections, focus and the accessibility tree quiet.
function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function mark(node, name, value) {
  if (node.dataset[name] !== value) node.dataset[name] = value;
}

// Make `parent` have as many children as there are items, reuse those it has, and let `fill` write each.
// Nothing is thrown away that is still needed, and nothing is left: the page does not grow.
function list(parent, items, make, fill) {
  while (parent.children.length > items.length) parent.lastElementChild.remove();
  items.forEach((item, index) => fill(parent.children[index] ?? parent.appendChild(make(item)), item));
}

function count(number) {
  if (number == null) return "–";
  if (number >= 1e6) return (number / 1e6).toFixed(1) + " M";
  if (number >= 1e4) return (number / 1e3).toFixed(1) + " k";
  if (number >= 100 || Number.isInteger(number)) return Math.round(number).toLocaleString("en-US");
  return number.toFixed(number >= 10 ? 0 : 1);
}

function duration(seconds) {
  if (seconds == null) return "–";
  if (seconds === 0) return "0 ms";
  if (seconds < 0.001) return Math.max(1, Math.round(seconds * 1e6)) + " µs";
  if (seconds < 0.01) return (seconds * 1e3).toFixed(1) + " ms";
  if (seconds < 1) return Math.round(seconds * 1e3) + " ms";
  if (seconds < 10) return seconds.toFixed(1) + " s";
  if (seconds < 60) return Math.round(seconds) + " s";
  if (seconds < 3600) return Math.floor(seconds / 60) + " min " + Math.floor(seconds % 60) + " s";
  if (seconds < 86400) return Math.floor(seconds / 3600) + " h " + Math.floor((seconds % 3600) / 60) + " min";
  return Math.floor(seconds / 86400) + " d " + Math.floor((seconds % 86400) / 3600) + " h";
}

function size(bytes) {
  if (bytes == null) return "–";
  for (const [unit, word] of [[2 ** 40, "TB"], [2 ** 30, "GB"], [2 ** 20, "MB"], [2 ** 10, "kB"]]) {
    if (bytes >= unit) return (bytes / unit).toFixed(bytes / unit < 10 ? 1 : 0) + " " + word;
  }
  return bytes + " B";
}

const percent = (share) => (share == null ? "–" : Math.round(share * 100) + " %");

function clock(at, seconds = true) {
  const date = new Date(at * 1000);
  const parts = [date.getHours(), date.getMinutes(), ...(seconds ? [date.getSeconds()] : [])];
  return parts.map((part) => String(part).padStart(2, "0")).join(":");
}

const many = (number, word) => `${count(number)} ${word}${number === 1 ? "" : "s"}`;
