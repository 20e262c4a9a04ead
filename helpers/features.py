"""The features file. While it is made it is a folder NAME.part, with rows and a status for each.

Finished, it is HDF5, which may not open a file whose process was killed.
"""

import contextlib
import errno
import hashlib
import io
import json
import math
import os
import platform
import shutil
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import filelock
import h5py
import numpy as np

from helpers.errors import ArgumentError, DataError, HelpersError

if TYPE_CHECKING:
    import tensorflow

    from helpers.datasets import ClassFolders

TODO, DONE, SKIPPED = 0, 1, 2
ROWS, STATUS, SEEN = "rows.bin", "status.bin", "seen.bin"
FINGERPRINT, NEW = "fingerprint.json", "new.h5"
KINDS = {"features": "f", "labels": "iu", "filenames": "SO", "classes": "SO"}  # of NumPy's dtypes
PIECE = 2**24  # bytes that are copied at once
FAULTS = (OSError, RuntimeError, ValueError, KeyError)  # what h5py raises


def check_writable(out: Path) -> None:
    """Raise the error that `create` would, before time is spent on loading a network."""
    with _locked(out):
        pass


@contextlib.contextmanager
def create(
    out: Path,
    fingerprint: dict[str, Any],
    shape: tuple[int, ...],
    pictures: "ClassFolders",
    seen: np.ndarray,
) -> Iterator["Part | None"]:
    """Begin a features file, or go on with one that was interrupted.

    Args:
        fingerprint: what the features depend on, for JSON.
        shape: of one row of features.
        seen: what `pictures.stats` gives; features of pictures that were others are not kept.

    Yields:
        The `Part` to write to, or None: the file is finished, and has just these features.

    Raises:
        DataError: no folder that can be written to; another process makes the file; it has another
            fingerprint or, finished, other pictures; or the disk is too small.
    """
    with _locked(out):
        if out.exists():
            _same(out, describe(out)["fingerprint"], _complete(fingerprint, seen))
            _remove(_part(out))  # of a process that was killed before it could
            yield None
        else:
            yield Part(out, fingerprint, shape, pictures, seen)


