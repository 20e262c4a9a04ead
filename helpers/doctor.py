"""Whether this machine is ready for the course: what was found, and for each problem its fix."""

import contextlib
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

from helpers import catalogue, engine, weights
from helpers.errors import HelpersError

ROOT = Path(__file__).resolve().parents[1]
PINS = ROOT / "constraints.txt"
SHOWN = ("tensorflow", "keras", "numpy", "h5py", "pillow", "matplotlib", "jupyterlab", "ipywidgets")
MEMORY_GB, DISK_GB, PROCESSORS = 4, 2, 2
ALL_PINS = "pip install -c constraints.txt -e . in the course's folder"
# Where the package jupyterlab_widgets puts the part of the widgets that JupyterLab's page loads.
WIDGETS = Path("@jupyter-widgets", "jupyterlab-manager", "package.json")


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
        predict: load the bundled network, classify a picture, and see whether TensorFlow has a
            graphics card (about 5 seconds).
    """
    findings = [_python(), *_packages(), _other_packages(), _widgets(), _memory(), _disk()]
    findings += [_processors(), _writing(), *_weights()]
    return [*findings, _prediction(), _graphics_card()] if predict else findings


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


def _other_packages() -> Finding:
    """All the others that are installed: what an extra would bring may be missing."""
    other, pins = [], _pins()
    for name in set(pins) - set(SHOWN):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found = importlib.metadata.version(name)
            if pins[name] and found != pins[name]:
                other.append(f"{name} {found}, not {pins[name]}")
    if not other:
        return Finding("other packages", "as tested")
    shown = ", ".join(sorted(other)[:3])
    return Finding("other packages", f"{len(other)} not as tested: {shown}", ALL_PINS)


def _widgets() -> Finding:
    """Python's half of the widgets, and the half that JupyterLab loads, must fit together."""
    from jupyter_core.paths import jupyter_path

    folders = [Path(folder) for folder in jupyter_path("labextensions")]
    if any((folder / WIDGETS).is_file() for folder in folders):
        return Finding("widgets in JupyterLab", "there")
    return Finding(
        "widgets in JupyterLab",
        "not there: sliders would be shown as text",
        "pip install --force-reinstall --no-deps jupyterlab_widgets, then start JupyterLab again",
    )


def _memory() -> Finding:
    free = psutil.virtual_memory().available / 1e9
    found = f"{free:.1f} GB free"
    if free >= MEMORY_GB:
        return Finding("memory", found)
    return Finding("memory", found, f"Close programs: the notebooks want {MEMORY_GB} GB.")


def _disk() -> Finding:
    free = shutil.disk_usage(tempfile.gettempdir()).free / 1e9
    found = f"{free:.1f} GB free for temporary files"
    if free >= DISK_GB:
        return Finding("disk", found)
    return Finding("disk", found, f"Make room: features and weights want {DISK_GB} GB.")


def _processors() -> Finding:
    """Those that this process may use: a container often has fewer than the machine."""
    count = engine.cores()
    if count >= PROCESSORS:
        return Finding("processors", str(count))
    return Finding(
        "processors",
        str(count),
        f"All works, in twice the time. Give a container or virtual machine {PROCESSORS}.",
    )


def _writing() -> Finding:
    """Tries to write where the course does: temporary files, weights, and the notebooks."""
    wanted = {
        "temporary files": (Path(tempfile.gettempdir()), "set TMPDIR"),
        "weights": (weights.cache(), "set KERAS_HOME"),
        "notebooks": (ROOT / "notebooks", "copy the course to a folder of yours"),
    }
    refused, fixes = [], []
    for what, (folder, fix) in wanted.items():
        there = next(parent for parent in (folder, *folder.parents) if parent.exists())
        try:
            with tempfile.TemporaryFile(dir=there):
                pass
        except OSError as error:
            refused.append(f"{what}: {there} cannot be written ({error.strerror})")
            fixes.append(f"for {what} {fix}")
    if not refused:
        return Finding("writing", ", ".join(wanted))
    return Finding("writing", "; ".join(refused), f"Ask for the right to write, or {fixes[0]}.")


def _weights() -> list[Finding]:
    """Which files are here, by name; `python -m helpers weights verify` proves what is in them."""
    try:
        policy = weights.policy()
    except HelpersError as error:
        return [Finding("HELPERS_WEIGHTS", str(error), "Unset it, or set one of these.")]
    listed = weights.listing()
    here = [f"{file.model} ({file.use})" for file in listed if file.copies]
    own = f"{policy}; {len(here)} of Keras's own {len(listed)} files are here"
    if here:
        own += f": {', '.join(here[:6])}{' …' if len(here) > 6 else ''}"
    if policy != "imagenet":
        findings = [Finding("weights", f"{own}; EfficientNet-Lite0 stands in for the others")]
    elif here:
        findings = [Finding("weights", f"{own}; the others would be downloaded")]
    else:
        fix = "python -m helpers weights fetch ResNet50 MobileNet, or unset HELPERS_WEIGHTS"
        findings = [Finding("weights", own, fix)]
    for file in listed:
        if file.arrived and not file.copies:
            found = f"{file.model}: a download broke off after {file.arrived / 1e6:.0f} MB"
            fix = f"python -m helpers weights fetch {file.model}"
            fix += "" if file.include_top else " --notop"
            findings.append(Finding("download", found, f"{fix} goes on with it"))
    return [*findings, *_places()]


def _places() -> list[Finding]:
    """Folders that variables name, and that are not there: a stick that is not plugged in."""
    places = {"HELPERS_WEIGHTS_DIR": [os.environ.get("HELPERS_WEIGHTS_DIR", "")]}
    places["HELPERS_MIRROR"] = [place for place in weights.mirrors() if "://" not in place]
    return [
        Finding(name, f"{place}: no such folder", "Plug it in, or set the variable to another.")
        for name, folders in places.items()
        for place in folders
        if place and not Path(place).expanduser().is_dir()
    ]


def _graphics_card() -> Finding:
    """None is needed; one that TensorFlow cannot use is worth a word."""
    try:
        import tensorflow  # it is loaded by now, quietly, or cannot be
    except ImportError as error:
        return Finding("graphics card", f"not looked for: {error}", ALL_PINS)
    cards = tensorflow.config.list_physical_devices("GPU")
    if cards:
        return Finding("graphics card", f"{len(cards)}, used by TensorFlow")
    if shutil.which("nvidia-smi"):
        found = "there is one that TensorFlow does not use; nothing here needs it"
        if platform.system() == "Linux":
            found += ", and pip install 'tensorflow[and-cuda]' makes use of it"
        return Finding("graphics card", found)
    return Finding("graphics card", "none, and none is needed")


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
    if best[1] == "espresso":
        return Finding("a prediction", found)
    return Finding("a prediction", found, f"It should be espresso: {ALL_PINS}")
