"""Extraction by several processes. Engines wait for events, so that nothing depends on speed."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import distributed
import killed
import numpy as np
import psutil
import pytest
from conftest import ROOT, picture
from killed import arrays
from noting import Noting, Spoiling, computed, deadly
from PIL import Image
from test_bottlenecks import tiny

from helpers import bottlenecks, cluster
from helpers.bottlenecks import Extraction
from helpers.engine import Engine
from helpers.errors import ArgumentError, DataError
from helpers.features import DONE

WORKERS, BATCH = 2, 2
Extract = Callable[..., Extraction]


@pytest.fixture(scope="module")
def workers() -> Iterator[distributed.LocalCluster]:
    """Two processes with a thread each."""
    with cluster.local(WORKERS, threads=1) as started:
        yield started


@pytest.fixture
def extract(workers: distributed.LocalCluster) -> Extract:
    """By the two processes; pictures, the file to make, and an engine's `run` are to be given."""

    def by_both(folder: Path, out: Path, run: Any) -> Extraction:
        how: Any = {"scheduler": workers, "engine": Engine("noting", run)}
        return killed.extract(folder, out, batch_size=BATCH, **how)

    return by_both


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    return tmp_path / "notes"


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "gate"
    (tmp_path / "gate").touch()  # for workers that still wait


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """Two classes of 30 pictures."""
    for name in ("ant", "bee"):
        (tmp_path / "many" / name).mkdir(parents=True)
        for i in range(30):
            Image.fromarray(picture(i, 20, 20)).save(tmp_path / "many" / name / f"{i:02}.png")
    return tmp_path / "many"


@contextlib.contextmanager
def once(happened: Callable[[], bool], action: Callable[[], object]) -> Iterator[None]:
    """Does something as soon as something has happened, in another thread."""
    over, done = threading.Event(), list[bool]()

    def watch() -> None:
        while not over.wait(0.005):
            if happened():
                action()
                done.append(True)
                return

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
    assert done, "it never happened"


# --- the same file -------------------------------------------------------------------------------


def test_the_file_is_that_of_a_single_run(
    extract: Extract, many: Path, tmp_path: Path, notes: Path, gate: Path
) -> None:
    for name in ("ant/03.png", "bee/29.png"):
        (many / name).write_bytes(b"")
    (many / "ant" / "notes.txt").write_text("not a picture")
    with once(lambda: len(computed(notes)) == WORKERS, gate.touch):
        done = extract(many, tmp_path / "f.h5", Noting(notes, gate))
    assert os.getpid() not in computed(notes)
    assert sum(computed(notes).values()) == done.images == 58
    alone = killed.extract(many, tmp_path / "one.h5", batch_size=5)
    assert arrays(tmp_path / "f.h5") == arrays(tmp_path / "one.h5")
    for field in ("images", "skipped", "noted", "resumed_from", "note"):
        assert getattr(done, field) == getattr(alone, field)
    assert extract(many, tmp_path / "f.h5", Noting(notes)).engine == "none"
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"f.h5", "one.h5", "many", "notes", "gate"}


@pytest.mark.parametrize(("engine", "tolerance"), [("onnx", 0), ("tensorflow", 1e-6)])
def test_each_worker_gets_the_network(
    many: Path,
    tmp_path: Path,
    workers: distributed.LocalCluster,
    engine: str,
    tolerance: float,
) -> None:
    """With ONNX Runtime it has no need of TensorFlow, and the features are the same to the bit."""
    net, how = tiny(), {"engine": engine, "progress": False}  # type: Any, Any
    done = bottlenecks.extract(many, tmp_path / "f.h5", net, scheduler=workers, **how)
    assert (done.images, done.engine) == (60, engine)
    bottlenecks.extract(many, tmp_path / "one.h5", net, **how)
    found, expected = (arrays(tmp_path / name)["features"] for name in ("f.h5", "one.h5"))
    np.testing.assert_allclose(found[1], expected[1], rtol=0, atol=tolerance)
    with distributed.Client(workers) as client:
        imported = client.run(lambda: "tensorflow" in sys.modules)
    assert not any(imported.values()) or engine == "tensorflow"


def test_processes_of_its_own_of_which_none_is_left(many: Path, tmp_path: Path) -> None:
    before = set(psutil.Process().children(recursive=True))
    engine = Engine("pixels", killed.pixels)
    assert killed.extract(many, tmp_path / "f.h5", workers=2, engine=engine).images == 60
    left = set(psutil.Process().children(recursive=True)) - before
    assert not [process for process in left if "spawn_main" in " ".join(process.cmdline())]


