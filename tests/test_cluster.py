import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import distributed
import h5py
import numpy as np
import psutil
import pytest
from conftest import ROOT, picture
from noting import computed, deadly, noting
from PIL import Image

from helpers import bottlenecks, cluster, zoo
from helpers import engine as engines
from helpers.__main__ import main
from helpers.backend import keras
from helpers.bottlenecks import Extraction
from helpers.datasets import ClassFolders
from helpers.engine import Engine
from helpers.errors import ArgumentError, DataError
from helpers.zoo import Network

SHARD, BATCH = 8, 2
WORKERS = 2


def tiny() -> Network:
    """What a file says that its features are of; `Noting` gives as many."""
    by_seed = keras.initializers.GlorotUniform(seed=0)
    layers = [keras.Input((32, 32, 3)), keras.layers.Conv2D(3, 3, 2, kernel_initializer=by_seed)]
    model = keras.Sequential([*layers, keras.layers.GlobalAveragePooling2D()])
    entry = zoo.find("EfficientNetLite0")
    return Network("Tiny", "Tiny", "random", model, entry, 32)


@pytest.fixture(scope="module")
def net() -> Network:
    return tiny()


@pytest.fixture(scope="module")
def workers() -> Iterator[distributed.LocalCluster]:
    """Two processes with a thread each."""
    with cluster.local(WORKERS, threads=1) as started:
        yield started


Extract = Callable[..., Extraction]


@pytest.fixture
def extract(workers: distributed.LocalCluster, net: Network) -> Extract:
    """By the two processes; pictures, the file to make, and the engine are to be given."""

    def by_both(folder: Path, out: Path, engine: str | Engine) -> Extraction:
        where = workers.scheduler_address
        return cluster.extract(folder, out, net, where, None, BATCH, False, engine, SHARD)

    return by_both


@pytest.fixture
def single(net: Network, tmp_path: Path) -> Callable[..., Extraction]:
    """By this process alone, in batches of another size; notes elsewhere what it computes."""

    def here(folder: Path, out: Path, engine: str | Engine = "") -> Extraction:
        used = engine or noting(tmp_path / "single")
        return bottlenecks.extract(folder, out, net, 5, False, used)

    return here


def contents(path: Path) -> dict[str, Any]:
    with h5py.File(path) as file:
        arrays = {name: (file[name].dtype, file[name][:]) for name in file}
        return arrays | {name: file.attrs[name] for name in file.attrs}


def same(path: Path, other: Path, tolerance: float = 0) -> None:
    """The same arrays and attributes; features bit for bit, unless a tolerance is given."""
    found, expected = contents(path), contents(other)
    assert set(found) == set(expected)
    for name, value in expected.items():
        if name == "features":
            assert found[name][0] == value[0]
            np.testing.assert_allclose(found[name][1], value[1], rtol=0, atol=tolerance)
        elif isinstance(value, tuple):
            assert found[name][0] == value[0]
            np.testing.assert_array_equal(found[name][1], value[1])
        else:
            np.testing.assert_array_equal(found[name], value)


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    return tmp_path / "notes"


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """Two classes of 30 pictures."""
    for name in ("ant", "bee"):
        (tmp_path / "many" / name).mkdir(parents=True)
        for i in range(30):
            Image.fromarray(picture(i, 20, 20)).save(tmp_path / "many" / name / f"{i:02}.png")
    return tmp_path / "many"


# --- the same file -------------------------------------------------------------------------------


