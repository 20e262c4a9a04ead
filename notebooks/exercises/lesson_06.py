"""The exercises of lesson 06."""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from helpers import datasets
from helpers.checks import Exercise

KINDS = ("nearest", "bilinear", "bicubic", "lanczos")


@functools.cache
def _resnet() -> Any:
    import keras

    return keras.applications.ResNet50(weights=None, include_top=False)


def judge_freeze(freeze: Callable[..., Any]) -> str | None:
    """Right: of the layers with weights, exactly the convolutions of conv5 are trainable."""
    import keras

    resnet = _resnet()
    resnet.trainable = True
    for layer in resnet.layers:
        layer.trainable = True
    freeze(resnet)
    trainable = {layer.name for layer in resnet.layers if layer.trainable_weights}
    norms = {x.name for x in resnet.layers if isinstance(x, keras.layers.BatchNormalization)}
    conv5 = {layer.name for layer in resnet.layers if layer.name.startswith("conv5") and layer.weights}
    if not trainable or not resnet.trainable:
        return "Nothing is trainable now. Set `trainable` for each layer; don't freeze the model as a whole."
    below = sorted(trainable - conv5)
    if below:
        return f"{below[0]}, below the line, is still trainable. Freeze everything below conv5."
    if trainable & norms:
        return f"{min(trainable & norms)} is a BatchNorm layer. Those stay frozen above the line as well."
    missing = sorted(conv5 - norms - trainable)
    if missing:
        return f"{missing[0]} belongs to conv5 and should be trained."
    return None


q1 = Exercise(
    judge_freeze,
    hint="Loop over model.layers. A layer's name is a string: layer.name.startswith(...).",
    solution="""
        def freeze(model):
            for layer in model.layers:
                batch_norm = isinstance(layer, keras.layers.BatchNormalization)
                layer.trainable = layer.name.startswith("conv5") and not batch_norm
    """,
    right="In ResNet50 the last stage has nearly two thirds of the parameters.",
    wrong={
        "def freeze(model): model.trainable = False": "as a whole",
        """
        def freeze(model):
            for layer in model.layers:
                layer.trainable = layer.name.startswith("conv5")
        """: "BatchNorm",
        """
        def freeze(model):
            for layer in model.layers:
                if layer.name.startswith("conv5"):
                    layer.trainable = not isinstance(layer, keras.layers.BatchNormalization)
        """: "below the line",
        """
        def freeze(model):
            for layer in model.layers:
                layer.trainable = layer.name.startswith("conv5_block3") and layer.name.endswith("conv")
        """: "belongs to conv5",
        """
        def freeze(model):
            for layer in model.layers[:100]:
                layer.trainable = False
        """: "below the line",
    },
)


def judge_most_confused(most_confused: Callable[..., Any]) -> str | None:
    """Right: the largest number off the diagonal, as (name of the row, name of the column)."""
    names = ["ant", "bee", "cat", "dog"]
    confusion = np.array([[9, 1, 0, 0], [2, 4, 0, 4], [0, 3, 6, 1], [0, 3, 0, 7]])
    given_matrix = confusion.copy()
    given = most_confused(given_matrix, names)
    if not np.array_equal(given_matrix, confusion):
        return "You've changed the matrix that was passed in. Work on a copy: confusion.copy()."
    if not isinstance(given, tuple | list | np.ndarray) or len(given) != 2:
        return f"Return a pair of names, (true, predicted). You returned {given!r}."
    pair = tuple(str(name) for name in given)
    if not set(pair) <= set(names):
        return f"Return the names of the classes. You returned {given!r}."
    if pair[0] == pair[1]:
        return f"{pair[0]!r} for {pair[1]!r} is right: the diagonal has the right answers. Leave it out."
    if pair == ("dog", "bee"):
        return "You've exchanged the two. Rows are true classes, columns what was predicted."
    if pair != ("bee", "dog"):
        return f"Bees were taken for dogs most often, 4 times. You returned {pair!r}."
    return None


q2 = Exercise(
    judge_most_confused,
    hint="np.fill_diagonal(copy, 0), and then np.unravel_index(copy.argmax(), copy.shape).",
    solution="""
        def most_confused(confusion, class_names):
            mistakes = confusion.copy()
            np.fill_diagonal(mistakes, 0)
            true_class, predicted_class = np.unravel_index(mistakes.argmax(), mistakes.shape)
            return class_names[true_class], class_names[predicted_class]
    """,
    right="Such a pair tells you which pictures to collect more of.",
    wrong={
        """
        def most_confused(confusion, class_names):
            row, column = np.unravel_index(confusion.argmax(), confusion.shape)
            return class_names[row], class_names[column]
        """: "diagonal",
        """
        def most_confused(confusion, class_names):
            np.fill_diagonal(confusion, 0)
            row, column = np.unravel_index(confusion.argmax(), confusion.shape)
            return class_names[row], class_names[column]
        """: "copy",
        """
        def most_confused(confusion, class_names):
            mistakes = confusion * (1 - np.eye(len(confusion), dtype=int))
            row, column = np.unravel_index(mistakes.argmax(), mistakes.shape)
            return class_names[column], class_names[row]
        """: "exchanged",
        """
        def most_confused(confusion, class_names):
            mistakes = confusion * (1 - np.eye(len(confusion), dtype=int))
            return np.unravel_index(mistakes.argmax(), mistakes.shape)
        """: "names of the classes",
        """
        def most_confused(confusion, class_names):
            mistakes = confusion * (1 - np.eye(len(confusion), dtype=int))
            return class_names[mistakes.argmax() % len(confusion)]
        """: "pair",
    },
)


