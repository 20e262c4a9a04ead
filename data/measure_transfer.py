"""Measure what a network pretrained on digits 0 to 4 is worth on 5 to 9, and write transfer.csv.

    python data/measure_transfer.py            # about 25 minutes on one quiet core
    python data/measure_transfer.py --quick    # one way and one size, to try it

It is the experiment of lesson 01, with more sizes and more controls: eight ways and five numbers of
examples per class on sheets of 16 x 16 pixels, and three ways on the centred digits as they are.
Each way gets, for each number of examples, the learning rate that is best on 150 validation
pictures (mean of two seeds that are used for nothing else). Then five other seeds are scored on the
test pictures, at that rate alone. A seed decides which examples are drawn, how the weights start,
and the order of the examples; each seed has a pretrained network of its own. The number of steps is
the same for all.
"""

import argparse
import csv
import functools
import itertools
from pathlib import Path

import numpy as np
import tensorflow as tf
from sklearn.datasets import load_digits
from tqdm import tqdm

from helpers.backend import keras

FILE = Path(__file__).with_name("transfer.csv")
BATCH, STEPS, PRETRAINING_STEPS = 25, 300, 2000
SHEET, CENTRED = 16, 8  # pixels a side: of the sheets, and of the digits as they are
SIZES = (5, 10, 20, 50, 100)
RATES = (0.001, 0.003, 0.01, 0.03, 0.1)
SEEDS, SEARCH_SEEDS = range(5), (100, 101)
COPIES = 20  # of each picture, at other places: where shifted copies are trained on
# What starts where (the base), and what is trained.
WAYS = {
    "from scratch": ("random", "all"),
    "frozen": ("pretrained", "head"),
    "last layer fine-tuned": ("pretrained", "last"),
    "fine-tuned": ("pretrained", "all"),
    "random, frozen": ("random", "head"),
    "shuffled weights, fine-tuned": ("shuffled", "all"),
    "from scratch, shifted copies": ("random", "all"),
    "fine-tuned, shifted copies": ("pretrained", "all"),
}


def place(images: np.ndarray, seed: int, side: int = SHEET) -> np.ndarray:
    """Put each (8, 8) image at a random place on an empty sheet; returns (N, side, side, 1)."""
    rng = np.random.default_rng(seed)
    sheets = np.zeros((len(images), side, side, 1), "float32")
    for sheet, image in zip(sheets, images, strict=True):
        row, column = rng.integers(0, side - 7, 2)
        sheet[row : row + 8, column : column + 8, 0] = image
    return sheets


def load() -> tuple[np.ndarray, np.ndarray]:
    """Return scikit-learn's digits, (1797, 8, 8) in 0..1, and their labels."""
    digits = load_digits()
    return (digits.images / 16).astype("float32"), digits.target


