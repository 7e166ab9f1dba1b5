"""The dashboard in a real browser, over a real server: what it shows when workers die, block and go on, that what
clients send stays text, that it steers with the token only, and that it goes on after the server was gone."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.frameworks.browser import CHROMIUM, Page, browser
from tests.processes.gate import Gate
from tests.processes.patience import GUARD_SECONDS, PATIENCE
from tests.processes.tree import Tree

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(not CHROMIUM.exists(), reason=f"{CHROMIUM} is not installed"),
]

TOKEN = "a token of the test"
SEEN_SECONDS = 2.0 * PATIENCE  # from the event to the page
HOSTILE = "/any/<script>window.owned=1</script><img/src=x/onerror=window.owned=1>"

# In the page: a fact that becomes true, looked for at each turn. The page is made to ask the server more often than it
# does by itself, unless that is what is to be seen.
UNTIL = """new Promise((done, fail) => {{
  const began = performance.now();
  const look = () => {{
    const found = {fact};
    if (found) done(found);
    else if (performance.now() - began > {guard}) fail(new Error(document.body.innerText));
    else setTimeout(look, 20);
    if ({hurry}) poll();
  }};
  look();
}})"""
ROWS = """[...document.querySelectorAll('#workers tbody tr')].map(row =>
  Object.fromEntries([...row.cells].map(cell => [cell.dataset.label ?? cell.className, cell.innerText])))"""
EVENT_LINES = "[...document.querySelectorAll('#events .text')].map(line => line.textContent)"
REQUEST_LINES = "[...document.querySelectorAll('#requests tbody tr')].map(row => row.innerText)"
DELAY = "(() => { const e = model.events.findLast(e => e.text.includes(%s)); return Date.now() / 1000 - e.at; })()"


def until(page: Page, fact: str, hurry: bool = True) -> Any:
    return page.evaluate(UNTIL.format(fact=fact, guard=GUARD_SECONDS * 900, hurry=str(hurry).lower()))


def row(page: Page, slot: int, **cells: str) -> dict[str, str]:
    """Wait until the worker of a slot has such cells."""
    wanted = json.dumps({"Slot": str(slot), **{name.replace("_", " "): text for name, text in cells.items()}})
    matches = f"Object.entries({wanted}).every(([name, text]) => row[name] === text)"
    found: dict[str, str] = until(page, f"{ROWS}.find(row => {matches})")
    return found


def delay(page: Page, text: str) -> float:
    """How long ago, by the browser's clock, an event with this text was."""
    return float(page.evaluate(DELAY % json.dumps(text)))


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    with browser(tmp_path / "profile") as page:
        yield page


