"""The features file: make it so that a kill costs one batch at most; describe it; read batches.

Finished, it is HDF5. While it is made it is not, for HDF5 may not open a file whose process was
killed: until then there is a folder NAME.part, with the rows and a byte of status for each.
"""

import contextlib
import errno
import io
import json
import math
import os
import platform
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import filelock
import h5py
import numpy as np

from helpers.errors import ArgumentError, DataError

if TYPE_CHECKING:
    import tensorflow

TODO, DONE, SKIPPED = 0, 1, 2
ROWS, STATUS, FINGERPRINT, NEW = "rows.bin", "status.bin", "fingerprint.json", "new.h5"
PIECE = 2**24  # bytes that are copied at once


def check_writable(out: Path) -> None:
    """Raise the error that `create` would, before time is spent on loading a network.

    Raises:
        DataError: no such folder, one that cannot be written to, or another process makes the file.
    """
    if not _is_finished(out):
        with _locked(out):
            pass


@contextlib.contextmanager
def create(
    out: Path,
    fingerprint: dict[str, Any],
    shape: tuple[int, ...],
    labels: np.ndarray,
    filenames: Sequence[str],
    classes: Sequence[str],
) -> Iterator["Part | None"]:
    """Begin a features file, or go on with one that was interrupted.

    Args:
        out: the file to make.
        fingerprint: what the features depend on, for JSON.
        shape: of one row of features.
        labels, filenames: (N,).
        classes: names by label.

    Yields:
        The `Part` to write to, or None: the file is finished, and has just these features.

    Raises:
        DataError: as in `check_writable`; there is a file with another fingerprint; or the disk is
            too small, which is noticed here: says how many bytes are needed and free.

    Example:
        >>> import tempfile
        >>> names, labels = ["ant/1.png", "bee/1.png"], np.array([0, 1])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     out = Path(folder, "f.h5")
        ...     with create(out, {"model": "M"}, (3,), labels, names, ["ant", "bee"]) as part:
        ...         for rows in part.todo(batch_size=32):
        ...             part.write(rows, np.ones((len(rows), 3)))
        ...         part.finish()
        ...     describe(out)["shape"]
        (2, 3)
    """
    if _is_finished(out):  # needs no lock, so the folder may be read-only
        _same(out, describe(out)["fingerprint"], fingerprint)
        yield None
        return
    with _locked(out) as folder:
        if out.exists():  # another process was quicker, or was killed while it removed its part
            _same(out, describe(out)["fingerprint"], fingerprint)
            _remove(folder)
            yield None
        else:
            yield Part(out, folder, fingerprint, shape, labels, filenames, classes)


