"""Class folders of pictures: your own, the course's drawings, and well-known public ones."""

import contextlib
import csv
import importlib.util
import os
import tempfile
import unicodedata
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from helpers import downloads, images, weights
from helpers.errors import DataError, PictureError, nearest

DATA = Path(__file__).resolve().parents[1] / "data"
# What operating systems put into folders by themselves, in lower case.
IGNORED = {
    "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx", "__pycache__", "@eadir",
    "@recycle", "@recently-snapshot", "@tmp", "#recycle", "#snapshot", "$recycle.bin",
    "system volume information", "lost+found", "found.000", "network trash folder",
    "temporary items",
}  # fmt: skip
SPLITS = {"train", "training", "val", "valid", "validation", "test", "testing"}


@dataclass(frozen=True)
class PublicDataset:
    """A published archive, its SHA-256, who states that, and where its class folders are in it.

    `size_mb` is about how large the archive is.
    """

    name: str
    url: str
    hash: str
    hash_source: str
    size_mb: float
    folder: str
    about: str
    licence: str
    source: str


def _table(name: str) -> list[dict[str, str]]:
    with (DATA / name).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


PUBLIC = {
    row.pop("dataset"): PublicDataset(size_mb=float(row.pop("size_mb")), **row)
    for row in _table("public_datasets.csv")
}
# Photographs in the wheels of packages that the course needs: name → (package, file).
PHOTOGRAPHS = {row["name"]: (row["package"], row["file"]) for row in _table("photographs.csv")}


@dataclass(frozen=True)
class ClassFolders:
    """A folder with one folder a class: `files[i]` (relative to `root`) shows `classes[labels[i]]`.

    Classes and files are in alphabetical order. `skipped` has (link, reason) for each link that is
    not followed.
    """

    root: Path
    classes: tuple[str, ...]
    files: tuple[str, ...]
    labels: np.ndarray
    skipped: tuple[tuple[str, str], ...] = ()

    def __len__(self) -> int:
        return len(self.files)

    def paths(self) -> list[Path]:
        """Give the paths of the files, in order."""
        return [self.root / file for file in self.files]

    def stats(self, rows: np.ndarray | None = None) -> np.ndarray:
        """Look up files: (N, 3), int64: size, time of change, and time of any change.

        The last one, which is not on Windows, tells even what was replaced with `cp -p`. It is -1
        for files that are gone.
        """
        rows = np.arange(len(self)) if rows is None else rows
        found = np.full((len(rows), 3), -1, "int64")
        for i, row in enumerate(rows):
            with contextlib.suppress(OSError):
                status = os.stat(self.root / self.files[row])
                found[i] = status.st_size, status.st_mtime_ns, status.st_ctime_ns
        return found

    def changed(self, seen: np.ndarray, rows: np.ndarray | None = None) -> np.ndarray:
        """Tell which rows' files, by default of all, are not as `stats` saw all of them.

        `seen` may have the first columns only.
        """
        rows = np.arange(len(self)) if rows is None else rows
        return rows[(self.stats(rows)[:, : seen.shape[1]] != seen[rows]).any(axis=1)]


def class_folders(root: str | Path) -> ClassFolders:
    """List a folder of class folders; no file is opened.

    A class is a folder in `root`, and has all files that lie in it or in its sub-folders. Links
    are followed. Hidden files and folders, and those of systems such as `__MACOSX`, are ignored.
    Names that are not UTF-8 keep their bytes, as `os.fsdecode` does it.

    Raises:
        DataError: no such folder, no class folders, an empty one, only splits (train, test), or
            two classes whose names differ only in upper and lower case.

    Example:
        >>> class_folders("data/five_classes/test").classes
        ('bus', 'dinosaur', 'elephant', 'flower', 'horse')
    """
    root = Path(root)
    if not os.path.isdir(root):  # unlike Path's, it has no error of its own
        there = os.path.exists(root)
        what = "a file. A single picture is read by images.load" if there else "not there"
        raise DataError(f"{root}: expected a folder with one folder for each class; it is {what}.")
    files, skipped = _walk(root)
    _check(root, files, skipped)
    labels = np.repeat(np.arange(len(files)), [len(found) for found in files.values()])
    listed = tuple(file for found in files.values() for file in found)
    return ClassFolders(root, tuple(files), listed, labels, tuple(skipped))