def test_the_file_is_that_of_a_single_run(
    extract: Extract, single: Extract, many: Path, tmp_path: Path, notes: Path
) -> None:
    for name in ("ant/03.png", "bee/29.png"):
        (many / name).write_bytes(b"")
    (many / "ant" / "notes.txt").write_text("not a picture")
    (many / "ant" / "out.png").symlink_to(tmp_path)
    done = extract(many, tmp_path / "f.h5", noting(notes, 0.01))
    assert len(computed(notes)) == WORKERS, "both had something to do"
    assert os.getpid() not in computed(notes)
    assert sum(computed(notes).values()) == done.images == 58
    alone = single(many, tmp_path / "one.h5")
    same(tmp_path / "f.h5", tmp_path / "one.h5")
    for field in ("images", "skipped", "noted", "resumed_from", "engine", "note"):
        assert getattr(done, field) == getattr(alone, field)
    for again in (single(many, tmp_path / "f.h5"), extract(many, tmp_path / "f.h5", "auto")):
        assert (again.images, again.engine) == (58, "none")
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"f.h5", "one.h5", "many", "notes", "single"}


@pytest.mark.parametrize(("engine", "tolerance"), [("onnx", 0), ("tensorflow", 1e-6)])
def test_each_worker_gets_the_network(
    extract: Extract,
    single: Extract,
    many: Path,
    tmp_path: Path,
    workers: distributed.LocalCluster,
    engine: str,
    tolerance: float,
) -> None:
    """With ONNX Runtime it has no need of TensorFlow, and the features are the same to the bit."""
    assert extract(many, tmp_path / "f.h5", engine).engine == engine
    single(many, tmp_path / "one.h5", engine)
    same(tmp_path / "f.h5", tmp_path / "one.h5", tolerance)
    with distributed.Client(workers) as client:
        imported = client.run(lambda: "tensorflow" in sys.modules)
    assert not any(imported.values()) or engine == "tensorflow"


