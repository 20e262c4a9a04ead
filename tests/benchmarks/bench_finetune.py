"""Fine-tuning: the frozen part once, or in every epoch.

The plain way trains the whole network on pictures that are in memory, with everything below the
line frozen; the other trains the part above the line on the frozen part's features, from HDF5.
Weights are random, which does not change the speed.

The plain way has two rows. Given arrays, `fit` often waits at the end of an epoch for the tuner of
tf.data, which sleeps twice as long each time: its epochs end after 1.3, 2.6, 5.1 or 10.2 s. Given
batches by two workers, as the split has them, it does not: there the network alone makes the time.
The split has two as well, the second with `jit_compile=True`, which is not for every network.
"""

import dataclasses
import tempfile
import time
from pathlib import Path

import frame
import numpy as np
from frame import Claim, Table
from PIL import Image

from helpers import bottlenecks, catalogue, datasets, finetune, images, zoo
from helpers.backend import keras
from helpers.bottlenecks import Batches
from helpers.zoo import Pretrained

BATCH, CLASSES = 16, 2
SPLIT, SPLIT_XLA = "split", "split, compiled by XLA"
WHOLE = "the whole network, arrays to fit"
NO_WAIT = "the whole network, batches by two workers"
BELOW = "the frozen part, forwards"


def pictures(folder: Path, count: int, size: int) -> None:
    """Smooth random pictures, in two classes."""
    random = np.random.default_rng(0)
    for number in range(count):
        path = folder / "ab"[number % CLASSES] / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        coarse = Image.fromarray(random.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        coarse.resize((size, size), Image.Resampling.BICUBIC).save(path)


def network(name: str) -> Pretrained:
    """A network with a new head, in the form that `extract` takes."""
    keras.utils.set_random_seed(0)
    entry = catalogue.find(name)
    size = entry.input_size
    base = zoo.build(name, include_top=False, pooling="avg", input_shape=(size, size, 3))
    classes = keras.layers.Dense(CLASSES, activation="softmax")(base.output)
    return Pretrained(name, name, "random", keras.Model(base.input, classes), entry, size)


def compiled(model: keras.Model, jit: bool | str = "auto") -> keras.Model:
    """Anew, without what the optimizer remembers."""
    sgd = keras.optimizers.SGD(1e-4, 0.9)
    model.compile(sgd, loss="sparse_categorical_crossentropy", jit_compile=jit)
    return model


class Arrays(keras.utils.PyDataset):
    """Batches of arrays in memory, in their order."""

    def __init__(self, x: np.ndarray, y: np.ndarray) -> None:
        super().__init__(workers=2)
        self.x, self.y = x, y

    def __len__(self) -> int:
        return len(self.y) // BATCH

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        rows = slice(index * BATCH, (index + 1) * BATCH)
        return self.x[rows], self.y[rows]


def compare(name: str, at: str, count: int, least: float, runs: int) -> Table:
    net = network(name)
    start = net.model.get_weights()
    frozen, trainable = finetune.split(net.model, at)
    with tempfile.TemporaryDirectory() as folder:
        pictures(Path(folder), count, net.input_size)
        files = datasets.class_folders(folder)
        x = net.preprocess([images.read(path) for path in files.paths()])
        started = time.perf_counter()
        path = Path(folder) / "at_the_line.h5"
        bottlenecks.extract(folder, path, dataclasses.replace(net, model=frozen), progress=False)
        once = time.perf_counter() - started

        naive, above = compiled(net.model), compiled(trainable)
        above_xla = compiled(keras.Model(trainable.input, trainable.output), jit=True)
        options = {"epochs": 1, "verbose": 0, "shuffle": False}
        rows = Batches(path, batch_size=BATCH, workers=2)
        contenders = {
            SPLIT: lambda: above.fit(rows, **options),
            SPLIT_XLA: lambda: above_xla.fit(rows, **options),
            WHOLE: lambda: naive.fit(x, files.labels, BATCH, **options),
            NO_WAIT: lambda: naive.fit(Arrays(x, files.labels), **options),
        }

        def forwards() -> None:
            for first in range(0, count, BATCH):
                frozen.predict_on_batch(x[first : first + BATCH])

        ends = {}
        for way, train in contenders.items():
            net.model.set_weights(start)
            compiled(naive), compiled(above), compiled(above_xla, jit=True)
            train()
            ends[way] = net.model.get_weights()
        timed = {way: frame.seconds(run) for way, run in {**contenders, BELOW: forwards}.items()}
        values = frame.take_turns(timed, runs, warm_up=1)
    apart = max(
        float(np.abs(one - other).max() / np.abs(other).max())
        for split in (SPLIT, SPLIT_XLA)
        for whole in (WHOLE, NO_WAIT)
        for one, other in zip(ends[split], ends[whole], strict=True)
        if other.any()
    )
    saved = 1 + frame.ratio(values, BELOW, SPLIT)
    return Table(
        f"{name}, {net.input_size} x {net.input_size}, trained from {at}, {count} pictures",
        "seconds an epoch",
        values,
        SPLIT,
        [
            *(
                Claim(f"{WHOLE} ÷ {split}", frame.ratio(values, WHOLE, split), least=least)
                for split in (SPLIT, SPLIT_XLA)
            ),
            Claim("weights after an epoch, largest difference, in 1e-4", 1e4 * apart, most=1),
        ],
        f"The frozen part took {once:.1f} s, once, with its export to ONNX. What an epoch can save "
        f"is that part in TensorFlow: (frozen + split) ÷ split is {saved:.2f}.",
    )


def measure(runs: int) -> list[Table]:
    return [
        compare("InceptionV3", "mixed9", 64, 4.0, runs),
        compare("EfficientNetLite0", "block7a", 128, 6.0, runs),
    ]


if __name__ == "__main__":
    frame.main(measure)
