"""Extraction on several processes or machines, by dask.distributed: the same file, sooner."""

import contextlib
import functools
import itertools
import logging
import textwrap
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from helpers import bottlenecks, images
from helpers import engine as engines
from helpers.bottlenecks import Batch, Extraction, Work
from helpers.datasets import ClassFolders
from helpers.engine import Engine
from helpers.errors import ArgumentError, DataError, HelpersError

if TYPE_CHECKING:
    import distributed

    from helpers.zoo import Network

TIMEOUT = 10
# For workers of this machine: Ctrl-C in a terminal reaches them too, and so does the interrupt of a
# notebook. It is meant for the process that asked for them, and that one ends them.
DEAF = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"


def extract(
    folder: str | Path,
    out: str | Path,
    net: "Network",
    scheduler: str | None = None,
    workers: int | None = None,
    batch_size: int = 32,
    progress: bool = True,
    engine: str | Engine = "auto",
    shard_size: int = 64,
) -> Extraction:
    """`bottlenecks.extract` by the workers of a cluster, or by several processes of this machine.

    The file is the same, and so is its part: a run that was stopped can be taken up on another
    number of workers, or by one process. Workers read the pictures themselves, under the same path
    as here (on several machines that takes a shared file system), and send back features, a shard
    at a time; only this process writes. A worker that dies costs its shards in the works, which
    dask gives to another one, and when none is left it waits until one comes. If this process dies,
    it costs the shards that were in the works, at most two for each thread of the cluster.

    The engine is chosen here, and each worker gets it once, with the network in it: no weight file
    is needed there, and, with ONNX Runtime, no TensorFlow. With `workers` each gets its share of
    the cores; elsewhere `dask worker --nthreads` says how many batches are in the works at the same
    time. The course must be installed wherever the scheduler or a worker runs. A script that gives
    `workers` needs `if __name__ == "__main__":`, for the processes that it starts import it.

    Args:
        folder, out, net, progress: as in `bottlenecks.extract`.
        scheduler: the address of a dask scheduler, such as `tcp://192.168.0.7:8786`; or
        workers: how many processes to start on this machine.
        batch_size: pictures that a thread of a worker has in memory at the same time.
        engine: as in `bottlenecks.extract`, for all workers: `"tensorflow"` where they have GPUs
            and this machine has none. One of your own must be possible to pickle.
        shard_size: pictures that a worker is given at a time.

    Raises:
        ArgumentError: not one of `scheduler` and `workers`; dask is not installed; no scheduler
            answers, or none of its workers does; as in `bottlenecks.extract`.
        DataError, DataError: as in `bottlenecks.extract`; or a worker sees other pictures
            than this process; or workers died over the same shard.

    Example:
        >>> from helpers import zoo
        >>> net = zoo.load("EfficientNetLite0", include_top=False, pooling="avg")
        >>> extract("data/five_classes/test", "f.h5", net)
        Traceback (most recent call last):
        helpers.errors.ArgumentError: Expected scheduler or workers (1 or more), got None and None.
    """
    if (scheduler is None) == (workers is None) or (workers is not None and workers < 1):
        raise ArgumentError(
            f"Expected scheduler or workers (1 or more), got {scheduler} and {workers}."
        )
    check_installed()

    def compute(work: Work) -> tuple[str, str]:
        mode = net.entry.preprocessing
        scaled = functools.partial(images.preprocess, size=net.input_size, mode=mode)
        with _client(scheduler, workers) as client:
            used = bottlenecks.engine_for(work, net, engine)
            _there(work, client, _Network(used, scaled), batch_size, shard_size)
        return used.name, used.note

    return bottlenecks.make(folder, out, net, progress, compute)


def _there(
    work: Work,
    client: "distributed.Client",
    network: "_Network",
    batch_size: int,
    shard_size: int,
) -> None:
    """All rows that are not done yet, by workers, as they have time for them."""
    import distributed

    root = work.pictures.root.resolve()
    todo = work.part.steps(shard_size)
    running, rows_of = distributed.as_completed(), dict[Any, np.ndarray]()
    with _said_as_ours(), warnings.catch_warnings():
        # A network is larger than dask likes; but it is sent once, and is there when one dies.
        warnings.filterwarnings("ignore", "Sending large graph")
        there = client.submit(_kept, network, pure=False)

    @_said_as_ours()
    def submit() -> None:
        # One shard in the works and one that waits, for each thread; and not all at once, for a
        # cluster keeps results in memory until they are fetched.
        free = 2 * sum(client.nthreads().values()) - len(rows_of)
        for rows in itertools.islice(todo, max(free, 0 if rows_of else 1)):
            files = tuple(work.pictures.files[row] for row in rows)
            shard = ClassFolders(root, work.pictures.classes, files, work.pictures.labels[rows])
            future = client.submit(_shard, shard, work.seen[rows], there, batch_size, pure=False)
            rows_of[future.key] = rows
            running.add(future)

    submit()
    for future in running:
        with _said_as_ours():
            done: _Done = future.result()
        rows = rows_of.pop(future.key)
        for batch, features in done:
            skipped = {int(rows[i]): why for i, why in batch.skipped.items()}
            noted = {int(rows[i]): note for i, note in batch.noted.items()}
            work.keep(Batch(rows[batch.rows], batch.pixels, skipped, noted), features)
        submit()


