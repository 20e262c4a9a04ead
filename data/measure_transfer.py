"""Measure what a network pretrained on digits 0 to 4 is worth on 5 to 9, and write transfer.csv.

    python data/measure_transfer.py            # about 45 minutes on one quiet core
    python data/measure_transfer.py --quick    # one method and one size, to try it

It goes on from the rows that are in the file already; delete the file to measure everything anew.

It is the experiment of lesson 01, with more sizes and more controls: eight methods and five numbers
of examples per class. Each method gets, for each number of examples, the learning rate that is best
on 150 validation pictures (mean over five seeds that are used for nothing else). Then five other
seeds are scored on the test pictures, at that rate alone. A seed decides which examples are drawn,
how the weights are initialised, and the order of the examples; each seed has a pretrained network
of its own. The number of steps is the same for all.
"""

import argparse
import csv
import functools
from pathlib import Path

import numpy as np
import tensorflow as tf
from sklearn.datasets import load_digits
from tqdm import tqdm

from helpers.backend import keras

FILE = Path(__file__).with_name("transfer.csv")
BATCH, STEPS, PRETRAINING_STEPS = 25, 300, 2000
SIDE = 16  # pixels of a sheet
SIZES = (5, 10, 20, 50, 100)
RATES = (0.001, 0.003, 0.01, 0.03, 0.1)
SEEDS, SEARCH_SEEDS = range(5), range(100, 105)
COPIES = 20  # of each picture, at other places: where shifted copies are trained on
# What starts where (the base), and what is trained.
METHODS = {
    "from scratch": ("random", "all"),
    "frozen": ("pretrained", "head"),
    "last layer fine-tuned": ("pretrained", "last"),
    "fine-tuned": ("pretrained", "all"),
    "random, frozen": ("random", "head"),
    "shuffled weights, fine-tuned": ("shuffled", "all"),
    "from scratch, shifted copies": ("random", "all"),
    "fine-tuned, shifted copies": ("pretrained", "all"),
}


def place(images: np.ndarray, seed: int) -> np.ndarray:
    """Put each (8, 8) image at a random place on an empty sheet; returns (N, SIDE, SIDE, 1)."""
    rng = np.random.default_rng(seed)
    sheets = np.zeros((len(images), SIDE, SIDE, 1), "float32")
    for sheet, image in zip(sheets, images, strict=True):
        row, column = rng.integers(0, SIDE - 7, 2)
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


def make_base() -> keras.Sequential:
    """Return the network without its head: two convolutions and a dense layer."""
    layers = keras.layers
    start = {"activation": "relu", "kernel_initializer": "he_normal"}
    return keras.Sequential(
        [
            keras.Input((SIDE, SIDE, 1)),
            layers.Conv2D(16, 3, padding="same", **start),
            layers.MaxPooling2D(),
            layers.Conv2D(32, 3, padding="same", **start),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(64, **start),
        ]
    )


@functools.cache
def learner(trained: str, rate: float, steps: int) -> keras.Sequential:
    """Return a compiled network. It is used again and again, because compiling takes a second."""
    base = make_base()
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
    model = learner(trained, rate, steps)
    model.layers[0].set_weights(weights)
    model.layers[1].set_weights(head)
    for variable in model.optimizer.variables:
        variable.assign(keras.ops.zeros_like(variable))
    rows = tf.data.Dataset.from_tensor_slices((pictures, labels))
    rows = rows.shuffle(len(labels), seed=seed).repeat().batch(BATCH)
    model.fit(rows, steps_per_epoch=steps, shuffle=False, verbose=0)
    return model


def random_start(seed: int) -> list[np.ndarray]:
    """Return the weights of a new base."""
    keras.utils.set_random_seed(seed)
    return make_base().get_weights()


