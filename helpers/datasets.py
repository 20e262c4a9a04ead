"""Class folders of pictures: your own, the course's drawings, and well-known public ones."""

import importlib.util
import os
import tarfile
import tempfile
import unicodedata
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from helpers import downloads, images, weights
from helpers.errors import DataError, nearest

DATA = Path(__file__).resolve().parents[1] / "data"
# What operating systems and NAS boxes put into folders by themselves, in lower case. Names that
# begin with a dot are ignored too.
IGNORED = {
    "thumbs.db", "desktop.ini", "__macosx", "@eadir", "#recycle", "$recycle.bin",
    "system volume information", "lost+found",
}  # fmt: skip
SPLITS = {"train", "training", "val", "valid", "validation", "test", "testing"}
# Photographs in the wheels of packages that the course needs: name → (package, file).
PHOTOGRAPHS = {
    "chelsea": ("skimage", "data/chelsea.png"),  # a cat
    "coffee": ("skimage", "data/coffee.png"),
    "rocket": ("skimage", "data/rocket.jpg"),
    "astronaut": ("skimage", "data/astronaut.png"),
    "china": ("sklearn", "datasets/images/china.jpg"),  # a palace
    "flower": ("sklearn", "datasets/images/flower.jpg"),
    "motorcycle": ("skimage", "data/motorcycle_left.png"),
    "grace_hopper": ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg"),  # in uniform
    "hubble_deep_field": ("skimage", "data/hubble_deep_field.jpg"),  # galaxies
    "retina": ("skimage", "data/retina.jpg"),
    "camera": ("skimage", "data/camera.png"),  # a photographer with a tripod; these are grey
    "moon": ("skimage", "data/moon.png"),
    "brick": ("skimage", "data/brick.png"),
}


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

    Classes are in alphabetical order, and files in order of class and name: the same on every
    machine, never shuffled. `skipped` has (link, reason) for each link that is not followed.
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
        """Look up size and time of change of files: (N, 2), int64; -1 for those that are gone."""

        def look(row: int) -> tuple[int, int]:
            try:
                found = os.stat(self.root / self.files[row])
            except OSError:
                return -1, -1
            return found.st_size, found.st_mtime_ns

        rows = np.arange(len(self)) if rows is None else rows
        return np.array([look(row) for row in rows.tolist()], "int64").reshape(-1, 2)

    def changed(self, seen: np.ndarray, rows: np.ndarray | None = None) -> np.ndarray:
        """Tell which rows' files, by default of all, are not as `stats` saw all of them."""
        rows = np.arange(len(self)) if rows is None else rows
        return rows[(self.stats(rows) != seen[rows]).any(axis=1)]


def class_folders(root: str | Path) -> ClassFolders:
    """List a folder of class folders; no file is opened.

    A class is a folder in `root`, and has all files that lie in it or in its sub-folders. Links
    are followed. Hidden files and folders, and those of systems such as `__MACOSX`, are ignored.

    Args:
        root: the folder that has one folder for each class.

    Returns:
        the classes and files, in alphabetical order. Names keep their bytes where they are not
        UTF-8, as `os.fsdecode` does it.

    Raises:
        DataError: no such folder, no class folders, an empty one, only splits (train, test), or
            two classes whose names differ only in upper and lower case.

    Example:
        >>> class_folders("data/five_classes/test").classes
        ('bus', 'dinosaur', 'elephant', 'flower', 'horse')
    """
    root = Path(root)
    if not root.is_dir():
        what = "a file. A single picture is read by images.load" if root.exists() else "not there"
        raise DataError(f"{root}: expected a folder with one folder for each class; it is {what}.")
    files, skipped = _walk(root)
    _check(root, files, skipped)
    labels = np.repeat(np.arange(len(files)), [len(found) for found in files.values()])
    listed = tuple(file for found in files.values() for file in found)
    return ClassFolders(root, tuple(files), listed, labels, tuple(skipped))


def five_classes(split: str) -> Path:
    """Find the drawings that the course ships, of a bus, dinosaur, elephant, flower and horse.

    Args:
        split: `"train"` (5 × 100 drawings) or `"test"` (5 × 20).

    Returns:
        the folder of their class folders.

    Raises:
        DataError: another split, or the drawings are not beside the package.
    """
    folder = DATA / "five_classes" / split
    if split not in ("train", "test"):
        raise DataError(
            f"No split {split!r} of the five classes. {nearest(split, ['train', 'test'])}"
        )
    if not folder.is_dir():
        raise DataError(
            f"{folder}: not there. Install the package from the course's folder: pip install -e ."
        )
    return folder


