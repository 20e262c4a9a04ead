"""The exercises of lesson 04."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from helpers import images
from helpers.checks import Exercise
from helpers.errors import PictureError


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _alike(one: np.ndarray, other: np.ndarray) -> bool:
    return np.allclose(one, other, rtol=0.01, atol=1e-3 * float(np.abs(other).max()))


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


q1 = Exercise(
    judge_search,
    hint="Normalise all rows, multiply with the query's row, sort downwards, drop the query.",
    solution="""
        def search(query, features, k):
            rows = features / np.linalg.norm(features, axis=1, keepdims=True)
            cosine = rows @ rows[query]
            cosine[query] = -np.inf
            return np.argsort(-cosine)[:k]
    """,
    right="Try show([0], [search(0, average, 5)]), and other rows.",
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


def judge_gem(gem: Callable[..., Any]) -> str | None:
    """Right: the generalised mean over the positions, each row of length 1."""
    maps = 4 * np.random.default_rng(0).random((6, 4, 5, 8)).astype("float32") ** 3
    given = gem(maps.copy(), 3)
    if given is None:
        return "gem returned None. Does it end with return?"
    given = np.asarray(given)
    if given.shape == maps.shape:
        return "These are whole maps. Average over rows and columns: axes 1 and 2."
    if given.shape != (6, 8):
        return f"For maps of shape {maps.shape} you returned {given.shape}. Expected (6, 8)."
    powers = (maps**3).mean(axis=(1, 2))
    if not np.allclose(np.linalg.norm(given, axis=1), 1, atol=1e-3):
        if _alike(given, powers ** (1 / 3)):
            return "Nearly: divide each row by its own length."
        lengths = ", ".join(f"{length:.2f}" for length in np.linalg.norm(given, axis=1)[:3])
        return f"The rows have the lengths {lengths}, … Each should have length 1."
    if _alike(given, _unit(powers)):
        return "You've forgotten the root: raise the average to the power 1 / p."
    if _alike(given, _unit(maps.mean(axis=(1, 2)))):
        return "That's the plain average. Raise to the power p first, then average."
    if _alike(given, _unit(maps.max(axis=(1, 2)))):
        return "That's the maximum, whatever p is."
    if _alike(given, _unit((maps ** (1 / 3)).mean(axis=(1, 2)) ** 3)):
        return "The other way round: first the power p, after averaging the power 1 / p."
    if not _alike(given, _unit(powers ** (1 / 3))):
        return "For p = 3 the numbers differ: power p, average over axes 1 and 2, power 1 / p, length 1."
    if not _alike(np.asarray(gem(maps.copy(), 1)), _unit(maps.mean(axis=(1, 2)))):
        return "Right for p = 3, but with p = 1 it should be the average. Is 3 written into it?"
    return None


q2 = Exercise(
    judge_gem,
    hint="maps**p, mean over axes 1 and 2, ** (1 / p), and unit() from above.",
    solution="""
        def gem(maps, p):
            powers = (maps**p).mean(axis=(1, 2))
            return unit(powers ** (1 / p))

        for p in [1, 2, 3, 5, 10]:
            print(p, precision(nearness(gem(maps, p))).mean())
    """,
    right="Is there a p that gains more than the interval of the figure above is wide?",
    wrong={
        "def gem(maps, p): return unit((maps**p).mean(axis=(1, 2)))": "the root",
        "def gem(maps, p): return (maps**p).mean(axis=(1, 2)) ** (1 / p)": "its own length",
        "def gem(maps, p): return (maps**p).mean(axis=(1, 2))": "have the lengths",
        "def gem(maps, p): return unit((maps.mean(axis=(1, 2)) ** p) ** (1 / p))": "plain average",
        "def gem(maps, p): return unit(maps.max(axis=(1, 2)))": "maximum",
        "def gem(maps, p): return unit((maps ** (1 / p)).mean(axis=(1, 2)) ** p)": "way round",
        "def gem(maps, p): return unit((maps**3).mean(axis=(1, 2)) ** (1 / 3))": "written into it",
        "def gem(maps, p): return (maps**p) ** (1 / p)": "whole maps",
        "def gem(maps, p): return unit((maps**p).mean(axis=-1).reshape(len(maps), -1) ** (1 / p))": "Expected (6, 8)",
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
        "three = [collection.paths()[423], collection.paths()[nearest[423][0]], collection.paths()[223]]": "agrees",
        "three = [collection.paths()[0], collection.paths()[0], collection.paths()[1]]": "same picture",
        "three = collection.paths()[0]": "list of three",
        'three = [collection.paths()[0], "no_such_file.jpg", collection.paths()[1]]': "no such file",
    },
)
