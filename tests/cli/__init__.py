"""Run the command in a process of its own, from any folder, as an operator would."""

import os
import subprocess
import sys
from pathlib import Path

import prefork

ENVIRONMENT = {key: value for key, value in os.environ.items() if not key.startswith("PREFORK_")} | {
    "PYTHONPATH": str(Path(prefork.__file__).parents[1])
}


def run_python(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run this interpreter there, with prefork importable and no PREFORK_* variables, and wait for its end."""
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
