"""Start-up: how long a command takes to begin, over bare Python."""

import subprocess
import sys

import frame
from frame import Claim, Table

BARE = "python -c pass"
COMMANDS = {
    BARE: ["-c", "pass"],
    "import helpers": ["-c", "import helpers"],
    "python -m helpers models": ["-m", "helpers", "models"],
    "python -m helpers weights list": ["-m", "helpers", "weights", "list"],
}


def measure(runs: int) -> list[Table]:
    def run(arguments: list[str]) -> None:
        subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)

    contenders = {
        name: frame.seconds(lambda arguments=arguments: run(arguments))  # type: ignore[misc]
        for name, arguments in COMMANDS.items()
    }
    values = frame.take_turns(contenders, max(runs, 9))
    more = [ours - bare for ours, bare in zip(values["import helpers"], values[BARE], strict=True)]
    claim = Claim(
        "import helpers, seconds over bare Python", sorted(more)[len(more) // 2], most=0.1
    )
    return [Table("Commands that need no TensorFlow", "seconds", values, BARE, [claim])]


if __name__ == "__main__":
    frame.main(measure)
