"""The exercises of lesson 10."""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from helpers import datasets
from helpers.checks import Exercise


def judge_accuracy_with(accuracy_with: Callable[[int], Any], labels: np.ndarray, fit_rows: np.ndarray) -> str | None:
    """Right: an accuracy on validation pictures that grows with the number of pictures."""
    most = int(np.bincount(labels[fit_rows]).min())
    few, many = accuracy_with(1), accuracy_with(most)
    if np.ndim(many) != 0:
        return f"Return one number. You returned {many!r}; evaluate gives the loss first."
    if not 0 <= many <= 1:
        return f"{many:.2f} can't be an accuracy. evaluate gives the loss first, then the accuracy."
    chance = 1 / len(np.unique(labels))
    if many < (1 + chance) / 3:
        return (
            f"With {most} pictures of each class you get {many:.2f}; it should be much more. Do "
            "your rows have all the classes, and did you train for some dozens of epochs?"
        )
    if min(few, many) > 0.995:
        return "1.00 even with one picture of each class: you've judged it on what it learned from."
    if few > many - 0.02:
        return (
            f"One picture of each class gives {few:.2f} and {most} give {many:.2f}. Do you really "
            "use per_class, and a new head every time?"
        )
    return None


q1 = Exercise(
    judge_accuracy_with,
    hint=(
        "fit_rows[labels[fit_rows] == label][:per_class] are that many rows of one class; "
        "np.concatenate joins them. Then build, compile and fit a new head, and evaluate it."
    ),
    solution="""
        def accuracy_with(per_class):
            rows = []
            for label in range(len(classes)):
                rows.append(fit_rows[labels[fit_rows] == label][:per_class])
            rows = np.concatenate(rows)
            keras.utils.set_random_seed(0)
            small = keras.Sequential([
                keras.Input(features.shape[1:]),
                keras.layers.Dense(len(classes), activation="softmax"),
            ])
            small.compile(
                keras.optimizers.Adam(0.01), loss="sparse_categorical_crossentropy",
                metrics=["accuracy"],
            )
            small.fit(features[rows], labels[rows], epochs=40, verbose=0)
            return small.evaluate(
                features[validation_rows], labels[validation_rows], verbose=0
            )[1]
    """,
    right="The curve is still rising at the end: more pictures would help, but each a little less.",
    wrong={
        "def accuracy_with(per_class): return 0.31, 0.88": "one number",
        "def accuracy_with(per_class): return 3.1": "the loss first",
        "def accuracy_with(per_class): return 0.2": "all the classes",
        "def accuracy_with(per_class): return 1.0": "learned from",
        "def accuracy_with(per_class): return 0.88": "really use per_class",
    },
)


