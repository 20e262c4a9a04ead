"""Class folders of pictures: anybody's, the course's own, and well-known public ones."""

import os
import unicodedata
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from helpers import archives, downloads, weights
from helpers.errors import DataError, nearest

DATA = Path(__file__).resolve().parents[1] / "data"
IGNORED = {"Thumbs.db", "desktop.ini"}


@dataclass(frozen=True)
class PublicDataset:
    """A published archive (its name, address, SHA-256), and where its class folders are in it."""

    name: str
    url: str
    hash: str
    folder: str
    about: str
    licence: str
    source: str


# The first two hashes are in TensorFlow Datasets' repository, datasets/tf_flowers/checksums.tsv and
# datasets/imagenette/checksums.tsv. Of the third, Zenodo publishes size and MD5: 94,658,721 bytes,
# f46e308c4d50d4bf32fedad2d3d62f3b; the SHA-256 of that file is stated by several of its users.
PUBLIC = {
    "flowers": PublicDataset(
        "flower_photos.tgz",
        "https://storage.googleapis.com/download.tensorflow.org/example_images/flower_photos.tgz",
        "4c54ace7911aaffe13a365c34f650e71dd5bf1be0a58b464e5a7183e3e595d9c",
        "flower_photos",
        "3,670 photographs of 5 flowers (229 MB)",
        "CC BY 2.0, the photographers are named in LICENSE.txt beside the class folders",
        "https://www.tensorflow.org/datasets/catalog/tf_flowers",
    ),
    "imagenette": PublicDataset(
        "imagenette2-160.tgz",
        "https://s3.amazonaws.com/fast-ai-imageclas/imagenette2-160.tgz",
        "64d0c4859f35a461889e0147755a999a48b49bf38a7e0f9bd27003f10db02fe5",
        "imagenette2-160/train",
        "9,469 photographs of 10 classes of ImageNet, named by WordNet id (99 MB); 3,925 more to "
        "test with are in ../val",
        "Apache 2.0, as fast.ai publishes it; ImageNet, whose pictures they are, gives them for "
        "research and education that are not commercial",
        "https://github.com/fastai/imagenette",
    ),
    "eurosat": PublicDataset(
        "EuroSAT_RGB.zip",
        "https://zenodo.org/records/7711810/files/EuroSAT_RGB.zip",
        "b4f5b234ecb7d7ff9c6cddb046543b4717c53fd6e9815be6c0e80cc614f51b90",
        "EuroSAT_RGB",
        "27,000 satellite pictures of 10 kinds of land, 64 x 64 (95 MB)",
        "MIT, by Helber, Bischke, Dengel and Borth; Sentinel-2 data of the EU's Copernicus",
        "https://zenodo.org/records/7711810",
    ),
}


@dataclass(frozen=True)
class ClassFolders:
    """A folder with one folder a class: `files[i]` (relative to `root`) shows `classes[labels[i]]`.

    Classes are in alphabetical order, and files are in order of class and name: the same on every
    machine, never shuffled here. `skipped` has (file, reason) of every link that is not followed.
    """

    root: Path
    classes: tuple[str, ...]
    files: tuple[str, ...]
    labels: np.ndarray
    skipped: tuple[tuple[str, str], ...] = ()

    def __len__(self) -> int:
        return len(self.files)

    def paths(self) -> list[Path]:
        """The files' paths, in order."""
        return [self.root / file for file in self.files]

    def stats(self, rows: np.ndarray | None = None) -> np.ndarray:
        """Size and time of change of files, (N, 2) int64; -1 for those that are not there."""

        def look(row: int) -> tuple[int, int]:
            try:
                found = os.stat(self.root / self.files[row])
            except OSError:
                return -1, -1
            return found.st_size, found.st_mtime_ns

        rows = np.arange(len(self)) if rows is None else rows
        return np.array([look(row) for row in rows.tolist()], "int64").reshape(-1, 2)

    def changed(self, seen: np.ndarray, rows: np.ndarray | None = None) -> np.ndarray:
        """Which files, default of all, are not as `stats` saw them all."""
        rows = np.arange(len(self)) if rows is None else rows
        return rows[(self.stats(rows) != seen[rows]).any(axis=1)]


