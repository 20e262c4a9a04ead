"""Check whether this machine is ready for the course, and name a fix for each problem."""

import importlib.metadata
import platform
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from helpers import engine, weights
from helpers.errors import ArgumentError, HelpersError

ROOT = Path(__file__).resolve().parents[1]
PINS = ROOT / "constraints.txt"
SHOWN = ("tensorflow", "keras", "numpy", "h5py", "pillow", "matplotlib", "jupyterlab", "ipywidgets")
INSTALL = "pip install -c constraints.txt -e . in the course's folder"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at; `fix` is empty if all is well."""

    what: str
    found: str
    fix: str = ""

    @property
    def ok(self) -> bool:
        """Whether there is nothing to fix."""
        return not self.fix


def examine(predict: bool = True) -> list[Finding]:
    """Look at Python, packages, the machine and weights; `predict` also loads TensorFlow (5 s)."""
    findings = [_python(), *_packages(), _widgets(), *_machine(), _writing(), *_weights()]
    return [*findings, _prediction(), _gpu()] if predict else findings


def report(findings: list[Finding]) -> str:
    """Write the findings as a Markdown table, for a notebook."""
    rows = [f"| {'✓' if f.ok else '✗'} | {f.what} | {f.found} | {f.fix} |" for f in findings]
    return "\n".join(["| | what | found | what to do |", "|---|---|---|---|", *rows])


def _python() -> Finding:
    found = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    tested = (3, 11) <= sys.version_info[:2] <= (3, 13)
    return Finding("Python", found, "" if tested else "Use Python 3.11, 3.12 or 3.13.")


def _packages() -> Iterator[Finding]:
    """The packages that are shown, one by one; all others in one line."""
    pins = dict.fromkeys(SHOWN, "")
    if PINS.is_file():
        pins |= re.findall(r"^([\w.-]+)==(\S+)$", PINS.read_text("utf-8"), re.MULTILINE)
    others = []
    for name, pinned in sorted(pins.items()):
        try:
            found = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found = ""  # what is not in SHOWN may belong to an extra that isn't installed
        if name in SHOWN and not found:
            yield Finding(name, "not installed", INSTALL)
        elif name in SHOWN:
            fix = f"Tested with {pinned}: pip install {name}=={pinned}"
            yield Finding(name, found, fix if pinned not in ("", found) else "")
        elif found not in ("", pinned):
            others.append(f"{name} {found}, not {pinned}")
    found = f"{len(others)} not as tested: {', '.join(others[:3])}" if others else "as tested"
    yield Finding("other packages", found, INSTALL if others else "")


def _widgets() -> Finding:
    from jupyter_core.paths import jupyter_path

    page = Path("@jupyter-widgets", "jupyterlab-manager", "package.json")
    if any(Path(folder, page).is_file() for folder in jupyter_path("labextensions")):
        return Finding("widgets in JupyterLab", "there")
    fix = "pip install --force-reinstall --no-deps jupyterlab_widgets, then restart JupyterLab"
    return Finding("widgets in JupyterLab", "not there: sliders would be shown as text", fix)


def _machine() -> Iterator[Finding]:
    memory = psutil.virtual_memory().available / 1e9
    fix = "Close programs: the notebooks need 4 GB." if memory < 4 else ""
    yield Finding("memory", f"{memory:.1f} GB free", fix)
    disk = shutil.disk_usage(tempfile.gettempdir()).free / 1e9
    fix = "Delete files: features and weights need 2 GB." if disk < 2 else ""
    yield Finding("disk", f"{disk:.1f} GB free for temporary files", fix)
    count = engine.cores()  # a container often has fewer than the machine
    fix = "Give a container or virtual machine 2; with one, all takes twice as long."
    yield Finding("processors", str(count), fix if count < 2 else "")


def _writing() -> Finding:
    refused, fixes = [], []
    for what, folder, fix in (
        ("temporary files", Path(tempfile.gettempdir()), "set TMPDIR to another folder"),
        ("weights", weights.cache(), "set KERAS_HOME to another folder"),
        ("notebooks", ROOT / "notebooks", "copy the course to a folder of yours"),
    ):
        existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
        try:
            tempfile.TemporaryFile(dir=existing).close()
        except OSError as error:
            refused.append(f"{what}: {existing} can't be written ({error.strerror})")
            fixes.append(f"{fix} (for {what})")
    return Finding(
        "writing", "; ".join(refused) or "temporary files, weights, notebooks", "; ".join(fixes)
    )


def _weights() -> Iterator[Finding]:
    listed = weights.listing()
    here = [f"{file.model} ({file.use})" for file in listed if file.path]
    names = f": {', '.join(here[:6])}" if here else ""
    yield Finding("weights", f"{len(here)} of {len(listed)} published files are here{names}")
    for file in listed:
        if file.arrived and not file.path:
            found = f"{file.model}: a download stopped after {file.arrived / 1e6:.0f} MB"
            notop = "" if file.include_top else " --notop"
            fix = f"python -m helpers weights fetch {file.model}{notop} continues it"
            yield Finding("download", found, fix)
    for place in weights.mirrors():
        if "://" not in place and not Path(place).is_dir():
            fix = "Plug it in, or set HELPERS_MIRROR to another folder."
            yield Finding("HELPERS_MIRROR", f"{place}: no such folder", fix)


def _prediction() -> Finding:
    started = time.perf_counter()
    try:
        import skimage.data

        from helpers import zoo

        network = zoo.load("EfficientNetLite0")
        batch = network.preprocess(skimage.data.coffee())
        _, label, probability = network.decode(network.model.predict(batch, verbose=0))[0][0]
    except (HelpersError, ImportError) as error:
        fix = "Change that setting." if isinstance(error, ArgumentError) else INSTALL
        return Finding("a prediction", f"failed: {error}", fix)
    seconds = time.perf_counter() - started
    found = f"{network.name} calls a cup of coffee {label} ({probability:.2f}), {seconds:.0f} s"
    fix = "" if label == "espresso" else f"It should be espresso: {INSTALL}"
    return Finding("a prediction", found, fix)


def _gpu() -> Finding:
    try:
        from helpers.backend import tensorflow
    except ArgumentError:  # as the prediction said
        return Finding("GPU", "not looked for")
    except ImportError as error:
        return Finding("GPU", f"not looked for: {error}", INSTALL)
    if count := len(tensorflow.config.list_physical_devices("GPU")):
        return Finding("GPU", f"{count}, used by TensorFlow")
    if shutil.which("nvidia-smi"):
        return Finding("GPU", "one that TensorFlow doesn't use; nothing needs it")
    return Finding("GPU", "none, and none is needed")
