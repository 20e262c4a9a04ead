"""Measure what fine-tuning gains on data/five_classes, and what goes wrong when it's done wrongly.

    python data/measure_finetuning.py              # three seeds, an hour and a half on two cores
    python data/measure_finetuning.py --seeds 1

Each run that ends is appended to data/finetuning.csv, and a run that is in it isn't repeated, so
the script can be stopped at any time. Columns: the run, its seed, the epoch (from 1), loss and
accuracy of training and validation; `kept` is 1 in the epoch whose weights are kept, the one with
the least validation loss; in this epoch and in the last there is accuracy and loss on the test
pictures, which decide nothing.

A seed decides which fifth of the training pictures validates, how new weights start, the order of
the pictures and their augmentation. The recipe is lesson 06's, at 224 pixels. What is frozen gives
the same output for the same picture. So `EPOCHS` epochs of augmented pictures are sent once
through the blocks below the line, and all runs of a seed train on what comes out: the blocks above
the line, or the head alone, see what they'd see in the lesson's whole model. Phase 1, which takes
more epochs than that, begins again with the first after the last.
"""

import argparse
import csv
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from calibration import calibrate_batch_norm

from helpers import engine, finetune
from helpers.applications.efficientnet_lite import EfficientNetLite0, preprocess_input
from helpers.backend import keras

layers = keras.layers

HERE = Path(__file__).parent
TABLE = HERE / "finetuning.csv"
CACHE = HERE.parent / "build" / "finetuning"
COLUMNS = [
    "run", "seed", "epoch", "loss", "accuracy", "val_loss", "val_accuracy", "kept",
    "test_loss", "test_accuracy",
]  # fmt: skip
SIZE = (224, 224)
LINE = "block6a"  # fine-tuning trains what is above: blocks 6 and 7, and the last convolution
HEAD_RATE, RATE = 3e-3, 3e-4
EPOCHS = 12
PATIENCE = 4

Rows = tuple[np.ndarray, np.ndarray]  # inputs and labels
Epochs = list[dict[str, Any]]  # a row of the table for each


class Data:
    """What the frozen blocks put out, (N, ...): each epoch's augmented pictures, and the rest."""

    def __init__(self, train: np.ndarray, rest: dict[str, np.ndarray], labels: Any) -> None:
        self.train, self.rest, self.labels = train, rest, labels

    def epoch(self, number: int, augmented: bool = True) -> Rows:
        """Return the training pictures as an epoch sees them."""
        rows = self.train[number % EPOCHS] if augmented else self.rest["plain"]
        return rows, self.labels["plain"]

    def part(self, name: str) -> Rows:
        """Return what isn't augmented."""
        return self.rest[name], self.labels[name]

    def through(self, model: keras.Model) -> "Data":
        """Return what a further model makes of it."""
        run = engine.choose(model, "auto", self.rest["test"][:8]).run
        train = np.stack([_in_batches(run, rows) for rows in self.train])
        return Data(train, {k: _in_batches(run, v) for k, v in self.rest.items()}, self.labels)


def _in_batches(run: Callable[[np.ndarray], np.ndarray], rows: np.ndarray) -> np.ndarray:
    return np.concatenate([run(rows[i : i + 32]) for i in range(0, len(rows), 32)])


def training_pictures(seed: int, batch_size: int) -> Any:
    """Return the data sets to train on and to validate."""
    return keras.utils.image_dataset_from_directory(
        HERE / "five_classes" / "train",
        validation_split=0.2,
        subset="both",
        seed=seed,
        image_size=SIZE,
        batch_size=batch_size,
        verbose=False,
    )


def through_frozen(seed: int, frozen: keras.Model) -> Data:
    """Return what the frozen blocks make of the pictures, augmented for each epoch or not."""
    keras.utils.set_random_seed(seed)
    train, validation = training_pictures(seed, batch_size=32)
    test = keras.utils.image_dataset_from_directory(
        HERE / "five_classes" / "test", shuffle=False, image_size=SIZE, verbose=False
    )
    pixels, labels = {}, {}
    for name, dataset in {"plain": train, "validation": validation, "test": test}.items():
        batches = [(images.numpy(), wanted.numpy()) for images, wanted in dataset]
        pixels[name] = np.concatenate([images for images, _ in batches])
        labels[name] = np.concatenate([wanted for _, wanted in batches])
    augment = keras.Sequential(
        [layers.RandomFlip("horizontal"), layers.RandomRotation(0.05), layers.RandomZoom(0.2)]
    )
    run = engine.choose(frozen, "auto", preprocess_input(pixels["test"][:8])).run

    def plainly(rows: np.ndarray) -> np.ndarray:
        return run(preprocess_input(rows))

    def augmented(rows: np.ndarray) -> np.ndarray:
        return plainly(augment(rows, training=True).numpy())

    epochs = [_in_batches(augmented, pixels["plain"]) for _ in range(EPOCHS)]
    rest = {name: _in_batches(plainly, rows) for name, rows in pixels.items()}
    return Data(np.stack(epochs), rest, labels)