def test_the_page_tells_what_happens_to_workers_and_steers_with_the_token_only(
    tree: Tree, tree_beside: Tree, gate: Gate, page: Page
) -> None:
    admin_flags = ("--admin", "127.0.0.1:0", "--admin-token", TOKEN)
    tree.start("faults:app", *admin_flags, "--name", "shop", "--stall-seconds", "0.5")
    admin = tree.log.wait(r"admin server on (http://\S+)")[1]
    page.resize(1280, 1000)
    page.open(admin + "/")

    # who is there
    for slot in (0, 1):
        row(page, slot, PID=str(tree.worker(slot)), State="ready")
    assert page.evaluate("document.querySelector('#name').textContent") == "shop"
    assert tree.address in page.evaluate("document.querySelector('#facts').textContent")
    assert page.evaluate("document.querySelectorAll('main button:not(#token-form button)').length") == 0

    # what clients send stays text; a worker that is killed is seen at once, with its victims
    asking = tree.asking(HOSTILE)
    victim = gate.wait_entered().pid
    slot = tree.slot(victim)
    until(page, f"{REQUEST_LINES}.some(line => line.includes({json.dumps(HOSTILE)}) && line.includes('{victim}'))")
    mark = tree.log.mark()
    os.kill(victim, signal.SIGKILL)
    until(page, f"{EVENT_LINES}.some(line => line.includes('pid {victim}) died'))", hurry=False)
    assert delay(page, f"pid {victim}) died") < SEEN_SECONDS
    until(page, f"{EVENT_LINES}.some(line => line.includes({json.dumps(HOSTILE[:40])}))")
    until(page, f"document.querySelector('#attention').textContent.includes('pid {victim}) died')")
    assert page.evaluate(f"model.marks.some(mark => mark.kind === 'died' && mark.slot === {slot})")
    replacement = tree.wait_ready(slot, mark)
    note = row(page, slot, PID=str(replacement), State="ready")["note"]
    assert note == f"in the place of pid {victim}"
    assert page.evaluate("[window.owned === undefined, document.querySelectorAll('main script, main img').length]") == [
        True,
        0,
    ]
    asking.close()

    # one that is blocked, with the request that blocks it; then it goes on
    blocking = tree.asking("/block")
    visitor = gate.wait_entered()
    slot = tree.slot(visitor.pid)
    until(page, f"{EVENT_LINES}.some(line => line.includes('is stalled'))", hurry=False)
    assert delay(page, "is stalled") < SEEN_SECONDS
    row(page, slot, State="stalled")
    until(page, f"{REQUEST_LINES}.some(line => /^[\\d.]+ s.*{visitor.pid}.*GET \\/block/.test(line))")
    until(page, "/is stalled.*GET \\/block, for [\\d.]+ s/.test(document.querySelector('#attention').textContent)")
    assert "1 worker stalled" in page.evaluate("document.title")
    visitor.release()
    assert blocking.receive().status == 200
    row(page, slot, State="ready", PID=str(visitor.pid))

    # the events: filter and search
    page.evaluate("$('search').value = 'RUNS again'; $('search').oninput()")
    assert [line for line in page.evaluate(EVENT_LINES) if "runs again" not in line] == []
    page.evaluate("$('search').value = ''; $('level').value = '40'; $('level').onchange()")
    assert all("died" in line or "lost with" in line for line in page.evaluate(EVENT_LINES))

    # the token
    steer = "$('token').value = {}; $('token-form').requestSubmit()"
    page.evaluate(steer.format("'not the token'"))
    until(page, "$('said').textContent === 'That is not the token.'")
    assert page.evaluate("document.querySelectorAll('#workers button, #commands button').length") == 0
    page.evaluate(steer.format(json.dumps(TOKEN)))
    until(page, "document.querySelectorAll('#workers button').length === 4")
    assert page.evaluate("sessionStorage.length + localStorage.length") == 1
    mark = tree.log.mark()
    kill = "document.querySelector('#workers tr[data-slot=\"0\"] .danger').click()"
    page.evaluate(kill)
    page.evaluate("$('ask').querySelector('[type=button]').click()")
    page.evaluate(kill)
    assert "Kill worker 0?" in page.evaluate("$('ask').innerText")
    page.evaluate("$('ask').querySelector('.danger').click()")
    row(page, 0, State="ready", PID=str(tree.wait_ready(0, mark)))
    tree.log.wait("is killed: by command", mark)
    assert len(tree.log.find("is killed: by command", mark)) == 1
    kinds = ["died", "killed", "stalled", "recovered", "ready"]
    until(page, f"{json.dumps(kinds)}.every(kind => model.marks.some(mark => mark.kind === kind))")

    # on a phone, light and dark
    page.resize(320, 640)
    until(page, "document.documentElement.scrollWidth <= 320 && innerWidth === 320")
    page.resize(1280, 1000)
    grounds = []
    for theme in ("dark", "light"):
        page.evaluate(f"$('theme').value = '{theme}'; $('theme').onchange()")
        grounds.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert len(set(grounds)) == 2

    # hidden it asks nothing
    page.evaluate("Object.defineProperty(document, 'hidden', {value: true, configurable: true})")
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    until(page, "!polling", hurry=False)
    assert page.evaluate(HIDDEN) == ["paused", 0]
    page.evaluate("delete document.hidden; document.dispatchEvent(new Event('visibilitychange'))")
    until(page, "$('pulse').textContent === 'live'")

    # nobody else was asked for anything
    hosts = "[...new Set(performance.getEntriesByType('resource').map(one => new URL(one.name).origin))]"
    assert page.evaluate(hosts) == [admin]

    # the server goes, and another one comes
    tree.stop()
    until(page, "!$('lost').hidden && $('lost').textContent.includes('Connection to the server lost')")
    assert page.evaluate("document.title").endswith("connection lost")
    tree_beside.start("faults:app", "--admin", admin.removeprefix("http://"), "--name", "successor")
    until(page, "$('lost').hidden && $('name').textContent === 'successor'")
    row(page, 0, PID=str(tree_beside.worker(0)), State="ready")
    until(page, "model.events.filter(one => one.text.includes('serving on')).length === 2")

    # left open for a day it does not grow
    assert page.evaluate(DAY) == {"samples": True, "events": True, "marks": True, "nodes": True, "met": True}
    assert page.evaluate(UPGRADED) == ["old", "new, before it took over", "old, at the end", "new"]
    assert page.evaluate(SET_BACK) == [True, True, True]


