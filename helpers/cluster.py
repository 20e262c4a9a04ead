"""A dask cluster: of processes on this machine, or one whose scheduler runs already."""

import asyncio
import contextlib
import logging
import textwrap
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from helpers import engine
from helpers.errors import ArgumentError, DataError, HelpersError

if TYPE_CHECKING:
    import distributed

    Scheduler = str | distributed.LocalCluster

TIMEOUT = 10  # seconds, for a cluster to answer


def check(workers: int | None, scheduler: "Scheduler | None") -> None:
    """Raise an ArgumentError unless there are workers to be had."""
    if (scheduler is None) == (workers is None) or (workers is not None and workers < 1):
        raise ArgumentError(f"Expected 1 worker or more, or a scheduler: {workers}, {scheduler}.")
    try:
        import cryptography  # noqa: F401
        import distributed
    except ImportError:
        raise ArgumentError(
            "Several workers need dask.distributed, which is not installed. Install it from the "
            "course's folder: pip install -e '.[cluster]' -c constraints.txt"
        ) from None
    if scheduler is None:
        return

    async def connect() -> None:
        how = _reached(scheduler) | {"asynchronous": True, "set_as_default": False}
        client: Any = distributed.Client(timeout=TIMEOUT, **how)
        try:
            async with asyncio.timeout(TIMEOUT):  # dask's ends when something accepts
                await client
                await client.wait_for_workers(1)
        finally:
            await client.close()

    try:
        with _silenced(), ThreadPoolExecutor(1) as pool:  # a notebook's own thread runs a loop
            pool.submit(asyncio.run, connect()).result()
    except Exception as error:  # whatever dask makes of what answers there
        usual = isinstance(error, (OSError, ValueError, TypeError))
        why = str(error) or f"waited {TIMEOUT} s" if usual else "what answers is no scheduler"
        raise ArgumentError(
            f"No scheduler with workers answers at {_reached(scheduler)['address']} ({why}). Start "
            "them with `dask scheduler`, which says its address, and `dask worker ADDRESS`."
        ) from error


def local(workers: int, threads: int | None = None) -> "distributed.LocalCluster":
    """Start workers, which listen to this process only and end when the `with` block ends.

    The connections are TLS, with keys that are made for this cluster: a port of this machine is
    open to all its users, and who talks to a scheduler can run code.

    Args:
        workers: how many processes.
        threads: of each; default: its share of the cores.

    Returns:
        The cluster; give it to `bottlenecks.extract` as the `scheduler`.
    """
    import dask
    import distributed

    share = threads or max(1, engine.cores() // max(workers, 1))
    # Without the dashboard there are web servers all the same: without pages, then.
    with dask.config.set({"distributed.scheduler.http.routes": []}):
        return distributed.LocalCluster(
            n_workers=workers,
            threads_per_worker=share,
            host="127.0.0.1",
            security=distributed.Security.temporary(),
            config={"distributed.worker.http.routes": []},
            scheduler_kwargs={"dashboard": False, "dashboard_address": "127.0.0.1:0"},
            memory_limit=0,  # dask would stop a worker for the size of TensorFlow
            silence_logs=logging.CRITICAL,
            env={"TF_NUM_INTRAOP_THREADS": str(share)},
            # A terminal sends Ctrl-C to workers too; but the process that started them ends them.
            preload=["import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"],
        )


@contextlib.contextmanager
def client(workers: int | None, scheduler: "Scheduler | None") -> "Iterator[distributed.Client]":
    """A client of a cluster, or of a new one on this machine; its errors become the course's."""
    import distributed

    try:
        with _silenced(), contextlib.ExitStack() as stack:
            if workers is not None:
                scheduler = stack.enter_context(local(workers))
            assert scheduler
            how = _reached(scheduler) | {"timeout": TIMEOUT}
            yield stack.enter_context(distributed.Client(**how))
    except HelpersError:
        raise
    except Exception as error:  # whatever a worker raised, or what its end did here
        why = textwrap.shorten(f"{type(error).__name__}: {error}", 300)
        raise DataError(
            f"The cluster could not compute a batch ({why}). What was computed is kept: the same "
            "command goes on from here."
        ) from error


def _reached(scheduler: "Scheduler") -> dict[str, Any]:
    """What a client needs to know of a scheduler."""
    if isinstance(scheduler, str):
        return {"address": scheduler}
    return {"address": scheduler.scheduler_address, "security": scheduler.security}


@contextlib.contextmanager
def _silenced() -> Iterator[None]:
    """Without dask's log: what went wrong is said by the error that is raised."""
    logger = logging.getLogger("distributed")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
