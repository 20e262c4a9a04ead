"""A linear head: one Dense layer, trained on the features that a frozen network gave."""

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from helpers import features
from helpers.errors import DataError

if TYPE_CHECKING:
    from helpers.backend import keras


@dataclass(frozen=True)
class TrainedHead:
    """A trained head and its score on the test file; `history` has one value per epoch."""

    model: "keras.Model"
    history: dict[str, list[float]]
    accuracy: float
    loss: float
    classes: list[str]
    epochs: int
    seconds: float


def linear(shape: tuple[int, ...], classes: int) -> "keras.Model":
    """Build a linear classifier: features in, class probabilities out; not compiled.

    Args:
        shape: of one picture's features, (channels,) or (rows, columns, channels). Feature maps are
            averaged over their positions first.

    Example:
        >>> linear((7, 7, 1280), classes=5).count_params() == (1280 + 1) * 5
        True
    """
    from helpers.backend import keras

    model = keras.Sequential([keras.Input(shape)])
    if len(shape) == 3:
        model.add(keras.layers.GlobalAveragePooling2D())
    model.add(keras.layers.Dense(classes, activation="softmax"))
    return model


def train(
    train: str | Path,
    test: str | Path,
    seed: int = 0,
    epochs: int = 100,
    learning_rate: float = 1e-3,
    patience: int = 10,
) -> TrainedHead:
    """Train a linear head on one features file, and score it once on another.

    The loss on a fifth of the training rows decides when to stop and which epoch's weights are
    kept; the test file decides nothing.

    Args:
        train: a features file, as `bottlenecks.extract` makes it.
        test: another one, made with the same network from the same classes.
        seed: of the split, the initialisation and the order of the rows.
        epochs: the most to train.
        patience: epochs without a lower validation loss before training stops.

    Raises:
        DataError: a file can't be read, the two don't belong together or have the same pictures,
            or a class is too small.
    """
    from sklearn.model_selection import train_test_split

    from helpers.backend import keras

    found, other = features.describe(train), features.describe(test)
    for field in ("model", "weights", "preprocessing", "input_size", "output_shape"):
        wanted, got = (each["fingerprint"].get(field) for each in (found, other))
        if got != wanted:
            raise DataError(
                f"{test}: expected {field} {wanted}, as in {train}, got {got}. "
                "Extract both with the same network."
            )
    classes, labels = found["classes"], found["labels"]
    if other["classes"] != classes:
        raise DataError(
            f"{test}: expected classes {classes}, as in {train}, got {other['classes']}. "
            "Give the class folders of both the same names."
        )
    counts = np.bincount(labels, minlength=len(classes))
    smallest = int(counts.argmin())
    if len(classes) < 2 or counts[smallest] < 2:
        raise DataError(
            f"{train}: expected 2 or more classes with 2 or more pictures each (one to train on, "
            f"one to validate with), got {len(classes)}; class {classes[smallest]!r} has "
            f"{counts[smallest]}. Add pictures and extract again."
        )
    pictures, others = (each["fingerprint"].get("sizes_and_times") for each in (found, other))
    if os.path.samefile(train, test) or (pictures and pictures == others):
        raise DataError(
            f"{test}: has the same pictures as {train}, so its accuracy would say nothing of new "
            "ones. Extract features of pictures that were kept apart."
        )
    rows, kept_aside = train_test_split(
        np.arange(len(labels)),
        test_size=max(0.2, len(classes) / len(labels)),  # one row of each class at least
        stratify=labels,
        random_state=seed,
    )
    keras.utils.set_random_seed(seed)
    model = linear(found["shape"][1:], len(classes))
    adam = keras.optimizers.Adam(learning_rate)
    model.compile(adam, loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    started = time.perf_counter()
    history = model.fit(
        features.batches(train, rows, seed=seed),
        validation_data=features.batches(train, kept_aside),
        shuffle=False,  # `batches` shuffles; Keras can shuffle arrays only
        epochs=epochs,
        callbacks=[keras.callbacks.EarlyStopping(patience=patience, restore_best_weights=True)],
        verbose=0,
    ).history
    seconds = time.perf_counter() - started
    loss, accuracy = model.evaluate(features.batches(test), verbose=0)
    epochs = len(history["loss"])
    return TrainedHead(model, history, float(accuracy), float(loss), classes, epochs, seconds)