# --- ends, one after the other -------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, WORKERS])
def test_workers_that_are_killed_cost_what_they_compute(
    extract: Extract, many: Path, tmp_path: Path, notes: Path, gate: Path, count: int
) -> None:
    """Where all are killed, those that come get the network anew."""

    def kill() -> None:
        for process in list(computed(notes))[:count]:
            os.kill(process, signal.SIGKILL)
        gate.touch()

    with once(lambda: len(computed(notes)) == WORKERS, kill):
        done = extract(many, tmp_path / "f.h5", Noting(notes, gate))
    assert (done.images, done.resumed_from, done.skipped) == (60, 0, [])
    assert sum(computed(notes).values()) == 60 + count * BATCH
    if count == WORKERS:
        assert len(computed(notes)) > WORKERS
    killed.extract(many, tmp_path / "one.h5")
    assert arrays(tmp_path / "f.h5") == arrays(tmp_path / "one.h5")


RUN = """
import pathlib, sys, killed, noting
address, many, out, notes, gate = sys.argv[1:]
engine = killed.Engine("noting", noting.Noting(pathlib.Path(notes), pathlib.Path(gate), free=3))
killed.extract(many, out, scheduler=address, batch_size=2, engine=engine)
"""


def keys_of(workers: distributed.LocalCluster) -> list[tuple[str, str]]:
    security: Any = workers.security
    return [
        ("CA_FILE", security.tls_ca_file),
        ("CLIENT__CERT", security.tls_client_cert),
        ("CLIENT__KEY", security.tls_client_key),
    ]


def test_a_run_that_is_killed_is_taken_up(
    workers: distributed.LocalCluster,
    extract: Extract,
    many: Path,
    tmp_path: Path,
    notes: Path,
    gate: Path,
) -> None:
    """By the same cluster, and the rest of it by one process."""
    out, kept = tmp_path / "f.h5", WORKERS * 3 * BATCH
    status = tmp_path / "f.h5.part" / "status.bin"
    address = workers.scheduler_address
    command = [sys.executable, "-c", RUN, address, *map(str, (many, out, notes, gate))]
    keys = {f"DASK_DISTRIBUTED__COMM__TLS__{name}": pem for name, pem in keys_of(workers)}
    environment = os.environ | keys
    with subprocess.Popen(command, cwd=ROOT / "tests", env=environment) as process:
        while not status.exists() or status.read_bytes().count(DONE) < kept:
            assert process.poll() is None
            time.sleep(0.01)
        process.kill()
    assert status.read_bytes().count(DONE) == kept
    gate.touch()

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(bottlenecks.features.Part, "finish", stop)
        extract(many, out, Noting(notes))
    done = killed.extract(many, out, engine=Engine("never", deadly))
    assert done.resumed_from == 60, "nothing was left to compute"
    killed.extract(many, tmp_path / "one.h5")
    assert arrays(out) == arrays(tmp_path / "one.h5")


def test_ctrl_c_in_the_terminal_is_not_for_the_workers(
    workers: distributed.LocalCluster,
    extract: Extract,
    many: Path,
    tmp_path: Path,
    notes: Path,
    gate: Path,
) -> None:
    """A terminal sends it to all; who asked for the workers ends them, without a traceback."""
    with distributed.Client(workers) as client:
        processes = set(client.run(os.getpid).values())
    for process in processes:
        os.kill(process, signal.SIGINT)
    with once(lambda: len(computed(notes)) == WORKERS, gate.touch):
        assert extract(many, tmp_path / "f.h5", Noting(notes, gate)).images == 60
    assert set(computed(notes)) == processes


# --- others on this machine ---------------------------------------------------------------------

STRANGER = """
import logging, os, ssl, sys
import distributed
logging.disable()

class Careless(distributed.Security):
    def get_connection_args(self, role):
        found = super().get_connection_args(role)
        found["ssl_context"].verify_mode = ssl.CERT_NONE
        return found

keys = Careless.temporary()
if os.getuid() == 0:  # after the imports, which root alone may be able to read
    os.setgid(65534)
    os.setuid(65534)
for address in sys.argv[1:]:
    for scheme, security in (("tcp", None), ("tls", keys)):
        address = f"{scheme}://{address.partition('://')[2]}"
        try:
            with distributed.Client(address, timeout=30, security=security) as client:
                print("ran as", client.run_on_scheduler(os.getuid))
        except OSError as error:
            print("refused", error)
"""


def test_another_user_is_refused(workers: distributed.LocalCluster) -> None:
    """Without keys and with keys of their own, by the scheduler, the workers and their nannies."""
    info = workers.scheduler_info["workers"]
    ports = [workers.scheduler_address, *info, *(worker["nanny"] for worker in info.values())]
    command = [sys.executable, "-c", STRANGER, *ports]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=300)
    said = done.stdout.splitlines()
    assert [line.split()[0] for line in said] == ["refused"] * 2 * len(ports), said


