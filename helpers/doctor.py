"""Whether this machine is ready for the course: what was found, and for each problem its fix."""

import importlib.metadata
import os
import platform
import re
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from helpers import catalogue, weights
from helpers.errors import HelpersError

ROOT = Path(__file__).resolve().parents[1]
PINS = ROOT / "constraints.txt"
SHOWN = ("tensorflow", "keras", "numpy", "h5py", "pillow", "matplotlib", "jupyterlab", "ipywidgets")
MEMORY_GB, DISK_GB = 4, 2


@dataclass(frozen=True)
class Finding:
    """One thing looked at; `fix` is empty where all is well."""

    what: str
    found: str
    fix: str = ""

    @property
    def ok(self) -> bool:
        """Whether there is nothing to mend."""
        return not self.fix


def examine(predict: bool = True) -> list[Finding]:
    """Looks at Python, packages, memory, disk, processors, weights, and makes a real prediction.

    Args:
        predict: load the bundled network and classify a picture (about 5 seconds).
    """
    findings = [_python(), *_packages(), _memory(), _disk(), *_weights()]
    return [*findings, _prediction()] if predict else findings


def report(findings: list[Finding]) -> str:
    """The findings as Markdown, for a notebook."""
    rows = [f"| {'✓' if f.ok else '✗'} | {f.what} | {f.found} | {f.fix} |" for f in findings]
    return "\n".join(["| | what | found | what to do |", "|---|---|---|---|", *rows])


def _python() -> Finding:
    found = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    if (3, 11) <= sys.version_info[:2] < (3, 14):
        return Finding("Python", found)
    return Finding(
        "Python", found, "Use Python 3.11: TensorFlow has no other build the course is tested on."
    )


def _packages() -> list[Finding]:
    return [_package(name, pinned) for name, pinned in _pins().items() if name in SHOWN]


def _pins() -> dict[str, str]:
    if not PINS.is_file():
        return dict.fromkeys(SHOWN, "")
    return dict(re.findall(r"^([\w.-]+)==(\S+)$", PINS.read_text("utf-8"), re.MULTILINE))


def _package(name: str, pinned: str) -> Finding:
    try:
        found = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return Finding(name, "not installed", f"pip install {name}=={pinned}")
    if pinned and found != pinned:
        return Finding(name, found, f"Tested with {pinned}: pip install {name}=={pinned}")
    return Finding(name, found)


def _memory() -> Finding:
    free = psutil.virtual_memory().available / 1e9
    found = f"{free:.1f} GB free, {os.cpu_count()} processors"
    if free >= MEMORY_GB:
        return Finding("memory", found)
    return Finding("memory", found, f"Close programs: the notebooks want {MEMORY_GB} GB.")


def _disk() -> Finding:
    free = shutil.disk_usage(tempfile.gettempdir()).free / 1e9
    found = f"{free:.1f} GB free for temporary files"
    if free >= DISK_GB:
        return Finding("disk", found)
    return Finding("disk", found, f"Make room: features and weights want {DISK_GB} GB.")


def _weights() -> list[Finding]:
    try:
        policy = weights.policy()
    except HelpersError as error:
        return [Finding("HELPERS_WEIGHTS", str(error), "Unset it, or set one of these.")]
    own = [e.name for e in catalogue.entries() if e.weights and weights.find(e.name)]
    found = (
        f"{policy}; of Keras's own: {', '.join(own) or 'none here, the bundled network stands in'}"
    )
    return [Finding("weights", found)]


def _prediction() -> Finding:
    started = time.perf_counter()
    try:
        from helpers import zoo  # here: it loads TensorFlow

        net = zoo.pretrained(catalogue.BUNDLED)
        import skimage.data

        best = net.decode(net.model.predict(net.preprocess(skimage.data.coffee()), verbose=0))[0][0]
    except (HelpersError, ImportError) as error:
        return Finding(
            "a prediction", f"failed: {error}", "pip install -e . in the course's folder"
        )
    seconds = time.perf_counter() - started
    found = (
        f"{net.name} calls a cup of coffee {best[1]} ({best[2]:.2f}), {seconds:.0f} s with loading"
    )
    return Finding("a prediction", found)
