"""Bottleneck features: class folders → a frozen network's outputs in one HDF5 file."""

import hashlib
import json
import math
import os
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from tqdm import tqdm

from helpers import datasets, images
from helpers.backend import in_notebook, keras
from helpers.datasets import ClassFolders
from helpers.errors import FeaturesError, PictureError
from helpers.zoo import Pretrained

TODO, DONE, SKIPPED = 0, 1, 2


@dataclass(frozen=True)
class Extraction:
    """What `extract` did; `skipped` has (file, reason) of every file that is no picture."""

    images: int
    skipped: list[tuple[str, str]]
    resumed_from: int
    seconds: float
    images_per_second: float
    engine: str


def extract(
    folder: str | Path,
    out: str | Path,
    net: Pretrained,
    batch_size: int = 32,
    progress: bool = True,
) -> Extraction:
    """Runs every picture through a frozen network once, and keeps what comes out.

    The file has `features` (N, …) float32, `labels` (N,) int64 and `filenames` (N,), where row i of
    each is the same picture, in the order of `datasets.class_folders`; its attributes are `classes`
    and `fingerprint` (JSON: what the features depend on). Memory does not grow with N. While it is
    made its name is NAME.part.h5; a run that was interrupted is taken up there.

    Args:
        folder: one folder a class, pictures in them.
        out: the file to make. If it is there already and has just these features, nothing is done.
        net: from `zoo.pretrained(…, include_top=False)`.
        batch_size: pictures a step.
        progress: show a progress bar.

    Raises:
        DatasetError: the folder is not one of class folders, or no file in it is a picture.
        FeaturesError: `out` exists and has other features; says what differs.
    """
    started = time.perf_counter()
    out, pictures = Path(out), datasets.class_folders(folder)
    fingerprint = _fingerprint(net, pictures)
    if out.exists():
        _same(out, fingerprint)
        with h5py.File(out) as file:
            there = len(file["labels"])
        return Extraction(there, [], there, 0.0, 0.0, "none")
    part = out.with_name(out.stem + ".part.h5")
    if part.exists():
        _same(part, fingerprint)
    else:
        _preallocate(part, net, pictures, fingerprint)

    skipped: list[tuple[str, str]] = []
    with h5py.File(part, "r+") as file:
        # No status is left where a run was stopped between the last row and the file's name.
        status = file["status"][:] if "status" in file else np.full(len(pictures), DONE, "uint8")
        resumed_from = int(np.count_nonzero(status == DONE))
        todo = np.flatnonzero(status != DONE)  # skipped ones are looked at again: for the reason
        bar = tqdm(
            total=len(pictures),
            initial=resumed_from,
            unit=" pictures",
            disable=not progress,
            # Notebooks keep what stands on the error stream as if something had gone wrong.
            file=sys.stdout if in_notebook() else sys.stderr,
        )
        for start in range(0, len(todo), batch_size):
            rows, batch = _read(pictures, todo[start : start + batch_size], skipped)
            if len(rows):
                file["features"][rows] = net.model.predict_on_batch(net.preprocess(batch))
                file.flush()  # rows before their status: a status never speaks of rows not written
            looked_at = todo[start : start + batch_size]
            status[looked_at] = np.where(np.isin(looked_at, rows), DONE, SKIPPED)
            file["status"][looked_at] = status[looked_at]
            file.flush()
            bar.update(len(looked_at))
        bar.close()
        done = np.flatnonzero(status == DONE)
        if not len(done):
            raise FeaturesError(f"{folder}: none of {len(pictures)} files is a picture.")
        if skipped:
            _copy(file, done, part.with_suffix(".new"))
        elif "status" in file:
            del file["status"]
    if skipped:
        os.replace(part.with_suffix(".new"), out)
        part.unlink()
    else:
        os.replace(part, out)
    seconds = time.perf_counter() - started
    rate = (len(done) - resumed_from) / seconds
    return Extraction(len(done), skipped, resumed_from, seconds, rate, "tensorflow")


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
        raise FeaturesError(f"{path}: not a file that `extract` made ({error}).") from error


def _fingerprint(net: Pretrained, pictures: ClassFolders) -> dict[str, Any]:
    """All that the features depend on, each under a name that an error can give."""
    arrays = hashlib.sha256()
    for variable in net.model.weights:
        arrays.update(variable.numpy().tobytes())
    files = hashlib.sha256()
    for path, name in zip(pictures.paths(), pictures.files, strict=True):
        files.update(f"{name}\0{path.stat().st_size}\0".encode("utf-8", "surrogateescape"))
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
    for field, wanted in fingerprint.items():
        if found.get(field) != wanted:
            raise FeaturesError(
                f"{path}: has other features: {field} is {found.get(field)}, expected {wanted}. "
                "Nothing was changed; remove it, or give another name."
            )


def _preallocate(
    part: Path, net: Pretrained, pictures: ClassFolders, fingerprint: dict[str, Any]
) -> None:
    """The whole file at once, so that a full disk is noticed before anything is computed."""
    shape = (len(pictures), *net.model.output_shape[1:])
    if None in shape:
        raise FeaturesError(f"{net.name}: expected features of a fixed shape, got {shape[1:]}.")
    part.parent.mkdir(parents=True, exist_ok=True)
    early = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    early.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    new = part.with_suffix(".new")
    with h5py.File(new, "w") as file:
        space, kind = h5py.h5s.create_simple(shape), h5py.h5t.NATIVE_FLOAT
        h5py.h5d.create(file.id, b"features", kind, space, dcpl=early)
        file["labels"] = pictures.labels
        file["filenames"] = [os.fsencode(name) for name in pictures.files]
        file["status"] = np.full(len(pictures), TODO, "uint8")
        file.attrs["classes"] = pictures.classes
        file.attrs["fingerprint"] = json.dumps(fingerprint)
    os.replace(new, part)


def _read(
    pictures: ClassFolders, rows: np.ndarray, skipped: list[tuple[str, str]]
) -> tuple[np.ndarray, list[np.ndarray]]:
    """The rows whose files can be read, and their pictures; the others go to `skipped`."""
    readable, batch = [], []
    for row in rows:
        try:
            batch.append(images.read(pictures.root / pictures.files[row]))
            readable.append(row)
        except PictureError as error:
            skipped.append((pictures.files[row], str(error)))
    return np.array(readable, "int64"), batch


def _copy(file: h5py.File, rows: np.ndarray, to: Path, at_once: int = 1024) -> None:
    """Copies the rows to keep, a piece at a time; `file` stays as it is, to go on from."""
    with h5py.File(to, "w") as kept:
        for name in ("features", "labels", "filenames"):
            old = file[name]
            new = kept.create_dataset(name, (len(rows), *old.shape[1:]), old.dtype)
            for piece in _pieces(len(rows), at_once):
                new[piece] = old[rows[piece]]
        for name, value in file.attrs.items():
            kept.attrs[name] = value


def _pieces(length: int, at_once: int) -> Iterator[slice]:
    return (slice(start, start + at_once) for start in range(0, length, at_once))
