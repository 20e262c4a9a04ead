"""Larger than memory: what it takes to train from HDF5, and to extract.

Memory is the most that a fresh process has had resident, with 1,000 rows or pictures and with
20,000; the features are maps of 7 x 7 x 256. A shuffled epoch from the file is compared with the
same epoch from memory: by Keras's own shuffling of arrays, and batch by batch as from the file.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import frame
import h5py
import numpy as np
from frame import Claim, Table

SMALL, LARGE = 1_000, 20_000
BATCH, SIDE = 32, 48
MAPS, AVERAGED = (7, 7, 256), (1280,)
ONCE = {"epochs": 1, "verbose": 0, "shuffle": False}


def write_features(path: Path, rows: int, shape: tuple[int, ...]) -> Path:
    random = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        file.create_dataset("features", (rows, *shape), "float32")
        for start in range(0, rows, 1000):
            file["features"][start : start + 1000] = random.random((1000, *shape), "float32")
        file["labels"] = np.arange(rows) * 5 // rows  # sorted by class, as from `extract`
    return path


def write_pictures(folder: Path, count: int) -> Path:
    """Of 48 x 48: what is measured is the pipeline, not the network."""
    from PIL import Image

    random = np.random.default_rng(0)
    for label in "ab":
        (folder / label).mkdir(parents=True)
    for number in range(count):
        pixels = random.integers(0, 256, (SIDE, SIDE, 3), np.uint8)
        Image.fromarray(pixels).save(folder / "ab"[number % 2] / f"{number}.png")
    return folder


def head(shape: tuple[int, ...]):  # type: ignore[no-untyped-def]
    from helpers import heads
    from helpers.backend import keras

    model = heads.linear(shape, 5)
    model.compile(keras.optimizers.Adam(), loss="sparse_categorical_crossentropy")
    return model


def training(path: str) -> Callable[[], float]:
    from helpers import features

    def run() -> float:
        head(MAPS).fit(features.batches(path, batch_size=BATCH, seed=0), **ONCE)
        return frame.peak_memory_mb()

    return run


def extraction(folder: str, count: str) -> Callable[[], float]:
    from helpers import bottlenecks, zoo
    from helpers.backend import keras

    layers = keras.layers
    stack = [keras.Input((SIDE, SIDE, 3)), layers.Conv2D(256, 7, 7), layers.ReLU()]
    entry = zoo.find("EfficientNetLite0")
    net = zoo.Network("Small", keras.Sequential(stack), entry, SIDE)

    def run() -> float:
        with tempfile.TemporaryDirectory() as out:
            done = bottlenecks.extract(folder, Path(out) / "f.h5", net, BATCH, progress=False)
            assert done.images == int(count), done
        return frame.peak_memory_mb()

    return run


MAKERS = {function.__name__: function for function in (training, extraction)}


def memory(what: str, arguments: dict[int, list[str]], runs: int) -> Table:
    names = {f"{rows:,} rows": rows for rows in (LARGE, SMALL)}
    contenders = {
        name: lambda rows=rows: frame.once(__file__, what, *arguments[rows])
        for name, rows in names.items()
    }
    values = frame.take_turns(contenders, runs, warm_up=0)
    large, small = values.values()
    growth = float(np.median(np.subtract(large, small)))
    claim = Claim("growth in MB", growth, most=100)
    whole = LARGE * int(np.prod(MAPS)) * 4 / 1e6
    note = f"All {LARGE:,} rows in memory would take {whole:,.0f} MB."
    return Table(f"Memory of {what}", "MB at most", values, next(iter(names)), [claim], note)


def speed(path: Path, shape: tuple[int, ...], runs: int) -> Table:
    from helpers import features
    from helpers.backend import keras

    with h5py.File(path) as file:
        x, y = file["features"][:], file["labels"][:]

    class InMemory(keras.utils.PyDataset):
        def __init__(self) -> None:
            super().__init__()
            self.random, self.rows = np.random.default_rng(0), np.arange(len(y))
            self.on_epoch_end()

        def __len__(self) -> int:
            return len(y) // BATCH

        def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
            rows = self.rows[index * BATCH : (index + 1) * BATCH]
            return x[rows], y[rows]

        def on_epoch_end(self) -> None:
            self.random.shuffle(self.rows)

    def epoch(*data: Any, **options: Any) -> Callable[[], float]:
        model = head(shape)
        took = frame.seconds(lambda: model.fit(*data, **(ONCE | options)))
        return lambda: len(y) / took()

    ours = "batches, from HDF5"
    contenders = {
        ours: epoch(features.batches(path, batch_size=BATCH, seed=0)),
        "from memory, batch by batch": epoch(InMemory()),
        "from memory, arrays to fit": epoch(x, y, batch_size=BATCH, shuffle=True),
    }
    values = frame.take_turns(contenders, runs)
    claims = [
        Claim(f"speed against {name}", frame.ratio(values, ours, name), least=0.5)
        for name in list(contenders)[1:]
    ]
    title = f"A shuffled epoch of {len(y):,} rows of {' x '.join(map(str, shape))}"
    return Table(title, "rows/s", values, ours, claims)


def measure(runs: int) -> list[Table]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files, pictures = {}, {}
        for rows in (SMALL, LARGE):
            files[rows] = [str(write_features(folder / f"{rows}.h5", rows, MAPS))]
            pictures[rows] = [str(write_pictures(folder / f"{rows}", rows)), str(rows)]
        averaged = write_features(folder / "averaged.h5", LARGE, AVERAGED)
        few = write_features(folder / "few.h5", 4_000, MAPS)
        return [
            memory("training", files, runs),
            memory("extraction", pictures, runs),
            speed(averaged, AVERAGED, runs),
            speed(few, MAPS, runs),
        ]


if __name__ == "__main__" and not frame.serve(MAKERS):
    frame.main(measure)
