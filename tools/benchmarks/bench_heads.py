"""Heads: early stopping, or the older recipe's 500 epochs.

The recipe is that of notebook 10: features of 150 x 150 pictures with pixels / 255, flattened, a
Dense layer of 256 with dropout, RMSprop, batches of 25. Of its 500 epochs 10 are run in each turn,
of one training, and its time is 50 times that of the turn; its loss is the one after the last turn,
which is lower than after 500 epochs, for it rises. `heads.train` runs whole in each turn, with
another seed; reading its files, its validation and its test count as its time.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path

import frame
import h5py
import numpy as np
from frame import Claim, Table

from helpers import bottlenecks, datasets, heads, images, zoo
from helpers.backend import keras

EPOCHS, RUN = 500, 10
OURS, SAME_FEATURES = "heads.train", "heads.train, on the recipe's features"
RECIPE = "the recipe, 500 epochs"


def recipe(features: tuple[int, ...]) -> keras.Model:
    keras.utils.set_random_seed(0)
    layers = keras.layers
    head = [layers.Dense(256, "relu"), layers.Dropout(0.5), layers.Dense(5, "softmax")]
    model = keras.Sequential([keras.Input(features), layers.Flatten(), *head])
    model.compile("rmsprop", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def measure(runs: int) -> list[Table]:
    averaged = zoo.load(include_top=False, pooling="avg")
    maps = zoo.load(include_top=False, input_size=150)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        arrays = {}
        for part in ("train", "test"):
            pictures = datasets.class_folders(datasets.five_classes(part))
            bottlenecks.extract(pictures.root, folder / f"{part}.h5", averaged, progress=False)
            bottlenecks.extract(pictures.root, folder / f"{part}_maps.h5", maps, progress=False)
            square = np.stack([images.crop(images.load(path), 150) for path in pictures.paths()])
            features = maps.model.predict(square / np.float32(255), verbose=0)
            arrays[part] = (features, pictures.labels)
            with h5py.File(folder / f"{part}_maps.h5", "r+") as file:
                file["features"][:] = features  # the recipe's own features, for the same head
        older = recipe(arrays["train"][0].shape[1:])
        losses: dict[str, list[float]] = {OURS: [], SAME_FEATURES: []}

        def head(name: str, suffix: str) -> Callable[[], float]:
            def once() -> None:
                train, test = (folder / f"{part}{suffix}.h5" for part in ("train", "test"))
                losses[name].append(heads.train(train, test, seed=len(losses[name])).loss)

            return frame.seconds(once)

        fit = frame.seconds(
            lambda: older.fit(*arrays["train"], batch_size=25, epochs=RUN, verbose=0)
        )
        contenders = {
            OURS: head(OURS, ""),
            SAME_FEATURES: head(SAME_FEATURES, "_maps"),
            RECIPE: lambda: fit() * EPOCHS / RUN,
        }
        values = frame.take_turns(contenders, runs, warm_up=0)
        recipe_loss = older.evaluate(*arrays["test"], verbose=0)[0]
    claims = []
    for name, found in losses.items():
        spent = frame.ratio(values, name, RECIPE)
        claims.append(Claim(f"{name}: part of the recipe's time", spent, most=0.1))
        claims.append(Claim(f"{name}: highest test loss", max(found), most=recipe_loss))
    title = "A head for five classes, 500 drawings"
    return [Table(title, "seconds", values, OURS, claims)]


if __name__ == "__main__":
    frame.main(measure)
