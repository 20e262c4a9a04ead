"""Takes each guard of faults.toml out, in a copy of the project, and sees that the tests fail.

`python tests/faults.py [ROW or WORD …]` tries those whose row it is, or that have the word in what
they are of; all of them without arguments, which takes about ten minutes.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
TABLE = Path(__file__).with_name("faults.toml")
SECONDS = 600


class Guard(NamedTuple):
    """A text in a file, what takes its place without the guard, and the tests that then fail."""

    row: int | None
    what: str
    file: str
    text: str
    without: str
    tests: list[str]


def guards() -> Iterator[Guard]:
    """All of the table; rows have numbers, and what else there is of weight files has none."""
    table = tomllib.loads(TABLE.read_text("utf-8"))
    for fault in [*table["fault"], *table["weight_file"]]:
        for guard in fault["guard"]:
            about = {"row": fault.get("row"), "what": fault["what"], "tests": fault["tests"]}
            yield Guard(**(about | guard))


def without(guard: Guard, copy: Path) -> str:
    """What the tests say without a guard, the beginning of it; nothing where they pass."""
    path = copy / guard.file
    whole = path.read_text("utf-8")
    if whole.count(guard.text) != 1:
        return ""
    path.write_text(whole.replace(guard.text, guard.without), "utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--tb=short"]
    command += [f"tests/{test}" for test in guard.tests]
    environment: dict[str, Any] = os.environ | {"PYTHONPATH": str(copy)}
    try:
        done = subprocess.run(
            command, cwd=copy, env=environment, capture_output=True, text=True, check=False,
            timeout=SECONDS,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return ""  # on a busy machine this says nothing
    finally:
        path.write_text(whole, "utf-8")
    if done.returncode != 1:  # 0: passed; more: pytest itself could not
        return ""
    errors = [line[1:].strip() for line in done.stdout.splitlines() if line.startswith("E ")]
    return " ".join(errors[:3]) if errors else done.stdout.splitlines()[-1]


def main() -> int:
    wanted = sys.argv[1:]
    green = 0
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "project"
        ignored = shutil.ignore_patterns(".*", "build", "notebooks", "*.egg-info", "__pycache__")
        shutil.copytree(ROOT, copy, ignore=ignored)
        for guard in guards():
            rows, words = {str(guard.row)}, set(guard.what.split())
            if wanted and not any(w in (rows if w.isdigit() else words) for w in wanted):
                continue
            seen = without(guard, copy)
            green += not seen
            first = guard.text.strip().splitlines()[0]
            name = f"{guard.row or 'more'} {guard.what} | {guard.file}: {first}"
            print(f"{'red  ' if seen else 'GREEN'} {name} | {seen[:200]}", flush=True)
    print(f"{green} guards can be taken out unseen")
    return green > 0


if __name__ == "__main__":
    sys.exit(main())
