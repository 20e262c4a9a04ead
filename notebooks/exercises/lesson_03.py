"""The exercises of lesson 03."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from helpers import datasets, images
from helpers.checks import Exercise
from helpers.errors import PictureError


def judge_classify(
    classify: Callable[..., Any], load: Callable[..., Any], answer: Callable[..., Any]
) -> str | None:
    """Right: the labels of the cropped rocket, whatever resizing was chosen."""
    rocket = datasets.photograph("rocket")
    given = classify(rocket, 3)
    if not isinstance(given, list | tuple) or any(np.size(row) != 2 for row in given):
        return (
            "Return a list of pairs, (label, probability). decode_predictions gives rows of three, "
            "and for a whole batch: take its first element."
        )
    if len(given) != 3:
        return f"With top=3 you returned {len(given)} labels."
    label, probability = given[0]
    if re.fullmatch(r"n\d{8}", str(label)):
        return f"{label!r} is a WordNet id. The label comes after it."
    squeezed, cropped = answer(load(rocket, False))[0], answer(load(rocket, True))[0]
    if label == cropped[1] and abs(probability - cropped[2]) < 0.15:
        return None
    if label == squeezed[1]:
        return f"The rocket became a {label}: you've squeezed it. Keep the aspect ratio."
    return (
        f"The rocket became a {label}. The picture is all right, so look at what happens to its "
        "pixels before predict: is preprocess_input applied exactly once?"
    )


q1 = Exercise(
    judge_classify,
    hint="Take the ten lines, load with keep_aspect_ratio=True, and leave the wnid out at the end.",
    solution="""
        def classify(path, top=3):
            image = keras.utils.load_img(path, target_size=(224, 224), keep_aspect_ratio=True)
            batch = np.expand_dims(keras.utils.img_to_array(image), axis=0)
            predictions = model.predict(preprocess_input(batch), verbose=0)
            rows = decode_predictions(predictions, top=top)[0]
            return [(label, probability) for wnid, label, probability in rows]
    """,
    right="Copy it into your own notebook, with the imports of the first cell.",
    wrong={
        """
        def classify(path, top=3):
            return [row[1:] for row in answer(load(path, crop=False), top)]
        """: "squeezed",
        """
        def classify(path, top=3):
            batch = np.expand_dims(keras.utils.img_to_array(load(path, crop=True)), axis=0)
            return [row[1:] for row in decode_predictions(model.predict(batch, verbose=0), top)[0]]
        """: "preprocess_input",
        "def classify(path, top=3): return answer(load(path, crop=True), top)": "pairs",
        """
        def classify(path, top=3):
            return [(row[0], row[2]) for row in answer(load(path, crop=True), top)]
        """: "WordNet id",
        """
        def classify(path, top=3):
            return [row[1:] for row in answer(load(path, crop=True), 5)]
        """: "5 labels",
    },
)


def judge_probability_of(
    probability_of: Callable[..., Any], decode_predictions: Callable[..., Any]
) -> str | None:
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


q2 = Exercise(
    judge_probability_of,
    hint="decode_predictions(prediction[np.newaxis], top=1000)[0] has all the labels.",
    solution="""
        def probability_of(prediction, labels):
            total = 0
            rows = decode_predictions(prediction[np.newaxis], top=1000)[0]
            for wnid, label, probability in rows:
                if label in labels:
                    total += probability
            return total
    """,
    right="For the coffee and {'espresso', 'cup', 'coffee_mug'} it's close to 1.",
    wrong={
        """
        def probability_of(prediction, labels):
            rows = decode_predictions(prediction[np.newaxis], top=5)[0]
            return sum(p for wnid, label, p in rows if label in labels)
        """: "all 1000",
        """
        def probability_of(prediction, labels):
            rows = decode_predictions(prediction[np.newaxis], top=1000)[0]
            return max(p for wnid, label, p in rows if label in labels)
        """: "Add the probabilities",
        """
        def probability_of(prediction, labels):
            rows = decode_predictions(prediction[np.newaxis], top=1000)[0]
            return sum(p for wnid, label, p in rows if any(word in label for word in labels))
        """: "teapots",
        """
        def probability_of(prediction, labels):
            rows = decode_predictions(prediction[np.newaxis], top=1000)[0]
            found = {label: p for wnid, label, p in rows}
            return sum(found[label] for label in labels)
        """: "Two classes",
    },
)


def judge_fooled(
    my_picture: str | Path,
    model: Any,
    preprocess_input: Callable[..., Any],
    decode_predictions: Callable[..., Any],
) -> str | None:
    """Right: a picture with a label above 0.5; whether that is wrong, only the learner can say."""
    try:
        picture = images.load(my_picture, size=model.input_shape[1])
    except PictureError as error:
        return str(error)
    predictions = model.predict(preprocess_input(picture[np.newaxis].astype("float32")), verbose=0)
    _wnid, label, probability = decode_predictions(predictions, top=1)[0][0]
    print(f"The network says {label.replace('_', ' ')}, {probability:.2f}.")
    if probability > 0.5:
        return None
    return "It isn't sure enough. Try a detail that fills the picture, or a plainer background."


q3 = Exercise(
    judge_fooled,
    hint="Cut a square out of a larger photograph with Pillow's crop, save it, and give its path.",
    solution="""
        from PIL import Image

        moon = Image.open(datasets.photograph("moon"))
        my_picture = Path(tempfile.mkdtemp()) / "detail.png"
        moon.crop((123, 246, 327, 450)).save(my_picture)
    """,
    right="If that's wrong, you've fooled it.",
    wrong={
        'my_picture = datasets.photograph("flower")': "sure enough",
        'my_picture = "no_such_file.jpg"': "no such file",
    },
)
