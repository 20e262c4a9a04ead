"""Start-up: how long a command takes to begin, over bare Python.

`predict` and `extract` are measured with a network that was used before; `--engine tensorflow` is
how they began until exported networks were remembered.
"""

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import frame
import h5py
import numpy as np
from frame import Claim, Table

BARE = "python -c pass"
COMMANDS = {
    BARE: ["-c", "pass"],
    "import helpers": ["-c", "import helpers"],
    "python -m helpers models": ["-m", "helpers", "models"],
    "python -m helpers weights list": ["-m", "helpers", "weights", "list"],
}
H5 = "python -m helpers h5 FILE"
PREDICT, EXTRACT = "python -m helpers predict PICTURE", "python -m helpers extract, 10 drawings"
TENSORFLOW = " --engine tensorflow"


def peak(arguments: list[str]) -> float:
    """The most memory that a command takes, in MB."""
    process = subprocess.Popen(
        [sys.executable, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, arguments
    return usage.ru_maxrss / 1024


def prepared(folder: Path) -> dict[str, list[str]]:
    """The commands that compute, with and without TensorFlow."""
    from helpers import datasets

    for drawing in sorted(datasets.five_classes("test").glob("*/*"))[::10]:
        path = folder / "drawings" / drawing.parent.name / drawing.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(drawing.read_bytes())
    picture = str(datasets.photograph("coffee"))
    # Where there is such a file already, another run finds nothing to do.
    script = "import sys, pathlib; from helpers.__main__ import main; "
    script += "pathlib.Path(sys.argv[3]).unlink(missing_ok=True); sys.exit(main(sys.argv[1:]))"
    extract = ["-c", script, "extract", str(folder / "drawings"), str(folder / "f.h5")]
    predict = ["-m", "helpers", "predict", picture]
    return {
        PREDICT: predict,
        PREDICT + TENSORFLOW: [*predict, "--engine", "tensorflow"],
        EXTRACT: extract,
        EXTRACT + TENSORFLOW: [*extract, "--engine", "tensorflow"],
    }


def measure(runs: int) -> list[Table]:
    def run(arguments: list[str]) -> None:
        quiet = subprocess.DEVNULL
        subprocess.run([sys.executable, *arguments], check=True, stdout=quiet, stderr=quiet)

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.h5"
        with h5py.File(path, "w") as file:
            file.attrs["layer_names"] = [b"dense"]
            file.create_group("dense").attrs["weight_names"] = [b"dense/kernel:0"]
            file["dense/dense/kernel:0"] = np.zeros((1000, 1000), "float32")
        commands = COMMANDS | {H5: ["-m", "helpers", "h5", str(path)]}
        contenders = {
            name: frame.seconds(lambda arguments=arguments: run(arguments))  # type: ignore[misc]
            for name, arguments in commands.items()
        }
        values = frame.take_turns(contenders, max(runs, 9))
    more = [ours - bare for ours, bare in zip(values["import helpers"], values[BARE], strict=True)]
    claim = Claim(
        "import helpers, seconds over bare Python", sorted(more)[len(more) // 2], most=0.1
    )
    tables = [Table("Commands that need no TensorFlow", "seconds", values, BARE, [claim])]
    with tempfile.TemporaryDirectory() as folder:
        commands = prepared(Path(folder))
        for unit, most, measured in (
            ("seconds", 1.5, lambda arguments: frame.seconds(lambda: run(arguments))()),
            ("MB at most", 300, peak),
        ):
            contenders = {
                name: lambda arguments=arguments, measured=measured: measured(arguments)
                for name, arguments in commands.items()
            }
            values = frame.take_turns(contenders, runs)
            claims = [
                Claim(f"{name}, {unit}", statistics.median(values[name]), most=most)
                for name in (PREDICT, EXTRACT)
            ]
            tables.append(Table(f"Commands that compute, {unit}", unit, values, "", claims))
    return tables


if __name__ == "__main__":
    frame.main(measure)
