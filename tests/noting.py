"""An engine that notes what it was given, for test_cluster.py; workers import it without Keras."""

import contextlib
import dataclasses
import os
import signal
import time
from pathlib import Path

import distributed
import numpy as np

from helpers.engine import Engine


def on_a_worker() -> bool:
    try:
        return bool(distributed.get_worker())
    except ValueError:
        return False


@dataclasses.dataclass(frozen=True)
class Noting:
    """Mean colours; notes, in a file, which process was given how many pictures; and takes time."""

    notes: Path
    seconds: float = 0

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        with self.notes.open("a") as file:
            file.write(f"{os.getpid()} {len(batch)}\n")
        time.sleep(self.seconds * len(batch))
        return batch.mean(axis=(1, 2))


def noting(notes: Path, seconds: float = 0) -> Engine:
    return Engine("noting", Noting(notes, seconds))


def deadly(batch: np.ndarray) -> np.ndarray:
    if on_a_worker():
        os.kill(os.getpid(), signal.SIGKILL)
    return batch


def computed(notes: Path) -> dict[int, int]:
    """Pictures by process."""
    counts: dict[int, int] = {}
    with contextlib.suppress(FileNotFoundError):
        for line in notes.read_text().splitlines():
            process, count = map(int, line.split())
            counts[process] = counts.get(process, 0) + count
    return counts