def network(weights: str | None, seed: int) -> keras.Model:
    """Return the network without its top; with random weights if `weights` is None.

    A frozen BatchNorm layer uses its averages. Those of a new network are 0 and 1, with which the
    signal dies out on its way up, so here they're taken from a hundred training pictures.
    """
    keras.utils.set_random_seed(100 + seed)
    base = EfficientNetLite0(include_top=False, weights=weights, input_shape=(*SIZE, 3))
    if weights is None:
        batch, _ = next(iter(training_pictures(seed, batch_size=100)[0]))
        calibrate_batch_norm(base, preprocess_input(batch))
    return base


def below(base: keras.Model, line: str) -> keras.Model:
    """Return the blocks below a line."""
    return keras.Model(base.input, base.layers[dict(finetune.blocks(base))[line] - 1].output)


def maps_of(seed: int, weights: str | None) -> Data:
    """Return what the blocks below the line put out, from the disk if it was computed before."""
    file = CACHE / f"maps_{weights}_{seed}.npz"
    if not file.exists():
        data = through_frozen(seed, below(network(weights, seed), LINE))
        CACHE.mkdir(parents=True, exist_ok=True)
        labels = {f"labels_{name}": rows for name, rows in data.labels.items()}
        part = file.with_suffix(".part.npz")
        np.savez(part, train=data.train, **data.rest, **labels)  # type: ignore[arg-type]
        part.rename(file)
    with np.load(file) as stored:
        names = "plain", "validation", "test"
        labels = {name: stored[f"labels_{name}"] for name in names}
        return Data(stored["train"], {name: stored[name] for name in names}, labels)


class Seed:
    """The network and the data of one seed."""

    def __init__(self, seed: int, weights: str | None = "imagenet") -> None:
        keras.backend.clear_session()
        self.seed = seed
        self.base = network(weights, seed)
        self.data = maps_of(seed, weights)
        self.seam = below(self.base, LINE).output
        self.head_file = CACHE / f"head_{weights}_{seed}.npz"
        keras.utils.set_random_seed(seed)

    def features(self) -> Data:
        """Return what the whole frozen base puts out, averaged over positions."""
        pooled = layers.GlobalAveragePooling2D()(self.base.output)
        return self.data.through(keras.Model(self.seam, pooled))

    def head(self) -> keras.Sequential:
        """Return a new head for features."""
        return keras.Sequential(
            [keras.Input((1280,)), layers.Dropout(0.2), layers.Dense(5, activation="softmax")]
        )

    def trained_head(self) -> keras.Sequential:
        """Return the head as phase 1 left it."""
        head = self.head()
        with np.load(self.head_file) as stored:
            head.set_weights([stored["kernel"], stored["bias"]])
        return head

    def upper(self, head: keras.Sequential) -> keras.Model:
        """Return the blocks above the line with a head on them."""
        pooled = layers.GlobalAveragePooling2D()(self.base.output)
        return keras.Model(self.seam, head(pooled))


def warmed_up(rate: float, steps: int) -> Any:
    """Return a rate that rises for one epoch and falls along a cosine to zero."""
    return keras.optimizers.schedules.CosineDecay(
        0.0, steps * (EPOCHS - 1), warmup_target=rate, warmup_steps=steps
    )


