"""Measure what ImageNet's weights are worth on a few of the course's drawings.

    python data/measure_few_drawings.py    # about three minutes on two quiet cores

Writes few_drawings.csv, for lesson 01: the accuracy on the 100 test drawings of a linear head that
is trained on 5, 10, 20 or 50 drawings of each class. It reads what one frozen network puts out,
EfficientNet-Lite0, with ImageNet's weights or with random ones (three initialisations), or else
the pixels, reduced to 32 x 32. Five seeds decide which drawings are drawn; they are the same for
all. The head's penalty is chosen by leave-one-out on the training drawings. Features are kept in
build/few_drawings.npz; delete it to compute them anew.
"""

import csv
import warnings
from pathlib import Path

import numpy as np
from calibration import calibrate_batch_norm
from scipy.linalg import LinAlgWarning
from sklearn.linear_model import RidgeClassifierCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from helpers import datasets
from helpers.applications.efficientnet_lite import EfficientNetLite0, preprocess_input
from helpers.backend import keras

HERE = Path(__file__).parent
FILE = HERE / "few_drawings.csv"
CACHE = HERE.parent / "build" / "few_drawings.npz"
SIZES, SEEDS, NETWORKS = (5, 10, 20, 50), range(5), range(3)
PENALTIES = np.logspace(-1, 5, 7)


def load(split: str) -> tuple[np.ndarray, np.ndarray]:
    """Return pictures, (N, 224, 224, 3), and labels."""
    batches = keras.utils.image_dataset_from_directory(
        datasets.five_classes(split), image_size=(224, 224), shuffle=False, verbose=False
    )
    pairs = [(images.numpy(), labels.numpy()) for images, labels in batches]
    return np.concatenate([p for p, _ in pairs]), np.concatenate([q for _, q in pairs])


def network(seed: int | None, pictures: np.ndarray) -> keras.Model:
    """Return the network without its top: ImageNet's weights, or random ones if there's a seed.

    A new network's BatchNorm averages are 0 and 1, with which the signal dies out on its way up. So
    they are taken from a hundred training pictures.
    """
    weights = "imagenet" if seed is None else None
    keras.utils.set_random_seed(seed or 0)
    base = EfficientNetLite0(
        weights=weights, include_top=False, pooling="avg", input_shape=(224, 224, 3)
    )
    if seed is not None:
        rows = np.random.default_rng(seed).choice(len(pictures), 100, replace=False)
        calibrate_batch_norm(base, preprocess_input(pictures[rows]))
    return base


def all_features() -> dict[str, np.ndarray]:
    """Return labels, and vectors of training and test pictures, by what they were made with."""
    if not CACHE.exists():
        train, labels = load("train")
        test, test_labels = load("test")
        found = {"labels": labels, "test_labels": test_labels}
        shrink = keras.layers.Resizing(32, 32)
        found["pixels"] = np.array(shrink(train)).reshape(len(train), -1) / 255
        found["pixels, test"] = np.array(shrink(test)).reshape(len(test), -1) / 255
        for seed in (None, *NETWORKS):
            name = "ImageNet weights" if seed is None else f"random weights {seed}"
            base = network(seed, train)
            found[name] = base.predict(preprocess_input(train), verbose=0)
            found[f"{name}, test"] = base.predict(preprocess_input(test), verbose=0)
        CACHE.parent.mkdir(exist_ok=True)
        np.savez(CACHE, **found)  # type: ignore[arg-type]
    with np.load(CACHE) as stored:
        return dict(stored)


def main() -> None:
    """Measure all and write the file."""
    warnings.filterwarnings("ignore", category=LinAlgWarning)
    found = all_features()
    labels, test_labels = found["labels"], found["test_labels"]
    sources = [("ImageNet weights", 0), *(("random weights", n) for n in NETWORKS), ("pixels", 0)]
    with FILE.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["head reads", "network", "examples", "seed", "accuracy"])
        for source, number in sources:
            name = f"{source} {number}" if source == "random weights" else source
            for size in SIZES:
                for seed in SEEDS:
                    rng = np.random.default_rng(seed)
                    rows = np.concatenate(
                        [rng.choice(np.flatnonzero(labels == c), size, False) for c in range(5)]
                    )
                    head = make_pipeline(StandardScaler(), RidgeClassifierCV(PENALTIES))
                    head.fit(found[name][rows], labels[rows])
                    score = head.score(found[f"{name}, test"], test_labels)
                    writer.writerow([source, number, size, seed, f"{score:.2f}"])


if __name__ == "__main__":
    main()
