"""The exercises of lesson 04."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from helpers import datasets, images
from helpers.checks import Exercise
from helpers.errors import PictureError


def judge_vectors(vectors: Callable[..., Any], model: Any, preprocess_input: Callable[..., Any]) -> str | None:
    """Right: averaged features of length 1, for drawings that need no resizing."""
    folder = datasets.five_classes("test")
    paths = [folder / name / f"{name}_003.jpg" for name in ("bus", "flower", "horse")]
    pixels = np.stack([images.load(path) for path in paths]).astype("float32")
    maps = model.predict(preprocess_input(pixels.copy()), verbose=0)
    given = vectors(paths)
    if given is None:
        return "vectors returned None. Does it end with return?"
    given = np.asarray(given)
    channels = maps.shape[-1]
    if given.shape == maps.shape:
        return "These are whole maps. Average each over its rows and columns: axes 1 and 2."
    if given.shape == (3, maps[0].size):
        return "These are flattened maps. Average each over its positions instead."
    if given.shape in ((channels,), (1, channels)):
        return "There is one vector. Return one row for each path."
    if given.shape != (3, channels):
        return f"For three paths the shape is {given.shape}. Expected (3, {channels})."
    average = maps.mean(axis=(1, 2))
    if _alike(given, average):
        return "Nearly: divide each row by its own length."
    if not np.allclose(np.linalg.norm(given, axis=1), 1, atol=1e-3):
        lengths = ", ".join(f"{length:.2f}" for length in np.linalg.norm(given, axis=1))
        return f"The rows have the lengths {lengths}. Each should have length 1."
    if _alike(given, _unit(average)):
        return None
    if _alike(given, _unit(maps.max(axis=(1, 2)))):
        return "That's the maximum of each channel. Take the average."
    if _alike(given, _unit(model.predict(pixels, verbose=0).mean(axis=(1, 2)))):
        return "You've forgotten preprocess_input."
    if _alike(given, _unit(model.predict(pixels / 255, verbose=0).mean(axis=(1, 2)))):
        return "You've divided by 255. This network wants its own preprocess_input instead."
    return (
        "The shape and the lengths are right, the numbers aren't. Does the network get pixels "
        "from 0 to 255 that went through preprocess_input once?"
    )


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _alike(one: np.ndarray, other: np.ndarray) -> bool:
    return np.allclose(one, other, rtol=0.01, atol=1e-3 * float(np.abs(other).max()))


q1 = Exercise(
    judge_vectors,
    hint="load_img, img_to_array, np.stack; then predict, mean over axes 1 and 2, divide.",
    solution="""
        def vectors(paths):
            arrays = []
            for path in paths:
                image = keras.utils.load_img(path, target_size=(224, 224), keep_aspect_ratio=True)
                arrays.append(keras.utils.img_to_array(image))
            maps = model.predict(preprocess_input(np.stack(arrays)), verbose=0)
            average = maps.mean(axis=(1, 2))
            return average / np.linalg.norm(average, axis=1, keepdims=True)
    """,
    right="For thousands of files, read and predict a few hundred at a time.",
    wrong={
        "def vectors(paths): return feature_maps(read(paths)).mean(axis=(1, 2))": "divide each row",
        "def vectors(paths): return feature_maps(read(paths))": "whole maps",
        """
        def vectors(paths):
            flat = feature_maps(read(paths)).reshape(len(paths), -1)
            return flat / np.linalg.norm(flat, axis=1, keepdims=True)
        """: "flattened",
        """
        def vectors(paths):
            average = feature_maps(read(paths)).mean(axis=(1, 2))
            return average / np.linalg.norm(average)
        """: "the lengths",
        """
        def vectors(paths):
            largest = feature_maps(read(paths)).max(axis=(1, 2))
            return largest / np.linalg.norm(largest, axis=1, keepdims=True)
        """: "maximum",
        """
        def vectors(paths):
            average = model.predict(read(paths).astype("float32"), verbose=0).mean(axis=(1, 2))
            return average / np.linalg.norm(average, axis=1, keepdims=True)
        """: "forgotten",
        """
        def vectors(paths):
            average = model.predict(read(paths) / 255, verbose=0).mean(axis=(1, 2))
            return average / np.linalg.norm(average, axis=1, keepdims=True)
        """: "divided by 255",
    },
)


def judge_search(search: Callable[..., Any]) -> str | None:
    """Right: the order by cosine, without the query, also where the query has copies."""
    random = np.random.default_rng(0)
    features = random.random((40, 8)) * random.uniform(0.2, 5, (40, 1))
    query, k = 17, 5
    cosine = _unit(features) @ _unit(features)[query]
    order = [row for row in np.argsort(-cosine) if row != query]
    given = search(query, features.copy(), k)
    if given is None:
        return "search returned None. Does it end with return?"
    rows = np.asarray(given)
    if rows.ndim != 1:
        return f"Return {k} row numbers. The shape of what you returned is {rows.shape}."
    if not np.allclose(rows, np.round(rows)) or rows.dtype == bool:
        return "Return row numbers, not similarities: np.argsort gives them."
    if query in rows:
        return "Your result contains the query itself: similarity 1.00. Leave it out."
    if len(rows) != k:
        return f"For k={k} you returned {len(rows)} rows."
    if rows.tolist() == order[::-1][:k]:
        return "These are the least similar. np.argsort sorts upwards."
    by_product = [row for row in np.argsort(-(features @ features[query])) if row != query]
    by_distance = np.argsort(np.linalg.norm(features - features[query], axis=1))
    if rows.tolist() == by_product[:k]:
        return "That's by dot product, which prefers long rows. Divide each row by its length."
    if rows.tolist() == [row for row in by_distance if row != query][:k]:
        return "That's by Euclidean distance. Divide each row by its length first."
    if rows.tolist() != order[:k]:
        return f"For these features the best row is {order[0]}, you have {rows[0]}."
    # Copies of the query, before it and after it, that differ in length only.
    features[[1, 4, 30, 38]] = features[query] * np.array([[2], [4], [0.5], [8]])
    alike = [1, 4, query, 30, 38]
    for row in alike:
        copies = np.asarray(search(row, features.copy(), 4)).tolist()
        if sorted(copies) != [other for other in alike if other != row]:
            return (
                "If the folder has a copy of the query, the query need not come first, and then "
                "you drop the copy and keep the query. Leave it out by its row number."
            )
    return None


q2 = Exercise(
    judge_search,
    hint="Normalise all rows, multiply with the query's row, sort downwards, drop the query.",
    solution="""
        def search(query, features, k):
            rows = features / np.linalg.norm(features, axis=1, keepdims=True)
            cosine = rows @ rows[query]
            cosine[query] = -np.inf
            return np.argsort(-cosine)[:k]
    """,
    right="Try search(0, average, 5), or your own pictures: vectors(paths) gives features.",
    wrong={
        """
        def search(query, features, k):
            rows = features / np.linalg.norm(features, axis=1, keepdims=True)
            return np.argsort(-(rows @ rows[query]))[:k]
        """: "query itself",
        """
        def search(query, features, k):
            product = features @ features[query]
            product[query] = -np.inf
            return np.argsort(-product)[:k]
        """: "dot product",
        """
        def search(query, features, k):
            distance = np.linalg.norm(features - features[query], axis=1)
            distance[query] = np.inf
            return np.argsort(distance)[:k]
        """: "Euclidean",
        """
        def search(query, features, k):
            rows = features / np.linalg.norm(features, axis=1, keepdims=True)
            cosine = rows @ rows[query]
            return np.argsort(cosine)[:k]
        """: "least similar",
        """
        def search(query, features, k):
            rows = features / np.linalg.norm(features, axis=1, keepdims=True)
            cosine = rows @ rows[query]
            cosine[query] = -1
            return np.sort(cosine)[::-1][:k]
        """: "row numbers",
        """
        def search(query, features, k):
            rows = features / np.linalg.norm(features, axis=1, keepdims=True)
            return np.argsort(-(rows @ rows[query]))[1 : k + 1]
        """: "by its row number",
        """
        def search(query, features, k):
            rows = features / np.linalg.norm(features, axis=1, keepdims=True)
            return np.argsort(-(rows @ rows[query]))[1:k]
        """: "For k=5",
    },
)


def judge_three(three: Sequence[str | Path], model: Any, preprocess_input: Callable[..., Any]) -> str | None:
    """Right: the third picture is more similar to the first one than the second is."""
    if isinstance(three, str | Path) or len(three) != 3:
        return "Give a list of three paths: [picture, same kind of thing, something else]."
    try:
        pictures = [images.load(Path(path).expanduser(), model.input_shape[1]) for path in three]
    except PictureError as error:
        return str(error)
    picture, same, other = pictures
    for one, two in ((picture, same), (picture, other), (same, other)):
        if np.array_equal(one, two):
            return "Two of the three are the same picture."
    batch = preprocess_input(np.stack(pictures).astype("float32"))
    rows = _unit(model.predict(batch, verbose=0).mean(axis=(1, 2)))
    to_same, to_other = rows[1:] @ rows[0]
    print(f"cosine with the same kind: {to_same:.2f}, with something else: {to_other:.2f}")
    if to_other <= to_same:
        return "Here the network agrees with you. Look for two pictures with one background."
    return None


q3 = Exercise(
    judge_three,
    hint="In the rows of neighbours above, what did the dinosaur and the elephant find?",
    solution="""
        three = [
            collection.paths()[223],  # the elephant on coins
            collection.paths()[200],  # another elephant, somewhere else
            collection.paths()[nearest[223][0]],  # what it found
        ]
    """,
    right="Keep the three: they show what the network goes by better than any average.",
    wrong={
        "three = [collection.paths()[423], collection.paths()[nearest[423][0]], elephant]": "agrees",
        "three = [elephant, elephant, collection.paths()[0]]": "same picture",
        "three = elephant": "list of three",
        'three = [elephant, "no_such_file.jpg", elephant]': "no such file",
    },
)