@functools.cache
def pretrained(seed: int) -> list[np.ndarray]:
    """Return the weights of a base that was trained on digits 0 to 4."""
    images, labels = load()
    chosen = labels < 5
    pictures = place(np.repeat(images[chosen], COPIES, axis=0), seed)
    labels = np.repeat(labels[chosen], COPIES)
    start = random_start(seed)
    model = train(start, "all", 0.003, pictures, labels, seed, steps=PRETRAINING_STEPS)
    return model.layers[0].get_weights()


def start(kind: str, seed: int) -> list[np.ndarray]:
    """Return the weights of a base: random, pretrained, or pretrained and then shuffled."""
    if kind == "random":
        return random_start(seed)
    if kind == "pretrained":
        return pretrained(seed)
    rng = np.random.default_rng(seed)
    return [rng.permuted(array, axis=None) for array in pretrained(seed)]


def examples(labels: np.ndarray, pool: np.ndarray, size: int, seed: int) -> np.ndarray:
    """Draw this many rows of each class from the pool."""
    rng = np.random.default_rng(seed)
    of_class = [pool[labels[pool] == label] for label in range(5)]
    return np.concatenate([rng.choice(rows, size, replace=False) for rows in of_class])


Row = tuple[str, int, str, float, int]  # method, examples, part, rate, seed


def measure(method: str, size: int, table: dict[Row, float]) -> None:
    """Add what is missing to the table: the search, then the test at the best rate alone."""
    images, labels = load()
    images, labels = images[labels >= 5], labels[labels >= 5] - 5
    sheets = place(images, 0)
    pool, validation, test = split(labels)
    parts = {"validation": validation, "test": test}

    def accuracy(part: str, rate: float, seed: int) -> float:
        row = (method, size, part, rate, seed)
        if row not in table:
            rows = examples(labels, pool, size, seed)
            pictures = sheets[rows]
            if "shifted" in method:
                rows = np.repeat(rows, COPIES)
                pictures = place(images[rows], seed)
            kind, trained = METHODS[method]
            model = train(start(kind, seed), trained, rate, pictures, labels[rows], seed)
            answers = model.predict_on_batch(sheets[parts[part]]).argmax(axis=1)
            table[row] = float(np.mean(answers == labels[parts[part]]))
        return table[row]

    mean = {
        rate: np.mean([accuracy("validation", rate, seed) for seed in SEARCH_SEEDS])
        for rate in RATES
    }
    best = max(mean, key=mean.__getitem__)
    found = [accuracy("test", best, seed) for seed in SEEDS]
    for row in list(table):
        if row[:3] == (method, size, "test") and row[3] != best:
            del table[row]
    found_text = f"{np.mean(found):.3f} ± {np.std(found, ddof=1):.3f} at {best}"
    tqdm.write(f"{method}, {size}: {found_text}")


def read() -> dict[Row, float]:
    """Return the accuracies in the file, if there is one."""
    if not FILE.exists():
        return {}
    with FILE.open(newline="", encoding="utf-8") as file:
        return {
            (method, int(size), part, float(rate), int(seed)): float(accuracy)
            for method, size, part, rate, seed, accuracy in list(csv.reader(file))[1:]
        }


def write(table: dict[Row, float]) -> None:
    """Write the file, sorted, so that it doesn't depend on where a run was interrupted."""
    methods = list(METHODS)

    def place_in_file(row: Row) -> tuple:
        method, size, part, rate, seed = row
        return methods.index(method), size, part == "test", rate, seed

    with FILE.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["method", "examples", "part", "rate", "seed", "accuracy"])
        for row in sorted(table, key=place_in_file):
            writer.writerow([*row, f"{table[row]:.4f}"])


def main() -> None:
    """Measure, and write the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a single cell, and no file")
    if parser.parse_args().quick:
        measure("frozen", 10, {})
        return
    table = read()
    for method, size in tqdm([(method, size) for method in METHODS for size in SIZES]):
        measure(method, size, table)
        write(table)


if __name__ == "__main__":
    main()
