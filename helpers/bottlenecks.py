"""Bottleneck features: class folders → a frozen network's outputs in one features file."""

import contextlib
import hashlib
import itertools
import os
import threading
import time
import warnings
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from tqdm import tqdm

from helpers import cluster, console, datasets, features, images
from helpers import engine as engines
from helpers.datasets import ClassFolders
from helpers.engine import Engine, Prepared
from helpers.errors import ArgumentError, DataError, PictureError

if TYPE_CHECKING:
    from helpers.cluster import Scheduler
    from helpers.zoo import Network


@dataclass(frozen=True)
class Extraction:
    """What `extract` did.

    `skipped`: (file, reason) of every file without features. `noted`: (file, note) of every picture
    with more in it than was read. `note`: why `engine` is not the one that was hoped for.
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
    network: "Network | Prepared | Callable[[], Prepared]",
    batch_size: int = 32,
    engine: str | Engine = "auto",
    workers: int | None = None,
    scheduler: "Scheduler | None" = None,
    progress: bool = True,
) -> Extraction:
    """Run every picture of class folders through a frozen network once, into a features file.

    The rows are in the order of `datasets.class_folders`. An interrupted run goes on where it was.
    If the file is there and has just these features, nothing is done; if since then a picture's
    name, size or time of change is another one, the file is refused. An interrupted run computes
    such pictures again.

    Workers get the network from here but read the pictures themselves, by the same path. If one
    dies, another does its work. A script that gives `workers` needs `if __name__ == "__main__":`.

    Args:
        folder: one folder for each class, with pictures.
        out: the file to make, such as `features.h5`.
        network: from `zoo.load(…, include_top=False)`; or `Prepared`, with its engine and `facts`;
            or a function that gives that, which is called once all else is found to be right.
        batch_size: pictures that are computed at a time, here or by each thread of a worker.
        engine: `"auto"`, `"onnx"` or `"tensorflow"`, see `engine.choose`; or an `Engine`.
        workers: how many processes to start on this machine.
        scheduler: or a dask scheduler's address, such as `tls://192.168.0.7:8786`, or a cluster of
            `cluster.local`. Trust it as you trust this program: it can run code here, and all
            who reach a `tcp://` address can run code on its machines. For `tls://`, dask's
            configuration names the certificates (https://distributed.dask.org/en/stable/tls.html).
        progress: show a progress bar.

    Raises:
        DataError: no picture; `out` cannot be made or has other features; the disk is too small;
            a picture changed during the run; a worker failed.
        ArgumentError: an engine or a cluster that cannot be had; features of no fixed shape.
    """
    out, pictures = Path(out), datasets.class_folders(folder)
    features.check_writable(out)
    distant = workers is not None or scheduler is not None
    if distant:
        cluster.check(workers, scheduler)
    network = network() if callable(network) else network
    started = time.perf_counter()
    files, seen = pictures.files, pictures.stats()
    known = network.facts if isinstance(network, Prepared) else facts(network)
    fingerprint = _fingerprint(known, pictures)
    shape = tuple(known["output_shape"])
    if None in shape:
        raise ArgumentError(
            f"{known['model']}: expected features of a fixed shape, got {shape}. Build it for one "
            "input size, or with pooling."
        )
    skipped: dict[int, str] = {}
    noted: dict[int, str] = {}
    name, note = "none", ""
    with (
        _skips_told(pictures, skipped),
        features.create(out, fingerprint, shape, pictures, seen) as part,
    ):
        if part is None:
            kept = set(features.describe(out)["filenames"])
            for row in (row for row, file in enumerate(files) if file not in kept):
                try:
                    images.load(pictures.root / files[row], known["input_size"])
                except PictureError as error:
                    skipped[row] = str(error)
            why = _told(pictures, skipped)
            return Extraction(len(kept), why, len(kept), 0.0, 0.0, name)
        resumed_from = part.done
        if resumed_from < len(files):  # else only the finished file is missing
            size, mode = known["input_size"], known["preprocessing"]
            if isinstance(network, Prepared):
                engine = network.engine
            elif isinstance(engine, str):
                engine = choose_engine(network, engine)
            name, note = engine.name, engine.note
            # Other machines may have copies, whose third times are their own.
            task = _Task(engine, size, mode, pictures, seen[:, :2])
            if distant:
                batches = _on_cluster(task, part.todo(batch_size), workers, scheduler)
            else:
                batches = _in_threads(task, part.todo(max(1, batch_size // engine.threads)))
            where = console.stream()
            bar = tqdm(
                total=len(files), initial=resumed_from, unit=" pictures", disable=not progress,
                file=where,
            )  # fmt: skip
            with bar, contextlib.closing(batches):
                if note:
                    bar.write(f"helpers: {note}", file=where)
                for batch in batches:
                    _check_unchanged(part, seen, batch.rows)
                    if len(batch.rows):
                        part.write(batch.rows, batch.values)
                    part.mark(np.array(list(batch.skipped), int), features.SKIPPED)
                    skipped |= batch.skipped
                    noted |= batch.noted
                    bar.update(len(batch.rows) + len(batch.skipped))
        _check_unchanged(part, seen)
        if not part.done:
            first = next(iter(skipped.values()))
            raise DataError(f"{folder}: none of {len(files)} files is a picture. {first}")
        part.finish()
    seconds = time.perf_counter() - started
    rate = (part.done - resumed_from) / seconds
    why = _told(pictures, skipped)
    notes = [(files[row], noted[row]) for row in sorted(noted)]
    return Extraction(part.done, why, resumed_from, seconds, rate, name, note, notes)


def _told(pictures: ClassFolders, skipped: dict[int, str]) -> list[tuple[str, str]]:
    return [*pictures.skipped, *((pictures.files[row], skipped[row]) for row in sorted(skipped))]


@contextlib.contextmanager
def _skips_told(pictures: ClassFolders, skipped: dict[int, str]) -> Iterator[None]:
    """Add what was skipped to what ends a run early, or nobody would know of it."""
    try:
        yield
    except BaseException as error:
        for file, reason in _told(pictures, skipped):
            error.add_note(f"skipped {file}: {reason}")
        raise


def choose_engine(network: "Network", wanted: str) -> Engine:
    """Choose as `engine.choose` does, by pictures that are scaled as the network wants them."""
    size, mode = network.input_size, network.entry.preprocessing
    sample = images.scale(engines.sample_pictures(size, size), mode)
    return engines.choose(network.model, wanted, sample)


def facts(network: "Network") -> dict[str, Any]:
    """Say what of a network its features depend on, each fact under a name for errors."""
    weights = hashlib.sha256()
    for variable in network.model.weights:
        weights.update(variable.numpy().tobytes())
    return {
        "model": network.name,
        "weights": weights.hexdigest(),
        "preprocessing": network.entry.preprocessing,
        "input_size": network.input_size,
        "output_shape": list(network.model.output_shape[1:]),
    }


def _fingerprint(known: dict[str, Any], pictures: ClassFolders) -> dict[str, Any]:
    files = hashlib.sha256(b"\0".join(map(os.fsencode, pictures.files)))
    return known | {"jpegs_decoded_at": images.FINER, "files": files.hexdigest()}


def _check_unchanged(part: features.Part, seen: np.ndarray, rows: np.ndarray | None = None) -> None:
    changed = part.pictures.changed(seen, rows)
    if len(changed):
        part.mark(changed, features.TODO)
        raise DataError(
            f"{part.pictures.files[changed[0]]}: changed or removed since this run began. If it is "
            "there, the same command computes it again and goes on; if it is gone, put it back, or "
            f"remove {part.folder} to begin anew."
        )


class Batch(NamedTuple):
    """Rows, and their pictures or, later, features; why others have none; and notes on some."""

    rows: np.ndarray
    values: np.ndarray
    skipped: dict[int, str]
    noted: dict[int, str]


Batches = Generator[Batch, None, None]


class _Task:
    """What is done to pictures. A worker has one of these for all its threads."""

    def __init__(
        self, engine: Engine, size: int, mode: str, pictures: ClassFolders, seen: np.ndarray
    ) -> None:
        self.engine, self.size, self.mode = engine, size, mode
        self.pictures, self.seen = pictures, seen
        self.turn = threading.Semaphore(engine.threads)

    def __reduce__(self) -> tuple[Any, ...]:
        # Without the semaphore, and with a path that other processes can follow.
        pictures = replace(self.pictures, root=self.pictures.root.resolve())
        return _Task, (self.engine, self.size, self.mode, pictures, self.seen)

    def read(self, rows: np.ndarray) -> Batch:
        pixels: list[np.ndarray] = []
        batch = Batch(rows, np.empty(0), {}, {})
        for row in rows.tolist():
            path, notes = self.pictures.root / self.pictures.files[row], list[str]()
            try:
                pixels.append(images.load(path, self.size, notes))
            except PictureError as error:
                batch.skipped[row] = str(error)
            if notes:
                batch.noted[row] = "; ".join(notes)
        readable = np.setdiff1d(rows, list(batch.skipped))
        if pixels:
            batch = batch._replace(values=images.scale(np.stack(pixels), self.mode))
        return batch._replace(rows=readable)

    def run(self, batch: Batch) -> Batch:
        if not len(batch.rows):
            return batch
        with self.turn:
            return batch._replace(values=self.engine.run(batch.values))


def _in_threads(task: _Task, todo: Iterator[np.ndarray]) -> Batches:
    """Compute batches here, in as many threads as the engine likes; others read meanwhile."""
    readers = max(task.engine.threads, min(engines.cores(), 8))
    with contextlib.closing(_mapped(task.read, todo, readers)) as read:
        yield from _mapped(task.run, read, task.engine.threads)


def _mapped(function: Callable[[Any], Batch], items: Iterator[Any], threads: int) -> Batches:
    """Yield what a function makes of each item, as it is done, in several threads.

    No more results than threads are in the works or not yet taken: that is what a kill costs.
    """
    running: set[Future[Batch]] = set()
    with ThreadPoolExecutor(threads) as pool:
        while True:
            for item in itertools.islice(items, threads - len(running)):
                running.add(pool.submit(function, item))
            if not running:
                return
            done, running = wait(running, return_when=FIRST_COMPLETED)
            # What succeeded is kept before what failed ends the run.
            for future in sorted(done, key=lambda future: future.exception() is not None):
                yield future.result()


def _on_cluster(
    task: _Task,
    todo: Iterator[np.ndarray],
    workers: int | None,
    scheduler: "Scheduler | None",
) -> Batches:
    """Have batches computed by workers, as they have time for them."""
    import distributed

    with cluster.client(workers, scheduler) as client:
        with warnings.catch_warnings():
            # A network is larger than dask likes; but it is sent once, and again if a worker dies.
            warnings.filterwarnings("ignore", "Sending large graph")
            there = client.submit(_kept, task, pure=False)
        running = distributed.as_completed()
        while True:
            # For each thread one in the works and one that waits: the cluster keeps results in
            # memory until they are fetched. Where all workers died, one task waits for the next.
            free = 2 * sum(client.nthreads().values()) - running.count()
            for rows in itertools.islice(todo, max(free, 0 if running.count() else 1)):
                running.add(client.submit(_on_worker, there, rows, pure=False))
            if not running.count():
                return
            yield next(running).result()


def _kept(task: _Task) -> _Task:
    """A task whose result is what it was given: dask then has it where batches need it."""
    return task


def _on_worker(task: _Task, rows: np.ndarray) -> Batch:
    import distributed

    batch = task.run(task.read(rows))
    changed = task.pictures.changed(task.seen, rows)
    if len(changed):
        path = task.pictures.root / task.pictures.files[changed[0]]
        raise DataError(
            f"Worker {distributed.get_worker().address} does not see {path} as it was when this "
            "run began. If it changed, put it back as it was; if not, put the pictures where all "
            "machines see them by this path. The same command then goes on."
        )
    return batch
