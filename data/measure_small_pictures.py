"""Measure what small pictures lose, and what enlarging them gives back. Writes small_pictures.csv.

    python data/measure_small_pictures.py      # about ten minutes on two cores

The course's drawings are shrunk to 32 ... 128 pixels a side, shown to a frozen EfficientNet-Lite0
in one of three ways, and classified by a linear head on its averaged features:

- as they are: the network runs on the small size;
- tiled: copies of the picture fill 224 x 224, so the input is as large as in training, and there
  is no other border, but the things in it stay small;
- enlarged: bilinear, to 224 x 224 or, for the pictures of 64 pixels, to other sizes too.

Training and test pictures are treated alike, except in the rows "trained on 224": there the head
learned from drawings of 224 pixels and is tested on small ones. There are two heads: `softmax`, a
Dense layer that a seed starts and a fifth of the training drawings stops; and `logistic`, trained
to convergence on standardised features, its regularisation chosen by cross-validation on training
drawings. Nothing is chosen on the test drawings.
"""

import argparse
import csv
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from helpers import engine as engines
from helpers.applications.efficientnet_lite import EfficientNetLite0, preprocess_input
from helpers.backend import keras

FOLDER = Path(__file__).parent / "five_classes"
OUT = Path(__file__).parent / "small_pictures.csv"
FULL = 224
SIZES = (32, 64, 96, 128)
ENLARGED_TO = (96, 128, 160, 192, 256, 288)  # pictures of 64 pixels, beside 224
CLASSES = 5
COLUMNS = ("size", "shown", "input", "trained_on", "head", "seed", "accuracy")


def load(split: str) -> tuple[list[Image.Image], np.ndarray]:
    """Return the drawings of a split, and their labels in alphabetical order of the classes."""
    paths = sorted((FOLDER / split).glob("*/*.jpg"))
    classes = sorted({path.parent.name for path in paths})
    labels = np.array([classes.index(path.parent.name) for path in paths])
    return [Image.open(path).convert("RGB") for path in paths], labels


def shown(picture: Image.Image, size: int, way: str, side: int) -> np.ndarray:
    """Return a drawing shrunk to `size` and shown in one of the three ways on `side` pixels."""
    if size < FULL:
        picture = picture.resize((size, size), Image.Resampling.BOX)
    if way == "enlarged":
        picture = picture.resize((side, side), Image.Resampling.BILINEAR)
    pixels = np.asarray(picture)
    if way == "tiled":
        spare = side - size
        before, after = spare // 2, spare - spare // 2
        pixels = np.pad(pixels, ((before, after), (before, after), (0, 0)), mode="wrap")
    return pixels


def softmax_head(x: np.ndarray, y: np.ndarray, seed: int) -> keras.Model:
    """Train one Dense layer until the validation loss hasn't fallen for ten epochs."""
    keras.utils.set_random_seed(seed)
    train, held = train_test_split(np.arange(len(y)), test_size=0.2, stratify=y, random_state=seed)
    dense = keras.layers.Dense(CLASSES, activation="softmax")
    model = keras.Sequential([keras.Input(x.shape[1:]), dense])
    model.compile(keras.optimizers.Adam(1e-3), loss="sparse_categorical_crossentropy")
    stop = keras.callbacks.EarlyStopping(patience=10, restore_best_weights=True)
    validation = (x[held], y[held])
    model.fit(
        x[train], y[train], epochs=300, verbose=0, validation_data=validation, callbacks=[stop]
    )
    return model


def logistic_head(x: np.ndarray, y: np.ndarray) -> GridSearchCV:
    """Fit a logistic regression on standardised features; cross-validation chooses its C."""
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    search = GridSearchCV(classifier, {"logisticregression__C": 10.0 ** np.arange(-5, 1)}, cv=5)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        return search.fit(x, y)


def main() -> None:
    """Extract the features of every condition once, train the heads, and write the CSV."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    splits = {split: load(split) for split in ("train", "test")}
    network = EfficientNetLite0(
        include_top=False, weights="imagenet", input_shape=(None, None, 3), pooling="avg"
    )
    sample = preprocess_input(engines.sample_pictures(FULL, FULL))
    engine = engines.choose(network, sample=sample)
    print(engine.name, engine.note, flush=True)

    def features(split: str, size: int, way: str, side: int) -> np.ndarray:
        pixels = np.stack([shown(picture, size, way, side) for picture in splits[split][0]])
        return np.concatenate([engine.run(preprocess_input(part)) for part in np.split(pixels, 20)])

    conditions = [(FULL, "as they are", FULL)]
    for size in SIZES:
        conditions.append((size, "as they are", size))
        conditions.append((size, "tiled", FULL))
        conditions.append((size, "enlarged", FULL))
    conditions += [(64, "enlarged", side) for side in ENLARGED_TO]

    y, test_y = splits["train"][1], splits["test"][1]
    rows = []
    full_heads: dict[tuple[str, int], Any] = {}
    for condition in conditions:
        x, test_x = features("train", *condition), features("test", *condition)
        heads = {("softmax", seed): softmax_head(x, y, seed) for seed in range(options.seeds)}
        heads["logistic", 0] = logistic_head(x, y)
        full_heads = full_heads or heads
        for trained_on, used in (("the same", heads), ("224", full_heads)):
            for (head, seed), model in used.items():
                guesses = (
                    model.predict(test_x, verbose=0) if head == "softmax" else model.predict(test_x)
                )
                guesses = guesses.argmax(axis=1) if guesses.ndim == 2 else guesses
                accuracy = f"{np.mean(guesses == test_y):.2f}"
                rows.append((*condition, trained_on, head, seed, accuracy))
                print(*rows[-1], sep=", ", flush=True)
    with OUT.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(rows)


if __name__ == "__main__":
    main()
