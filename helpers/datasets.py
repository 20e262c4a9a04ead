"""Class folders, the pictures that the course ships, and photographs of installed packages."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from helpers.errors import DatasetError, nearest

DATA = Path(__file__).resolve().parents[1] / "data"
IGNORED = {"Thumbs.db", "desktop.ini"}


@dataclass(frozen=True)
class ClassFolders:
    """A folder with one folder a class: `files[i]` (relative to `root`) shows `classes[labels[i]]`.

    Classes are in alphabetical order, and files are in order of class and name: the same on every
    machine, never shuffled here.
    """

    root: Path
    classes: tuple[str, ...]
    files: tuple[str, ...]
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.files)

    def paths(self) -> list[Path]:
        """The files' paths, in order."""
        return [self.root / file for file in self.files]


def class_folders(root: str | Path) -> ClassFolders:
    """Lists a folder of class folders. Hidden files are ignored; nothing is opened.

    Raises:
        DatasetError: no such folder, no class folders, or an empty one.

    Example:
        >>> class_folders("data/five_classes/test").classes
        ('bus', 'dinosaur', 'elephant', 'flower', 'horse')
    """
    root = Path(root)
    if not root.is_dir():
        what = "a file" if root.exists() else "not there"
        raise DatasetError(
            f"{root}: expected a folder that has one folder for each class; it is {what}."
        )
    classes = sorted(
        entry.name for entry in os.scandir(root) if entry.is_dir() and _shown(entry.name)
    )
    if not classes:
        raise DatasetError(
            f"{root}: expected one folder for each class in it, found none. Put the pictures of "
            "each class into a folder that has the class's name."
        )
    files: list[str] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        found = sorted(e.name for e in os.scandir(root / name) if e.is_file() and _shown(e.name))
        if not found:
            raise DatasetError(
                f"{root / name}: the folder of class {name!r} is empty. Fill or remove it."
            )
        files += [f"{name}/{file}" for file in found]
        labels += [label] * len(found)
    return ClassFolders(root, tuple(classes), tuple(files), np.array(labels, "int64"))


def five_classes(split: str) -> Path:
    """The folder of the drawings that the course ships: `"train"` (5 × 100) or `"test"` (5 × 20).

    Raises:
        DatasetError: another split, or the data are not beside the package.
    """
    if split not in ("train", "test"):
        raise DatasetError(
            f"No split {split!r} of the five classes. {nearest(split, ['train', 'test'])}"
        )
    folder = DATA / "five_classes" / split
    if not folder.is_dir():
        raise DatasetError(
            f"{folder.name}: not beside the package. "
            "Install it from the course's folder: pip install -e ."
        )
    return folder


def photographs() -> dict[str, np.ndarray]:
    """Photographs that come with scikit-image and scikit-learn: name → (rows, columns, 3) uint8."""
    import skimage.data
    from sklearn.datasets import load_sample_image

    return {
        "chelsea": skimage.data.chelsea(),
        "coffee": skimage.data.coffee(),
        "rocket": skimage.data.rocket(),
        "astronaut": skimage.data.astronaut(),
        "china": load_sample_image("china.jpg"),
        "flower": load_sample_image("flower.jpg"),
    }


def _shown(name: str) -> bool:
    return not name.startswith(".") and name not in IGNORED
