"""Engines for test_bottlenecks_cluster.py, which workers import, without Keras."""

import contextlib
import dataclasses
import os
import signal
import time
from pathlib import Path

import distributed
import numpy as np
from killed import pixels


@dataclasses.dataclass(frozen=True)
class Noting:
    """Notes in a file which process was given how many pictures.

    With a gate, a process waits at its batches, but for the first few, until there is such a file.
    """

    notes: Path
    gate: Path | None = None
    free: int = 0

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        with self.notes.open("a") as file:
            file.write(f"{os.getpid()} {len(batch)}\n")
        mine = self.notes.read_text().splitlines().count(f"{os.getpid()} {len(batch)}")
        while self.gate and mine > self.free and not self.gate.exists():
            time.sleep(0.005)
        return pixels(batch)


def computed(notes: Path) -> dict[int, int]:
    """Pictures by process."""
    counts: dict[int, int] = {}
    with contextlib.suppress(FileNotFoundError):
        for line in notes.read_text().splitlines():
            process, count = map(int, line.split())
            counts[process] = counts.get(process, 0) + count
    return counts


@dataclasses.dataclass(frozen=True)
class Spoiling:
    """Has the pictures changed, or gone, as a worker computes them."""

    folder: Path
    gone: bool

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        with contextlib.suppress(FileNotFoundError):
            if self.gone:
                self.folder.rename(self.folder.with_name("elsewhere"))
            for path in self.folder.glob("*/*"):
                os.utime(path, (1, 1))
        return pixels(batch)


def deadly(batch: np.ndarray) -> np.ndarray:
    """Kills a worker."""
    with contextlib.suppress(ValueError):
        if distributed.get_worker():
            os.kill(os.getpid(), signal.SIGKILL)
    return batch
