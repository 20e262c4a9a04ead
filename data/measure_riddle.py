"""Measure what a published recipe does in 500 epochs, and what each change to it does.

    python data/measure_riddle.py              # everything that isn't in build/riddle yet
    python data/measure_riddle.py --list       # the runs, without training any
    python data/measure_riddle.py --network MobileNet --mobilenet FILE

The recipe: drawings of 150 x 150 pixels / 255, the frozen network's feature map, Flatten, Dense 256
with ReLU, Dropout 0.5, Dense 5 with softmax, RMSprop, batches of 25, 500 epochs. Seeds 0, 1 and 2
decide which fifth of the training drawings validates, how the weights start, and the order of the
batches. Every other run changes one thing, or is the sound head, or is one change away from it.

Each run is kept in build/riddle, so an interrupted measurement goes on where it was. Two cores need
about an hour and a half for everything, most of it for heads of eight and sixteen million weights.
Written are, from all that is kept there:

- riddle.csv: loss and accuracy by epoch (thinned), and what dividing the logits by a temperature
  makes of the loss, see `cooled`;
- riddle_runs.csv: a row for each run, see `summary`;
- riddle_logits.csv: what the softmax of the recipe and the sound head gets for each validation
  drawing, after the epoch of the least validation loss and after the last epoch;
- riddle_first.csv: the loss before each of the first sixteen steps, see `FIRST`.

MobileNet is Keras's, alpha = 0.25. Its published weights, mobilenet_2_5_224_tf_no_top.h5, are taken
from --mobilenet FILE or Keras's cache, or else downloaded by Keras.
"""

import argparse
import csv
import dataclasses
import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.model_selection import train_test_split

from helpers import weights
from helpers.applications import efficientnet_lite
from helpers.backend import keras

FOLDER = Path(__file__).parent / "five_classes"
KEPT = Path(__file__).parents[1] / "build" / "riddle"
CLASSES = 5
SEEDS = 3
MOBILENET_FILE = "mobilenet_2_5_224_tf_no_top.h5"
NETWORKS = "EfficientNetLite0", "MobileNet"


@dataclass(frozen=True)
class Recipe:
    """The published recipe; each field is one thing that can be changed."""

    size: int = 150
    own_scaling: bool = False  # the network's preprocess_input instead of pixels / 255
    averaged: bool = False  # the map's mean over its positions instead of Flatten
    divided_by: float = 1  # the features, before the head gets them
    hidden: bool = True  # Dense 256 and its Dropout
    weights_divided_by: float = 1  # the initial ones
    optimizer: str = "RMSprop"
    learning_rate: float = 1e-3
    weight_decay: float | None = None
    batch_size: int = 25
    to_the_letter: bool = False  # all 500 drawings train, and the test drawings validate
    epochs: int = 60


SOUND = Recipe(size=224, own_scaling=True, averaged=True, hidden=False, epochs=500)
RUNS = {
    "recipe": Recipe(epochs=500),
    "averaged map": Recipe(averaged=True),
    "own scaling": Recipe(own_scaling=True),
    "one layer": Recipe(hidden=False),
    "sound head": SOUND,
    "sound head, / 255": dataclasses.replace(SOUND, own_scaling=False, epochs=200),
    "sound head, flattened": dataclasses.replace(SOUND, averaged=False, epochs=200),
    "sound head, 150 pixels": dataclasses.replace(SOUND, size=150, epochs=200),
    "sound head, Dense 256": dataclasses.replace(SOUND, hidden=True, epochs=200),
    "224 pixels": Recipe(size=224),
    "Adam": Recipe(optimizer="Adam"),
    "features / 100": Recipe(divided_by=100),
    "small weights": Recipe(weights_divided_by=100),
    "learning rate 1e-5": Recipe(learning_rate=1e-5),
    "batches of 100": Recipe(batch_size=100),
    "weight decay 0.1": Recipe(weight_decay=0.1),
    "weight decay 1": Recipe(weight_decay=1.0),
    "to the letter": Recipe(to_the_letter=True),
}

# Loss by step: the recipe's, and with one thing changed. The loss is that of the validation rows.
FIRST = "recipe", "learning rate 1e-5", "SGD", "small weights", "averaged map", "features / 100"