@dataclass
class Part:
    """A features file in the making, given by `create`. One thread writes to it.

    `status` has a byte for each row, TODO, DONE or SKIPPED. On the disk a row is DONE only after
    its features are there.
    """

    out: Path
    folder: Path
    fingerprint: dict[str, Any]
    shape: tuple[int, ...]
    labels: np.ndarray
    filenames: Sequence[str]
    classes: Sequence[str]
    status: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self._row = 4 * math.prod(self.shape)  # bytes
        found = self._interrupted()
        self.status = self._lay_out() if found is None else found

    @property
    def done(self) -> int:
        """How many rows have their features."""
        return int(np.count_nonzero(self.status == DONE))

    def todo(self, batch_size: int) -> Iterator[np.ndarray]:
        """Yield the rows without features; batches begin at the same rows in every run."""
        for start in range(0, len(self.status), batch_size):
            rows = start + np.flatnonzero(self.status[start : start + batch_size] != DONE)
            if len(rows):
                yield rows

    def write(self, rows: np.ndarray, features: np.ndarray) -> None:
        """Write features (n, …) of rows (n,); when they are on the disk, note that these are DONE.

        Raises:
            ArgumentError: features of another shape.
            DataError: the disk failed or is full; what was written before is kept.
        """
        features = np.asarray(features, "<f4")
        if features.shape != (len(rows), *self.shape):
            expected = (len(rows), *self.shape)
            raise ArgumentError(f"Expected features of shape {expected}, got {features.shape}.")
        places = (int(row) * self._row for row in rows)
        with _reported(self.folder, "written to"):
            _write(self.folder / ROWS, zip(places, map(np.ndarray.tobytes, features), strict=True))
        self.mark(rows, DONE)

    def mark(self, rows: np.ndarray, status: int) -> None:
        """Note what became of rows (n,): DONE, SKIPPED, or TODO once more."""
        if len(rows):
            self.status[rows] = status
            first, last = int(rows.min()), int(rows.max())
            with _reported(self.folder, "written to"):
                changed = (first, self.status[first : last + 1].tobytes())
                _write(self.folder / STATUS, [changed], sync=False)  # one that is lost costs time

    def finish(self) -> None:
        """Write the rows that are done as HDF5, read it back, compare, and give it its name."""
        new, done = self.folder / NEW, self.status == DONE
        small = {
            "labels": np.asarray(self.labels, "int64")[done],
            "filenames": _encoded(self.filenames)[done],
            "classes": _encoded(self.classes),
        }
        with _reported(self.out, "written"):
            with _ForHDF5(new, "w+") as raw:
                with h5py.File(raw, "w") as file:
                    features = file.create_dataset("features", (self.done, *self.shape), "<f4")
                    for place, rows in self._pieces():
                        features[place] = rows
                    for name, values in small.items():
                        file[name] = values
                    file.attrs["fingerprint"] = json.dumps(self.fingerprint)
                os.fsync(raw.fileno())
                if raw.error:
                    raise raw.error
            with h5py.File(new) as file:
                same = json.loads(file.attrs["fingerprint"]) == self.fingerprint
                for place, rows in self._pieces():
                    same = same and file["features"][place].tobytes() == rows.tobytes()
                for name, values in small.items():
                    same = same and file[name][:].tobytes() == values.tobytes()
            if not same:
                raise OSError(errno.EIO, "what was read back is not what was written")
            os.replace(new, self.out)
        _remove(self.folder)

    def _pieces(self) -> Iterator[tuple[slice, np.ndarray]]:
        """The rows that are done, a piece at a time, and their place in the finished file."""
        at_once, begin = max(1, PIECE // self._row), 0
        for start in range(0, len(self.status), at_once):
            done = self.status[start : start + at_once] == DONE
            count = len(done) * self._row // 4
            rows = np.fromfile(self.folder / ROWS, "<f4", count, offset=start * self._row)
            rows = rows.reshape(len(done), *self.shape)[done]
            yield slice(begin, begin + len(rows)), rows
            begin += len(rows)

    def _interrupted(self) -> np.ndarray | None:
        """The rows' status where an interrupted run has left features, else None."""
        with _reported(self.folder, "read"):
            try:
                status = np.fromfile(self.folder / STATUS, "uint8")
                if not (status == DONE).any():
                    return None
                fingerprint = json.loads((self.folder / FINGERPRINT).read_bytes())
            except FileNotFoundError:
                return None
        _same(self.folder, fingerprint, self.fingerprint)
        return status

    def _lay_out(self) -> np.ndarray:
        """Take the room for all rows at once, so that a full disk is noticed before any work."""
        rows = len(self.labels)
        size = rows * self._row
        # Twice, for the finished file is written while the rows are still there.
        needed = 2 * (size + _encoded(self.filenames).nbytes) + 10 * rows + 2**16
        free = shutil.disk_usage(self.folder).free
        try:
            if needed > free:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            _allocate(self.folder / ROWS, size)
            _allocate(self.folder / STATUS, rows)
            (self.folder / FINGERPRINT).touch()
            _write(self.folder / FINGERPRINT, [(0, json.dumps(self.fingerprint).encode())])
        except OSError as error:
            _remove(self.folder)
            raise DataError(
                f"{self.out}: needs {needed:,} bytes while it is made, and {free:,} are free on "
                f"that disk ({error}). Nothing was computed; make room, or take another disk."
            ) from error
        return np.full(rows, TODO, "uint8")


class _ForHDF5(io.FileIO):
    """A file that keeps its first error to itself: HDF5 can crash the process if a write fails."""

    error: OSError | None = None

    def write(self, content: Any) -> int:
        return self._noting(super().write, content)

    def truncate(self, size: int | None = None) -> int:
        return self._noting(super().truncate, size)

    def _noting(self, function: Callable[[Any], int], value: Any) -> int:
        try:
            return function(value)
        except OSError as error:
            self.error = self.error or error
            return 0


def describe(path: str | Path) -> dict[str, Any]:
    """Say what is in a features file.

    Returns:
        `classes`: a list of names; `fingerprint`: a dict of what the features depend on; `labels`:
        (N,) int64; `shape`: that of the features, such as (N, 1280).

    Raises:
        DataError: no such file, not a features file, or one that another program has open.
    """
    with _opened(path) as file:
        return {
            "classes": [os.fsdecode(name) for name in file["classes"][:]],
            "fingerprint": json.loads(file.attrs["fingerprint"]),
            "labels": file["labels"][:],
            "shape": file["features"].shape,
        }


def batches(
    path: str | Path,
    rows: np.ndarray | None = None,
    batch_size: int = 32,
    seed: int | None = None,
) -> "tensorflow.data.Dataset":
    """Read (features, labels) from a features file batch by batch, for `fit(…, shuffle=False)`.

    Memory does not grow with the file, which is open during an epoch and no longer. (Keras itself
    only shuffles arrays; of a data set it warns, unless it is told `shuffle=False`.)

    Args:
        path: a features file.
        rows: (n,) int, which rows to read, such as the training part; default: all.
        batch_size: rows in a batch.
        seed: shuffle all the rows anew in every epoch. None: the file's order, which is by class,
            so do not train in it.

    Raises:
        DataError: as in `describe`.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with h5py.File(f"{folder}/f.h5", "w") as file:
        ...         file["features"], file["labels"] = np.zeros((50, 8), "float32"), np.arange(50)
        ...     [len(labels) for features, labels in batches(f"{folder}/f.h5", seed=0)]
        [32, 18]
    """
    from helpers.backend import tensorflow as tf

    with _opened(path) as file:
        labels, shape = file["labels"][:].astype("int64"), file["features"].shape[1:]
    chosen = np.arange(len(labels)) if rows is None else np.array(rows)
    random = np.random.default_rng(seed)

    def epoch() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        order = chosen if seed is None else random.permutation(chosen)
        with h5py.File(path) as file:
            for start in range(0, len(order), batch_size):
                # HDF5 reads rows in rising order; within a batch the order does not matter.
                some = np.sort(order[start : start + batch_size])
                yield file["features"][some], labels[some]

    kinds = tf.TensorSpec((None, *shape), "float32"), tf.TensorSpec((None,), "int64")
    found = tf.data.Dataset.from_generator(epoch, output_signature=kinds)
    count = tf.data.experimental.assert_cardinality(math.ceil(len(chosen) / batch_size))
    # Without the tuner, which has nothing to tune here: in TensorFlow 2.21 an epoch often ends only
    # when it wakes, 1.3, 2.6, 5.1, 10.2 s after the epoch's start.
    options = tf.data.Options()
    options.autotune.enabled = False
    return found.apply(count).prefetch(2).with_options(options)


def _part(out: Path) -> Path:
    return out.with_name(f"{out.name}.part")


def _is_finished(out: Path) -> bool:
    return out.is_file() and not _part(out).exists()


@contextlib.contextmanager
def _locked(out: Path) -> Iterator[Path]:
    """Hold the sole right to make a file, and yield the folder of its part.

    The operating system takes the lock back when a process ends, however it ends.
    """
    if out.is_dir():
        raise DataError(f"{out}: a folder, expected the name of a file to make, such as f.h5.")
    if not out.parent.is_dir():
        raise DataError(f"{out.parent}: no such folder to write {out.name} to. Make it first.")
    path = _part(out) / "lock"
    lock = filelock.FileLock(path, blocking=False)
    try:
        lock.acquire()  # makes the folder
    except filelock.Timeout:
        holder = "another process"
        with contextlib.suppress(OSError):  # Windows lets nobody read what is locked
            holder = path.read_text("utf-8") or holder
        raise DataError(
            f"{out}: {holder} is making it now. Wait until it is done, or stop it; this command "
            "then goes on from there."
        ) from None
    except OSError as error:
        raise DataError(
            f"{out.parent}: cannot be written to ({error.strerror}). Give another place for "
            f"{out.name}."
        ) from error
    try:
        with contextlib.suppress(OSError):
            path.write_text(f"process {os.getpid()} on {platform.node()}", "utf-8")
        yield path.parent
    finally:
        with contextlib.suppress(OSError):
            path.unlink()  # before it is released, while it is surely nobody else's
        lock.release()
        with contextlib.suppress(OSError):
            path.parent.rmdir()  # unless there is a part in it


def _same(path: Path, found: dict[str, Any], expected: dict[str, Any]) -> None:
    for key, wanted in expected.items():
        if found.get(key) != wanted:
            raise DataError(
                f"{path}: has other features: {key} is {found.get(key)}, expected {wanted}. "
                "Nothing was changed; remove it, or give another name."
            )


def _allocate(path: Path, size: int) -> None:
    """Make a file that has taken its room on the disk."""
    with open(path, "wb") as file:
        if hasattr(os, "posix_fallocate"):  # not on macOS and Windows
            os.posix_fallocate(file.fileno(), 0, size)
        else:
            for start in range(0, size, PIECE):
                file.write(bytes(min(PIECE, size - start)))


def _write(path: Path, pieces: Iterable[tuple[int, bytes]], sync: bool = True) -> None:
    """Write pieces, each at its offset, and wait until they are on the disk."""
    with open(path, "r+b", buffering=0) as file:
        for offset, content in pieces:
            file.seek(offset)
            left = memoryview(content)
            while left:  # the operating system may take less than it is given
                left = left[file.write(left) :]
        if sync:
            os.fsync(file.fileno())


def _remove(folder: Path) -> None:
    for name in (STATUS, FINGERPRINT, ROWS, NEW):
        with contextlib.suppress(OSError):
            (folder / name).unlink(missing_ok=True)


def _encoded(names: Sequence[str]) -> np.ndarray:
    """Names as HDF5 keeps them: bytes, for a file's name need not be UTF-8."""
    found = [os.fsencode(name) for name in names]
    return np.array(found, h5py.string_dtype("utf-8", max(map(len, found))))


@contextlib.contextmanager
def _reported(path: Path, what: str) -> Iterator[None]:
    try:
        yield
    except (OSError, RuntimeError, ValueError, KeyError) as error:  # h5py's and Python's
        raise DataError(
            f"{path}: cannot be {what} ({error}). What was computed is kept: the same command "
            "goes on from here."
        ) from error


@contextlib.contextmanager
def _opened(path: str | Path) -> Iterator[h5py.File]:
    try:
        with h5py.File(path) as file:
            for name in ("features", "labels", "filenames", "classes"):
                link = file.get(name, getlink=True)
                if link is None:
                    continue
                if not isinstance(link, h5py.HardLink):
                    raise ValueError(f"{name} is a link")
                data, stored = file[name], file[name].id.get_storage_size()
                if data.external or data.is_virtual or data.nbytes > 1000 * stored + 2**20:
                    raise ValueError(f"{name} {data.shape} is not all in this file")
            yield file
    except FileNotFoundError:
        raise DataError(f"{path}: no such file. Make it with: python -m helpers extract") from None
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        if "unable to lock file" in str(error):
            raise DataError(f"{path}: is open in another program. Close it there.") from error
        raise DataError(
            f"{path}: not a features file ({error}). Make one with: python -m helpers extract"
        ) from error
