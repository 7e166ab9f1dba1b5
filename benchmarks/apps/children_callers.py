"""Measure in a plain program: python children_callers.py PARENT LOOP SCENARIO SECONDS. Prints JSON lines.

PARENT is "small" or "heavy", which imports an app of 90 MB first; LOOP is "uvloop" or "asyncio".
"""

import asyncio
import importlib
import json
import sys

import uvloop


def main(parent: str, loop: str, scenario: str, seconds: str) -> None:
    """Run one scenario and print what it found."""
    if parent == "heavy":
        importlib.import_module("children_heavy")
    scenarios = importlib.import_module("children_scenarios")
    run = uvloop.run if loop == "uvloop" else asyncio.run
    for line in run(scenarios.SCENARIOS[scenario](float(seconds))):
        print(json.dumps(line))


if __name__ == "__main__":  # multiprocessing imports this file once more in each process
    main(*sys.argv[1:])