def split(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return rows to train on, 100 a class, to validate, 30 a class, and to test, the others."""
    rng = np.random.default_rng(0)
    parts: tuple[list[int], list[int], list[int]] = ([], [], [])
    for label in range(5):
        rows = rng.permutation(np.flatnonzero(labels == label))
        for part, chosen in zip(parts, np.split(rows, [100, 130]), strict=True):
            part.extend(chosen)
    return tuple(np.array(part) for part in parts)  # type: ignore[return-value]


def make_base(side: int) -> keras.Sequential:
    """Return the network without its head: two convolutions and a dense layer."""
    layers = keras.layers
    start = {"activation": "relu", "kernel_initializer": "he_normal"}
    return keras.Sequential(
        [
            keras.Input((side, side, 1)),
            layers.Conv2D(16, 3, padding="same", **start),
            layers.MaxPooling2D(),
            layers.Conv2D(32, 3, padding="same", **start),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(64, **start),
        ]
    )


@functools.cache
def learner(side: int, trained: str, rate: float, steps: int) -> keras.Sequential:
    """Return a compiled network. It is used again and again, because compiling takes a second."""
    base = make_base(side)
    if trained == "head":
        base.trainable = False
    elif trained == "last":
        for layer in base.layers[:-1]:
            layer.trainable = False
    model = keras.Sequential([base, keras.layers.Dense(5)])
    model.compile(
        keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(rate, steps)),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        steps_per_execution=25,
        jit_compile=False,
    )
    return model


def train(
    weights: list[np.ndarray],
    trained: str,
    rate: float,
    pictures: np.ndarray,
    labels: np.ndarray,
    seed: int,
    steps: int = STEPS,
) -> keras.Sequential:
    """Train a network that starts from these weights of its base and from a random head."""
    keras.utils.set_random_seed(seed)
    head = keras.Sequential([keras.Input((64,)), keras.layers.Dense(5)]).get_weights()
    model = learner(pictures.shape[1], trained, rate, steps)
    model.layers[0].set_weights(weights)
    model.layers[1].set_weights(head)
    for variable in model.optimizer.variables:
        variable.assign(keras.ops.zeros_like(variable))
    rows = tf.data.Dataset.from_tensor_slices((pictures, labels))
    rows = rows.shuffle(len(labels), seed=seed).repeat().batch(BATCH)
    model.fit(rows, steps_per_epoch=steps, shuffle=False, verbose=0)
    return model


def random_start(side: int, seed: int) -> list[np.ndarray]:
    """Return the weights of a new base."""
    keras.utils.set_random_seed(seed)
    return make_base(side).get_weights()


@functools.cache
def pretrained(side: int, seed: int) -> list[np.ndarray]:
    """Return the weights of a base that was trained on digits 0 to 4."""
    images, labels = load()
    chosen = labels < 5
    pictures = place(np.repeat(images[chosen], COPIES, axis=0), seed, side)
    labels = np.repeat(labels[chosen], COPIES)
    model = train(
        random_start(side, seed), "all", 0.003, pictures, labels, seed, steps=PRETRAINING_STEPS
    )
    return model.layers[0].get_weights()


def start(kind: str, side: int, seed: int) -> list[np.ndarray]:
    """Return the weights of a base: random, pretrained, or pretrained and then shuffled."""
    if kind == "random":
        return random_start(side, seed)
    if kind == "pretrained":
        return pretrained(side, seed)
    rng = np.random.default_rng(seed)
    return [rng.permuted(array, axis=None) for array in pretrained(side, seed)]


def examples(labels: np.ndarray, pool: np.ndarray, size: int, seed: int) -> np.ndarray:
    """Draw this many rows of each class from the pool."""
    rng = np.random.default_rng(seed)
    of_class = [pool[labels[pool] == label] for label in range(5)]
    return np.concatenate([rng.choice(rows, size, replace=False) for rows in of_class])


def measure(side: int, ways: list[str], sizes: tuple[int, ...]) -> list[tuple]:
    """Return rows: side, way, examples, part, rate, seed, accuracy."""
    images, labels = load()
    images, labels = images[labels >= 5], labels[labels >= 5] - 5
    sheets = place(images, 0, side)
    pool, validation, test = split(labels)

    def accuracy(way: str, size: int, rate: float, seed: int, part: np.ndarray) -> float:
        rows = examples(labels, pool, size, seed)
        pictures = sheets[rows]
        if "shifted" in way:
            rows = np.repeat(rows, COPIES)
            pictures = place(images[rows], seed, side)
        kind, trained = WAYS[way]
        model = train(start(kind, side, seed), trained, rate, pictures, labels[rows], seed)
        answers = model.predict_on_batch(sheets[part]).argmax(axis=1)
        return float(np.mean(answers == labels[part]))

    table = []
    for way, size in tqdm(list(itertools.product(ways, sizes))):
        mean = {}
        for rate in RATES:
            found = [accuracy(way, size, rate, seed, validation) for seed in SEARCH_SEEDS]
            mean[rate] = np.mean(found)
            for seed, value in zip(SEARCH_SEEDS, found, strict=True):
                table.append((side, way, size, "validation", rate, seed, value))
        best = max(mean, key=mean.__getitem__)
        found = [accuracy(way, size, best, seed, test) for seed in SEEDS]
        for seed, value in zip(SEEDS, found, strict=True):
            table.append((side, way, size, "test", best, seed, value))
        tqdm.write(f"{side} {way}, {size}: {np.mean(found):.3f} ± {np.std(found):.3f} at {best}")
    return table


def main() -> None:
    """Measure, and write the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a single cell, and no file")
    if parser.parse_args().quick:
        measure(CENTRED, ["frozen"], (10,))
        return
    rows = measure(SHEET, list(WAYS), SIZES)
    rows += measure(CENTRED, ["from scratch", "frozen", "fine-tuned"], SIZES)
    with FILE.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["side", "way", "examples", "part", "rate", "seed", "accuracy"])
        for *row, accuracy in rows:
            writer.writerow([*row, f"{accuracy:.4f}"])


if __name__ == "__main__":
    main()
