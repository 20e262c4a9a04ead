"""Bottleneck features: class folders → a frozen network's outputs in one HDF5 file."""

import contextlib
import hashlib
import json
import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import h5py
import numpy as np
from tqdm import tqdm

from helpers import console, datasets, images, partfile
from helpers import engine as engines
from helpers.datasets import ClassFolders
from helpers.engine import Engine
from helpers.errors import DataError, PictureError
from helpers.partfile import DONE, TODO, Part

if TYPE_CHECKING:
    import tensorflow

    from helpers.zoo import Network

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
    net: "Network",
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
        net: from `zoo.load(…, include_top=False)`.
        batch_size: pictures in the works at the same time.
        progress: show a progress bar.
        engine: `"auto"`, `"tensorflow"` or `"onnx"`, see `engine.choose`; or an `Engine` of your
            own, which must give what the network would.

    Raises:
        DataError: the folder is not one of class folders.
        DataError: `out` cannot be written to, or has other features, or another process is
            making it, or the disk is too small; no file is a picture; one changed on the way.
        ArgumentError: an engine that is unknown, or that cannot be had here.

    Example:
        >>> import tempfile
        >>> from helpers import zoo
        >>> net = zoo.load("EfficientNetLite0", include_top=False, pooling="avg")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     done = extract(
        ...         datasets.five_classes("test"), f"{folder}/f.h5", net, progress=False
        ...     )
        >>> done.images
        100
    """
    return make(folder, out, net, progress, lambda work: _here(work, net, batch_size, engine))


@dataclass
class Work:
    """An extraction under way: what there is to do, and what was found.

    `seen` has size and time of change of each file when the run began; `reasons` says why rows
    have no features, and `notes` what else there was in a row's picture.
    """

    pictures: ClassFolders
    seen: np.ndarray
    part: Part
    bar: tqdm
    reasons: dict[int, str] = field(default_factory=dict)
    notes: dict[int, str] = field(default_factory=dict)

    def keep(self, batch: "Batch", features: np.ndarray | None) -> None:
        """Writes what became of rows: features of those that are in the batch, or a reason."""
        self.part.write(batch.rows, features, np.array(list(batch.skipped), "int64"))
        self.reasons.update(batch.skipped)
        self.notes.update(batch.noted)
        self.bar.update(len(batch.rows) + len(batch.skipped))

    def say(self, note: str) -> None:
        """Says something beside the bar."""
        self.bar.write(f"helpers: {note}", file=console.stream())


def make(
    folder: str | Path,
    out: str | Path,
    net: "Network",
    progress: bool,
    compute: Callable[[Work], tuple[str, str]],
) -> Extraction:
    """Makes a features file, as `extract` says; `compute` has the rows computed, here or elsewhere.

    Args:
        folder, out, net, progress: as in `extract`.
        compute: keeps all rows of the part that are not done; gives an engine's name, and a note.
    """
    started = time.perf_counter()
    out, pictures = Path(out), datasets.class_folders(folder)
    seen = pictures.stats()
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
            bar = tqdm(
                total=len(pictures),
                initial=resumed_from,
                unit=" pictures",
                disable=not progress,
                file=console.stream(),
            )
            work, engine, note = Work(pictures, seen, rows, bar), "none", ""
            with bar:
                if resumed_from < len(pictures):  # else only the file's name is missing
                    engine, note = compute(work)
            changed = pictures.changed(seen)
            if len(changed):
                rows.set_status(changed, TODO)
                raise DataError(_changed(pictures, changed, part))
            images_done = int(np.count_nonzero(rows.status == DONE))
            if not images_done:
                raise DataError(f"{folder}: none of {len(pictures)} files is a picture.")
            rows.finish(out)
    seconds = time.perf_counter() - started
    rate = (images_done - resumed_from) / seconds
    files, why = pictures.files, work.reasons
    skipped = [*pictures.skipped, *((files[row], why[row]) for row in sorted(why))]
    noted = [(files[row], work.notes[row]) for row in sorted(work.notes)]
    return Extraction(images_done, skipped, resumed_from, seconds, rate, engine, note, noted)


def batches(
    path: str | Path,
    rows: np.ndarray | None = None,
    batch_size: int = 32,
    seed: int | None = None,
) -> "tensorflow.data.Dataset":
    """Batches of (features, labels) straight from a features file, for `fit(…, shuffle=False)`.

    This is the one place of the course where features are shuffled: with a `seed` the rows come
    in a new order every epoch, without one in the file's order (which is sorted by class, and
    must not be trained on as it is). All rows are mixed, not only those that lie close together.
    Keras's own shuffling is for arrays; of any data set `fit` warns that it leaves that alone,
    unless it is told `shuffle=False`.
    A batch's rows are read when its turn comes, so memory does not grow with the file, which is
    open during an epoch and no longer.

    The tuner of tf.data is off. It has nothing to tune here, and in TensorFlow 2.21 an epoch often
    ends only when it wakes: 1.3, 2.6, 5.1, 10.2 s after the epoch's start.

    Args:
        path: a file of `extract`.
        rows: which rows, default all; e.g. the training part.
        batch_size: rows a batch.
        seed: of the shuffling; None for no shuffling.

    Raises:
        DataError: no such file, or not one that `extract` made.

    Example:
        >>> import tempfile
        >>> from helpers import zoo
        >>> net = zoo.load("EfficientNetLite0", include_top=False, pooling="avg")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     done = extract(datasets.five_classes("test"), f"{folder}/f.h5", net, progress=False)
        ...     [len(labels) for _, labels in batches(f"{folder}/f.h5", seed=0)]
        [32, 32, 32, 4]
    """
    from helpers.backend import tensorflow as tf

    with _features_file(path) as file:
        labels, row = file["labels"][:], file["features"].shape[1:]
    chosen = np.arange(len(labels)) if rows is None else np.array(rows)
    random = np.random.default_rng(seed)

    def epoch() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        order = chosen if seed is None else random.permutation(chosen)
        with h5py.File(path) as file:
            for start in range(0, len(order), batch_size):
                # HDF5 reads rows in rising order; within a batch the order does not matter.
                some = np.sort(order[start : start + batch_size])
                yield file["features"][some], labels[some]

    kinds = tf.TensorSpec((None, *row), "float32"), tf.TensorSpec((None,), "int64")
    found = tf.data.Dataset.from_generator(epoch, output_signature=kinds)
    count = tf.data.experimental.assert_cardinality(math.ceil(len(chosen) / batch_size))
    options = tf.data.Options()
    options.autotune.enabled = False
    return found.apply(count).prefetch(2).with_options(options)


def describe(path: str | Path) -> dict[str, Any]:
    """What a features file says of itself: `classes`, `fingerprint`, `labels`, `shape`.

    Raises:
        DataError: no such file, or not one that `extract` made.
    """
    with _features_file(path) as file:
        return {
            "classes": [str(name) for name in file.attrs["classes"]],
            "fingerprint": json.loads(file.attrs["fingerprint"]),
            "labels": file["labels"][:],
            "shape": file["features"].shape,
        }


@contextlib.contextmanager
def _features_file(path: str | Path) -> Iterator[h5py.File]:
    try:
        with h5py.File(path) as file:
            yield file
    except FileNotFoundError:
        raise DataError(f"{path}: no such file. Make it with: python -m helpers extract") from None
    except (OSError, KeyError, ValueError) as error:
        raise DataError(
            f"{path}: not a file that `extract` made ({error}). Make one with: "
            "python -m helpers extract"
        ) from error


def _nothing_to_do(out: Path, fingerprint: dict[str, Any]) -> Extraction:
    _same(out, fingerprint)
    with h5py.File(out) as file:
        there = len(file["labels"])
    return Extraction(there, [], there, 0.0, 0.0, "none")


def _here(work: Work, net: "Network", batch_size: int, wanted: str | Engine) -> tuple[str, str]:
    """All rows that are not done yet, on this machine."""
    used = engine_for(work, net, wanted)
    turn = threading.Semaphore(used.threads)

    def step(rows: np.ndarray) -> None:
        batch = read(work.pictures, rows, net.preprocess)
        with turn:  # what was computed is written before others compute: a kill loses one batch
            features = used.run(batch.pixels) if len(batch.rows) else None
            changed = work.pictures.changed(work.seen, rows)
            if len(changed):
                raise DataError(_changed(work.pictures, changed, work.part.path))
            work.keep(batch, features)

    # More threads than computing batches, so that pictures are read meanwhile.
    size = max(1, batch_size // used.threads)
    engines.in_threads(step, work.part.steps(size), max(used.threads, min(engines.cores(), 8)))
    return used.name, used.note


def engine_for(work: Work, net: "Network", wanted: str | Engine) -> Engine:
    """The engine that computes, compared on the first pictures; what it is not, is said."""
    used = wanted
    if isinstance(used, str):
        used = engines.choose(net.model, used, lambda: _first(work, net))
    if used.note:
        work.say(used.note)
    return used


def _first(work: Work, net: "Network") -> np.ndarray | None:
    """The first pictures that are to be computed, preprocessed; None if there are none."""
    for rows in work.part.steps(FIRST):
        batch = read(work.pictures, rows, net.preprocess)
        if len(batch.rows):
            return batch.pixels
    return None


class Batch(NamedTuple):
    """Pictures that were read: their rows and pixels, the others' reasons, and notes on some."""

    rows: np.ndarray
    pixels: np.ndarray
    skipped: dict[int, str]
    noted: dict[int, str]