def compiled(model: keras.Model, rate: Any) -> keras.Model:
    """Compile the model with Adam, at a rate or on a schedule."""
    optimizer = keras.optimizers.Adam(rate)
    model.compile(optimizer, loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def fitted(
    model: keras.Model,
    data: Data,
    epochs: int = EPOCHS,
    patience: int | None = None,
    augmented: bool = True,
    batch_size: int = 32,
) -> Epochs:
    """Train, leave the weights of the best epoch in the model, and return a row for each epoch."""
    rows: Epochs = []
    best, kept, weights = np.inf, 0, model.get_weights()
    for epoch in range(epochs):
        history = model.fit(
            *data.epoch(epoch, augmented),
            validation_data=data.part("validation"),
            batch_size=batch_size,
            verbose=0,
        ).history
        rows.append({"epoch": epoch + 1, **{name: values[0] for name, values in history.items()}})
        if rows[-1]["val_loss"] < best:
            best, kept, weights = rows[-1]["val_loss"], epoch, model.get_weights()
        elif patience and epoch - kept >= patience:
            break
    rows[-1] |= _tested(model, data)
    model.set_weights(weights)
    rows[kept] |= _tested(model, data)
    return [row | {"kept": int(number == kept)} for number, row in enumerate(rows)]


def _tested(model: keras.Model, data: Data) -> dict[str, float]:
    scores = model.evaluate(*data.part("test"), verbose=0, return_dict=True)
    return {"test_loss": scores["loss"], "test_accuracy": scores["accuracy"]}


# Phase 1, phase 2, and the controls


def run_head(seed: Seed, augmented: bool = True) -> Epochs:
    """Train the head until the validation loss hasn't fallen for some epochs."""
    head = compiled(seed.head(), HEAD_RATE)
    rows = fitted(head, seed.features(), 60, PATIENCE, augmented)
    if augmented:
        np.savez(seed.head_file, kernel=head.get_weights()[0], bias=head.get_weights()[1])
    return rows


def run_control(seed: Seed, rate: float | None = None) -> Epochs:
    """Train the head alone for as many epochs as fine-tuning takes, at its rates or at another."""
    head = compiled(seed.trained_head(), rate or warmed_up(RATE, 13))
    return fitted(head, seed.features())


def run_tuned(
    seed: Seed,
    rate: float = RATE,
    batch_norm: bool = False,
    new_head: bool = False,
    augmented: bool = True,
    batch_size: int = 32,
    forget_compile: bool = False,
) -> Epochs:
    """Fine-tune the blocks above the line, as the lesson does or with one thing changed."""
    data, base = seed.data, seed.base
    head = seed.head() if new_head else seed.trained_head()
    model = seed.upper(head)
    steps = -(-len(data.labels["plain"]) // batch_size)
    base.trainable = False
    if forget_compile:  # phase 1 ends with this compile and an epoch; then blocks are unfrozen
        compiled(model, HEAD_RATE).fit(*data.epoch(0), batch_size=batch_size, verbose=0)
    first = finetune.freeze_below(base, LINE)
    for layer in base.layers[first:]:
        if isinstance(layer, layers.BatchNormalization):
            layer.trainable = batch_norm
    if not forget_compile:
        compiled(model, warmed_up(rate, steps))
    return fitted(model, data, augmented=augmented, batch_size=batch_size)


Run = Callable[[Seed], Epochs]
RUNS: list[dict[str, Run]] = [
    {
        "head": run_head,
        "fine-tuned": run_tuned,
        "head, 12 epochs more, low rate": run_control,
        "head, 12 epochs more": lambda seed: run_control(seed, HEAD_RATE),
    },
    {
        "new head": lambda seed: run_tuned(seed, new_head=True),
        "not compiled": lambda seed: run_tuned(seed, forget_compile=True),
        "rate 3e-02": lambda seed: run_tuned(seed, rate=3e-2),
        "head, not augmented": lambda seed: run_head(seed, augmented=False),
        "fine-tuned, not augmented": lambda seed: run_tuned(seed, augmented=False),
    },
    {
        "batches of 8, BatchNorm trained": lambda seed: run_tuned(
            seed, batch_size=8, batch_norm=True
        ),
        "batches of 8": lambda seed: run_tuned(seed, batch_size=8),
    },
    {
        "head, random weights": run_head,
        "fine-tuned, random weights": run_tuned,
    },
    {
        "rate 3e-03": lambda seed: run_tuned(seed, rate=3e-3),
        "rate 3e-05": lambda seed: run_tuned(seed, rate=3e-5),
        "new head, rate 3e-03": lambda seed: run_tuned(seed, rate=3e-3, new_head=True),
    },
]


def done() -> set[tuple[str, int]]:
    """Return the runs and seeds that the table holds."""
    if not TABLE.exists():
        return set()
    with TABLE.open(newline="", encoding="utf-8") as file:
        return {(row["run"], int(row["seed"])) for row in csv.DictReader(file)}


def append(name: str, seed: int, rows: Epochs) -> None:
    """Append a finished run to the table."""
    new = not TABLE.exists()
    with TABLE.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        if new:
            writer.writeheader()
        for row in rows:
            written = {k: f"{v:.4g}" if isinstance(v, float) else v for k, v in row.items()}
            writer.writerow({"run": name, "seed": seed, **written})


def main() -> None:
    """Make the runs that are missing."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    seeds = parser.parse_args().seeds
    for runs in RUNS:
        for seed in range(seeds):
            for name, run in runs.items():
                if (name, seed) in done():
                    continue
                started = time.perf_counter()
                pretrained = Seed(seed, None if "random weights" in name else "imagenet")
                rows = run(pretrained)
                append(name, seed, rows)
                kept = next(row for row in rows if row["kept"])
                print(
                    f"{name}, seed {seed}: epoch {kept['epoch']} of {len(rows)}, "
                    f"test {kept['test_accuracy']:.2f}, last {rows[-1]['test_accuracy']:.2f}, "
                    f"{time.perf_counter() - started:.0f} s",
                    flush=True,
                )


if __name__ == "__main__":
    main()