@dataclass
class Part:
    """A features file in the making, given by `create`. One thread writes to it.

    `status` has TODO, DONE or SKIPPED for each row; DONE only after its features are on the disk.
    """

    out: Path
    fingerprint: dict[str, Any]
    shape: tuple[int, ...]
    pictures: "ClassFolders"
    seen: np.ndarray

    def __post_init__(self) -> None:
        self.folder = _part(self.out)
        self._row = 4 * math.prod(self.shape)  # bytes
        rows = len(self.pictures)
        self._sizes = {ROWS: rows * self._row, STATUS: rows, SEEN: self.seen.nbytes}
        path, again = self.folder / STATUS, "If it is so again, remove it, and begin anew."
        with _reported(self.folder, "read", again):
            self.status = np.empty(0, "uint8")
            if os.path.lexists(path):
                self.status = np.fromfile(_ordinary(path), "uint8")
            if begun := self.done > 0:
                found = _parsed(_ordinary(self.folder / FINGERPRINT).read_bytes())
                sizes = {n: _ordinary(self.folder / n).stat().st_size for n in self._sizes}
        if begun:
            _same(self.folder, found | sizes, self.fingerprint | self._sizes)
            self._leave_out_what_changed()
        else:
            self._lay_out()

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
        """Write features (n, …) of rows (n,), and when they are on the disk note these as DONE."""
        features, expected = np.asarray(features, "<f4"), (len(rows), *self.shape)
        if features.shape != expected:
            raise ArgumentError(f"Expected features of shape {expected}, got {features.shape}.")
        with _reported(self.folder, "written to"), _synced(self.folder / ROWS) as file:
            for row, values in zip(rows.tolist(), features, strict=True):
                file.seek(row * self._row)
                file.write(values.tobytes())
        self.mark(rows, DONE)

    def mark(self, rows: np.ndarray, status: int) -> None:
        """Note what became of rows (n,): DONE, SKIPPED, or TODO once more."""
        if len(rows):
            self.status[rows] = status
            first, last = int(rows.min()), int(rows.max())
            with _reported(self.folder, "written to"), open(self.folder / STATUS, "r+b") as file:
                file.seek(first)
                file.write(self.status[first : last + 1].tobytes())
                if status == TODO:  # another note that is lost costs time only
                    file.flush()
                    os.fsync(file.fileno())

    def finish(self) -> None:
        """Write the rows that are done as HDF5, read it back, compare, and give it its name."""
        new, complete = self.folder / NEW, _complete(self.fingerprint, self.seen)
        # Of fixed length: in a damaged file HDF5 looks for one of variable length for ever.
        fingerprint = np.bytes_(json.dumps(complete).encode())
        with _reported(self.out, "written"):
            new.unlink(missing_ok=True)
            with _ForHDF5(new, "x+") as raw:
                with h5py.File(raw, "w") as file:
                    file.attrs["fingerprint"] = fingerprint
                    file.create_dataset("features", (self.done, *self.shape), "<f4")
                    for name, place, values in self._contents():
                        if name in file:
                            file[name][place] = values
                        else:
                            file[name] = values
                os.fsync(raw.fileno())
                if raw.error:
                    raise raw.error
            with h5py.File(new) as file:
                same = file.attrs["fingerprint"] == fingerprint
                for name, place, values in self._contents():
                    same = same and file[name][place].tobytes() == values.tobytes()
            if not same:
                raise OSError(errno.EIO, "what was read back is not what was written")
            os.replace(new, self.out)
        _remove(self.folder)

    def _contents(self) -> Iterator[tuple[str, slice, np.ndarray]]:
        """What is in the finished file: data set, place in it, values; features in pieces."""
        done = self.status == DONE
        yield "labels", slice(None), np.asarray(self.pictures.labels, "int64")[done]
        yield "filenames", slice(None), _encoded(self.pictures.files)[done]
        yield "classes", slice(None), _encoded(self.pictures.classes)
        at_once, begin = max(1, PIECE // self._row), 0
        for start in range(0, len(done), at_once):
            some = done[start : start + at_once]
            count = len(some) * self._row // 4
            rows = np.fromfile(self.folder / ROWS, "<f4", count, offset=start * self._row)
            rows = rows.reshape(len(some), *self.shape)[some]
            yield "features", slice(begin, begin + len(rows)), rows
            begin += len(rows)

    def _leave_out_what_changed(self) -> None:
        """Compute the features again of pictures that are not as they were."""
        path = self.folder / SEEN
        with _reported(self.folder, "written to"):
            before = np.fromfile(path, "int64").reshape(self.seen.shape)
            self.mark(np.flatnonzero((before != self.seen).any(axis=1)), TODO)
            with _synced(path) as file:
                file.write(self.seen.tobytes())

    def _lay_out(self) -> None:
        """Take the disk space for all rows at once, so that a full disk is noticed first."""
        rows = len(self.pictures)
        # Twice, for the finished file is written while the rows are still there.
        needed = 2 * (rows * self._row + _encoded(self.pictures.files).nbytes) + 50 * rows + 2**16
        free = shutil.disk_usage(self.folder).free
        _remove(self.folder)
        try:
            if needed > free:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            for name, size in self._sizes.items():
                with open(self.folder / name, "xb") as file:
                    file.truncate(size)
                    if hasattr(os, "posix_fallocate"):  # not on macOS and Windows
                        os.posix_fallocate(file.fileno(), 0, size)
            with _synced(self.folder / SEEN) as file:
                file.write(self.seen.tobytes())
            with _synced(self.folder / FINGERPRINT, "xb") as file:
                file.write(json.dumps(self.fingerprint).encode())
        except OSError as error:
            _remove(self.folder)
            raise DataError(
                f"{self.out}: needs {needed:,} bytes while it is made, and {free:,} are free on "
                f"that disk ({error}). Nothing was computed; free some, or take another disk."
            ) from error
        self.status = np.full(rows, TODO, "uint8")


class _ForHDF5(io.FileIO):
    """A file that keeps its first error to itself: HDF5 can crash the process if a write fails."""

    error: OSError | None = None

    def write(self, content: Any) -> int:
        rest = memoryview(content).cast("B")
        while len(rest) and not self.error:  # a disk that is almost full takes a part first
            rest = rest[self._noting(super().write, rest) :]
        return len(content)

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
        `classes` and `filenames`: lists of names; `fingerprint`: a dict of what the features depend
        on; `labels`: (N,) int64; `shape`: that of the features, such as (N, 1280).

    Raises:
        DataError: no such file, not a features file, or one that another program has open.
    """
    with _opened(path) as file:
        return {
            "classes": [os.fsdecode(name) for name in file["classes"][:]],
            "filenames": [os.fsdecode(name) for name in file["filenames"][:]],
            "fingerprint": _parsed(file.attrs["fingerprint"]),
            "labels": file["labels"][:],
            "shape": file["features"].shape,
        }


def batches(
    path: str | Path, rows: np.ndarray | None = None, batch_size: int = 32, seed: int | None = None
) -> "tensorflow.data.Dataset":
    """Read (features, labels) from a features file batch by batch, for `fit(…, shuffle=False)`.

    Memory does not grow with the file, which is open during an epoch and no longer.

    Args:
        path: a features file.
        rows: (n,) int, which rows to read; default: all.
        batch_size: rows in a batch.
        seed: shuffle the rows anew in every epoch. None: the file's order, which is by class, so do
            not train in it.

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
    options = tf.data.Options()
    options.autotune.enabled = False  # in TensorFlow 2.21 epochs wait for the tuner to wake
    return found.apply(count).prefetch(2).with_options(options)


def _part(out: Path) -> Path:
    return out.with_name(f"{out.name}.part")


@contextlib.contextmanager
def _locked(out: Path) -> Iterator[None]:
    """Hold the sole right to make a file that is not finished, until the process ends at most."""
    if os.path.lexists(out) and not out.is_file():
        raise DataError(
            f"{out}: a folder or no ordinary file, expected the name of a file to make, such as "
            "f.h5."
        )
    folder = _part(out)
    if out.is_file() and not folder.exists():  # finished; its folder may be read-only
        yield
        return
    if os.path.lexists(folder) and not stat.S_ISDIR(os.lstat(folder).st_mode):
        raise DataError(
            f"{folder}: expected a folder, in which {out.name} is made, or nothing. Move it away."
        )
    if not out.parent.is_dir():
        raise DataError(f"{out.parent}: no such folder to write {out.name} to. Make it first.")
    path = folder / "lock"
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
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink()  # before it is released, while it is surely nobody else's
        lock.release()
        with contextlib.suppress(OSError):
            folder.rmdir()  # unless there is a part in it


def _complete(fingerprint: dict[str, Any], seen: np.ndarray) -> dict[str, Any]:
    """What a finished file's features depend on."""
    times = hashlib.sha256(np.ascontiguousarray(seen, "<i8").tobytes())
    return fingerprint | {"sizes_and_times": times.hexdigest()}


def _parsed(text: bytes | str) -> dict[str, Any]:
    found = json.loads(text)
    if not isinstance(found, dict):
        raise ValueError("the fingerprint is none")
    return found


def _ordinary(path: Path) -> Path:
    if not stat.S_ISREG(os.lstat(path).st_mode):
        raise ValueError(f"{path.name} is no ordinary file")
    return path


def _same(path: Path, found: dict[str, Any], expected: dict[str, Any]) -> None:
    for key, wanted in expected.items():
        if found.get(key) != wanted:
            raise DataError(
                f"{path}: has other features: {key} is {found.get(key)}, expected {wanted}. "
                "Nothing was changed; remove it, or give another name."
            )


@contextlib.contextmanager
def _synced(path: Path, mode: str = "r+b") -> Iterator[IO[bytes]]:
    """Open a file, and wait at the end until what was written is on the disk."""
    with open(path, mode) as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def _remove(folder: Path) -> None:
    for name in (STATUS, FINGERPRINT, SEEN, ROWS, NEW):
        with contextlib.suppress(OSError):
            (folder / name).unlink(missing_ok=True)


def _encoded(names: Sequence[str]) -> np.ndarray:
    """Names as HDF5 keeps them: bytes, for a file's name need not be UTF-8."""
    found = [os.fsencode(name) for name in names]
    return np.array(found, h5py.string_dtype("utf-8", max(map(len, found))))


@contextlib.contextmanager
def _reported(
    path: Path,
    what: str,
    then: str = "What was computed is kept: the same command goes on from here.",
) -> Iterator[None]:
    try:
        yield
    except HelpersError:
        raise
    except FAULTS as error:
        raise DataError(f"{path}: cannot be {what} ({error}). {then}") from error


@contextlib.contextmanager
def _opened(path: str | Path) -> Iterator[h5py.File]:
    path = Path(path)
    try:
        if path.exists() and not path.is_file():  # a pipe would be waited for
            raise ValueError("no ordinary file")
        with h5py.File(path) as file:
            for name in file.keys() & KINDS:
                if not isinstance(file.get(name, getlink=True), h5py.HardLink):
                    raise ValueError(f"{name} is a link")
                data = file[name]
                if not isinstance(data, h5py.Dataset) or data.dtype.kind not in KINDS[name]:
                    raise ValueError(f"{name} is {data!r}")
                most = 1000 * data.id.get_storage_size() + 2**20
                if data.external or data.is_virtual or data.nbytes > most:
                    raise ValueError(f"{name} {data.shape} is not all in this file")
            yield file
    except FileNotFoundError:
        raise DataError(f"{path}: no such file. Make it with: python -m helpers extract") from None
    except (*FAULTS, TypeError) as error:  # of a type that NumPy does not have
        if "unable to lock file" in str(error):
            raise DataError(f"{path}: is open in another program. Close it there.") from error
        raise DataError(
            f"{path}: not a features file ({error}). If it is of no use, remove it; make one with: "
            "python -m helpers extract"
        ) from error