def photograph(name: str) -> Path:
    """Find a photograph that comes with scikit-image, scikit-learn or Matplotlib.

    Args:
        name: one of `PHOTOGRAPHS`, such as `"coffee"`.

    Returns:
        the path of its JPEG or PNG file.

    Raises:
        DataError: an unknown name, or the package came without its photographs.

    Example:
        >>> photograph("coffee").name
        'coffee.png'
    """
    if name not in PHOTOGRAPHS:
        raise DataError(f"No photograph {name!r}. {nearest(name, PHOTOGRAPHS)}")
    package, file = PHOTOGRAPHS[name]
    spec = importlib.util.find_spec(package)  # nothing is imported
    path = Path(spec.origin or "").parent / file if spec else Path(package, file)
    if not path.is_file():
        raise DataError(f"{path}: not there. Install {package} again, with pip.")
    return path


def photographs() -> dict[str, np.ndarray]:
    """Read the first six of `PHOTOGRAPHS`: name → (rows, columns, 3), uint8."""
    return {name: images.load(photograph(name)) for name in list(PHOTOGRAPHS)[:6]}


def get(name: str) -> Path:
    """Download a well-known public data set, unless it is here already.

    The archive and the folder are kept where Keras keeps its data sets, `~/.keras/datasets` or
    below `KERAS_HOME`, and `HELPERS_MIRROR` is asked first. Licence and source are printed.

    Args:
        name: one of `PUBLIC`.

    Returns:
        the folder of its class folders.

    Raises:
        DataError: an unknown name, or there is no room to unpack it.
        DownloadError: the archive could not be had; says what was tried, and where to put it.
    """
    if name not in PUBLIC:
        raise DataError(f"No data set {name!r}. {nearest(name, PUBLIC)}")
    wanted = PUBLIC[name]
    print(f"{name}: {wanted.about}. Licence: {wanted.licence}. Source: {wanted.source}")
    home = weights.cache().parent / "datasets"
    if not (home / name).is_dir():
        _unpack(downloads.fetch(wanted, home, weights.mirrors()), home / name)
    return home / name / wanted.folder


def _unpack(archive: Path, folder: Path) -> None:
    """Unpack a .zip or .tar.gz file, whose hash is verified, into a folder that appears whole."""
    try:
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as beside:
            new = Path(beside) / folder.name
            if zipfile.is_zipfile(archive):
                with zipfile.ZipFile(archive) as zipped:
                    zipped.extractall(new)
            else:
                with tarfile.open(archive) as tarred:
                    tarred.extractall(new, filter="data")
            if not folder.is_dir():  # another process may have been quicker
                os.replace(new, folder)
    except (OSError, tarfile.TarError) as error:
        raise DataError(f"{archive}: cannot be unpacked into {folder} ({error}).") from error


def _walk(root: Path) -> tuple[dict[str, list[str]], list[tuple[str, str]]]:
    """List the files of each class, and the links that are not followed with their reasons."""
    files: dict[str, list[str]] = {}
    skipped: list[tuple[str, str]] = []
    real = Path(os.path.realpath(root))
    above = {str(folder) for folder in (real, *real.parents)}
    seen: set[tuple[str, str]] = set()
    for folder, folders, names in os.walk(root, onerror=_cannot_list, followlinks=True):
        within = Path(folder).relative_to(root).parts
        folders[:] = [name for name in folders if not _is_ignored(name)]
        # Links last, so that a folder is listed under its own name where a link leads to it too.
        folders.sort(key=lambda name: (os.path.islink(os.path.join(folder, name)), name))
        for name in [*folders]:
            path = "/".join((*within, name))
            target = os.path.realpath(os.path.join(folder, name))
            if target in above or (path.split("/")[0], target) in seen:
                skipped.append((path, "a link to a folder that is listed already"))
                folders.remove(name)
            seen.add((path.split("/")[0], target))
        if not within:
            files = {name: [] for name in sorted(folders)}
        for name in names:
            path = "/".join((*within, name))
            if _is_ignored(name):
                continue
            if not os.path.exists(os.path.join(folder, name)):
                skipped.append((path, "a link that leads nowhere"))
            elif within:
                files[within[0]].append(path)
    return {name: sorted(found) for name, found in files.items()}, skipped


def _is_ignored(name: str) -> bool:
    return name.startswith(".") or name.lower() in IGNORED


def _cannot_list(error: OSError) -> None:
    raise DataError(f"{error.filename}: cannot be listed ({error.strerror}).") from error


def _check(root: Path, files: dict[str, list[str]], skipped: list[tuple[str, str]]) -> None:
    if not files:
        raise DataError(
            f"{root}: expected one folder for each class in it, found none. Put the pictures of "
            "each class into a folder that has the class's name."
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
