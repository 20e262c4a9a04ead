"""Resolve pyproject.toml with constraints.txt for every system and Python: `make resolve`.

Needs uv and a network. A row is OK if every package has a wheel there and a pin in constraints.txt.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PYTHONS = ("3.11.0", "3.12.0", "3.13.0")
PLATFORMS = {
    "Linux x86_64": "x86_64-manylinux_2_28",
    "Linux aarch64": "aarch64-manylinux_2_28",
    "Windows x86_64": "x86_64-pc-windows-msvc",
    "macOS 14 Apple Silicon": "aarch64-apple-darwin",
}


def resolve(python: str, platform: str) -> str:
    """Say "OK, N packages", or what is wrong."""
    uv = Path(sys.executable).with_name("uv")
    options = ["--quiet", "--no-build", "--no-header", "--no-annotate", "--all-extras"]
    where = ["--python-version", python, "--python-platform", platform]
    run = subprocess.run(
        [uv, "pip", "compile", *options, *where, "-c", "constraints.txt", "pyproject.toml"],
        cwd=ROOT,
        env=os.environ | {"MACOSX_DEPLOYMENT_TARGET": "14.0"},
        capture_output=True,
        text=True,
    )
    if run.returncode:
        return run.stderr.partition("cause: ")[2].partition("\n")[0] or run.stderr.strip()
    found, pins = names(run.stdout), names((ROOT / "constraints.txt").read_text("utf-8"))
    unpinned = sorted(found - pins)
    return f"no pin for {', '.join(unpinned)}" if unpinned else f"OK, {len(found)} packages"


def names(requirements: str) -> set[str]:
    """Return the packages of lines like `name==1.0`, spelled as pip compares them."""
    found = re.findall(r"^([\w.-]+)==", requirements, re.MULTILINE)
    return {re.sub(r"[-_.]+", "-", name).lower() for name in found}


def main() -> None:
    wrong = 0
    for label, platform in PLATFORMS.items():
        for python in PYTHONS:
            result = resolve(python, platform)
            wrong += not result.startswith("OK")
            print(f"{label:22}  {python:6}  {result}", flush=True)
    sys.exit(f"{wrong} of the combinations do not resolve." if wrong else 0)


if __name__ == "__main__":
    main()
