"""Compare prefork's children with what asyncio, multiprocessing and Node have: `python benchmarks/children.py`.

What is compared runs in one program, in turns, where that is possible; otherwise programs take turns within a round.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # a script finds its own folder only

from benchmarks import children_programs
from benchmarks.children_bars import BARS
from benchmarks.children_figures import FIGURES, TOOLS
from benchmarks.children_programs import HOME, NODE, Program, asked, named, serving
from benchmarks.children_tables import CALL, MEMORY, START, figure_table, tools_table
from benchmarks.options import names, positive
from benchmarks.peers import PeerError, program
from benchmarks.process import prepare
from benchmarks.report import machine, publish, versions
from benchmarks.rounds import ROUNDS, Sample, turns
from benchmarks.table import bars_line
from benchmarks.verdicts import Verdict, verdicts_table

CORES = 2  # for everything together, so that a larger machine measures the same
TOOL_SCENARIOS = {"starts": START, "programs": START, "calls": CALL}  # in this order, in one server
NAMES = [*FIGURES, "tools"]

Part = tuple[list[str], list[Verdict]]  # of the report: paragraphs, bars


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line; `only` is a list of known names."""
    parser = argparse.ArgumentParser(description="Compare prefork's children with asyncio, multiprocessing and Node.")
    parser.add_argument("--rounds", type=positive, default=ROUNDS, help=f"default {ROUNDS}")
    parser.add_argument("--seconds", type=positive, default=2, help="for each way in a round, default 2")
    parser.add_argument("--only", type=names(NAMES), default=NAMES, metavar="FIGURE,..")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="append the report to a file")
    return parser.parse_args(words)


def figure(name: str, rounds: int, seconds: int) -> Part:
    """One figure, and what its bars say."""
    wanted = FIGURES[name]
    programs, missing = at_hand(wanted.programs)

    def one(key: str, number: int) -> list[Sample]:
        found = children_programs.values(programs[key], seconds)
        return [Sample(way, number, wanted.factor * value) for way, value in found.items()]

    found, failed = turns(name, list(programs), rounds, one, shown)
    samples = [sample for each in found for sample in each]
    return [f"### {wanted.title}", figure_table(wanted, samples, rounds), *missing, *failed], BARS[name](samples)


def shown(samples: Sequence[Sample]) -> str:
    """One round of a program in a line."""
    return ", ".join(f"{sample.name} {sample.value:.4g}" for sample in samples)


def at_hand(programs: Sequence[Program]) -> tuple[dict[str, Program], list[str]]:
    """Those that can be run here, and a line for each that cannot."""
    found, missing = {}, []
    for each in programs:
        try:
            program(NODE if each.kind == NODE else HOME)
            found[str(each)] = each
        except PeerError as error:
            missing.append(f"left out: {each}: {error}")
    return found, missing


def tools(rounds: int, seconds: int) -> Part:
    """What each tool costs. There is no bar for it."""

    def one(what: str, number: int) -> list[Sample]:
        if what == "memory":
            found = children_programs.memory()
            return [Sample(MEMORY + name, number, value) for name, value in found.items()]
        with serving() as server:
            return [
                Sample(name, number, value)
                for scenario, prefix in TOOL_SCENARIOS.items()
                for name, value in named(asked(server, scenario, seconds), prefix).items()
            ]

    found, failed = turns("tools", ["times", "memory"], rounds, one, shown)
    samples = [sample for each in found for sample in each]
    return ["### What each tool costs, in a worker of the heavy app", tools_table(samples, TOOLS), *failed], []


def notes(rounds: int, seconds: int) -> str:
    """How the figures came about, for whoever reads the report later."""
    lines = [
        machine(),
        f"Medians of {rounds} rounds of up to {seconds} s for each way, in fresh processes; what is compared in one"
        " program takes turns there, a few calls at a time; parents, children and load share"
        f" {CORES} cores; ratios are medians of the rounds' own ratios; every result is checked.",
        f"Packages: {versions([HOME])}.",
    ]
    if rounds < ROUNDS:
        lines.append(f"Fewer than {ROUNDS} rounds: good for trying out, not for the record.")
    return "\n\n".join(lines)


def main() -> int:
    """Print the report; 1 if the environment that all share cannot be made."""
    chosen = arguments()
    prepare()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])  # every process below inherits it
    try:
        program(HOME)
    except PeerError as error:
        print(error, file=sys.stderr)
        return 1
    parts, verdicts = ["## Children", notes(chosen.rounds, chosen.seconds)], []
    for name in chosen.only:
        if name == "tools":
            part = tools(chosen.rounds, chosen.seconds)
        else:
            part = figure(name, chosen.rounds, chosen.seconds)
        parts += part[0]
        verdicts += part[1]
    if verdicts:
        parts += ["### Bars", verdicts_table(verdicts), bars_line([verdict.bar for verdict in verdicts])]
    publish(parts, chosen.markdown)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
