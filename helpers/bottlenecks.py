"""Bottleneck features: class folders → a frozen network's outputs in one HDF5 file."""

import hashlib
import json
import math
import os
import sys
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
from tqdm import tqdm

from helpers import datasets, images, partfile
from helpers import engine as engines
from helpers.backend import in_notebook, keras
from helpers.datasets import ClassFolders
from helpers.engine import Engine
from helpers.errors import FeaturesError, PictureError
from helpers.partfile import DONE, TODO, Part

if TYPE_CHECKING:
    from helpers.zoo import Pretrained

FIRST = 4


@dataclass(frozen=True)
class Extraction:
    """What `extract` did.

    `skipped` has (file, reason) of every file that is no picture and every link that is not
    followed; `noted` has (file, note) of pictures with more in them than was read. `note` says why
    `engine` is not the one that was hoped for, or nothing.
    """

    images: int
    skipped: list[tuple[str, str]]
    resumed_from: int
    seconds: float
    images_per_second: float
    engine: str
    note: str = ""
    noted: list[tuple[str, str]] = field(default_factory=list)


def extract(
    folder: str | Path,
    out: str | Path,
    net: "Pretrained",
    batch_size: int = 32,
    progress: bool = True,
    engine: str | Engine = "auto",
) -> Extraction:
    """Runs every picture through a frozen network once, and keeps what comes out.

    The file has `features` (N, …) float32, `labels` (N,) int64 and `filenames` (N,), where row i of
    each is the same picture, in the order of `datasets.class_folders`; its attributes are `classes`
    and `fingerprint` (JSON: what the features depend on). Memory does not grow with N. While it is
    made its name is NAME.part.h5; a run that was interrupted, or killed, is taken up there, and at
    most `batch_size` pictures are computed once more.

    Args:
        folder: one folder a class, pictures in them.
        out: the file to make. If it is there already and has just these features, nothing is done.
        net: from `zoo.pretrained(…, include_top=False)`.
        batch_size: pictures in the works at the same time.
        progress: show a progress bar.
        engine: `"auto"`, `"tensorflow"` or `"onnx"`, see `engine.choose`; or an `Engine` of your
            own, which must give what the network would.

    Raises:
        DatasetError: the folder is not one of class folders.
        FeaturesError: `out` cannot be written to, or has other features, or another process is
            making it, or the disk is too small; no file is a picture; one changed on the way.
        ArgumentError: an engine that is unknown, or that cannot be had here.

    Example:
        >>> import tempfile
        >>> from helpers import zoo
        >>> net = zoo.pretrained("EfficientNetLite0", include_top=False, pooling="avg")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     done = extract(
        ...         datasets.five_classes("test"), f"{folder}/f.h5", net, progress=False
        ...     )
        >>> done.images
        100
    """
    started = time.perf_counter()
    out, pictures = Path(out), datasets.class_folders(folder)
    seen = _stats(pictures, range(len(pictures)))
    if partfile.is_settled(out):
        return _nothing_to_do(out, _fingerprint(net, pictures, seen))
    with partfile.held(out) as part:
        fingerprint = _fingerprint(net, pictures, seen)
        if out.is_file():  # finished since, or stopped before it could remove the part
            part.unlink(missing_ok=True)
            return _nothing_to_do(out, fingerprint)
        if part.exists():
            _same(part, fingerprint)
        else:
            _lay_out(part, pictures, fingerprint)
        with Part(part) as rows:
            resumed_from = int(np.count_nonzero(rows.status == DONE))
            if resumed_from == len(pictures):  # only the file's name is missing
                engine = Engine("none", lambda batch: batch)
            skipped, noted, used = _run(rows, pictures, seen, net, batch_size, engine, progress)
            images_done = int(np.count_nonzero(rows.status == DONE))
            if not images_done:
                raise FeaturesError(f"{folder}: none of {len(pictures)} files is a picture.")
            rows.finish(out)
    seconds = time.perf_counter() - started
    rate = (images_done - resumed_from) / seconds
    return Extraction(
        images_done, skipped, resumed_from, seconds, rate, used.name, used.note, noted
    )