def test_why_it_is_not_the_engine_that_was_hoped_for(
    extract: Extract, many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> Path:
        raise OSError("no room")

    monkeypatch.setattr(engines, "exported", broken)
    done = extract(many, tmp_path / "f.h5", "auto")
    assert (done.images, done.engine) == (60, "tensorflow")
    assert "no room. TensorFlow computes instead" in done.note


def test_no_picture_at_all(extract: Extract, tmp_path: Path, notes: Path) -> None:
    (tmp_path / "pictures" / "a").mkdir(parents=True)
    (tmp_path / "pictures" / "a" / "notes.txt").write_text("x")
    with pytest.raises(DataError, match="none of 1 files is a picture"):
        extract(tmp_path / "pictures", tmp_path / "f.h5", noting(notes))


# --- ends, one after the other -------------------------------------------------------------------


def killed_half_way(notes: Path) -> None:
    """Kills the worker that is first seen in the middle of its second shard."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        for process, count in computed(notes).items():
            if count > SHARD and count % SHARD > SHARD // 2:
                os.kill(process, signal.SIGKILL)
                return
        time.sleep(0.005)


def test_a_worker_that_is_killed_costs_its_shard(
    extract: Extract, single: Extract, many: Path, tmp_path: Path, notes: Path
) -> None:
    killer = threading.Thread(target=killed_half_way, args=[notes])
    killer.start()
    done = extract(many, tmp_path / "f.h5", noting(notes, 0.05))
    killer.join()
    assert (done.images, done.resumed_from, done.skipped) == (60, 0, [])
    # Two, for what the worker had finished may not have been fetched from it.
    assert 60 < sum(computed(notes).values()) <= 60 + 2 * SHARD
    single(many, tmp_path / "one.h5")
    same(tmp_path / "f.h5", tmp_path / "one.h5")


def test_all_workers_are_killed(
    workers: distributed.LocalCluster, extract: Extract, many: Path, tmp_path: Path, notes: Path
) -> None:
    """No worker is left that has the network; those that come get it anew."""

    def kill_all() -> None:
        while sum(computed(notes).values()) < 3 * SHARD:
            time.sleep(0.01)
        for process in computed(notes):
            os.kill(process, signal.SIGKILL)

    killer = threading.Thread(target=kill_all)
    killer.start()
    done = extract(many, tmp_path / "f.h5", noting(notes, 0.05))
    killer.join()
    assert (done.images, done.resumed_from) == (60, 0)
    assert len(computed(notes)) > WORKERS


RUN = """
import pathlib, sys
import test_cluster
from helpers import cluster
address, many, out, notes = sys.argv[1:]
engine = test_cluster.noting(pathlib.Path(notes), 0.05)
cluster.extract(
    many, out, test_cluster.tiny(), address, None, 2, False, engine, test_cluster.SHARD
)
"""


def test_a_run_that_is_killed_is_taken_up(
    workers: distributed.LocalCluster,
    extract: Extract,
    single: Extract,
    many: Path,
    tmp_path: Path,
    notes: Path,
) -> None:
    """By a cluster, and the rest of it by one process."""
    out, part = tmp_path / "f.h5", tmp_path / "f.part.h5"
    paths = [str(path) for path in (many, out, notes)]
    command = [sys.executable, "-c", RUN, workers.scheduler_address, *paths]
    with subprocess.Popen(command, cwd=ROOT / "tests") as process:
        while sum(computed(notes).values()) < 5 * SHARD:
            assert process.poll() is None
            time.sleep(0.01)
        process.kill()
    with h5py.File(part) as file:
        kept = int((file["status"][:] == bottlenecks.DONE).sum())
    assert SHARD <= kept < 60

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(bottlenecks.Part, "finish", stop)
        extract(many, out, noting(notes))
    works = 2 * WORKERS * SHARD
    assert 60 <= sum(computed(notes).values()) <= 60 + works
    done = single(many, out)
    assert done.resumed_from == 60, "nothing was left to compute"
    single(many, tmp_path / "one.h5")
    same(out, tmp_path / "one.h5")


def test_ctrl_c_in_the_terminal_is_not_for_the_workers(
    workers: distributed.LocalCluster, extract: Extract, many: Path, tmp_path: Path, notes: Path
) -> None:
    """A terminal sends it to all; who asked for the workers ends them, without a traceback."""
    with distributed.Client(workers) as client:
        processes = set(client.run(os.getpid).values())
    for process in processes:
        os.kill(process, signal.SIGINT)
    assert extract(many, tmp_path / "f.h5", noting(notes, 0.01)).images == 60
    assert set(computed(notes)) == processes


# --- what does not fit ---------------------------------------------------------------------------


@pytest.mark.parametrize("there", [False, True])
def test_a_worker_that_sees_other_pictures_is_refused(
    extract: Extract,
    many: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    there: bool,
    notes: Path,
) -> None:
    """As where a path leads to another disk there; and as where a picture changes meanwhile."""
    elsewhere = tmp_path / "elsewhere"
    if there:
        (elsewhere / "ant").mkdir(parents=True)

    def other(root: Path, *rest: Any) -> ClassFolders:
        return ClassFolders(elsewhere, *rest)

    monkeypatch.setattr(cluster, "ClassFolders", other)
    said = r"sees ant/\d\d\.png otherwise than it was" if there else "has no folder .*elsewhere"
    with pytest.raises(DataError, match=f"Worker tcp://.* {said}"):
        extract(many, tmp_path / "f.h5", noting(notes))


def test_a_scheduler_that_is_not_there_is_said(
    many: Path, tmp_path: Path, closed_port: str, monkeypatch: pytest.MonkeyPatch, net: Network
) -> None:
    monkeypatch.setattr(cluster, "TIMEOUT", 0.5)
    for address in (closed_port.replace("http", "tcp"), "carrier-pigeon://home"):
        with pytest.raises(ArgumentError, match=f"No scheduler answers at {address}"):
            cluster.extract(many, tmp_path / "f.h5", net, address)
    with (
        cluster.local(0) as empty,
        pytest.raises(ArgumentError, match=r"has no workers\. Start one"),
    ):
        cluster.extract(many, tmp_path / "f.h5", net, empty.scheduler_address)


@pytest.mark.parametrize(("scheduler", "workers"), [(None, None), ("tcp://a:1", 2), (None, 0)])
def test_one_kind_of_cluster(
    tmp_path: Path, net: Network, scheduler: str | None, workers: int | None
) -> None:
    with pytest.raises(ArgumentError, match="Expected scheduler or workers"):
        cluster.extract(tmp_path, tmp_path / "f.h5", net, scheduler, workers)


def test_without_dask_it_says_how_to_get_it(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    monkeypatch.setattr(zoo, "pretrained", lambda *_, **__: pytest.fail("it was built"))
    assert main(["extract", str(folder), str(tmp_path / "f.h5"), "--workers", "2"]) == 1
    assert "not installed. Install it" in capsys.readouterr().err


# --- the command line, and the real network ------------------------------------------------------


def test_the_command_line(
    workers: distributed.LocalCluster,
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The real network: by processes of its own, none of which is left; and by a cluster."""
    command = ["extract", str(folder), "--model", "EfficientNetLite0", "--engine", "tensorflow"]
    command[3:4] = ["MobileNet"]  # for which the bundled network stands in
    run = [sys.executable, "-m", "helpers", *command, str(tmp_path / "two.h5"), "--json"]
    before = {process.pid for process in psutil.process_iter()}
    run += ["--workers", "2"]
    done = subprocess.run(run, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["images"], found["engine"], found["skipped"]) == (12, "tensorflow", [])
    assert "12/12" in done.stderr
    assert done.stderr.count("Wanted: MobileNet. Used: EfficientNetLite0") == 1
    assert len(done.stderr.replace("\r", "\n").strip().splitlines()) < 12, done.stderr
    left = [p for p in psutil.process_iter() if p.pid not in before and "dask" in p.name()]
    assert not left
    address = ["--scheduler", workers.scheduler_address]
    assert main([*command, str(tmp_path / "f.h5"), *address]) == 0
    assert "12 pictures through EfficientNetLite0, 0 skipped" in capsys.readouterr().out
    net = zoo.load("EfficientNetLite0", include_top=False, pooling="avg")
    bottlenecks.extract(folder, tmp_path / "one.h5", net, progress=False, engine="tensorflow")
    same(tmp_path / "two.h5", tmp_path / "one.h5", 1e-4)
    same(tmp_path / "f.h5", tmp_path / "one.h5", 1e-4)


def test_either_processes_or_a_cluster(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["extract", "a", "b.h5", "--workers", "2", "--scheduler", "tcp://127.0.0.1:1"])
    assert stopped.value.code == 2
    assert "not allowed with" in capsys.readouterr().err


# --- a cluster that ends -------------------------------------------------------------------------


def test_workers_that_die_of_a_shard_are_an_error(
    workers: distributed.LocalCluster, extract: Extract, many: Path, tmp_path: Path
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workers.scheduler, "allowed_failures", 0)
        with pytest.raises(DataError, match=r"1 workers died over the same pictures, the last"):
            extract(many, tmp_path / "f.h5", Engine("deadly", deadly))


def test_a_scheduler_that_ends_is_an_error(
    many: Path, tmp_path: Path, net: Network, notes: Path
) -> None:
    started = distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, host="127.0.0.1", protocol="tcp",
        scheduler_kwargs={"dashboard_address": "127.0.0.1:0"}, silence_logs=50,
    )  # fmt: skip

    def end() -> None:
        while sum(computed(notes).values()) < SHARD:
            time.sleep(0.01)
        started.close()

    ender = threading.Thread(target=end)
    ender.start()
    with pytest.raises(DataError, match=r"could not compute a shard.*goes on from here"):
        cluster.extract(
            many, tmp_path / "f.h5", net, started.scheduler_address, None, BATCH, False,
            noting(notes, 0.05), SHARD,
        )  # fmt: skip
    ender.join()
    assert not (tmp_path / "f.part.lock").exists()
