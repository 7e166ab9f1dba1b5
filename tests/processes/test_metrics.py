"""Metrics of real trees: what all processes have counted is what clients have seen."""

import os
import select
import signal
from collections import Counter
from collections.abc import Iterator
from time import monotonic

import pytest
from prometheus_client.core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from tests.processes.client import Client, Lost
from tests.processes.patience import GUARD_SECONDS
from tests.processes.tree import CALM, Tree

pytestmark = pytest.mark.processes

REQUESTS = 20_000
KILLS_AT = (6_000, 13_000)  # answers
CONNECTIONS = 8
KINDS = [  # method, path, and what is counted of it
    ("GET", "/", ("GET", "2xx", "/")),
    ("GET", "/users/1", ("GET", "2xx", "/users/{id:int}")),
    ("GET", "/users/10", ("GET", "4xx", "/users/{id:int}")),
    ("POST", "/orders", ("POST", "2xx", "/orders")),
    ("GET", "/fails", ("GET", "5xx", "/fails")),
    ("GET", "/nowhere/1", ("GET", "4xx", "")),
]
BODY = b"a body"


def look(tree: Tree) -> dict[str, Metric]:
    """The metrics as both formats have them, which must be the same names."""
    families = {family.name: family for family in read_text(tree.get("/metrics").text)}
    text = tree.get("/metrics", "accept: openmetrics\r\n").text
    strict = {family.name for family in read_openmetrics(text)}  # type: ignore[no-untyped-call]
    assert strict == set(families)
    return families


def values(family: Metric, sample: str, *labels: str) -> dict[tuple[str, ...], float]:
    return {
        tuple(found.labels[label] for label in labels): found.value
        for found in family.samples
        if found.name == sample and found.labels.get("le") in (None, "+Inf")
    }


def counts(families: dict[str, Metric]) -> Counter[tuple[str, ...]]:
    found = values(families["prefork_request_seconds"], "prefork_request_seconds_count", "method", "status", "route")
    return Counter({key: int(count) for key, count in found.items() if key[2] != "/metrics"})


class Clients:
    """Connections that each have one request in flight."""

    def __init__(self, tree: Tree) -> None:
        self.seen: Counter[tuple[str, ...]] = Counter()
        self.lost: Counter[tuple[str, ...]] = Counter()
        self._tree = tree
        self._asked: dict[Client, tuple[str, ...]] = {}
        self._turn = 0
        self._poll = select.poll()
        self._by_descriptor: dict[int, Client] = {}

    def add(self) -> None:
        client = self._tree.client()
        self._by_descriptor[client.fileno()] = client
        self._poll.register(client.fileno(), select.POLLIN)
        self._ask(client)

    def drive(self, answers: int) -> None:
        """Until there are so many, then until nothing is in flight."""
        while self.seen.total() < answers:
            self._step(ask=True)

    def finish(self) -> None:
        while self._asked:
            self._step(ask=False)

    def _step(self, ask: bool) -> None:
        ready = self._poll.poll(GUARD_SECONDS * 1000)
        assert ready, "nobody answers"
        for descriptor, _ in ready:
            client = self._by_descriptor[descriptor]
            kind = self._asked.pop(client)
            try:
                reply = client.receive()
            except (Lost, OSError):
                self.lost[kind] += 1
                self._poll.unregister(descriptor)
                del self._by_descriptor[descriptor]
                client.close()
                if ask:
                    self.add()
                continue
            assert kind[1] == f"{reply.status // 100}xx"
            self.seen[kind] += 1
            if ask:
                self._ask(client)

    def _ask(self, client: Client) -> None:
        self._turn += 1
        method, path, kind = KINDS[self._turn % len(KINDS)]
        body = BODY if method == "POST" else b""
        fields = f"content-length: {len(body)}\r\n" if body else ""
        self._asked[client] = kind
        try:
            client.send(path, fields, method, body)
        except OSError:
            pass  # as the next receive will see


