"""What both scripts print beside their tables: the machine, the peers' versions, and the file to append to."""

import os
import platform
import subprocess
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.peers import PACKAGES, tool

CPUINFO = Path("/proc/cpuinfo")


def machine() -> str:
    """The machine in one line: processor, usable cores, kernel, Python, date (UTC)."""
    lines = CPUINFO.read_text().splitlines() if CPUINFO.exists() else []
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return "; ".join(
        [
            model or platform.machine(),
            f"{len(os.sched_getaffinity(0))} usable cores",
            f"Linux {platform.release()}",
            f"Python {platform.python_version()}",
            f"{datetime.now(UTC):%Y-%m-%d}",
        ]
    )


def versions(names: Iterable[str]) -> str:
    """What some servers are made of, in one line: pinned packages, and Node's version where it is among them."""
    homes = set(names)
    found = {package.replace("==", " ") for home in homes for package in PACKAGES.get(home, ())}
    if "node" in homes:
        answer = subprocess.run([tool("node"), "--version"], capture_output=True, text=True, check=True)
        found.add(f"Node {answer.stdout.strip().removeprefix('v')}")
    return ", ".join(sorted(found, key=str.lower)) or "none"


def publish(parts: Iterable[str], file: Path | None) -> None:
    """Print a report, and append it to a file if one is given."""
    report = "\n\n".join(parts)
    print(report)
    if file:
        append(file, report)


def append(file: Path, text: str) -> None:
    """Add a report to the end of a file, after a blank line where the file has text already."""
    before = "\n" if file.exists() and file.stat().st_size else ""
    with file.open("a") as stream:
        stream.write(before + text.strip() + "\n")