class Batches(keras.utils.PyDataset):
    """Batches of (features, labels) straight from a features file, for `model.fit`.

    This is the one place of the course where features are shuffled: with a `seed` the rows come
    in a new order every epoch, without one in the file's order (which is sorted by class, and
    must not be trained on as it is). All rows are mixed, not only those that lie close together.

    A batch's rows are read when its turn comes, so memory does not grow with the file. The file is
    open during an epoch; to open it for each batch takes longer than to read the batch.

    Args:
        path: a file of `extract`.
        rows: which rows, default all; e.g. the training part.
        batch_size: rows a batch.
        seed: of the shuffling; None for no shuffling.
    """

    def __init__(
        self,
        path: str | Path,
        rows: np.ndarray | None = None,
        batch_size: int = 32,
        seed: int | None = None,
    ) -> None:
        super().__init__()
        self.path = Path(path)
        self.batch_size = batch_size
        self._random = None if seed is None else np.random.default_rng(seed)
        self._file: h5py.File | None = None
        self._lock = threading.Lock()  # Keras reads ahead in another thread
        with h5py.File(self.path) as file:
            self._labels = file["labels"][:]
        self.rows = np.arange(len(self._labels)) if rows is None else np.array(rows)
        self.on_epoch_end()

    def __len__(self) -> int:
        return math.ceil(len(self.rows) / self.batch_size)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        # HDF5 reads rows in rising order only; within a batch the order does not matter.
        rows = np.sort(self.rows[index * self.batch_size : (index + 1) * self.batch_size])
        with self._lock:
            self._file = self._file or h5py.File(self.path)
            return self._file["features"][rows], self._labels[rows]

    def on_epoch_end(self) -> None:
        """Puts the rows into a new order, if there is a seed, and closes the file."""
        if self._random is not None:
            self._random.shuffle(self.rows)
        with self._lock:
            if self._file:
                self._file.close()


def describe(path: str | Path) -> dict[str, Any]:
    """What a features file says of itself: `classes`, `fingerprint`, `labels`, `shape`.

    Raises:
        FeaturesError: no such file, or not one that `extract` made.
    """
    try:
        with h5py.File(path) as file:
            return {
                "classes": [str(name) for name in file.attrs["classes"]],
                "fingerprint": json.loads(file.attrs["fingerprint"]),
                "labels": file["labels"][:],
                "shape": file["features"].shape,
            }
    except FileNotFoundError:
        raise FeaturesError(
            f"{path}: no such file. Make it with: python -m helpers extract"
        ) from None
    except (OSError, KeyError, ValueError) as error:
        raise FeaturesError(
            f"{path}: not a file that `extract` made ({error}). Make one with: "
            "python -m helpers extract"
        ) from error


def _nothing_to_do(out: Path, fingerprint: dict[str, Any]) -> Extraction:
    _same(out, fingerprint)
    with h5py.File(out) as file:
        there = len(file["labels"])
    return Extraction(there, [], there, 0.0, 0.0, "none")