def five_classes(split: str) -> Path:
    """Find the class folders of the drawings that the course ships.

    Args:
        split: `"train"` (5 × 100 drawings) or `"test"` (5 × 20).
    """
    if split not in ("train", "test"):
        raise DataError(f"No split {split!r}. {nearest(split, ['train', 'test'])}")
    return DATA / "five_classes" / split


def five_classes_masks(split: str) -> np.ndarray:
    """Read where in each drawing its subject can be seen: (N, 224, 224), bool.

    The code that makes the drawings made the masks too, so they are exact. They are in the order
    of `class_folders(five_classes(split))`.

    Args:
        split: `"train"` or `"test"`.

    Example:
        >>> five_classes_masks("test").shape
        (100, 224, 224)
    """
    with np.load(five_classes(split).parent.with_name("five_classes_masks.npz")) as file:
        return np.unpackbits(file[split], axis=-1).astype(bool)


def split_copy(
    root: str | Path, target: str | Path | None = None, test_share: float = 0.2, pixels: int = 512
) -> tuple[Path, Path]:
    """Copy a folder of class folders as clean JPEG files, a share of each class apart for the test.

    The copies are upright, RGB and at most `pixels` on their longer side, so that Keras's own
    loaders can read them. Pictures that can't be read are left out, with a line that says why.

    Args:
        root: as in `class_folders`; it isn't changed.
        target: a new or empty folder; by default a temporary one.
        test_share: of each class, at least one picture, chosen at random but always the same.
        pixels: the longer side of a copy, at most.

    Returns:
        The folders `target/train` and `target/test`.

    Raises:
        DataError: fewer than two classes, or fewer than five readable pictures in one of them.
    """
    found = class_folders(os.path.expanduser(root))
    if len(found.classes) < 2:
        raise DataError(f"{root}: expected two classes or more, found only {found.classes[0]!r}.")
    for link, why in found.skipped:
        print(f"left out: {link}: {why}.")
    target = Path(os.path.expanduser(target or tempfile.mkdtemp()))
    rng = np.random.default_rng(0)
    for label, name in enumerate(found.classes):
        for split in ("train", "test"):
            (target / split / name).mkdir(parents=True, exist_ok=True)
        copies: list[Path] = []
        for row in rng.permutation(np.flatnonzero(found.labels == label)):
            try:
                picture = Image.fromarray(images.load(found.paths()[row]))
            except PictureError as error:
                print("left out:", error)
                continue
            picture.thumbnail((pixels, pixels))
            copies.append(target / "train" / name / f"{row:06}.jpg")
            picture.save(copies[-1], quality=95)
        if len(copies) < 5:
            raise DataError(
                f"Class {name!r} has {len(copies)} readable pictures; expected five or more, and "
                "better twenty. Add some, or take its folder away."
            )
        for copy in copies[: max(1, round(len(copies) * test_share))]:
            copy.rename(target / "test" / name / copy.name)
    return target / "train", target / "test"


def photograph(name: str) -> Path:
    """Find one of the `PHOTOGRAPHS` that come with other packages.

    Example:
        >>> photograph("coffee").name
        'coffee.png'
    """
    if name not in PHOTOGRAPHS:
        raise DataError(f"No photograph {name!r}. {nearest(name, PHOTOGRAPHS)}")
    package, file = PHOTOGRAPHS[name]
    spec = importlib.util.find_spec(package)  # nothing is imported
    return Path(str(spec and spec.origin)).parent / file


def photographs() -> dict[str, np.ndarray]:
    """Read the first six of `PHOTOGRAPHS`: name → (rows, columns, 3), uint8."""
    return {name: images.load(photograph(name)) for name in list(PHOTOGRAPHS)[:6]}


