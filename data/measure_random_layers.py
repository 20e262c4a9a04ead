"""Probe EfficientNet-Lite0 with random weights, as a control for lesson 05.

    python data/measure_random_layers.py    # three initialisations, about two minutes

Writes random_layers.csv: for each initialisation and block what a linear model reads from the
block's output (mean over five splits of the 500 training drawings: accuracy for "class", R² for
the others). The functions do what those of the same name in the lesson do.

A new network's BatchNorm layers have averages of 0 and variances of 1, with which the signal dies
out on its way up. That would be too weak a control, so both are taken from 100 training drawings.
"""

import csv
from pathlib import Path

import numpy as np
from calibration import calibrate_batch_norm
from sklearn.linear_model import RidgeClassifierCV, RidgeCV
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from helpers import datasets, finetune, images
from helpers.applications.efficientnet_lite import EfficientNetLite0, preprocess_input
from helpers.backend import keras

FILE = Path(__file__).with_name("random_layers.csv")
SEEDS = range(3)
SPLITS = range(5)
ALPHAS = np.logspace(-1, 5, 7)
Scores = dict[tuple[str, str], float]


def load() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the training drawings' pictures, labels and masks."""
    drawings = datasets.class_folders(datasets.five_classes("train"))
    pictures = np.stack([images.load(path, size=224) for path in drawings.paths()])
    return pictures, drawings.labels, datasets.five_classes_masks("train")


def tapped(base: keras.Model) -> keras.Model:
    """Return a model that gives each block's output in seven vertical strips."""
    names, starts = zip(*finetune.blocks(base), strict=True)
    outputs = {}
    for name, end in zip(names, [*starts[1:], len(base.layers)], strict=True):
        output = base.layers[end - 1].output
        rows, columns = output.shape[1:3]
        outputs[name] = keras.layers.AveragePooling2D((rows, columns // 7))(output)
    return keras.Model(base.input, outputs)


def probe(vectors: np.ndarray, target: np.ndarray, labels: np.ndarray, seed: int) -> float:
    """Return the score, on 100 rows, of a linear model fitted to the others."""
    rows = np.arange(len(labels))
    train, held_out = train_test_split(rows, test_size=100, stratify=labels, random_state=seed)
    reader = RidgeClassifierCV(ALPHAS) if target is labels else RidgeCV(ALPHAS)
    reader = make_pipeline(StandardScaler(), reader)
    return reader.fit(vectors[train], target[train]).score(vectors[held_out], target[held_out])


def network(seed: int, pictures: np.ndarray) -> keras.Model:
    """Return a network with random weights whose BatchNorm layers know these pictures."""
    keras.utils.set_random_seed(seed)
    base = EfficientNetLite0(weights=None, include_top=False, input_shape=(224, 224, 3))
    some = np.random.default_rng(seed).choice(len(pictures), 100, replace=False)
    calibrate_batch_norm(base, preprocess_input(pictures[some]))
    return base


def measure(seed: int) -> Scores:
    """Return the scores of one random network, by block and property."""
    pictures, labels, masks = load()
    base = network(seed, pictures)
    model = tapped(base)
    seen = model.predict(preprocess_input(pictures), batch_size=20, verbose=0)
    column = np.array([np.nonzero(mask)[1].mean() for mask in masks])
    scores: Scores = {}
    for block, _ in finetune.blocks(base):
        strips = seen[block].reshape(len(labels), -1)
        average = seen[block].mean(axis=(1, 2))
        for name, vectors, target in (
            ("class", average, labels),
            ("brightness", average, pictures.mean(axis=(1, 2, 3))),
            ("column", strips, column),
        ):
            each = [probe(vectors, target, labels, split) for split in SPLITS]
            scores[block, name] = float(np.mean(each))
    return scores


def main() -> None:
    """Measure all and write the file."""
    with FILE.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["seed", "block", "property", "score"])
        for seed in SEEDS:
            for (block, name), score in measure(seed).items():
                writer.writerow([seed, block, name, f"{score:.3f}"])
            print(f"seed {seed} done", flush=True)


if __name__ == "__main__":
    main()
