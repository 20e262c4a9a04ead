"""Extraction on several processes or machines, by dask.distributed: the same file, sooner."""

import contextlib
import io
import itertools
import json
import logging
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from helpers import bottlenecks
from helpers import engine as engines
from helpers.bottlenecks import Batch, Extraction, Work
from helpers.datasets import ClassFolders
from helpers.engine import Engine
from helpers.errors import ArgumentError, FeaturesError, HelpersError

if TYPE_CHECKING:
    import distributed

    from helpers.zoo import Pretrained

TIMEOUT = 10
# For workers of this machine: Ctrl-C in a terminal reaches them too, and so does the interrupt of a
# notebook. It is meant for the process that asked for them, and that one ends them.
DEAF = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"


def extract(
    folder: str | Path,
    out: str | Path,
    network: "Callable[[], Pretrained]",
    scheduler: str | None = None,
    workers: int | None = None,
    batch_size: int = 32,
    progress: bool = True,
    engine: str = "auto",
    shard_size: int = 64,
) -> Extraction:
    """`bottlenecks.extract` by the workers of a cluster, or by several processes of this machine.

    The file is the same, and so is its part: a run that was stopped can be taken up on another
    number of workers, or by one process. Workers read the pictures themselves, under the same path
    as here (on several machines that takes a shared file system), and send back features, a shard
    at a time; only this process writes. A worker that dies costs its shards in the works, which
    dask gives to another one, and when none is left it waits until one comes. If this process dies,
    it costs the shards that were in the works, at most two for each thread of the cluster.

    Each worker builds the network once, and refuses to compute with another one than this process
    has. With `workers` each gets its share of the cores; elsewhere `dask worker --nthreads` says
    how many batches are in the works at the same time. The course must be installed wherever the
    scheduler or a worker runs. A script that gives `workers` needs `if __name__ == "__main__":`,
    for the processes that it starts import it.

    Args:
        folder, out, progress, engine: as in `bottlenecks.extract`; each worker has its own engine.
        network: makes the network, here and on each worker; it must be possible to pickle it, such
            as `functools.partial(zoo.pretrained, "MobileNet", include_top=False, pooling="avg")`.
        scheduler: the address of a dask scheduler, such as `tcp://192.168.0.7:8786`; or
        workers: how many processes to start on this machine.
        batch_size: pictures that a thread of a worker has in memory at the same time.
        shard_size: pictures that a worker is given at a time.

    Raises:
        ArgumentError: not one of `scheduler` and `workers`; dask is not installed; no scheduler
            answers, or none of its workers does.
        DatasetError, FeaturesError: as in `bottlenecks.extract`; or a worker sees other pictures
            than this process, or has another network; or workers died over the same shard.

    Example:
        >>> from helpers import zoo
        >>> extract("data/five_classes/test", "f.h5", zoo.pretrained)
        Traceback (most recent call last):
        helpers.errors.ArgumentError: Expected scheduler or workers (1 or more), got None and None.
    """
    if (scheduler is None) == (workers is None) or (workers is not None and workers < 1):
        raise ArgumentError(
            f"Expected scheduler or workers (1 or more), got {scheduler} and {workers}."
        )
    _library()
    net = network()
    order = _Order(network, bottlenecks.identity(net), engine, batch_size)

    def compute(work: Work) -> tuple[str, str]:
        with _client(scheduler, workers) as client:
            return _there(work, client, order, shard_size)

    return bottlenecks.make(folder, out, net, progress, compute)


class _Order(NamedTuple):
    """What all shards have in common."""

    network: "Callable[[], Pretrained]"
    identity: dict[str, Any]
    engine: str
    batch_size: int


class _Done(NamedTuple):
    """A shard that was computed: batches without their pixels, and what computed them."""

    batches: list[tuple[Batch, np.ndarray | None]]
    engine: str
    note: str


