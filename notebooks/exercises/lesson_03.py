"""The exercises of lesson 03."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from helpers import datasets, images
from helpers.checks import Exercise
from helpers.errors import PictureError


KINDS = ("nearest", "bilinear", "bicubic", "lanczos")


def judge_probability_of(probability_of: Callable[..., Any], decode_predictions: Callable[..., Any]) -> str | None:
    """Right: the sum over every class that has one of the labels, and over no other."""
    prediction = np.random.default_rng(0).dirichlet(np.full(1000, 0.2))
    rows = decode_predictions(prediction[np.newaxis], top=1000)[0]
    one, other = rows[0], rows[400]
    given = probability_of(prediction, {one[1], other[1]})
    if np.ndim(given) != 0:
        return f"Return one number. You returned {given!r}."
    if abs(given - one[2]) < 1e-9:
        return "You counted only the best of them. Add the probabilities of all labels, and look at all 1000 classes."
    if abs(given - one[2] - other[2]) > 1e-6:
        return f"For two labels of {one[2]:.4f} and {other[2]:.4f} you returned {given:.4f}."
    if abs(probability_of(prediction, {"pot"}) - _total(rows, {"pot"})) > 1e-6:
        return "For the label 'pot' you also counted teapots: compare whole labels, not parts."
    if abs(probability_of(prediction, {"crane"}) - _total(rows, {"crane"})) > 1e-6:
        return "Two classes are called 'crane'. Count both."
    return None


def _total(rows: list[tuple[str, str, float]], labels: set[str]) -> float:
    return sum(probability for wnid, label, probability in rows if label in labels)


q1 = Exercise(
    judge_probability_of,
    hint="The list `labels` from above is in the order of the 1000 numbers: zip(labels, prediction) pairs them.",
    solution="""
        def probability_of(prediction, wanted):
            total = 0
            for label, probability in zip(labels, prediction):
                if label in wanted:
                    total += probability
            return total
    """,
    right="For the coffee and {'espresso', 'cup', 'coffee_mug'} it's close to 1.",
    wrong={
        """
        def probability_of(prediction, wanted):
            rows = decode_predictions(prediction[np.newaxis], top=5)[0]
            return sum(p for wnid, label, p in rows if label in wanted)
        """: "all 1000",
        """
        def probability_of(prediction, wanted):
            rows = decode_predictions(prediction[np.newaxis], top=1000)[0]
            return max(p for wnid, label, p in rows if label in wanted)
        """: "Add the probabilities",
        """
        def probability_of(prediction, wanted):
            rows = decode_predictions(prediction[np.newaxis], top=1000)[0]
            return sum(p for wnid, label, p in rows if any(word in label for word in wanted))
        """: "teapots",
        """
        def probability_of(prediction, wanted):
            rows = decode_predictions(prediction[np.newaxis], top=1000)[0]
            found = {label: p for wnid, label, p in rows}
            return sum(found[label] for label in wanted)
        """: "Two classes",
    },
)


def judge_classify(
    classify: Callable[..., Any],
    model: Any,
    preprocess_input: Callable[..., Any],
    decode_predictions: Callable[..., Any],
) -> str | None:
    """Right: what the network says of cropped pictures, resized in any of the usual ways."""
    names = ("rocket", "coffee", "chelsea")
    paths = {name: datasets.photograph(name) for name in names}
    given = {name: classify(paths[name], 3) for name in names}
    if given["rocket"] is None:
        return "classify returned None. Does it end with return?"
    for rows in given.values():
        if not isinstance(rows, list | tuple) or any(np.size(row) != 2 for row in rows):
            return (
                "Return a list of pairs, (label, probability). decode_predictions gives rows of "
                "three, and for a whole batch: take its first element."
            )
    rows = list(given["rocket"])
    if len(rows) != 3 or len(classify(paths["rocket"], 1)) != 1:
        return f"`top` says how many labels to return. For top=3 there were {len(rows)}."
    if not isinstance(rows[0][0], str) or isinstance(rows[0][1], str):
        return f"{rows[0]!r}: the label comes first, as text, then its probability, as a number."
    if re.fullmatch(r"n\d{8}", rows[0][0]):
        return f"{rows[0][0]!r} is a WordNet id. The label comes after it."
    if sorted(rows, key=lambda row: -row[1]) != rows:
        return "Give the best label first."

    def best(image: Any, scale: Callable[..., Any]) -> tuple[str, float]:
        batch = np.asarray(image, "float32")[np.newaxis]
        found = decode_predictions(model.predict(scale(batch), verbose=0), top=1)[0][0]
        return found[1], found[2]

    def fits(load: Callable[..., Any], scale: Callable[..., Any]) -> bool:
        for name in names:
            label, probability = best(load(paths[name]), scale)
            if given[name][0][0] != label or abs(given[name][0][1] - probability) > 0.005:
                return False
        return True

    size = model.input_shape[1:3]
    cropped = [_loader(kind, size, True) for kind in KINDS]
    cropped += [_fitted(kind, size) for kind in KINDS]  # a box that may differ by half a pixel
    squeezed = [_loader(kind, size, False) for kind in KINDS]
    if any(fits(load, preprocess_input) for load in cropped):
        return None
    if any(fits(load, preprocess_input) for load in squeezed):
        return f"The rocket became a {rows[0][0]}: you've squeezed it. Keep the aspect ratio."
    if any(fits(load, lambda batch: batch / 255) for load in cropped + squeezed):
        return "You've divided by 255. This network wants its own preprocess_input instead."
    return (
        f"The rocket became a {rows[0][0]} with {rows[0][1]:.2f}, which isn't what the network "
        "says of the square in the middle. Is that what it gets, and is preprocess_input applied "
        "once?"
    )


def _loader(kind: str, size: tuple[int, int], crop: bool) -> Callable[..., Any]:
    def load(path: Path) -> Any:
        import keras

        return keras.utils.load_img(path, target_size=size, interpolation=kind, keep_aspect_ratio=crop)

    return load


def _fitted(kind: str, size: tuple[int, int]) -> Callable[..., Any]:
    resampling = Image.Resampling[kind.upper()]
    return lambda path: ImageOps.fit(Image.open(path).convert("RGB"), size, resampling)


q2 = Exercise(
    judge_classify,
    hint="Take the ten lines, add keep_aspect_ratio=True to load_img, and leave the wnid out at the end.",
    solution="""
        def classify(path, top=3):
            image = keras.utils.load_img(
                path,
                target_size=model.input_shape[1:3],
                interpolation="bilinear",
                keep_aspect_ratio=True,
            )
            batch = np.expand_dims(keras.utils.img_to_array(image), axis=0)
            predictions = model.predict(preprocess_input(batch), verbose=0)
            rows = decode_predictions(predictions, top=top)[0]
            return [(label, probability) for wnid, label, probability in rows]
    """,
    right="Copy it into your own notebook, with the imports of the first cell. "
    "For photographs from a phone, load with `read`, at the end of this lesson.",
    wrong={
        """
        def classify(path, top=3):
            return [row[1:] for row in top_labels(squeeze(path), top)]
        """: "squeezed",
        """
        def classify(path, top=3):
            batch = np.expand_dims(keras.utils.img_to_array(crop(path)), axis=0)
            return [row[1:] for row in decode_predictions(model.predict(batch, verbose=0), top)[0]]
        """: "preprocess_input",
        "def classify(path, top=3): return top_labels(crop(path), top)": "pairs",
        """
        def classify(path, top=3):
            return [(row[0], row[2]) for row in top_labels(crop(path), top)]
        """: "WordNet id",
        """
        def classify(path, top=3):
            batch = np.expand_dims(keras.utils.img_to_array(crop(path)), axis=0)
            rows = decode_predictions(model.predict(batch / 255, verbose=0), top)[0]
            return [row[1:] for row in rows]
        """: "divided by 255",
        """
        def classify(path, top=3):
            return [row[1:] for row in top_labels(crop(path), 5)]
        """: "how many",
        """
        def classify(path, top=3):
            return [row[1:] for row in reversed(top_labels(crop(path), top))]
        """: "best label first",
        """
        def classify(path, top=3):
            return [(row[2], row[1]) for row in top_labels(crop(path), top)]
        """: "comes first",
    },
)


def judge_fooled(
    my_picture: str | Path,
    what_it_is: Any,
    model: Any,
    preprocess_input: Callable[..., Any],
    decode_predictions: Callable[..., Any],
) -> str | None:
    """Right: a picture with a label above 0.5 that isn't what the learner says it shows."""
    if not isinstance(what_it_is, str):
        return "Say in what_it_is what the picture shows, for example 'moon'."
    try:
        picture = images.load(my_picture, size=model.input_shape[1])
    except PictureError as error:
        return str(error)
    predictions = model.predict(preprocess_input(picture[np.newaxis].astype("float32")), verbose=0)
    _wnid, label, probability = decode_predictions(predictions, top=1)[0][0]
    label = label.replace("_", " ").lower()
    print(f"The network says {label}, {probability:.2f}.")
    if probability <= 0.5:
        return "It isn't sure enough. Try a detail that fills the picture, or a plainer background."
    if what_it_is.strip().lower() in label:
        return f"But {label} is what the picture shows, so it isn't fooled."
    return None


q3 = Exercise(
    judge_fooled,
    hint="Cut a square out of a larger photograph with Pillow's crop, save it, and give its path.",
    solution="""
        eye = Image.open(datasets.photograph("retina"))
        my_picture = Path(tempfile.mkdtemp()) / "detail.png"
        eye.crop((197, 197, 1114, 1114)).save(my_picture)
        what_it_is = "the back of an eye"
    """,
    right="If the label names nothing in the picture, you've fooled it.",
    wrong={
        'my_picture, what_it_is = datasets.photograph("flower"), "dahlia"': "sure enough",
        'my_picture, what_it_is = datasets.photograph("coffee"), "espresso"': "isn't fooled",
        'my_picture, what_it_is = "no_such_file.jpg", "moon"': "no such file",
        'my_picture = datasets.photograph("moon")': "what_it_is",
    },
)
