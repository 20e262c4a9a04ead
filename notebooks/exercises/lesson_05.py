"""The exercises of lesson 05."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from helpers import datasets, images
from helpers.checks import Exercise, same

CHAINS = {
    "a single 3 x 3 convolution": [(3, 1)],
    "the beginning of ResNet50": [(7, 2), (3, 2)],
    "the first four layers of InceptionV3": [(3, 2), (3, 1), (3, 1), (3, 2)],
    "VGG16 up to block3_pool": [(3, 1), (3, 1), (2, 2), (3, 1), (3, 1), (2, 2)] + [(3, 1)] * 3 + [(2, 2)],
}


def judge_receptive_field(receptive_field: Callable[..., Any]) -> str | None:
    """Right: size and stride of any chain."""
    for name, windows in CHAINS.items():
        given = receptive_field(list(windows))
        size, stride = _field(windows)
        if np.shape(given) != (2,):
            return f"Return a pair, (size, stride). For {name} you returned {given!r}."
        if same(given, (size, stride)):
            continue
        if same(given[0], _field(windows, late=True)[0]):
            return f"{name}: the stride of a layer counts for the layers after it, not for its own window."
        if same(given[0], 1 + sum(window - 1 for window, _ in windows)):
            return f"{name}: a window's steps are as long as the stride so far. Multiply by it."
        if same(given[0], size) and not same(given[1], stride):
            return f"{name}: {size} is right, but strides multiply: {stride}, not {given[1]}."
        return f"{name}: expected ({size}, {stride}), got {given!r}."
    return None


def _field(windows: Sequence[tuple[int, int]], late: bool = False) -> tuple[int, int]:
    size = stride = 1
    for window, step in windows:
        stride_here = stride * step if late else stride
        size, stride = size + (window - 1) * stride_here, stride * step
    return size, stride


q1 = Exercise(
    judge_receptive_field,
    hint="Start with size = 1 and stride = 1, as in the loop above, and take both numbers from the pair.",
    solution="""
        def receptive_field(windows):
            size = 1
            stride = 1
            for window, step in windows:
                size = size + (window - 1) * stride
                stride = stride * step
            return size, stride
    """,
    right="Strides matter more: they multiply, and every later window grows with them.",
    wrong={
        """
        def receptive_field(windows):
            size, stride = 1, 1
            for window, step in windows:
                stride *= step
                size += (window - 1) * stride
            return size, stride
        """: "after it",
        """
        def receptive_field(windows):
            size, stride = 1, 1
            for window, step in windows:
                size += window - 1
                stride *= step
            return size, stride
        """: "Multiply",
        """
        def receptive_field(windows):
            size, stride = 1, 1
            for window, step in windows:
                size += (window - 1) * stride
                stride *= step
            return size
        """: "pair",
        """
        def receptive_field(windows):
            size, stride, total = 1, 1, 0
            for window, step in windows:
                size += (window - 1) * stride
                stride *= step
                total += step
            return size, total
        """: "strides multiply",
    },
)


def judge_measure(
    measure: Callable[..., Any],
    pictures: np.ndarray,
    masks: np.ndarray,
    features: Mapping[str, np.ndarray],
    names: Sequence[str],
    probe: Callable[..., float],
) -> str | None:
    """Right: a number that the last layer's average tells better than the first's, by 0.2 of R²."""
    found = [measure(picture, mask) for picture, mask in zip(pictures, masks, strict=True)]
    if any(value is None for value in found):
        return "measure returned None. Does it end with return?"
    values = np.asarray(found, dtype="float64")
    if values.shape != (len(pictures),):
        return f"Return one number for a drawing. You returned an array of {values.shape[1:]}."
    if not np.isfinite(values).all():
        return "Some values are infinite or not a number."
    if values.std() < 1e-9:
        return "It's the same for all drawings, so there's nothing to tell."
    first, last = (
        float(np.mean([probe(features[name].mean(axis=(1, 2)), values, seed) for seed in range(3)]))
        for name in (names[0], names[-1])
    )
    print(f"R² of the first layer {first:.2f}, of the last {last:.2f}.")
    if last < 0.2 and first < 0.2:
        return "Neither of them can tell it from the average."
    if first > last:
        return "The first layer tells it better. Think of a property of the subject, not of the pixels."
    if last < max(first, 0) + 0.2:
        return "The last layer is ahead, but by less than 0.2."
    return None


q2 = Exercise(
    judge_measure,
    hint="The mask says which pixels belong to the subject. What can you compute from it alone?",
    solution="""
        def measure(picture, mask):
            return mask.mean()  # how large the subject is
    """,
    right="Was that learned? Only the same probe on random networks, the lesson's control, could tell.",
    wrong={
        "def measure(picture, mask): return picture.mean()": "first layer tells it better",
        "def measure(picture, mask): return 1.0": "same for all",
        "def measure(picture, mask): return np.nonzero(mask)[1].mean()": "Neither",
        "def measure(picture, mask): return mask": "one number",
        "def measure(picture, mask): mask.mean()": "None",
    },
)


def judge_occlusion_map(
    occlusion_map: Callable[..., Any], model: Any, preprocess_input: Callable[..., Any]
) -> str | None:
    """Right: how far the score falls, for any plain colour in place of a square."""
    picture = images.load(datasets.photograph("coffee"), size=model.input_shape[1]).copy()
    untouched = picture.copy()
    label = int(_scores(model, preprocess_input, picture[np.newaxis])[0].argmax())
    given = np.asarray(occlusion_map(picture, label), dtype="float64")
    if (picture != untouched).any():
        return "Your function changed the picture itself. Hide each square in a copy."
    if given.shape != (7, 7):
        return f"Return an array of shape (7, 7). Yours is {given.shape}."
    fills = [untouched.mean(axis=(0, 1)), 127, 0, 255]
    expected = [_fall(model, preprocess_input, untouched, label, fill) for fill in fills]
    likeness = [_alike(given, each) for each in expected]
    if max(likeness) > 0.97:
        return None
    if min(likeness) < -0.97:
        return "Where the score falls most, your map is lowest. Subtract the other way round."
    if max(_alike(given.T, each) for each in expected) > 0.97:
        return "Rows and columns have changed places."
    return (
        "That isn't how far the score falls. Is each square hidden alone, in a copy, and is "
        "preprocess_input applied once?"
    )


def _scores(model: Any, preprocess_input: Callable[..., Any], pictures: np.ndarray) -> np.ndarray:
    return model.predict(preprocess_input(pictures.astype("float32")), verbose=0)


def _fall(model: Any, preprocess_input: Callable[..., Any], picture: np.ndarray, label: int, fill: Any) -> np.ndarray:
    side = picture.shape[0] // 7
    batch = np.repeat(picture[np.newaxis], 50, axis=0)
    for place in range(49):
        row, column = place // 7 * side, place % 7 * side
        batch[place, row : row + side, column : column + side] = fill
    scores = _scores(model, preprocess_input, batch)[:, label]
    return (scores[49] - scores[:49]).reshape(7, 7)


def _alike(given: np.ndarray, expected: np.ndarray) -> float:
    if given.std() < 1e-12 or expected.std() < 1e-12:
        return 0.0
    return float(np.corrcoef(given.ravel(), expected.ravel())[0, 1])


q3 = Exercise(
    judge_occlusion_map,
    hint="Make a batch of 49 copies, hide another square in each, and predict them all at once.",
    solution="""
        def occlusion_map(picture, class_number):
            side = picture.shape[0] // 7
            copies = [picture]
            for row in range(7):
                for column in range(7):
                    copy = picture.copy()
                    rows = slice(row * side, (row + 1) * side)
                    columns = slice(column * side, (column + 1) * side)
                    copy[rows, columns] = picture.mean(axis=(0, 1))
                    copies.append(copy)
            batch = preprocess_input(np.stack(copies).astype("float32"))
            scores = model.predict(batch, verbose=0)[:, class_number]
            return (scores[0] - scores[1:]).reshape(7, 7)
    """,
    right="To draw it: plots.gallery([overlay(photo, heat, heat.max())], ['mine']).",
    wrong={
        """
        def occlusion_map(picture, class_number):
            batch = np.repeat(picture[np.newaxis], 49, axis=0)
            for i in range(49):
                row, column = i // 7 * 32, i % 7 * 32
                batch[i, row : row + 32, column : column + 32] = picture.mean(axis=(0, 1))
            scores = model.predict(preprocess_input(batch.astype("float32")), verbose=0)
            return scores[:, class_number].reshape(7, 7)
        """: "other way round",
        """
        def occlusion_map(picture, class_number):
            batch = []
            for i in range(49):
                row, column = i // 7 * 32, i % 7 * 32
                picture[row : row + 32, column : column + 32] = 127
                batch.append(picture.copy())
            scores = model.predict(preprocess_input(np.stack(batch).astype("float32")), verbose=0)
            return -scores[:, class_number].reshape(7, 7)
        """: "copy",
        """
        def occlusion_map(picture, class_number):
            batch = np.repeat(picture[np.newaxis], 49, axis=0)
            for i in range(49):
                column, row = i // 7 * 32, i % 7 * 32
                batch[i, row : row + 32, column : column + 32] = 127
            scores = model.predict(preprocess_input(batch.astype("float32")), verbose=0)
            return -scores[:, class_number].reshape(7, 7)
        """: "Rows and columns",
        "def occlusion_map(picture, class_number): return np.zeros(49)": "shape",
        "def occlusion_map(picture, class_number): return np.ones((7, 7))": "how far",
    },
)