def test_metrics_add_up_to_what_a_client_counted_with_workers_killed_on_the_way(tree: Tree) -> None:
    tree.start("counted:app", *CALM)
    clients = Clients(tree)
    for _ in range(CONNECTIONS):
        clients.add()
    for slot, answers in enumerate(KILLS_AT):
        clients.drive(answers)
        os.kill(tree.worker(slot), signal.SIGKILL)
    clients.drive(REQUESTS)
    clients.finish()
    exits = next(found for found in _looks(tree) if _killed(found) == len(KILLS_AT) and _is_settled(found))
    counted, seen, lost = counts(exits), clients.seen, clients.lost
    assert 0 < lost.total() <= len(KILLS_AT) * CONNECTIONS
    for kind in seen:  # one in flight may be counted and not have been seen, or the other way round
        assert abs(counted[kind] - seen[kind]) <= lost[kind], kind
    assert counted.keys() == seen.keys()
    received = values(exits["prefork_request_bytes"], "prefork_request_bytes_total", "route")
    assert received == {("/orders",): len(BODY) * counted["POST", "2xx", "/orders"]}
    accepted = values(exits["prefork_connections_accepted"], "prefork_connections_accepted_total")[()]
    assert accepted >= CONNECTIONS + lost.total()
    waited = values(exits["prefork_queue_wait_seconds"], "prefork_queue_wait_seconds_count")[()]
    assert accepted - lost.total() <= waited <= accepted


def _looks(tree: Tree) -> Iterator[dict[str, Metric]]:
    end = monotonic() + GUARD_SECONDS
    while monotonic() < end:
        yield look(tree)
    raise AssertionError(tree.report())


def _is_settled(families: dict[str, Metric]) -> bool:
    """Whether each connection that was accepted or taken back is counted as handed out. The one that we look through
    may be answered before the master has come to that."""
    accepted, handed, back = (
        values(families[f"prefork_connections_{what}"], f"prefork_connections_{what}_total")[()]
        for what in ("accepted", "handed_out", "taken_back")
    )
    return handed == accepted + back


def _killed(families: dict[str, Metric]) -> float:
    found = families.get("prefork_worker_exits")
    return 0 if found is None else sum(values(found, "prefork_worker_exits_total", "slot", "reason").values())


def test_an_app_counts_in_whichever_process_its_code_runs(tree: Tree) -> None:
    tree.start("counted:app", "--balance", "kernel", *CALM)
    assert [tree.get("/everywhere").text for _ in range(2)] == ["crashed"] * 2
    families = look(tree)
    assert values(families["orders"], "orders_total", "where") == dict.fromkeys(
        [("worker",), ("offloader",), ("actor",), ("child",)], 2.0
    )
    sizes = {sample.labels.get("le"): sample.value for sample in families["order_size"].samples}
    assert sizes == {"1.0": 2.0, "10.0": 6.0, "+Inf": 8.0, None: 226.0}
    jobs = values(families["prefork_jobs"], "prefork_jobs_total", "actor", "function", "outcome")
    assert jobs == {
        ("", "counted.count", "done"): 2.0,
        ("", "counted.crash", "crashed"): 2.0,
        ("", "counted.crash", "done"): 0.0,
        ("counted.Till", "counted.Till.count", "done"): 2.0,
    }
    ran = values(families["prefork_job_run_seconds"], "prefork_job_run_seconds_count", "function")
    accepted = values(families["prefork_connections_accepted"], "prefork_connections_accepted_total")[()]
    assert values(families["prefork_queue_wait_seconds"], "prefork_queue_wait_seconds_count")[()] == accepted == 3
    assert values(families["prefork_connections_handed_out"], "prefork_connections_handed_out_total")[()] == 0
    assert ran == {("counted.count",): 2.0, ("counted.crash",): 2.0, ("counted.Till.count",): 2.0}


def test_nothing_is_counted_without_a_ledger(tree: Tree) -> None:
    tree.start("counted:app", "--no-metrics", *CALM, workers=1)
    assert tree.get("/everywhere").text == "crashed"
    families = {family.name: family for family in read_text(tree.get("/metrics").text)}
    assert values(families["orders"], "orders_total", "where") == {("worker",): 1.0}  # its own memory
    assert "prefork_request_seconds" not in families or not counts(families)
