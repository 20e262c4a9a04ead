"""Make the students' versions of the labs, and check them and the solutions."""

import argparse
import logging
import os
import shutil
import sys
from pathlib import Path

from nbgrader.converters import GenerateAssignment
from nbgrader.coursedir import CourseDirectory
from nbgrader.validator import Validator
from tqdm import tqdm
from traitlets.config import Config, PyFileConfigLoader

HERE = Path(__file__).resolve().parent
SOURCE = HERE / "source"
RELEASE = HERE.parents[1] / "build" / "labs" / "release"
NAMES = sorted(folder.name for folder in SOURCE.iterdir())


def main() -> int:
    """Release all labs, or those that are named; 1 if a check fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="LAB", help="default all")
    names = parser.parse_args().names or NAMES
    if missing := set(names) - set(NAMES):
        parser.error(f"no lab {', '.join(sorted(missing))} in {SOURCE.name}")
    os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    failed = []
    for name in (bar := tqdm(names, unit="lab")):
        bar.set_description(name)
        student = generate(name, RELEASE)
        failed += validate(SOURCE / name / f"{name}.ipynb", invert=False)
        failed += validate(student, invert=True)
    print(f"The students' versions: {RELEASE.relative_to(HERE.parents[1])}")
    print("\n".join(failed) or "The solutions pass every test, the students' versions none.")
    return 1 if failed else 0


def generate(name: str, release: Path) -> Path:
    """Write a lab as students get it: no solutions, no outputs, and checksums in its test cells."""
    settings = config()
    settings.CourseDirectory.release_directory = str(release)
    settings.CourseDirectory.assignment_id = name
    settings.GenerateAssignment.no_database = True
    settings.SaveCells.enabled = False
    shutil.rmtree(release / name, ignore_errors=True)
    GenerateAssignment(coursedir=CourseDirectory(config=settings), config=settings).start()
    return release / name / f"{name}.ipynb"


def validate(path: Path, invert: bool) -> list[str]:
    """Run a notebook, and list the tests that do not pass, or with `invert` those that do."""
    settings = config()
    settings.Validator.invert = invert
    logging.getLogger("traitlets").setLevel("ERROR")
    found = Validator(config=settings).validate(str(path))
    return [
        f"{path.parent.parent.name}/{path.name}: a test cell has {kind}:\n{cell['source']}"
        for kind, cells in found.items()
        for cell in cells
    ]


def config() -> Config:
    """Read the settings of `nbgrader_config.py`."""
    settings = PyFileConfigLoader("nbgrader_config.py", path=str(HERE)).load_config()
    settings.CourseDirectory.root = str(HERE)
    return settings


if __name__ == "__main__":
    sys.exit(main())
