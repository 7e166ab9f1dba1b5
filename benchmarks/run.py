"""Compare prefork with its peers under wrk: `python benchmarks/run.py`.

Every server is started anew for each measurement, on one core, and loaded from the other. The servers take turns
within a round, so that a machine that changes its pace changes it for all of them.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # a script finds its own folder only

from benchmarks.options import names, positive
from benchmarks.peers import PeerError, program, tool
from benchmarks.probe import ProbeError, ask, check_hello
from benchmarks.process import StartError, cores, free_port, pinned, prepare, running
from benchmarks.report import machine, publish, versions
from benchmarks.scenarios import CONNECTIONS, SCENARIOS, Scenario
from benchmarks.servers import HELLO
from benchmarks.table import Bar, Measurement, bars_line, cpu_ratio, load_table
from benchmarks.tree import cpu_ns
from benchmarks.wrk import WrkError, load

WARM_UP_SECONDS = 1
ROUNDS = 5  # fewer are for trying the harness out
BASE = "prefork"


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line; `only` and `scenario` are lists of known names."""
    parser = argparse.ArgumentParser(description="Compare prefork with its peers under wrk.")
    parser.add_argument("--rounds", type=positive, default=ROUNDS, help=f"default {ROUNDS}")
    parser.add_argument("--seconds", type=positive, default=4, help="of a measurement, default 4")
    parser.add_argument("--only", type=names(list(HELLO)), default=list(HELLO), metavar="SERVER,..")
    scenarios = [scenario.name for scenario in SCENARIOS]
    parser.add_argument("--scenario", type=names(scenarios), default=scenarios, metavar="NAME,..")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="append the report to a file")
    return parser.parse_args(words)


def available(wanted: Sequence[str]) -> tuple[list[str], list[str]]:
    """The servers that can be had here, installed where they were not, and a line for each that cannot."""
    found, missing = [], []
    for name in wanted:
        try:
            program(HELLO[name].home)
            found.append(name)
        except PeerError as error:
            missing.append(f"left out: {name}: {error}")
    return found, missing


def measure(name: str, scenario: Scenario, number: int, seconds: int) -> Measurement:
    """One run of wrk against one fresh server.

    Raises StartError, ProbeError, OSError, WrkError; WrkError also where wrk saw an answer that is no success.
    """
    server, port = HELLO[name], free_port()
    command = server.command(port, scenario.workers.get(name, 1))
    for_server, for_load = cores()
    with running(command, port, server.folder, server.environment, pinned(for_server)) as root:
        for answer in ask(port, scenario.request(), scenario.pipelined, scenario.closes):
            check_hello(answer)
        url, options, pin = f"http://127.0.0.1:{port}/", scenario.wrk_options(), pinned(for_load)
        warm_up = load(url, WARM_UP_SECONDS, CONNECTIONS, options, pin)
        before = cpu_ns(root.pid)
        report = load(url, seconds, CONNECTIONS, options, pin)
        used = cpu_ns(root.pid) - before
    if problem := report.problem() or warm_up.problem():
        raise WrkError(problem)
    p99 = None if scenario.pipelined > 1 else report.p99_ms  # wrk times whole writes, and mostly reports 0 for them
    return Measurement(name, number, report.requests_per_second, used / 1000 / report.requests, p99)


def compare(scenario: Scenario, servers: Sequence[str], rounds: int, seconds: int) -> tuple[str, list[Bar]]:
    """All rounds of one scenario: its part of the report, and its bars where prefork took part."""
    base = BASE if BASE in servers else servers[0]
    measurements, invalid = [], []
    for number in range(1, rounds + 1):
        for name in servers:
            try:
                one = measure(name, scenario, number, seconds)
                measurements.append(one)
                outcome = f"{one.requests_per_second:,.0f} requests/s, {one.cpu_us:.2f} µs a request"
            except (StartError, ProbeError, WrkError, OSError) as error:
                outcome = f"invalid: {error}"
                invalid.append(f"{name}, round {number}: {error}")
            print(f"{scenario.name} {number}/{rounds} {name}: {outcome}", file=sys.stderr)
    bars = {
        peer: Bar(limit, cpu_ratio(measurements, base, peer))
        for peer, limit in scenario.bars.items()
        if base == BASE and peer in servers
    }
    titles = {name: HELLO[name].title for name in servers}
    parts = [f"### {scenario.title}", load_table(measurements, base, titles, bars, rounds)]
    if invalid:
        parts.append("Invalid, and not in the medians:\n\n" + "\n".join(f"- {line}" for line in invalid))
    return "\n\n".join(parts), list(bars.values())


def notes(rounds: int, seconds: int, servers: Sequence[str]) -> str:
    """How the figures came about, for whoever reads the report later."""
    for_server, for_load = cores()
    lines = [
        machine(),
        f"Medians of {rounds} rounds of {seconds} s; server on core {for_server}, wrk on core {for_load}; CPU is user"
        " and system time of the server's process tree; ratios are medians of the rounds' own ratios.",
        f"Peers: {versions(HELLO[name].home for name in servers)}.",
    ]
    if rounds < ROUNDS:
        lines.append(f"Fewer than {ROUNDS} rounds: good for trying out, not for the record.")
    if for_server == for_load:
        lines.append("Only one core is usable: server and wrk share it, and the figures mean little.")
    return "\n\n".join(lines)


def main() -> int:
    """Print the report; 1 if nothing can be measured."""
    chosen = arguments()
    prepare()
    try:
        tool("wrk")
    except PeerError as error:
        print(error, file=sys.stderr)
        return 1
    servers, missing = available(chosen.only)
    parts, bars = [notes(chosen.rounds, chosen.seconds, servers), *missing], []
    for scenario in SCENARIOS:
        if scenario.name in chosen.scenario and (here := [name for name in servers if name in scenario.servers]):
            text, reached = compare(scenario, here, chosen.rounds, chosen.seconds)
            parts.append(text)
            bars += reached
    if bars:
        parts.append(bars_line(bars))
    publish(parts, chosen.markdown)
    return 0 if servers else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