def judge_overconfidence(overconfidence: Callable[..., Any]) -> str | None:
    """Right: mean probability of the predicted class, minus accuracy."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(200, 4)) * 2
    labels = np.where(rng.random(200) < 0.5, logits.argmax(1), rng.integers(0, 4, 200))

    def probabilities(values: np.ndarray) -> np.ndarray:
        powers = np.exp(values - values.max(1, keepdims=True))
        return powers / powers.sum(1, keepdims=True)

    accuracy = float((logits.argmax(1) == labels).mean())
    for temperature in (1.0, 4.0):
        given = overconfidence(logits, labels, temperature)
        if np.ndim(given) != 0:
            return f"Return one number. You returned one of shape {np.shape(given)}."
        sure = float(probabilities(logits / temperature).max(1).mean())
        if abs(given - (sure - accuracy)) < 1e-4:
            continue
        if abs(given + (sure - accuracy)) < 1e-4:
            return "The other way round: an overconfident head gets a number above 0."
        if abs(given - sure) < 1e-4:
            return "That's the confidence. How much of it is justified? Subtract the accuracy."
        hot = float(probabilities(logits * temperature).max(1).mean())
        if abs(given - (hot - accuracy)) < 1e-4:
            return "You multiply by the temperature. Divide the logits by it."
        if abs(given - (float(probabilities(logits).max(1).mean()) - accuracy)) < 1e-4:
            return "It doesn't depend on the temperature. Divide the logits by it first."
        true = np.take_along_axis(probabilities(logits / temperature), labels[:, None], 1).mean()
        if abs(given - (true - accuracy)) < 1e-4:
            return "Take the probability of the predicted class, whether it's right or wrong."
        return f"Expected {sure - accuracy:.3f} for a test of mine at {temperature}, got {given:.3f}."
    return None


q3 = Exercise(
    judge_overconfidence,
    hint=(
        "The mean over pictures of the largest probability, minus the share of pictures whose "
        "largest logit is at the label."
    ),
    solution="""
        def overconfidence(logits, labels, temperature=1.0):
            probabilities = softmax(logits / temperature)
            accuracy = (probabilities.argmax(axis=1) == labels).mean()
            return probabilities.max(axis=1).mean() - accuracy
    """,
    right="Try it on the logits of your own heads, on pictures they didn't learn from.",
    wrong={
        """
        def overconfidence(logits, labels, temperature=1.0):
            probabilities = softmax(logits / temperature)
            return (probabilities.argmax(axis=1) == labels).mean() - probabilities.max(axis=1).mean()
        """: "other way round",
        """
        def overconfidence(logits, labels, temperature=1.0):
            return softmax(logits / temperature).max(axis=1).mean()
        """: "Subtract the accuracy",
        """
        def overconfidence(logits, labels, temperature=1.0):
            probabilities = softmax(logits)
            return probabilities.max(axis=1).mean() - (logits.argmax(axis=1) == labels).mean()
        """: "depend on the temperature",
        """
        def overconfidence(logits, labels, temperature=1.0):
            probabilities = softmax(logits * temperature)
            return probabilities.max(axis=1).mean() - (logits.argmax(axis=1) == labels).mean()
        """: "Divide the logits",
        """
        def overconfidence(logits, labels, temperature=1.0):
            probabilities = softmax(logits / temperature)
            right = (probabilities.argmax(axis=1) == labels).mean()
            return probabilities[np.arange(len(labels)), labels].mean() - right
        """: "predicted class",
        "def overconfidence(logits, labels, temperature=1.0): return softmax(logits).max(axis=1)": ("one number"),
    },
)

FEW = {"bus": 16, "flower": 16}


def judge_train_on_folder(train_on_folder: Callable[[Path], Any], network: Any) -> str | None:
    """Right: a head and class names from a folder, right about pictures that weren't in it."""
    from helpers import bottlenecks, features

    with tempfile.TemporaryDirectory() as folder:
        learn, ask = Path(folder, "learn"), Path(folder, "ask")
        for name, count in FEW.items():
            files = sorted((datasets.five_classes("train") / name).iterdir())
            for target, some in ((learn, files[:count]), (ask, files[-10:])):
                (target / name).mkdir(parents=True)
                for file in some:
                    shutil.copy(file, target / name)
        (learn / "flower" / "broken.jpg").write_bytes(b"no picture")
        given = train_on_folder(learn)
        if not isinstance(given, tuple | list) or len(given) != 2:
            return "Return two things: the trained head and the list of class names."
        head, names = given
        if [str(name) for name in names] != sorted(FEW):
            return f"The folder has the classes {sorted(FEW)}; you returned {list(names)}."
        if not hasattr(head, "predict"):
            return f"First comes the head, a Keras model. You returned {type(head).__name__}."
        if head.output_shape[-1] != len(FEW):
            return (
                f"The folder has {len(FEW)} classes, and your head {head.output_shape[-1]} outputs. "
                "Take their number from the file, not from the lesson's `classes`."
            )
        bottlenecks.extract(ask, Path(folder, "ask.h5"), network, progress=False)
        rows = features.batches(Path(folder, "ask.h5"))
        asked = features.describe(Path(folder, "ask.h5"))["labels"]
        right = float((head.predict(rows, verbose=0).argmax(1) == asked).mean())
    if right < 0.8:
        return (
            f"Of other buses and flowers it gets {right:.2f} right, hardly more than chance. Was it "
            "trained, and on labels that belong to the rows?"
        )
    return None


q2 = Exercise(
    judge_train_on_folder,
    hint=(
        "Into a new temporary folder: bottlenecks.extract(folder, file, network). Read features, "
        "labels and classes from the file with h5py, then do what train_head does."
    ),
    solution="""
        def train_on_folder(folder):
            file = Path(tempfile.mkdtemp()) / "features.h5"
            bottlenecks.extract(folder, file, network, progress=False)
            with h5py.File(file) as content:
                x, y = content["features"][:], content["labels"][:]
                names = list(content["classes"].asstr())
            x_fit, x_held, y_fit, y_held = train_test_split(
                x, y, test_size=0.2, stratify=y, random_state=0
            )
            keras.utils.set_random_seed(0)
            model = keras.Sequential([
                keras.Input(x.shape[1:]),
                keras.layers.Dense(len(names), activation="softmax"),
            ])
            model.compile(
                keras.optimizers.Adam(0.01), loss="sparse_categorical_crossentropy",
                metrics=["accuracy"],
            )
            stop = keras.callbacks.EarlyStopping(patience=5, restore_best_weights=True)
            history = model.fit(
                x_fit, y_fit, validation_data=(x_held, y_held), epochs=200, callbacks=[stop],
                verbose=0,
            )
            print(f"validation accuracy {max(history.history['val_accuracy']):.2f}")
            return model, names
    """,
    right="Now give it a folder of yours, and keep a few pictures back to test it on.",
    wrong={
        "def train_on_folder(folder): return head": "two things",
        "def train_on_folder(folder): return head, classes": "you returned",
        "def train_on_folder(folder): return head, ['bus', 'flower']": "outputs",
        """
        def train_on_folder(folder):
            keras.utils.set_random_seed(1)
            dense = keras.layers.Dense(2, activation="softmax", kernel_initializer="zeros")
            return keras.Sequential([keras.Input(features.shape[1:]), dense]), ["bus", "flower"]
        """: "trained",
    },
)