def built(network: str, size: int, file: Path | None) -> tuple[keras.Model, Any]:
    """Return a network without its top, and its preprocess_input."""
    shape = (size, size, 3)
    if network == "EfficientNetLite0":
        lite = efficientnet_lite
        return lite.EfficientNetLite0(include_top=False, input_shape=shape), lite.preprocess_input
    mobilenet = keras.applications.mobilenet
    cached = weights.cache() / MOBILENET_FILE
    source = str(file or (cached if cached.is_file() else "imagenet"))
    model = mobilenet.MobileNet(alpha=0.25, include_top=False, weights=source, input_shape=shape)
    return model, mobilenet.preprocess_input


def extracted(network: str, recipe: Recipe, file: Path | None) -> dict[str, np.ndarray]:
    """Return the feature maps and labels of both folders, computed once and kept."""
    scaling = "own" if recipe.own_scaling else "255"
    path = KEPT / f"features {network} {recipe.size} {scaling}.npz"
    if not path.is_file():
        model, preprocess = built(network, recipe.size, file)
        found = {}
        for split in ("train", "test"):
            pictures = keras.utils.image_dataset_from_directory(
                FOLDER / split,
                image_size=(recipe.size, recipe.size),
                shuffle=False,
                verbose=False,
            )
            pixels = np.concatenate([images for images, _ in pictures])
            found[f"y_{split}"] = np.concatenate([labels for _, labels in pictures])
            scaled = preprocess(pixels.copy()) if recipe.own_scaling else pixels / 255
            found[f"x_{split}"] = model.predict(scaled, verbose=0)
        np.savez(path, **found)  # type: ignore[arg-type]
    with np.load(path) as kept:
        return dict(kept)


def head(shape: tuple[int, ...], recipe: Recipe) -> keras.Model:
    """Return the head of a recipe, compiled."""
    layers = keras.layers
    model = keras.Sequential([keras.Input(shape), layers.Flatten()])
    if recipe.hidden:
        model.add(layers.Dense(256, activation="relu"))
        model.add(layers.Dropout(0.5))
    model.add(layers.Dense(CLASSES, activation="softmax"))
    if recipe.weights_divided_by != 1:
        model.set_weights([array / recipe.weights_divided_by for array in model.get_weights()])
    optimizer = getattr(keras.optimizers, recipe.optimizer)
    model.compile(
        optimizer(recipe.learning_rate, weight_decay=recipe.weight_decay),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
        steps_per_execution=4,  # the same steps, with fewer returns to Python
        jit_compile=True,  # half the time, for the large heads are bound by memory
    )
    return model


def looked_at(epochs: int) -> list[int]:
    """Return the epochs, from 1, after which there's validation."""
    return [*range(1, min(epochs, 50) + 1), *range(55, epochs + 1, 5)]


class Logits(keras.callbacks.Callback):
    """Keeps what the softmax gets for some rows, after the given epochs, counted from 1."""

    def __init__(self, rows: np.ndarray, epochs: Sequence[int] = (1,)) -> None:
        super().__init__()
        self.rows = keras.ops.convert_to_tensor(rows)
        self.epochs = set(epochs)
        self.kept: list[np.ndarray] = []

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Take the epoch's logits."""
        if epoch + 1 not in self.epochs:
            return
        last = self.model.layers[-1]
        below = self.rows
        for layer in self.model.layers[:-1]:
            below = layer(below)
        kernel, bias = last.get_weights()
        self.kept.append(np.asarray(below) @ kernel + bias)


def train(data: dict[str, np.ndarray], recipe: Recipe, seed: int) -> dict[str, np.ndarray]:
    """Train one head; return its history, and the logits of validation rows by epoch."""
    x, y = data["x_train"], data["y_train"]
    x_held, y_held = data["x_test"], data["y_test"]
    if recipe.averaged:
        x, x_held = x.mean((1, 2)), x_held.mean((1, 2))
    if recipe.divided_by != 1:
        x, x_held = x / recipe.divided_by, x_held / recipe.divided_by
    if not recipe.to_the_letter:
        fit, held = train_test_split(
            np.arange(len(y)), test_size=0.2, stratify=y, random_state=seed
        )
        x, y, x_held, y_held = x[fit], y[fit], x[held], y[held]
    keras.utils.set_random_seed(seed)
    model = head(x.shape[1:], recipe)
    epochs = looked_at(recipe.epochs)
    logits = Logits(x_held, epochs)
    history = model.fit(
        x,
        y,
        batch_size=recipe.batch_size,
        epochs=recipe.epochs,
        validation_data=(x_held, y_held),
        validation_freq=epochs,
        callbacks=[logits],
        verbose=0,
    ).history
    arrays = {name: np.array(values) for name, values in history.items()}
    for name in ("loss", "accuracy"):
        arrays[name] = arrays[name][np.array(epochs) - 1]
    return arrays | {"epochs": np.array(epochs), "logits": np.stack(logits.kept), "labels": y_held}


