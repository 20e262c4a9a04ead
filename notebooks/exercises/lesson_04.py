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


def _above(cosine: np.ndarray, least: float) -> set[tuple[int, int]]:
    """Give the pairs (i, j), i < j, with at least this value."""
    count = len(cosine)
    return {(i, j) for i in range(count) for j in range(i + 1, count) if cosine[i, j] >= least}


def judge_duplicates(duplicates: Callable[..., Any]) -> str | None:
    """Right: each pair of rows with at least this cosine, once, the smaller number first."""
    random = np.random.default_rng(0)
    features = random.random((12, 16)) * random.uniform(0.3, 3, (12, 1))
    features[7] = 3 * features[2]
    features[[9, 11]] = features[0] * np.array([[0.5], [2]])
    cosine = _unit(features) @ _unit(features).T
    for least in (0.99, float(np.sort(cosine[np.triu_indices(12, 1)])[40:42].mean())):
        given = duplicates(features.copy(), least)
        if given is None:
            return "duplicates returned None. Does it end with return?"
        if isinstance(given, tuple) and len(given) == 2 and np.ndim(given[0]) == 1 and len(given[0]) != 2:
            return "These are two arrays, of rows and of columns: list(zip(rows, columns)) makes pairs."
        rows = np.asarray(sorted(given) if isinstance(given, set) else given)
        if rows.dtype == bool or rows.ndim != 2 or rows.shape[1] != 2:
            return f"Return a list of pairs of row numbers. The shape of what you returned is {rows.shape}."
        pairs = [(int(one), int(other)) for one, other in rows]
        if any(one == other for one, other in pairs):
            return "Your pairs contain a picture with itself, such as (0, 0). Leave those out."
        if any((other, one) in pairs for one, other in pairs):
            return "You have each pair twice, as (0, 9) and as (9, 0). Keep one of the two."
        if any(one > other for one, other in pairs):
            return "Put the smaller row number first in each pair."
        expected = _above(cosine, least)
        if set(pairs) == expected and len(pairs) == len(expected):
            continue
        if set(pairs) == _above(features @ features.T, least):
            return "That's by dot product, which prefers long rows. Divide each row by its length."
        if set(pairs) == _above(cosine, 0.99):
            return f"Right for least=0.99, but not for {least:.2f}. Is a number written into it?"
        missing = sorted(expected - set(pairs))
        if missing:
            return f"For least={least:.2f} the pair {missing[0]} is missing."
        return f"For least={least:.2f} there should be {len(expected)} pairs, you have {len(pairs)}."
    return None


q1 = Exercise(
    judge_duplicates,
    hint="Normalise the rows; one matrix product gives all cosines; np.triu(…, 1) keeps each pair once.",
    solution="""
        def duplicates(features, least):
            rows = features / np.linalg.norm(features, axis=1, keepdims=True)
            cosine = np.triu(rows @ rows.T, 1)
            return [tuple(pair) for pair in np.argwhere(cosine >= least)]

        for one, other in duplicates(own_index, 0.8):
            print(own_paths[one].name, own_paths[other].name)
    """,
    right="Try duplicates(own_index, 0.8), then 0.9, and look at some of the pairs.",
    wrong={
        """
        def duplicates(features, least):
            rows = features / np.linalg.norm(features, axis=1, keepdims=True)
            return np.argwhere(rows @ rows.T >= least)
        """: "with itself",
        """
        def duplicates(features, least):
            rows = features / np.linalg.norm(features, axis=1, keepdims=True)
            cosine = rows @ rows.T
            np.fill_diagonal(cosine, -1)
            return np.argwhere(cosine >= least)
        """: "twice",
        """
        def duplicates(features, least):
            rows = features / np.linalg.norm(features, axis=1, keepdims=True)
            return np.argwhere(np.tril(rows @ rows.T, -1) >= least)
        """: "smaller row number",
        """
        def duplicates(features, least):
            return np.argwhere(np.triu(features @ features.T, 1) >= least)
        """: "dot product",
        """
        def duplicates(features, least):
            rows = features / np.linalg.norm(features, axis=1, keepdims=True)
            return np.argwhere(np.triu(rows @ rows.T, 1) >= 0.99)
        """: "written into it",
        """
        def duplicates(features, least):
            rows = features / np.linalg.norm(features, axis=1, keepdims=True)
            return np.where(np.triu(rows @ rows.T, 1) >= least)
        """: "two arrays",
        """
        def duplicates(features, least):
            rows = features / np.linalg.norm(features, axis=1, keepdims=True)
            return np.triu(rows @ rows.T, 1) >= least
        """: "list of pairs",
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


q2 = Exercise(
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


q3 = Exercise(
    judge_gem,
    hint="maps**p, mean over axes 1 and 2, ** (1 / p), and unit() from above.",
    solution="""
        def gem(maps, p):
            powers = (maps**p).mean(axis=(1, 2))
            return unit(powers ** (1 / p))

        for p in [1, 2, 3, 5, 10]:
            print(p, precision(neighbours(gem(maps, p))).mean())
    """,
    right="Which p is best? Is that p chosen on the queries that it is judged on?",
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