def test_no_web_page_is_open_to_others(workers: distributed.LocalCluster) -> None:
    """Nor by the worker that takes another one's place."""
    with distributed.Client(workers) as client:
        first = set(client.run(os.getpid).values())
        for process in first:
            os.kill(process, signal.SIGKILL)
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            client.wait_for_workers(WORKERS, 120)
            with contextlib.suppress(OSError):  # of one that was just killed
                if not first & set(client.run(os.getpid).values()):
                    break
    processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
    ports = {
        connection.laddr.port
        for process in processes
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    }
    assert len(ports) >= 1 + 3 * WORKERS
    for port in ports:
        for page in ("health", "metrics", "info/main/workers.html", "json/counts.json"):
            with pytest.raises(OSError, match=r"404|reset|closed"):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/{page}", timeout=60)


# --- what does not fit ---------------------------------------------------------------------------


@pytest.mark.parametrize("gone", [False, True])
def test_a_worker_that_sees_other_pictures_is_refused(
    extract: Extract, many: Path, tmp_path: Path, gone: bool
) -> None:
    """As where its path leads to another disk, or nowhere."""
    with pytest.raises(DataError, match=r"Worker tls://\S+ does not see .*/many/"):
        extract(many, tmp_path / "f.h5", Spoiling(many, gone))


def test_a_scheduler_that_is_not_there_is_said(
    folder: Path,
    tmp_path: Path,
    closed_port: str,
    serve: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cluster, "TIMEOUT", 0.5)
    with cluster.local(0) as empty, socket.create_server(("127.0.0.1", 0)) as silent:
        ports = [closed_port, f"http://127.0.0.1:{silent.getsockname()[1]}", serve({}).url]
        addresses = [port.replace("http", "tcp") for port in ports]
        # Of a scheduler with TLS, the second lacks the keys.
        schemes = ["carrier-pigeon://home", empty.scheduler_address, serve({}).url, "127.0.0.1"]
        for address in [*addresses, *schemes, empty]:
            shown = getattr(address, "scheduler_address", address)
            with pytest.raises(
                ArgumentError, match=f"No scheduler with workers answers at {shown}"
            ):
                killed.extract(folder, tmp_path / "f.h5", scheduler=address)


@pytest.mark.parametrize(("scheduler", "count"), [("tcp://a:1", 2), (None, 0)])
def test_one_kind_of_cluster(many: Path, tmp_path: Path, scheduler: str | None, count: int) -> None:
    with pytest.raises(ArgumentError, match="Expected 1 worker or more, or a scheduler"):
        killed.extract(many, tmp_path / "f.h5", scheduler=scheduler, workers=count)


def test_without_dask_it_says_how_to_get_it(
    many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ArgumentError, match=r"not installed.*pip install"):
        cluster.check(2, None)
    with pytest.raises(ArgumentError, match="not installed"):
        killed.extract(many, tmp_path / "f.h5", workers=2)


# --- a cluster that ends -------------------------------------------------------------------------


def test_workers_that_die_of_a_batch_are_an_error(
    workers: distributed.LocalCluster, extract: Extract, many: Path, tmp_path: Path
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workers.scheduler, "allowed_failures", 0)
        with pytest.raises(DataError, match=r"KilledWorker.*goes on from here"):
            extract(many, tmp_path / "f.h5", deadly)


CLUSTER = """
from distributed import LocalCluster
if __name__ == "__main__":
    with LocalCluster(1, threads_per_worker=1, host="127.0.0.1", dashboard_address=None) as cluster:
        print(cluster.scheduler_address, flush=True)
        input()
"""


def test_a_scheduler_that_ends_is_an_error(
    many: Path, tmp_path: Path, notes: Path, gate: Path
) -> None:
    (tmp_path / "cluster.py").write_text(CLUSTER)
    command = [sys.executable, str(tmp_path / "cluster.py")]
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    with subprocess.Popen(
        command, env={**os.environ, "PYTHONPATH": path}, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        assert process.stdout
        how: Any = {"scheduler": process.stdout.readline().strip()}
        with (
            once(lambda: bool(computed(notes)), process.kill),
            pytest.raises(DataError, match=r"could not compute a batch.*goes on from here"),
        ):
            killed.extract(
                many, tmp_path / "f.h5", engine=Engine("noting", Noting(notes, gate)), **how
            )
        gate.touch()
    assert not (tmp_path / "f.h5.part" / "lock").exists()
