"""Start-up: how long a command takes to begin, over bare Python."""

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


def measure(runs: int) -> list[Table]:
    def run(arguments: list[str]) -> None:
        subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)

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
    return [Table("Commands that need no TensorFlow", "seconds", values, BARE, [claim])]


if __name__ == "__main__":
    frame.main(measure)
