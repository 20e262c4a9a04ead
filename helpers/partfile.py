"""A features file in the making: locked, laid out at its full size, to be gone on with.

What it is made of was measured (HDF5 1.14 and 2.0, killed some hundred times). A file that grows
cannot always be opened after its process was killed, and fails half way when the disk is full. So
NAME.part.h5 has its full size from the start and every row a status; rows are written and flushed
before their status; and it gets its own name when it is whole.
"""

import contextlib
import json
import math
import os
import platform
import shutil
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import filelock
import h5py
import numpy as np

from helpers.errors import DataError

TODO, DONE, SKIPPED = 0, 1, 2
KEPT = ("features", "labels", "filenames")


def beside(out: Path, suffix: str) -> Path:
    """The name of what stands beside a file until it is whole: NAME.part.h5, .new or .lock."""
    return out.with_name(f"{out.stem}.part.{suffix}")


def is_settled(out: Path) -> bool:
    """Whether a file is whole, and no run that was stopped has left anything beside it."""
    return out.is_file() and not any(beside(out, suffix).exists() for suffix in ("h5", "lock"))


@contextlib.contextmanager
def held(out: Path) -> Iterator[Path]:
    """The sole right to make a file; gives the name that the file has until it is whole.

    The operating system takes the lock back when a process ends, however it ends.

    Raises:
        DataError: there is no such folder, or it cannot be written to; or another process is
            making the file: says which.
    """
    if out.is_dir():
        raise DataError(f"{out}: a folder, expected the name of a file to make, such as f.h5.")
    if not out.parent.is_dir():
        raise DataError(f"{out.parent}: no such folder to write {out.name} to. Make it first.")
    lock = filelock.FileLock(beside(out, "lock"), blocking=False)
    path = Path(lock.lock_file)
    try:
        lock.acquire()
    except filelock.Timeout:
        raise DataError(
            f"{out}: {_holder(path)} is making it now. Wait until it is done, or stop it; this "
            "command then goes on from there."
        ) from None
    except OSError as error:
        raise DataError(
            f"{out.parent}: cannot be written to ({error.strerror}). Give another place for "
            f"{out.name}."
        ) from error
    try:
        with contextlib.suppress(OSError):  # Windows lets nobody write to what is locked
            path.write_text(f"process {os.getpid()} on {platform.node()}", "utf-8")
        yield beside(out, "h5")
    finally:
        with contextlib.suppress(OSError):
            path.unlink()  # before it is released, while it is surely nobody else's
        lock.release()


def lay_out(
    part: Path,
    row: tuple[int, ...],
    labels: np.ndarray,
    filenames: list[bytes],
    attributes: Mapping[str, Any],
) -> None:
    """Makes the whole file, so that a full disk is noticed before anything is computed.

    Args:
        part: the file to make.
        row: the shape of one row of features.
        labels: of all rows; `filenames` too.
        attributes: name → value; a mapping is written as JSON.

    Raises:
        DataError: the disk has no room for it; says how much is needed, and is free.
    """
    a_row = 4 * math.prod(row) + 8 + 1 + 40 + max(map(len, filenames))
    needed = len(labels) * a_row + 65536  # HDF5 needs some for itself
    free = shutil.disk_usage(part.parent).free
    new = part.with_suffix(".new")
    room = f"it needs {needed:,} bytes, and {free:,} are free on that disk"
    if needed > free:
        raise DataError(
            f"{part}: {room}. Nothing was computed; make room, or write to another disk."
        )
    layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    layout.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    layout.set_fill_time(h5py.h5d.FILL_TIME_ALLOC)  # else it is a hole, which takes no disk yet
    try:
        with h5py.File(new, "w") as file:
            space = h5py.h5s.create_simple((len(labels), *row))
            h5py.h5d.create(file.id, b"features", h5py.h5t.NATIVE_FLOAT, space, dcpl=layout)
            file["labels"], file["filenames"] = labels, filenames
            file["status"] = np.full(len(labels), TODO, "uint8")
            for name, value in attributes.items():
                file.attrs[name] = json.dumps(value) if isinstance(value, Mapping) else value
        os.replace(new, part)
    except (OSError, RuntimeError, ValueError) as error:  # h5py's for a disk that is full
        new.unlink(missing_ok=True)
        raise DataError(
            f"{part}: cannot be laid out ({error}); {room}. Nothing was computed."
        ) from error