def _run(
    part: Part,
    pictures: ClassFolders,
    seen: np.ndarray,
    net: "Pretrained",
    batch_size: int,
    wanted: str | Engine,
    progress: bool,
) -> tuple[list[tuple[str, str]], list[tuple[str, str]], Engine]:
    """All rows that are not done yet; what was skipped and what was noted, and the engine."""
    # Notebooks keep what stands on the error stream as if something had gone wrong.
    stream = sys.stdout if in_notebook() else sys.stderr
    if isinstance(wanted, str):
        used = engines.choose(net.model, wanted, lambda: _first(part, pictures, net))
    else:
        used = wanted
    if used.note:
        print(f"helpers: {used.note}", file=stream)
    reasons: dict[int, str] = {}
    notes: dict[int, str] = {}
    turn = threading.Semaphore(used.at_once)
    bar = tqdm(
        total=len(pictures),
        initial=int(np.count_nonzero(part.status == DONE)),
        unit=" pictures",
        disable=not progress,
        file=stream,
    )

    def step(rows: np.ndarray) -> None:
        readable, batch, skipped, noted = _read(pictures, rows, net)
        with turn:  # what was computed is written before others compute: a kill loses one batch
            features = used.run(batch) if len(readable) else None
            changed = rows[(_stats(pictures, rows) != seen[rows]).any(axis=1)]
            if len(changed):
                raise FeaturesError(_changed(pictures, changed, part.path))
            part.write(readable, features, np.array(list(skipped), "int64"))
        reasons.update(skipped)
        notes.update(noted)
        bar.update(len(rows))

    with bar:
        # More threads than computing batches, so that pictures are read meanwhile.
        size = max(1, batch_size // used.at_once)
        engines.in_threads(step, part.steps(size), max(used.at_once, min(engines.cores(), 8)))
    changed = np.flatnonzero((_stats(pictures, range(len(pictures))) != seen).any(axis=1))
    if len(changed):
        part.set_status(changed, TODO)
        raise FeaturesError(_changed(pictures, changed, part.path))
    skipped = [*pictures.skipped, *((pictures.files[row], reasons[row]) for row in sorted(reasons))]
    return skipped, [(pictures.files[row], notes[row]) for row in sorted(notes)], used


def _first(part: Part, pictures: ClassFolders, net: "Pretrained") -> np.ndarray | None:
    """The first pictures that are to be computed, preprocessed; None if there are none."""
    for rows in part.steps(FIRST):
        readable, batch, *_ = _read(pictures, rows, net)
        if len(readable):
            return batch
    return None


def _read(
    pictures: ClassFolders, rows: np.ndarray, net: "Pretrained"
) -> tuple[np.ndarray, np.ndarray, dict[int, str], dict[int, str]]:
    """The rows whose files can be read, their batch, the others' reasons, and notes on some."""
    found: list[np.ndarray] = []
    skipped: dict[int, str] = {}
    noted: dict[int, str] = {}
    for row in rows:
        notes: list[str] = []
        try:
            found.append(images.read(pictures.root / pictures.files[row], notes))
        except PictureError as error:
            skipped[int(row)] = str(error)
        if notes:
            noted[int(row)] = "; ".join(notes)
    readable = np.array([row for row in rows if row not in skipped], "int64")
    return readable, net.preprocess(found) if found else np.empty(0), skipped, noted


def _stats(pictures: ClassFolders, rows: Iterable[int]) -> np.ndarray:
    """Size and time of change of files: (N, 2) int64; -1 for those that are not there."""

    def look(row: int) -> tuple[int, int]:
        try:
            found = os.stat(pictures.root / pictures.files[row])
        except OSError:
            return -1, -1
        return found.st_size, found.st_mtime_ns

    return np.array([look(row) for row in rows], "int64").reshape(-1, 2)


def _changed(pictures: ClassFolders, rows: np.ndarray, part: Path) -> str:
    name = pictures.files[rows[0]]
    others = f" ({len(rows) - 1} others too)" if len(rows) > 1 else ""
    now = "changed" if (pictures.root / name).exists() else "gone"
    return (
        f"{name}: the file is {now} since this run began{others}, so its row was not kept. Put it "
        f"back as it was, and the same command goes on from here; or remove {part.name} and begin "
        "anew with the pictures as they are."
    )


def _fingerprint(net: "Pretrained", pictures: ClassFolders, seen: np.ndarray) -> dict[str, Any]:
    """All that the features depend on, each under a name that an error can give."""
    arrays = hashlib.sha256()
    for variable in net.model.weights:
        arrays.update(variable.numpy().tobytes())
    files = hashlib.sha256()
    for name, size in zip(pictures.files, seen[:, 0], strict=True):
        files.update(f"{name}\0{size}\0".encode("utf-8", "surrogateescape"))
    return {
        "model": net.name,
        "weights": arrays.hexdigest(),
        "preprocessing": net.entry.preprocessing,
        "input_size": net.input_size,
        "output_shape": list(net.model.output_shape[1:]),
        "files": files.hexdigest(),
    }


def _same(path: Path, fingerprint: dict[str, Any]) -> None:
    found = describe(path)["fingerprint"]
    for key, wanted in fingerprint.items():
        if found.get(key) != wanted:
            raise FeaturesError(
                f"{path}: has other features: {key} is {found.get(key)}, expected {wanted}. "
                "Nothing was changed; remove it, or give another name."
            )


def _lay_out(part: Path, pictures: ClassFolders, fingerprint: dict[str, Any]) -> None:
    row = tuple(fingerprint["output_shape"])
    if None in row:
        raise FeaturesError(
            f"{fingerprint['model']}: expected features of a fixed shape, got {row}. Build it for "
            "one input size, or with pooling."
        )
    names = [os.fsencode(name) for name in pictures.files]
    # As bytes, for HDF5 takes names that are not UTF-8 so, and h5py takes them back as they were.
    classes = np.array([os.fsencode(name) for name in pictures.classes], h5py.string_dtype())
    attributes = {"classes": classes, "fingerprint": fingerprint}
    partfile.lay_out(part, row, pictures.labels, names, attributes)