def first_steps(data: dict[str, np.ndarray], name: str, seed: int) -> list[float]:
    """Return the validation loss before any step of training, and after each of the first 16."""
    recipe = RUNS.get(name, Recipe())
    x, y = data["x_train"], data["y_train"]
    if recipe.averaged:
        x = x.mean((1, 2))
    if recipe.divided_by != 1:
        x = x / recipe.divided_by
    fit, held = train_test_split(np.arange(len(y)), test_size=0.2, stratify=y, random_state=seed)
    keras.utils.set_random_seed(seed)
    model = head(x.shape[1:], recipe)
    if name == "SGD":  # the same rate, but steps as small as the gradients are
        model.compile(keras.optimizers.SGD(1e-3), loss="sparse_categorical_crossentropy")
    order = np.random.default_rng(seed).permutation(fit)
    losses = []
    for start in range(0, len(order), recipe.batch_size):
        logits = Logits(x[held])
        logits.set_model(model)
        logits.on_epoch_end(0)
        losses.append(loss_of(logits.kept[0], y[held]))
        rows = order[start : start + recipe.batch_size]
        model.train_on_batch(x[rows], y[rows])
    return losses


def loss_of(logits: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean cross-entropy of logits, (..., N, classes)."""
    shifted = logits.astype("float64") - logits.max(-1, keepdims=True)
    true = np.take_along_axis(shifted, labels[:, np.newaxis], -1)[:, 0]
    return float((np.log(np.exp(shifted).sum(-1)) - true).mean())


def cooled(logits: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Return a temperature, and the loss of logits / temperature.

    One half of the rows chooses the temperature and the other half is judged; then they change
    places. Returned are the geometric mean of the temperatures, and the mean of the losses.
    """
    first, second = halved(labels)
    temperatures = np.geomspace(0.1, 1000, 161)
    chosen, losses = [], []
    for choosing, judged in ((first, second), (second, first)):
        tried = [loss_of(logits[choosing] / t, labels[choosing]) for t in temperatures]
        chosen.append(temperatures[np.argmin(tried)])
        losses.append(loss_of(logits[judged] / chosen[-1], labels[judged]))
    return float(np.exp(np.mean(np.log(chosen)))), float(np.mean(losses))


def summary(run: dict[str, np.ndarray]) -> dict[str, Any]:
    """Say of a run what is so at the epoch of the least validation loss, at 20, and at the last.

    `wrong_…`: how many validation drawings are classified wrongly, `same_…`: and are so at the last
    epoch, too. `sure_…`: the mean probability of the predicted class on the wrong ones, `cost_…`:
    their mean loss. `stopped_…`: one half of the validation drawings chooses an epoch, the other
    half is judged there; then they change places, and the mean is taken.
    """
    logits, labels, epochs = run["logits"].astype("float64"), run["labels"], run["epochs"].tolist()
    losses = [loss_of(each, labels) for each in logits]
    wrong = logits.argmax(-1) != labels
    probabilities = np.exp(logits - logits.max(-1, keepdims=True))
    probabilities /= probabilities.sum(-1, keepdims=True)
    sure = probabilities.max(-1)
    said: dict[str, Any] = {}
    for when, place in (("least", int(np.argmin(losses))), ("20", epochs.index(20)), ("last", -1)):
        there = wrong[place]
        said |= {
            f"epoch_{when}": epochs[place],
            f"loss_{when}": losses[place],
            f"wrong_{when}": int(there.sum()),
            f"same_{when}": int((there & wrong[-1]).sum()),
            f"sure_{when}": sure[place][there].mean(),
            f"cost_{when}": loss_of(logits[place][there], labels[there]),
        }
    first, second = halved(labels)
    stopped, right = [], []
    for choosing, judged in ((first, second), (second, first)):
        place = int(np.argmin([loss_of(each[choosing], labels[choosing]) for each in logits]))
        stopped.append(loss_of(logits[place, judged], labels[judged]))
        right.append(1 - wrong[place, judged].mean())
    return said | {"stopped_loss": np.mean(stopped), "stopped_accuracy": np.mean(right)}


def halved(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return two halves of the rows, each with every other row of each class."""
    place = np.zeros(len(labels), int)
    for label in np.unique(labels):
        place[labels == label] = np.arange((labels == label).sum())
    return np.flatnonzero(place % 2 == 0), np.flatnonzero(place % 2 == 1)


def write() -> None:
    """Write the four files from the runs that are kept."""
    histories: list[dict[str, Any]] = []
    runs: list[dict[str, Any]] = []
    logits: list[dict[str, Any]] = []
    measures = "loss", "accuracy", "val_loss", "val_accuracy"
    classes = sorted(path.name for path in (FOLDER / "train").iterdir())
    for network in NETWORKS:
        for name in RUNS:
            for seed in range(SEEDS):
                path = kept_at(network, name, seed)
                if not path.is_file():
                    continue
                with np.load(path) as file:
                    run = dict(file)
                key = {"network": network, "run": name, "seed": seed}
                said = summary(run)
                runs.append(key | {k: _short(value) for k, value in said.items()})
                ends = said["epoch_least"], said["epoch_last"]
                for place, epoch in enumerate(run["epochs"].tolist()):
                    step = 1 if epoch <= 10 else 5 if epoch <= 60 else 10 if epoch <= 100 else 50
                    if epoch % step == 0 or epoch in ends:
                        row = {m: _short(run[m][place]) for m in measures}
                        temperature, loss = cooled(run["logits"][place], run["labels"])
                        row |= {"temperature": _short(temperature), "cooled_loss": _short(loss)}
                        histories.append(key | {"epoch": epoch} | row)
                if name in ("recipe", "sound head"):
                    for epoch in ends:
                        there = run["logits"][run["epochs"].tolist().index(epoch)].tolist()
                        for label, values in zip(run["labels"].tolist(), there, strict=True):
                            named = {c: f"{v:.2f}" for c, v in zip(classes, values, strict=True)}
                            logits.append(key | {"epoch": epoch, "label": label} | named)
    first: list[dict[str, Any]] = []
    for network, name, seed in itertools.product(NETWORKS, FIRST, range(SEEDS)):
        path = kept_at(network, name, seed, "first")
        if path.is_file():
            with np.load(path) as file:
                for step, loss in enumerate(file["losses"].tolist()):
                    key = {"network": network, "change": name, "seed": seed}
                    first.append(key | {"step": step, "loss": _short(loss)})
    for name, rows in (
        ("riddle", histories), ("riddle_runs", runs), ("riddle_logits", logits),
        ("riddle_first", first),
    ):  # fmt: skip
        if not rows:
            continue
        with (FOLDER.parent / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


def _short(value: Any) -> str:
    return str(value) if isinstance(value, int | np.integer) else f"{value:.4g}"


def kept_at(network: str, name: str, seed: int, kind: str = "run") -> Path:
    """Return where a run is kept; `kind` is "run", or "first" for the first steps."""
    return KEPT / f"{kind} {network} {name.replace('/', 'by')} {seed}.npz"


def main() -> None:
    """Train what isn't kept yet, and write the four files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", choices=NETWORKS, help="no other")
    parser.add_argument("--run", choices=[*RUNS, "first"], help="no other")
    parser.add_argument("--mobilenet", type=Path, metavar="FILE")
    parser.add_argument("--list", action="store_true", help="train nothing")
    options = parser.parse_args()
    KEPT.mkdir(parents=True, exist_ok=True)
    for network in [options.network] if options.network else NETWORKS:
        for name in [options.run] if options.run else [*RUNS, "first"]:
            changes = FIRST if name == "first" else [name]
            for change, seed in itertools.product(changes, range(SEEDS)):
                kind = "first" if name == "first" else "run"
                path = kept_at(network, change, seed, kind)
                if options.list or path.is_file():
                    print("kept" if path.is_file() else "to do", path.stem, flush=True)
                    continue
                started = time.perf_counter()
                recipe = RUNS.get(change, Recipe())
                data = extracted(network, recipe, options.mobilenet)
                if name == "first":
                    found = {"losses": np.array(first_steps(data, change, seed))}
                else:
                    found = train(data, recipe, seed)
                part = path.with_suffix(".part.npz")
                np.savez(part, **found)  # type: ignore[arg-type]
                part.replace(path)
                keras.backend.clear_session()
                print(f"{path.stem}, {time.perf_counter() - started:.0f} s", flush=True)
    write()


if __name__ == "__main__":
    main()
