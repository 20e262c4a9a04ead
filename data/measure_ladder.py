"""Measure how far four ways of learning get on data/five_classes, and prints a Markdown table.

    python data/measure_ladder.py              # three seeds, under ten minutes
    python data/measure_ladder.py --seeds 1    # about three minutes

A seed decides which tenth of the training pictures is held out, how the weights start and the
order of the rows. Held-out pictures decide when to stop; test pictures decide nothing and are
looked at once, at the end of each rung.
"""

import argparse
import csv
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from tqdm import tqdm

from helpers.applications.efficientnet_lite import EfficientNetLite0, preprocess_input
from helpers.backend import keras

Rows = tuple[np.ndarray, np.ndarray]  # inputs and labels
FOLDER = Path(__file__).parent / "five_classes"
CLASSES = 5
CUT = "block5c_add"  # what is above, block6a to top_activation, is trained; what is below, never
VARIANTS = 4  # varied copies of each training picture, made before the frozen part runs
PIXELS, CNN_PIXELS = 32, 64
EPOCHS = {"cnn": 30, "head": 200, "tuned": 12}
RUNGS = {
    "logistic regression on 32 x 32 pixels": "at most 45 %",
    "small CNN from scratch, 30 epochs": "at most 60 %",
    "linear head on frozen EfficientNet-Lite0": "80 to 93 %",
    "EfficientNet-Lite0, blocks 6 and 7 fine-tuned": "at least 96 %",
}


@dataclass(frozen=True)
class Pictures:
    """Pictures, (N, 224, 224, 3) uint8, and their labels, (N,), in the order of the class names."""

    pixels: np.ndarray
    labels: np.ndarray

    def shrunk(self, size: int) -> np.ndarray:
        """Return them as (N, size, size, 3) in 0..1."""
        images = (
            Image.fromarray(p).resize((size, size), Image.Resampling.BOX) for p in self.pixels
        )
        return np.stack([np.asarray(image) for image in images]).astype("float32") / 255

    def varied(self, rng: np.random.Generator) -> np.ndarray:
        """Return copies cropped, mirrored and with red, green and blue exchanged.

        Colour says nothing about the class here (see data/README.md), so exchanging it is fair.
        """
        copies = []
        for picture in self.pixels:
            side = int(len(picture) * rng.uniform(0.75, 1))
            top, left = rng.integers(0, len(picture) - side + 1, 2)
            copy = picture[top : top + side, left : left + side, rng.permutation(3)]
            copy = np.ascontiguousarray(copy[:, :: rng.choice([-1, 1])])
            copies.append(np.asarray(Image.fromarray(copy).resize(picture.shape[:2])))
        return np.stack(copies)


def load(folder: Path) -> Pictures:
    """Return the pictures of a folder with one folder per class."""
    paths = sorted(folder.glob("*/*.jpg"))
    nouns = sorted({path.parent.name for path in paths})
    pixels = np.stack([np.asarray(Image.open(path)) for path in paths])
    return Pictures(pixels, np.array([nouns.index(path.parent.name) for path in paths]))


def score(guesses: np.ndarray, labels: np.ndarray) -> float:
    """Return the share of right guesses in per cent; guesses are labels or probabilities."""
    guesses = guesses.argmax(-1) if guesses.ndim == 2 else guesses
    return 100 * float((guesses == labels).mean())


def compiled(model: keras.Model, rate: Any) -> keras.Model:
    """Return the model, ready to be trained by Adam."""
    model.compile(keras.optimizers.Adam(rate), loss="sparse_categorical_crossentropy")
    return model


def until_best(model: keras.Model, rows: Rows, held_out: Rows, epochs: int, patience: int) -> None:
    """Train until the held-out loss has not fallen for `patience` epochs; keeps the best."""
    stop = keras.callbacks.EarlyStopping(patience=patience, restore_best_weights=True)
    model.fit(*rows, 32, epochs, verbose=0, validation_data=held_out, callbacks=[stop])


def small_cnn() -> keras.Model:
    """Return four convolutions with pooling and a dense layer, 98 000 weights."""
    layers = keras.layers
    model = keras.Sequential([keras.Input((CNN_PIXELS, CNN_PIXELS, 3))])
    for filters in (16, 32, 64, 128):
        model.add(layers.Conv2D(filters, 3, padding="same", activation="relu"))
        model.add(layers.MaxPooling2D())
    model.add(layers.GlobalAveragePooling2D())
    model.add(layers.Dropout(0.3))
    model.add(layers.Dense(CLASSES, activation="softmax"))
    return model


def linear_head(features: int) -> keras.Model:
    """Return one dense layer with a softmax."""
    dense = keras.layers.Dense(CLASSES, activation="softmax")
    return keras.Sequential([keras.Input((features,)), dense])


