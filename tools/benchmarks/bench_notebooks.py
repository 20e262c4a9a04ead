"""Notebooks: how long each takes as a test, and how much memory its kernel needs.

Runs the line of `make test` that runs nbval, with this file as a plugin that watches the kernels.
Once: these are minutes, and no ratios.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import frame
import pytest
from frame import Claim, Table

ROOT = frame.HERE.parents[1]
FOLDER = "NOTEBOOKS_MEASURED"
_started: dict[Path, float] = {}


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """A notebook's time begins before its kernel does, with the set-up of the first cell."""
    _started.setdefault(item.path, time.perf_counter())


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    """What it has taken so far, after every cell; after the last one the kernel stops."""
    kernel = item.parent.kernel.km.provisioner.pid  # type: ignore[union-attr]
    found = [time.perf_counter() - _started[item.path], frame.peak_memory_mb(kernel)]
    (Path(os.environ[FOLDER]) / f"{item.path.stem}.json").write_text(json.dumps(found))


def measure(_: int) -> list[Table]:
    say = ["make", "--dry-run", "--always-make", "test"]
    lines = subprocess.run(say, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    (command,) = [line for line in lines.splitlines() if "--nbval " in line]
    with tempfile.TemporaryDirectory() as folder:
        environ = os.environ | {FOLDER: folder, "PYTHONPATH": str(frame.HERE)}
        began = time.perf_counter()
        subprocess.run(
            f"{command} -p {Path(__file__).stem} --durations=60",
            shell=True,
            cwd=ROOT,
            env=environ,
            check=True,
            stdout=sys.stderr,
        )
        whole = time.perf_counter() - began
        found = {path.stem: json.loads(path.read_text()) for path in Path(folder).glob("*.json")}
    took = {name: [found[name][0]] for name in sorted(found)}
    memory = {name: [found[name][1]] for name in sorted(found)}
    return [
        Table(
            "Seconds under nbval, two side by side",
            "seconds",
            took,
            "",
            [
                Claim("minutes in all", whole / 60, most=8),
                Claim("seconds of the slowest", max(took.values())[0], most=60),
            ],
        ),
        Table(
            "Memory of the kernel",
            "MB at most",
            memory,
            "",
            [Claim("GB of the largest", max(memory.values())[0] / 1000, most=2)],
        ),
    ]


if __name__ == "__main__":
    frame.main(measure)
