"""Write data/backgrounds.csv: which photograph is behind each drawing of data/five_classes.

    python data/list_backgrounds.py     # a few seconds

The drawing code chooses the photograph at random, in the same way for every class. This runs that
code up to its choice, for each drawing.
"""

import csv
import sys
from pathlib import Path
from unittest import mock

from draw_five_classes import draw, names
from drawing import scenes

FILE = Path(__file__).parent / "backgrounds.csv"


class Chosen(Exception):
    """Ends the drawing of a picture once its background is chosen."""


def background_of(name: str) -> str:
    """Return the photograph that the background of a drawing is cut from.

    Example:
        >>> background_of("test/horse/horse_007.jpg")
        'grass'
    """
    with mock.patch.object(scenes, "half", side_effect=lambda photograph, _: _stop(photograph)):
        try:
            draw(name)
        except Chosen as chosen:
            return Path(str(chosen)).stem
    raise AssertionError(f"{name}: drawn without a background")


def _stop(photograph: str) -> None:
    raise Chosen(photograph)


def main() -> int:
    """Write the file, and return the exit status."""
    with FILE.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["path", "background"])
        writer.writerows([name, background_of(name)] for name in names())
    return 0


if __name__ == "__main__":
    sys.exit(main())