def fine_tuned(upper: keras.Model, maps: np.ndarray, labels: np.ndarray, seed: int) -> keras.Model:
    """Return `upper` with a new head, trained on cached maps, (1 + VARIANTS, N, h, w, channels).

    Every epoch meets each picture in one of its variants. The number of epochs is fixed and the
    rate falls along a cosine, so there is nothing to choose.
    """
    inputs = keras.Input(maps.shape[2:])
    # training=False: BatchNorm goes on using the averages it has from ImageNet.
    outputs = keras.layers.GlobalAveragePooling2D()(upper(inputs, training=False))
    outputs = keras.layers.Dropout(0.3)(outputs)
    model = keras.Model(inputs, keras.layers.Dense(CLASSES, activation="softmax")(outputs))
    steps = EPOCHS["tuned"] * -(-len(labels) // 32)
    compiled(model, keras.optimizers.schedules.CosineDecay(1e-3, steps))
    rng, rows = np.random.default_rng(seed), np.arange(len(labels))
    for _ in range(EPOCHS["tuned"]):
        variant = rng.integers(0, len(maps), len(labels))
        model.fit(maps[variant, rows], labels, 32, verbose=0)
    return model


def measure(folder: Path, seeds: int) -> dict[str, list[float]]:
    """Return the test accuracies of every rung, one per seed, in per cent."""
    pictures, test = load(folder / "train"), load(folder / "test")
    network = EfficientNetLite0(include_top=False, weights="imagenet")
    lower = keras.Model(network.input, network.get_layer(CUT).output)
    upper = keras.Model(network.get_layer(CUT).output, network.output)
    pretrained = upper.get_weights()

    bar = tqdm(total=2 + VARIANTS + len(RUNGS) * seeds, unit="step")
    rng = np.random.default_rng(0)
    test_maps = _cached(lower, test.pixels, bar)
    variants = [pictures.pixels, *(pictures.varied(rng) for _ in range(VARIANTS))]
    maps = np.stack([_cached(lower, pixels, bar) for pixels in variants])
    features, test_features = (
        upper.predict(rows, verbose=0).mean((1, 2)) for rows in (maps[0], test_maps)
    )
    small, test_small = (p.shrunk(PIXELS).reshape(len(p.labels), -1) for p in (pictures, test))
    medium, test_medium = pictures.shrunk(CNN_PIXELS), test.shrunk(CNN_PIXELS)

    results: dict[str, list[float]] = {rung: [] for rung in RUNGS}
    for seed in range(seeds):
        keras.utils.set_random_seed(seed)
        train, held = train_test_split(
            np.arange(len(pictures.labels)),
            test_size=0.1,
            stratify=pictures.labels,
            random_state=seed,
        )
        y, held_y = pictures.labels[train], pictures.labels[held]

        def note(rung: int, guesses: np.ndarray) -> None:
            name = list(RUNGS)[rung]
            results[name].append(score(guesses, test.labels))
            bar.write(f"seed {seed}: {name}: {results[name][-1]:.0f} %")  # noqa: B023 - called at once
            bar.update()

        logistic = LogisticRegression(C=0.01, max_iter=2000).fit(small[train], y)
        note(0, logistic.predict(test_small))

        cnn = compiled(small_cnn(), 1e-3)
        until_best(cnn, (medium[train], y), (medium[held], held_y), EPOCHS["cnn"], EPOCHS["cnn"])
        note(1, cnn.predict(test_medium, verbose=0))

        head = compiled(linear_head(features.shape[1]), 1e-3)
        until_best(head, (features[train], y), (features[held], held_y), EPOCHS["head"], 10)
        note(2, head.predict(test_features, verbose=0))

        upper.set_weights(pretrained)
        tuned = fine_tuned(upper, maps[:, train], y, seed)
        note(3, tuned.predict(test_maps, verbose=0))
    bar.close()
    return results


def _cached(lower: keras.Model, pixels: np.ndarray, bar: tqdm) -> np.ndarray:
    maps = lower.predict(preprocess_input(pixels), batch_size=32, verbose=0)
    bar.update()
    return maps


def write(results: dict[str, list[float]], path: Path) -> None:
    """Keep the figures for the notebooks: per cent of the test pictures, mean and extremes."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["rung", "mean", "lowest", "highest"])
        for rung, scores in results.items():
            writer.writerow(
                [rung, f"{np.mean(scores):.1f}", f"{min(scores):.0f}", f"{max(scores):.0f}"]
            )


def main() -> None:
    """Print the table, and writes it to ladder.csv."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    started = time.perf_counter()
    results = measure(options.folder, options.seeds)
    print(f"\n| test accuracy, {options.seeds} seeds | mean | min-max | meant to be |")
    print("|---|---|---|---|")
    for rung, scores in results.items():
        spread = f"{min(scores):.0f}-{max(scores):.0f} %"
        print(f"| {rung} | {np.mean(scores):.1f} % | {spread} | {RUNGS[rung]} |")
    print(f"\n{time.perf_counter() - started:.0f} seconds")
    if options.folder == FOLDER:
        write(results, FOLDER.parent / "ladder.csv")


if __name__ == "__main__":
    main()