def get(name: str) -> Path:
    """Download a well-known public data set, unless it is here already.

    It is kept where Keras keeps its data sets, and `HELPERS_MIRROR` is asked first. Licence and
    source are printed.

    Args:
        name: one of `PUBLIC`.

    Returns:
        The folder of its class folders.

    Raises:
        DownloadError: the archive could not be had or unpacked; says what was tried.
    """
    if name not in PUBLIC:
        raise DataError(f"No data set {name!r}. {nearest(name, PUBLIC)}")
    wanted = PUBLIC[name]
    print(f"{name}: {wanted.about}. Licence: {wanted.licence}. Source: {wanted.source}")
    home = weights.cache().with_name("datasets")
    if not (home / name).is_dir():
        path, mirrors = home / wanted.name, weights.mirrors()
        archive = downloads.fetch(wanted.url, wanted.hash, path, wanted.size_mb, mirrors)
        downloads.unpack(archive, home / name)
    return home / name / wanted.folder


def _walk(root: Path) -> tuple[dict[str, list[str]], list[tuple[str, str]]]:
    """List the files of each class, and the links that are not followed with their reasons."""
    files: dict[str, list[str]] = {}
    skipped: list[tuple[str, str]] = []
    real = root.resolve()
    above = {str(folder) for folder in (real, *real.parents)}
    seen: set[tuple[str, str]] = set()
    for folder, folders, names in os.walk(root, onerror=_cannot_list, followlinks=True):
        within = Path(folder).relative_to(root).parts
        # Links last, so that a folder is listed under its own name where a link leads to it too.
        links_last = sorted(folders, key=lambda name: (os.path.islink(f"{folder}/{name}"), name))
        folders.clear()
        for name in [*links_last, *names]:
            path = "/".join((*within, name))
            if name.startswith(".") or name.lower() in IGNORED:
                continue
            if not os.path.exists(root / path):
                link = os.path.islink(root / path)
                skipped.append((path, "a link that leads nowhere" if link else "cannot be reached"))
            elif os.path.isdir(root / path):
                target = (path.split("/")[0], os.path.realpath(root / path))
                if target[1] in above or target in seen:
                    skipped.append((path, "a link to a folder that is listed already"))
                else:
                    seen.add(target)
                    folders.append(name)
            elif within:
                files[within[0]].append(path)
        if not within:
            files = {name: [] for name in sorted(folders)}
    return {name: sorted(found) for name, found in files.items()}, skipped


def _cannot_list(error: OSError) -> None:
    raise DataError(f"{error.filename}: cannot be listed ({error.strerror}).") from error


def _check(root: Path, files: dict[str, list[str]], skipped: list[tuple[str, str]]) -> None:
    if not files:
        links = "".join(f" ({link}: {why})" for link, why in skipped[:1])
        raise DataError(
            f"{root}: expected one folder for each class in it, found none{links}. Put the "
            "pictures of each class into a folder that has the class's name."
        )
    seen: dict[str, str] = {}
    for name, found in files.items():
        if not found:
            left = [f" ({link}: {why})" for link, why in skipped if link.startswith(f"{name}/")]
            raise DataError(
                f"{root / name}: the folder of class {name!r} is empty{''.join(left[:1])}. "
                "Fill or remove it."
            )
        # On Windows and macOS such names are one folder, and so the classes would be others.
        other = seen.setdefault(unicodedata.normalize("NFC", name).casefold(), name)
        if other != name:
            raise DataError(
                f"{root}: classes {other!r} and {name!r} differ only in upper and lower case or in "
                "how accents are written; on other machines they are one. Rename or merge them."
            )
    deep = all(file.count("/") > 1 for found in files.values() for file in found)
    if deep and SPLITS.issuperset(name.lower() for name in files):
        raise DataError(
            f"{root}: expected a folder for each class; {', '.join(files)} look like splits of a "
            f"data set. Give the folder of one split, such as {root / next(iter(files))}."
        )