def judge_classify(classify: Callable[..., Any], model: Any, class_names: Sequence[str]) -> str | None:
    """Right: what the model says of a few pictures, resized in any of the usual ways."""
    paths = [datasets.five_classes("test") / name / f"{name}_003.jpg" for name in ("bus", "flower", "horse")]
    paths.append(datasets.photograph("rocket"))
    given = []
    for path in paths:
        answer = classify(path)
        if answer is None:
            return "classify returned None. Does it end with return?"
        if not isinstance(answer, tuple | list) or len(answer) != 2:
            return f"Return a pair, (name, probability). You returned {answer!r}."
        if str(answer[0]) not in class_names:
            return f"{answer[0]!r} is not the name of a class. Look the index up in class_names."
        if np.size(answer[1]) != 1:
            return "Return one probability, that of the best class."
        given.append((str(answer[0]), float(np.squeeze(answer[1]))))

    if any(_fits(given, paths, model, class_names, kind, crop) for kind in KINDS for crop in (True, False)):
        return None
    return (
        f"For {paths[0].name} you returned {given[0][0]} with {given[0][1]:.2f}, which isn't what the "
        "model says. It takes pixels from 0 to 255: preprocessing is inside, so don't scale them again. "
        "Resize with load_img, as classify.py does."
    )


def _fits(
    given: Sequence[tuple[str, float]],
    paths: Sequence[Path],
    model: Any,
    class_names: Sequence[str],
    kind: str,
    crop: bool,
) -> bool:
    import keras

    size = model.input_shape[1:3]
    batch = [
        keras.utils.img_to_array(
            keras.utils.load_img(path, target_size=size, interpolation=kind, keep_aspect_ratio=crop)
        )
        for path in paths
    ]
    for (name, probability), row in zip(given, model.predict(np.stack(batch), verbose=0), strict=True):
        if class_names[row.argmax()] != name or abs(row.max() - probability) > 0.02:
            return False
    return True


q3 = Exercise(
    judge_classify,
    hint="The program classify.py does the same. Leave out the loading, and return the pair instead of printing it.",
    solution="""
        def classify(path):
            image = keras.utils.load_img(
                path, target_size=model.input_shape[1:3], keep_aspect_ratio=True, interpolation="bilinear"
            )
            batch = np.expand_dims(keras.utils.img_to_array(image), axis=0)
            probabilities = model.predict(batch, verbose=0)[0]
            best = probabilities.argmax()
            return class_names[best], probabilities[best]
    """,
    right="Now try it on pictures of yours.",
    wrong={
        """
        def classify(path):
            image = keras.utils.load_img(path, target_size=model.input_shape[1:3])
            batch = np.expand_dims(keras.utils.img_to_array(image), axis=0)
            probabilities = model.predict(preprocess_input(batch), verbose=0)[0]
            return class_names[probabilities.argmax()], probabilities.max()
        """: "scale them again",
        """
        def classify(path):
            image = keras.utils.load_img(path, target_size=model.input_shape[1:3])
            batch = np.expand_dims(keras.utils.img_to_array(image), axis=0)
            probabilities = model.predict(batch / 255, verbose=0)[0]
            return class_names[probabilities.argmax()], probabilities.max()
        """: "scale them again",
        """
        def classify(path):
            image = keras.utils.load_img(path, target_size=model.input_shape[1:3])
            batch = np.expand_dims(keras.utils.img_to_array(image), axis=0)
            probabilities = model.predict(batch, verbose=0)[0]
            return probabilities.argmax(), probabilities.max()
        """: "class_names",
        """
        def classify(path):
            image = keras.utils.load_img(path, target_size=model.input_shape[1:3])
            batch = np.expand_dims(keras.utils.img_to_array(image), axis=0)
            return class_names[model.predict(batch, verbose=0)[0].argmax()]
        """: "pair",
        """
        def classify(path):
            image = keras.utils.load_img(path, target_size=model.input_shape[1:3])
            batch = np.expand_dims(keras.utils.img_to_array(image), axis=0)
            probabilities = model.predict(batch, verbose=0)[0]
            return class_names[probabilities.argmax()], probabilities
        """: "one probability",
    },
)