class Part:
    """The rows of a file that `lay_out` made; several threads may write to it."""

    def __init__(self, path: Path) -> None:
        self.path, self.file = path, h5py.File(path, "r+")
        self._lock = threading.Lock()
        # There is no status where a run was stopped after the last row, in `finish`.
        there = "status" in self.file
        self.status = (
            self.file["status"][:] if there else np.full(len(self.file["labels"]), DONE, "uint8")
        )

    def __enter__(self) -> "Part":
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def steps(self, size: int) -> Iterator[np.ndarray]:
        """The rows that are not done, by steps of the whole file: the same in every run."""
        for start in range(0, len(self.status), size):
            rows = start + np.flatnonzero(self.status[start : start + size] != DONE)
            if len(rows):
                yield rows

    def write(self, rows: np.ndarray, features: np.ndarray | None, skipped: np.ndarray) -> None:
        """Rows that are done, their features, and rows that cannot be."""
        with self._lock:
            if features is not None:
                self.file["features"][_slice(rows)] = features
                self.file.flush()  # before their status, which must not speak of rows not written
            self.set_status(rows, DONE)
            self.set_status(skipped, SKIPPED)
            self.file.flush()

    def set_status(self, rows: np.ndarray, value: int) -> None:
        """Notes what became of rows."""
        if len(rows):
            self.status[rows] = value
            self.file["status"][_slice(rows)] = self.status[rows]

    def finish(self, out: Path, at_once: int = 1024) -> None:
        """Gives the file its name, with the rows that are done: there must be one.

        Raises:
            DataError: rows were skipped, so that the others must be copied, and the disk has
                no room for that; everything that was computed stays in the part.
        """
        done = np.flatnonzero(self.status == DONE)
        there = "status" in self.file
        # A kill while HDF5 took the status out can leave half a name, so that the two disagree.
        if len(done) == len(self.status) and set(self.file) == {
            *KEPT,
            *(["status"] if there else []),
        }:
            if there:
                del self.file["status"]
            self.file.close()
            os.replace(self.path, out)
            return
        new = self.path.with_suffix(".new")
        try:
            _copy(self.file, done, new, at_once)
        except (OSError, RuntimeError, ValueError) as error:
            new.unlink(missing_ok=True)
            raise DataError(
                f"{out}: {len(self.status) - len(done)} files were skipped, and there is no room "
                f"to copy the {len(done)} other rows ({error}). Make room, and run it again: it "
                "then only copies."
            ) from error
        self.file.close()
        os.replace(new, out)
        self.path.unlink()


def _copy(file: h5py.File, rows: np.ndarray, to: Path, at_once: int) -> None:
    """Copies the rows to keep, a piece at a time; `file` stays as it is, to go on from."""
    with h5py.File(to, "w") as kept:
        for name in KEPT:
            old = file[name]
            new = kept.create_dataset(name, (len(rows), *old.shape[1:]), old.dtype)
            for start in range(0, len(rows), at_once):
                piece = slice(start, start + at_once)
                new[piece] = old[rows[piece]]
        for name, value in file.attrs.items():
            kept.attrs[name] = value


def _slice(rows: np.ndarray) -> slice | np.ndarray:
    """Rows without a gap as a slice, which HDF5 writes in one go."""
    gapless = len(rows) and rows[-1] - rows[0] + 1 == len(rows)
    return slice(int(rows[0]), int(rows[-1]) + 1) if gapless else rows


def _holder(lock: Path) -> str:
    try:
        return lock.read_text("utf-8") or "another process"
    except OSError:
        return "another process"
