"""A linear head: one Dense layer, trained on the features that a frozen network gave."""

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
    """Build a linear classifier: features in, class probabilities out.

    Args:
        shape: of one picture's features, (channels,) or (rows, columns, channels). Feature maps are
            averaged over their positions first.
        classes: the number of classes.

    Returns:
        A model that is not compiled yet.

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
    batch_size: int = 32,
    learning_rate: float = 1e-3,
    validation: float = 0.2,
    patience: int = 10,
) -> TrainedHead:
    """Train a linear head on one features file, and score it once on another.

    Part of the training rows is kept aside for validation. The validation loss decides when to stop
    and which epoch's weights are kept; the test file decides nothing.

    Args:
        train: a features file, as `bottlenecks.extract` makes it.
        test: another one, made with the same network from the same classes.
        seed: of the split, the initialisation and the order of the rows.
        epochs: the most to train.
        batch_size: rows per step.
        learning_rate: Adam's.
        validation: the share of each class's training rows that is kept aside.
        patience: epochs without a lower validation loss before training stops.

    Returns:
        The model with the weights of its best epoch, its history, and its score on `test`.

    Raises:
        DataError: a file can't be read, the two don't belong together, or a class is too small to
            split.
    """
    from sklearn.model_selection import train_test_split

    from helpers.backend import keras

    classes = _common_classes(train, test)
    found = features.describe(train)
    labels = found["labels"]
    counts = np.bincount(labels, minlength=len(classes))
    smallest = int(counts.argmin())
    if len(classes) < 2 or counts[smallest] < 2:
        raise DataError(
            f"{train}: expected 2 or more classes with 2 or more pictures each (one to train on, "
            f"one to validate with), got {len(classes)}; class {classes[smallest]!r} has "
            f"{counts[smallest]}. Add pictures and extract again."
        )
    rows, kept_aside = train_test_split(
        np.arange(len(labels)),
        test_size=max(validation, len(classes) / len(labels)),  # one row of each class at least
        stratify=labels,
        random_state=seed,
    )
    keras.utils.set_random_seed(seed)
    model = linear(found["shape"][1:], len(classes))
    model.compile(
        keras.optimizers.Adam(learning_rate),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    started = time.perf_counter()
    history = model.fit(
        features.batches(train, rows, batch_size, seed),
        validation_data=features.batches(train, kept_aside, batch_size),
        shuffle=False,  # `batches` shuffles; Keras can shuffle arrays only
        epochs=epochs,
        callbacks=[keras.callbacks.EarlyStopping(patience=patience, restore_best_weights=True)],
        verbose=0,
    ).history
    seconds = time.perf_counter() - started
    loss, accuracy = model.evaluate(features.batches(test, batch_size=batch_size), verbose=0)
    return TrainedHead(
        model, history, float(accuracy), float(loss), classes, len(history["loss"]), seconds
    )


def _common_classes(train: str | Path, test: str | Path) -> list[str]:
    one, other = features.describe(train), features.describe(test)
    for field in ("model", "weights", "preprocessing", "input_size", "output_shape"):
        wanted, found = (each["fingerprint"].get(field) for each in (one, other))
        if found != wanted:
            raise DataError(
                f"{test}: expected {field} {wanted}, as in {train}, got {found}. "
                "Extract both with the same network."
            )
    if one["classes"] != other["classes"]:
        raise DataError(
            f"{test}: expected classes {one['classes']}, as in {train}, got {other['classes']}. "
            "Give the class folders of both the same names."
        )
    return one["classes"]
