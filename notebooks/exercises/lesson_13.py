"""The exercises of lesson 13."""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from helpers import datasets
from helpers.checks import Exercise, same


def judge_extract_on(extract_on: Callable[..., Any], client: Any, features_of: Callable[..., Any]) -> str | None:
    """Right: row i has the features of path i, for a number of pictures that is no multiple."""
    paths = datasets.class_folders(datasets.five_classes("test")).paths()[::4]
    expected = client.submit(features_of, paths, pure=False).result()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "features.h5")
        extract_on(client, paths, out)
        if not out.exists():
            return "There is no file under the name `file_name` afterwards."
        with h5py.File(out) as file:
            if "features" not in file:
                return "The file has no dataset `features`."
            found = file["features"][:]
    if found.shape != expected.shape:
        return f"The features of {len(paths)} pictures have the shape {found.shape}."
    if np.allclose(found, expected, atol=1e-4):
        return None
    missing = ~found.any(axis=1)
    if missing.any():
        return f"{missing.mean():.2f} of the rows are zero. Do you write every batch?"
    return "The rows are out of order: the batch that's done first needn't be the first one."


q1 = Exercise(
    judge=judge_extract_on,
    hint="Keep a dictionary from each task to the first row of its batch: "
    "dict(zip(tasks, range(0, len(paths), 10))).",
    solution='''
        def extract_on(client, paths, file_name):
            starts = range(0, len(paths), 10)
            tasks = client.map(features_of, [paths[s : s + 10] for s in starts], pure=False)
            first_row = dict(zip(tasks, starts))
            with h5py.File(file_name, "w") as file:
                file.create_dataset("features", (len(paths), 1280), "float32")
                for task, result in as_completed(tasks, with_results=True):
                    start = first_row[task]
                    file["features"][start : start + len(result)] = result
                    file.flush()
    ''',
    right="With a `done` flag for each row, as in lesson 11, it could also resume.",
    wrong={
        """
        def extract_on(client, paths, file_name):
            starts = range(0, len(paths), 10)
            tasks = client.map(features_of, [paths[s : s + 10] for s in starts], pure=False)
            results = [result for _, result in as_completed(tasks, with_results=True)]
            with h5py.File(file_name, "w") as file:
                file["features"] = np.concatenate(sorted(results, key=lambda rows: -rows[0, 1]))[::-1]
        """: "out of order",
        """
        def extract_on(client, paths, file_name):
            with h5py.File(file_name, "w") as file:
                features = file.create_dataset("features", (len(paths), 1280), "float32")
                features[:10] = client.submit(features_of, paths[:10]).result()
        """: "zero",
        """
        def extract_on(client, paths, file_name):
            with h5py.File(file_name, "w") as file:
                file["x"] = client.submit(features_of, paths).result()
        """: "no dataset",
    },
)  # fmt: skip


def judge_seconds_to_finish(
    seconds_to_finish: Callable[[Sequence[float], Sequence[int]], float],
) -> str | None:
    """Right: each batch goes to the machine that is free first."""
    cases = [
        ([10], [30, 20], 5.0),
        ([10, 10], [10, 10, 10], 2.0),
        ([100, 100, 100, 25], [250] * 4, 10.0),
        ([100, 100, 100, 25], [10] * 100, 3.2),
        ([1, 10], [10, 100, 10], 20.0),
    ]
    for speeds, sizes, expected in cases:
        given = seconds_to_finish(list(speeds), list(sizes))
        if not same(given, expected, tolerance=1e-6):
            shown = f"{sizes[:3]} …" if len(sizes) > 5 else f"{sizes}"
            if len(sizes) == 100 and same(given, 10.0, tolerance=1e-6):
                return "Your machines get equal numbers of batches. Give each to a machine that is free."
            return f"For speeds {speeds} and sizes {shown} it gives {given:.2f} seconds, not {expected:.2f}."
    return None


q2 = Exercise(
    judge=judge_seconds_to_finish,
    hint="Keep a list of the times at which each machine is free. For each batch take the machine "
    "with the smallest time, and add the seconds that this batch costs it.",
    solution="""
        def seconds_to_finish(speeds, sizes):
            free_at = [0.0] * len(speeds)
            for size in sizes:
                machine = int(np.argmin(free_at))
                free_at[machine] += size / speeds[machine]
            return max(free_at)
    """,
    right="10 seconds in four large batches, 3.2 in a hundred small ones: with large batches "
    "everybody waits for the slow machine.",
    wrong={
        """
        def seconds_to_finish(speeds, sizes):
            busy = [0.0] * len(speeds)
            for index, size in enumerate(sizes):
                busy[index % len(speeds)] += size / speeds[index % len(speeds)]
            return max(busy)
        """: "equal numbers",
        """
        def seconds_to_finish(speeds, sizes):
            return sum(sizes) / sum(speeds)
        """: "seconds, not",
    },
)
