"""Fine-tuning: the frozen part once, or in every epoch.

The plain way trains the whole network on pictures that are in memory, with everything below the
line frozen; the other trains the part above the line on the frozen part's features, from HDF5.
Weights are random, which does not change the speed.

The plain way has three rows. One is what everybody gets who has not heard of oneDNN: TensorFlow
as it comes, in a process of its own. The two others have oneDNN, which `helpers.backend` asks for.
Given arrays, `fit` often waits at the end of an epoch for the tuner of tf.data, which sleeps twice
as long each time: its epochs end after 1.3, 2.6, 5.1 or 10.2 s. Given batches by two workers it
does not, nor does the split, whose batches have no tuner: there the network alone makes the time.
"""

import dataclasses
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import frame
import numpy as np
from frame import Claim, Table, Worker
from PIL import Image

from helpers import bottlenecks, datasets, features, finetune, images, zoo
from helpers.backend import keras
from helpers.zoo import Network

BATCH, CLASSES = 16, 2
PEER = str(Path(__file__).with_name("peer_tensorflow.py"))
SPLIT = "split"
AS_IT_COMES = "the whole network, arrays to fit, TensorFlow as it comes"
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


def network(name: str) -> Network:
    """A network with a new head, in the form that `extract` takes."""
    keras.utils.set_random_seed(0)
    entry = zoo.find(name)
    size = entry.input_size
    base = zoo.build(name, include_top=False, pooling="avg", input_shape=(size, size, 3))
    classes = keras.layers.Dense(CLASSES, activation="softmax")(base.output)
    return Network(name, keras.Model(base.input, classes), entry, size)


def compiled(model: keras.Model) -> keras.Model:
    """Anew, without what the optimizer remembers."""
    model.compile(keras.optimizers.SGD(1e-4, 0.9), loss="sparse_categorical_crossentropy")
    return model


def arrays(net: Network, folder: str) -> tuple[np.ndarray, np.ndarray]:
    """The pictures, as the network wants them, and their labels."""
    files = datasets.class_folders(folder)
    return net.preprocess([images.load(path) for path in files.paths()]), files.labels


def whole(name: str, at: str, folder: str) -> Callable[[], float]:
    """Train the whole network for an epoch, as one would without this course; seconds."""
    net = network(name)
    finetune.freeze_below(net.model, at)
    x, y = arrays(net, folder)
    naive = compiled(net.model)
    return frame.seconds(lambda: naive.fit(x, y, BATCH, epochs=1, verbose=0, shuffle=False))


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
        x, y = arrays(net, folder)
        started = time.perf_counter()
        path = Path(folder) / "at_the_line.h5"
        bottlenecks.extract(folder, path, dataclasses.replace(net, model=frozen), progress=False)
        once = time.perf_counter() - started

        naive, above = compiled(net.model), compiled(trainable)
        options = {"epochs": 1, "verbose": 0, "shuffle": False}
        rows = features.batches(path, batch_size=BATCH)
        contenders = {
            SPLIT: lambda: above.fit(rows, **options),
            WHOLE: lambda: naive.fit(x, y, BATCH, **options),
            NO_WAIT: lambda: naive.fit(Arrays(x, y), **options),
        }

        def forwards() -> None:
            for first in range(0, count, BATCH):
                frozen.predict_on_batch(x[first : first + BATCH])

        ends = {}
        for way, train in contenders.items():
            net.model.set_weights(start)
            compiled(naive), compiled(above)
            train()
            ends[way] = net.model.get_weights()
        timed = {way: frame.seconds(run) for way, run in {**contenders, BELOW: forwards}.items()}
        peer = Worker(PEER, "whole", name, at, folder)
        values = frame.take_turns({AS_IT_COMES: peer, **timed}, runs, warm_up=1)
        peer.close()
    apart = max(
        float(np.abs(one - other).max() / np.abs(other).max())
        for way in (WHOLE, NO_WAIT)
        for one, other in zip(ends[SPLIT], ends[way], strict=True)
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
                Claim(f"{way} ÷ {SPLIT}", frame.ratio(values, way, SPLIT), least=least)
                for way in (AS_IT_COMES, WHOLE)
            ),
            Claim("weights after an epoch, largest difference, in 1e-4", 1e4 * apart, most=1),
        ],
        f"The frozen part took {once:.1f} s, once, with its export to ONNX. What an epoch can save "
        f"is that part in TensorFlow: (frozen + split) ÷ split is {saved:.2f}.",
    )


def measure(runs: int) -> list[Table]:
    return [
        compare("InceptionV3", "mixed9", 128, 4.0, runs),
        compare("EfficientNetLite0", "block7a", 256, 6.0, runs),
    ]


if __name__ == "__main__":
    frame.main(measure)