def class_folders(root: str | Path) -> ClassFolders:
    """Lists a folder of class folders. Hidden files are ignored; nothing is opened.

    Links are followed to files inside of the folder, and nowhere else. Names keep their bytes where
    they are not UTF-8 (as `os.fsdecode` does it).

    Raises:
        DataError: no such folder, no class folders, an empty one, or two whose names differ only
            in upper and lower case.

    Example:
        >>> class_folders("data/five_classes/test").classes
        ('bus', 'dinosaur', 'elephant', 'flower', 'horse')
    """
    root = Path(root)
    if not root.is_dir():
        what = "a file. A single picture is read by images.read" if root.exists() else "not there"
        raise DataError(
            f"{root}: expected a folder that has one folder for each class; it is {what}."
        )
    classes = [entry.name for entry in _entries(root) if not entry.is_symlink() and entry.is_dir()]
    if not classes:
        raise DataError(
            f"{root}: expected one folder for each class in it, found none. Put the pictures of "
            "each class into a folder that has the class's name."
        )
    _tell_apart(root, classes)
    files: list[str] = []
    labels: list[int] = []
    skipped = [
        (entry.name, "a link to a folder")
        for entry in _entries(root)
        if entry.is_symlink() and os.path.isdir(entry)
    ]
    inside = root.resolve()
    for label, name in enumerate(classes):
        before = len(files)
        for entry in _entries(root / name):
            reason = _why_not(entry, inside) if entry.is_symlink() else ""
            if reason:
                skipped.append((f"{name}/{entry.name}", reason))
            elif entry.is_file():
                files.append(f"{name}/{entry.name}")
                labels.append(label)
        if len(files) == before:
            raise _empty(root / name)
    return ClassFolders(
        root, tuple(classes), tuple(files), np.array(labels, "int64"), tuple(skipped)
    )


def five_classes(split: str) -> Path:
    """The folder of the drawings that the course ships: `"train"` (5 × 100) or `"test"` (5 × 20).

    Raises:
        DataError: another split, or the data are not beside the package.
    """
    if split not in ("train", "test"):
        raise DataError(
            f"No split {split!r} of the five classes. {nearest(split, ['train', 'test'])}"
        )
    folder = DATA / "five_classes" / split
    if not folder.is_dir():
        raise DataError(
            f"{folder.name}: not beside the package. "
            "Install it from the course's folder: pip install -e ."
        )
    return folder


def get(name: str) -> Path:
    """A well-known public data set: the folder of its class folders, downloaded if need be.

    `PUBLIC` lists them. The archive and the folder are kept where Keras keeps its data sets,
    `~/.keras/datasets` or below `KERAS_HOME`; a proved archive that is there already will do, and
    `HELPERS_MIRROR` is asked first. Licence and source are printed.

    Raises:
        DataError: an unknown name, or an archive that cannot be unpacked.
        DownloadError: it could not be had; says what was tried, and where to put it by hand.
    """
    if name not in PUBLIC:
        raise DataError(f"No data set {name!r}. {nearest(name, PUBLIC)}")
    wanted = PUBLIC[name]
    print(f"{name}: {wanted.about}. Licence: {wanted.licence}. Source: {wanted.source}")
    home = weights.cache().parent / "datasets"
    if not (home / name).is_dir():
        archives.unpack(downloads.fetch(wanted, home, weights.mirrors()), home / name)
    return home / name / wanted.folder


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


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """What is in a folder, in order of name, but for what machines put there by themselves."""
    try:
        with os.scandir(folder) as found:
            entries = [e for e in found if not e.name.startswith(".") and e.name not in IGNORED]
    except OSError as error:
        raise DataError(f"{folder}: cannot be listed ({error.strerror}).") from error
    return sorted(entries, key=lambda entry: entry.name)


def _why_not(link: os.DirEntry[str], root: Path) -> str:
    """Why a link is not followed; `""` for one to a file inside of the root."""
    try:
        target = Path(link.path).resolve(strict=True)
    except (OSError, RuntimeError):  # RuntimeError: a loop, before Python 3.13
        return "a link that leads nowhere"
    if target.is_dir():
        return "a link to a folder"
    return "" if target.is_relative_to(root) else "a link that leads out of the folder"


def _tell_apart(root: Path, classes: list[str]) -> None:
    """Windows and macOS would make one folder of such names, and another list of classes."""
    seen: dict[str, str] = {}
    for name in classes:
        other = seen.setdefault(unicodedata.normalize("NFC", name).casefold(), name)
        if other != name:
            raise DataError(
                f"{root}: classes {other!r} and {name!r} differ only in upper and lower case or in "
                "how accents are written; on other machines they are one. Rename or merge them."
            )


def _empty(folder: Path) -> DataError:
    deeper = [entry.name for entry in _entries(folder) if entry.is_dir(follow_symlinks=False)]
    advice = "Fill or remove it."
    if deeper:
        advice = (
            f"There are folders in it, such as {deeper[0]!r}: if they are the classes, give "
            f"{folder.name!r} as the folder of class folders."
        )
    return DataError(f"{folder}: the folder of class {folder.name!r} is empty. {advice}")