# What a hidden page shows, and how often it asks.
HIDDEN = """(async () => {
  const ask = window.fetch;
  let times = 0;
  window.fetch = (...words) => { times += 1; return ask(...words); };
  await poll();
  window.fetch = ask;
  return [$('pulse').textContent, times];
})()"""

# 86,400 seconds in steps of ten minutes, each with events and another worker.
DAY = """(async () => {
  while (polling) await new Promise((done) => setTimeout(done, 10)); // no answer of the server is on its way then
  clearTimeout(timer);
  timer = -1;
  polling = true;
  const template = model.samples.at(-1), now = model.status.now;
  let event = 1e6, nodes = 0;
  for (let step = 0; step < 144; step++) {
    const from = now + step * 600;
    const samples = Array.from({ length: 600 }, (_, n) => ({ ...template, at: from + n }));
    const events = Array.from({ length: 50 }, (_, n) => ({ number: event++, at: from + n, level: 'error', source: 'x',
      text: `worker ${n % 2} (generation 1, pid ${step}) died: x`,
      fields: { event: 'died', worker: { slot: n % 2 } } }));
    const workers = model.status.workers.map((worker, n) => ({ ...worker, pid: 1e6 + step * 2 + n }));
    take({ ...model, status: { ...model.status, now: from + 600, workers }, samples, events });
    show();
    if (step % 12 === 0) draw();
    if (step === 20) nodes = document.querySelectorAll('*').length;
  }
  return { samples: model.samples.length === SAMPLES, events: model.events.length === EVENTS,
    marks: model.marks.length === MARKS, nodes: document.querySelectorAll('*').length <= nodes, met: met.size <= 2 };
})()"""

# Another master goes on from the events of the one before, as of its start, and counts on from there.
UPGRADED = """(() => {
  const now = model.status.now;
  const event = (number, at, text) => ({ number, at: now + at, text, level: 'info', source: 'x' });
  const say = (started_at, events) => take({ ...model, status: { ...model.status, started_at }, samples: [], events });
  say(model.status.started_at, [event(1e7, 1, 'old'), event(1e7 + 1, 3, 'old, at the end')]);
  const long_ago = Array.from({ length: EVENTS }, (_, n) => event(n + 1, n - 1e6, `long ago ${n}`));
  const fresh = [event(1e7, 1, 'old'), event(1e7 + 1, 2, 'new, before it took over'), event(1e7 + 2, 4, 'new')];
  say(now, fresh.slice(-1));
  say(now, [...long_ago, ...fresh]);
  return model.events.slice(-4).map(one => one.text);
})()"""

# The server's clock is set back: what comes then is taken.
SET_BACK = """(() => {
  const now = model.status.now - 3000;
  take({ ...model, status: { ...model.status, now }, samples: [{ ...model.samples[0], at: now }], events: [] });
  show();
  return [model.samples.at(-1).at === now, asked.sample === now, model.marks.every(one => one.at <= now)];
})()"""