def read(
    pictures: ClassFolders,
    rows: np.ndarray,
    preprocess: Callable[[list[np.ndarray]], np.ndarray],
) -> Batch:
    """Pictures from their files, preprocessed."""
    found: list[np.ndarray] = []
    skipped: dict[int, str] = {}
    noted: dict[int, str] = {}
    for row in rows:
        notes: list[str] = []
        try:
            found.append(images.load(pictures.root / pictures.files[row], notes))
        except PictureError as error:
            skipped[int(row)] = str(error)
        if notes:
            noted[int(row)] = "; ".join(notes)
    readable = np.array([row for row in rows if row not in skipped], "int64")
    return Batch(readable, preprocess(found) if found else np.empty(0), skipped, noted)


def _changed(pictures: ClassFolders, rows: np.ndarray, part: Path) -> str:
    name = pictures.files[rows[0]]
    others = f" ({len(rows) - 1} others too)" if len(rows) > 1 else ""
    now = "changed" if (pictures.root / name).exists() else "gone"
    return (
        f"{name}: the file is {now} since this run began{others}, so its row was not kept. Put it "
        f"back as it was, and the same command goes on from here; or remove {part.name} and begin "
        "anew with the pictures as they are."
    )


def _fingerprint(net: "Network", pictures: ClassFolders, seen: np.ndarray) -> dict[str, Any]:
    """All that the features depend on, each under a name that an error can give."""
    files = hashlib.sha256()
    for name, size in zip(pictures.files, seen[:, 0], strict=True):
        files.update(f"{name}\0{size}\0".encode("utf-8", "surrogateescape"))
    arrays = hashlib.sha256()
    for variable in net.model.weights:
        arrays.update(variable.numpy().tobytes())
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
            raise DataError(
                f"{path}: has other features: {key} is {found.get(key)}, expected {wanted}. "
                "Nothing was changed; remove it, or give another name."
            )


def _lay_out(part: Path, pictures: ClassFolders, fingerprint: dict[str, Any]) -> None:
    row = tuple(fingerprint["output_shape"])
    if None in row:
        raise DataError(
            f"{fingerprint['model']}: expected features of a fixed shape, got {row}. Build it for "
            "one input size, or with pooling."
        )
    names = [os.fsencode(name) for name in pictures.files]
    # As bytes, for HDF5 takes names that are not UTF-8 so, and h5py takes them back as they were.
    classes = np.array([os.fsencode(name) for name in pictures.classes], h5py.string_dtype())
    attributes = {"classes": classes, "fingerprint": fingerprint}
    partfile.lay_out(part, row, pictures.labels, names, attributes)