@contextlib.contextmanager
def _said_as_ours() -> Iterator[None]:
    """What dask raises, or a worker, as an error of the course's."""
    import distributed

    try:
        yield
    except HelpersError:
        raise
    except distributed.scheduler.KilledWorker as error:
        raise DataError(
            f"{error.allowed_failures + 1} workers died over the same pictures, the last one at "
            f"{error.last_worker.address}. Its log says why; often its memory is too small. What "
            "was computed is kept: the same command goes on from here."
        ) from error
    except Exception as error:  # whatever a worker raised, or what its end did here
        why = textwrap.shorten(f"{type(error).__name__}: {error}", 300)
        raise DataError(
            f"The cluster could not compute a shard ({why}). What was computed is kept: the same "
            "command goes on from here."
        ) from error


# --- on a worker ---------------------------------------------------------------------------------


class _Network:
    """An engine and its preprocessing, of which a worker has one, for all its shards."""

    def __init__(self, engine: Engine, preprocess: Callable[..., np.ndarray]) -> None:
        self.engine, self.preprocess = engine, preprocess
        self.turn = threading.Semaphore(engine.threads)

    def __reduce__(self) -> tuple[Any, ...]:
        return _Network, (self.engine, self.preprocess)

    def run(self, pixels: np.ndarray) -> np.ndarray:
        with self.turn:
            return self.engine.run(pixels)


def _kept(network: _Network) -> _Network:
    """A task whose result is what it was given: dask then has it where shards need it."""
    return network


_Done = list[tuple[Batch, np.ndarray | None]]  # batches without their pixels, and their features


def _shard(pictures: ClassFolders, seen: np.ndarray, network: _Network, batch_size: int) -> _Done:
    """What a worker does: the features of some pictures, in order."""
    import distributed

    where = f"Worker {distributed.get_worker().address}"
    if not pictures.root.is_dir():
        raise DataError(
            f"{where} has no folder {pictures.root}. It must see the pictures under the same path "
            "as the machine that asks for them: put them on a file system that both share."
        )
    done: _Done = []
    for start in range(0, len(pictures), batch_size):
        rows = np.arange(start, min(start + batch_size, len(pictures)))
        batch = bottlenecks.read(pictures, rows, network.preprocess)
        features = network.run(batch.pixels) if len(batch.rows) else None
        done.append((batch._replace(pixels=np.empty(0)), features))
    changed = pictures.changed(seen)
    if len(changed):
        raise DataError(
            f"{where} sees {pictures.files[changed[0]]} otherwise than it was when this run "
            "began. If it changed, put it back as it was, and the same command goes on from here; "
            "if not, the worker has another folder of the same name."
        )
    return done


# --- the cluster ---------------------------------------------------------------------------------


def check_installed() -> None:
    """Says how to get dask, where it is missing.

    Raises:
        ArgumentError: it is missing.
    """
    try:
        import distributed  # noqa: F401
    except ImportError:
        raise ArgumentError(
            "Several workers need dask.distributed, which is not installed. Install it from the "
            "course's folder: pip install -e '.[cluster]' -c constraints.txt"
        ) from None


def local(workers: int, threads: int | None = None) -> "distributed.LocalCluster":
    """Processes of this machine that wait for work; they end with the `with` block they are in.

    They listen to this machine only. Each has as many threads as are given, or its share of the
    cores.
    """
    import distributed

    share = threads or max(1, engines.cores() // max(workers, 1))
    return distributed.LocalCluster(
        n_workers=workers,
        threads_per_worker=share,
        host="127.0.0.1",
        # Without the dashboard there is a web server all the same; it may take any port.
        scheduler_kwargs={"dashboard": False, "dashboard_address": "127.0.0.1:0"},
        memory_limit=0,  # dask would stop a worker for the size of TensorFlow
        silence_logs=logging.CRITICAL,
        env={"TF_NUM_INTRAOP_THREADS": str(share)},
        preload=[DEAF],
    )


@contextlib.contextmanager
def _client(scheduler: str | None, workers: int | None) -> "Iterator[distributed.Client]":
    """A client of a cluster that has workers; or of one of this machine's own, ended with it."""
    import distributed

    logger = logging.getLogger("distributed")
    level = logger.level
    logger.setLevel(logging.CRITICAL)  # what went wrong is said by the error that is raised
    try:
        if workers is not None:
            with local(workers) as cluster, distributed.Client(cluster) as client:
                yield client
            return
        try:
            client = distributed.Client(scheduler, timeout=TIMEOUT)
        except (OSError, ValueError, TypeError) as error:
            raise ArgumentError(
                f"No scheduler answers at {scheduler} ({error}). Start one with `dask scheduler`, "
                "which says its address."
            ) from error
        with client:
            try:
                client.wait_for_workers(1, TIMEOUT)
            except TimeoutError:
                raise ArgumentError(
                    f"The scheduler at {scheduler} has no workers. Start one, on each machine, "
                    f"with `dask worker {scheduler}`."
                ) from None
            yield client
    finally:
        logger.setLevel(level)