def _there(
    work: Work, client: "distributed.Client", order: _Order, shard_size: int
) -> tuple[str, str]:
    """All rows that are not done yet, by workers, as they have time for them."""
    import distributed

    root = work.pictures.root.resolve()
    todo = work.part.steps(shard_size)
    running, rows_of = distributed.as_completed(), dict[Any, np.ndarray]()
    used, notes = set[str](), set[str]()

    @_said_as_ours()
    def submit() -> None:
        # One shard in the works and one that waits, for each thread; and not all at once, for a
        # cluster keeps results in memory until they are fetched.
        free = 2 * sum(client.nthreads().values()) - len(rows_of)
        for rows in itertools.islice(todo, max(free, 0 if rows_of else 1)):
            files = tuple(work.pictures.files[row] for row in rows)
            shard = ClassFolders(root, work.pictures.classes, files, work.pictures.labels[rows])
            future = client.submit(_shard, shard, work.seen[rows], order, pure=False)
            rows_of[future.key] = rows
            running.add(future)

    submit()
    for future in running:
        with _said_as_ours():
            done: _Done = future.result()
        rows = rows_of.pop(future.key)
        for batch, features in done.batches:
            skipped = {int(rows[i]): why for i, why in batch.skipped.items()}
            noted = {int(rows[i]): note for i, note in batch.noted.items()}
            work.keep(Batch(rows[batch.rows], batch.pixels, skipped, noted), features)
        used.add(done.engine)
        if done.note and done.note not in notes:
            work.say(done.note)
            notes.add(done.note)
        submit()
    return ", ".join(sorted(used - {""})), " ".join(sorted(notes))


@contextlib.contextmanager
def _said_as_ours() -> Iterator[None]:
    """What dask raises, or a worker, as an error of the course's."""
    import distributed

    try:
        yield
    except HelpersError:
        raise
    except distributed.scheduler.KilledWorker as error:
        raise FeaturesError(
            f"{error.allowed_failures + 1} workers died over the same pictures, the last one at "
            f"{error.last_worker.address}. Its log says why; often its memory is too small. What "
            "was computed is kept: the same command goes on from here."
        ) from error
    except Exception as error:  # whatever a worker raised, or what its end did here
        why = textwrap.shorten(f"{type(error).__name__}: {error}", 300)
        raise FeaturesError(
            f"The cluster could not compute a shard ({why}). What was computed is kept: the same "
            "command goes on from here."
        ) from error


# --- on a worker ---------------------------------------------------------------------------------


class _Network:
    """A worker's network and its engine; there is one in a process."""

    kept: "tuple[str, _Network] | None" = None
    building = threading.Lock()

    def __init__(self, net: "Pretrained") -> None:
        self.net = net
        self.engine: Engine | None = None
        self.turn = threading.Semaphore()

    def run(self, pixels: np.ndarray, wanted: str) -> np.ndarray:
        with self.building:
            if self.engine is None:
                self.engine = engines.choose(
                    self.net.model, wanted, lambda: pixels[: bottlenecks.FIRST]
                )
                self.turn = threading.Semaphore(self.engine.at_once)
        with self.turn:
            return self.engine.run(pixels)


def _network(order: _Order, where: str) -> _Network:
    """The network of an order, built by the first shard that needs it, and proved the same."""
    key = json.dumps([order.identity, order.engine])
    with _Network.building:
        if _Network.kept is None or _Network.kept[0] != key:
            # What it says, of a network that stands in, was said by the client's already.
            with contextlib.redirect_stderr(io.StringIO()):
                net = order.network()
            found = bottlenecks.identity(net)
            for name, expected in order.identity.items():
                if found[name] != expected:
                    raise FeaturesError(
                        f"{where} has another network: {name} is {found[name]}, expected "
                        f"{expected}. Give it the same weights (HELPERS_WEIGHTS, "
                        "HELPERS_WEIGHTS_DIR) and the same version of the course."
                    )
            _Network.kept = key, _Network(net)
        return _Network.kept[1]


def _shard(pictures: ClassFolders, seen: np.ndarray, order: _Order) -> _Done:
    """What a worker does: the features of some pictures, in order."""
    import distributed

    where = f"Worker {distributed.get_worker().address}"
    if not pictures.root.is_dir():
        raise FeaturesError(
            f"{where} has no folder {pictures.root}. It must see the pictures under the same path "
            "as the machine that asks for them: put them on a file system that both share."
        )
    network = _network(order, where)
    batches: list[tuple[Batch, np.ndarray | None]] = []
    for start in range(0, len(pictures), order.batch_size):
        rows = np.arange(start, min(start + order.batch_size, len(pictures)))
        batch = bottlenecks.read(pictures, rows, network.net)
        features = network.run(batch.pixels, order.engine) if len(batch.rows) else None
        batches.append((batch._replace(pixels=np.empty(0)), features))
    changed = pictures.changed(seen)
    if len(changed):
        raise FeaturesError(
            f"{where} sees {pictures.files[changed[0]]} otherwise than it was when this run "
            "began. If it changed, put it back as it was, and the same command goes on from here; "
            "if not, the worker has another folder of the same name."
        )
    used = network.engine
    return _Done(batches, used.name if used else "", used.note if used else "")


# --- the cluster ---------------------------------------------------------------------------------


def _library() -> None:
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
