"""The exercises of lesson 11."""

import contextlib
import io
import math
import tempfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from PIL import Image

from helpers.checks import Exercise
from helpers.errors import PictureError


def judge_shuffled_copy(shuffled_copy: Callable[..., Any]) -> str | None:
    """Right: all rows once, in another order, with their labels, and never many in memory."""
    rows, numbers = 2_400, 500
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "source.h5"), Path(folder, "target.h5")
        with h5py.File(source, "w") as file:
            features = file.create_dataset("features", (rows, numbers), "float32")
            for row in range(rows):
                features[row] = row
            file["labels"] = np.arange(rows) // 100
        tracemalloc.start()
        try:
            shuffled_copy(source, target, 0)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        if not target.exists():
            return "There is no file under the name `target` afterwards."
        with h5py.File(target) as file:
            missing = {"features", "labels"} - set(file)
            if missing:
                return f"The copy has no dataset {' and no '.join(sorted(missing))}."
            copied, labels = file["features"][:], file["labels"][:]
    if copied.shape != (rows, numbers):
        return f"The copied features have the shape {copied.shape}, expected {(rows, numbers)}."
    if (copied != copied[:, :1]).any() or not np.array_equal(np.unique(copied), np.arange(rows)):
        return "Every row must come once, as it was. In your copy some are missing or mixed up."
    order = copied[:, 0].astype(int)
    if not np.array_equal(np.ravel(labels), order // 100):
        return "The labels are out of step with the features: use the same order for both."
    together = np.sum(np.diff(order) == 1)
    if together > rows / 10:
        return "Many rows still follow the row that they followed before. Shuffle all rows."
    if np.mean(np.diff(order) > 0) > 0.75:  # half of them do in a random order
        return (
            "Within your pieces the rows still rise, so a small batch holds few of the classes. "
            "Put each piece back into its random order before you write it."
        )
    if peak > 4 * rows * numbers / 3:
        return (
            f"Your function held {peak / 1e6:.1f} MB at most, and the features have "
            f"{4 * rows * numbers / 1e6:.1f}. Copy them in pieces of 50 rows."
        )
    return None


q1 = Exercise(
    judge=judge_shuffled_copy,
    hint="Shuffle the row numbers first. Then copy one row at a time, in that order. (Fifty at a "
    "time need rising row numbers: put each piece back into its random order before you write it.)",
    solution='''
        def shuffled_copy(source, target, seed):
            with h5py.File(source) as old, h5py.File(target, "w") as new:
                order = np.random.default_rng(seed).permutation(len(old["labels"]))
                features = new.create_dataset("features", old["features"].shape, "float32")
                for place, row in enumerate(order):
                    features[place] = old["features"][row]
                new["labels"] = old["labels"][:][order]
    ''',
    right="Read from front to back, every batch is now a random sample, whatever its size.",
    wrong={
        """
        def shuffled_copy(source, target, seed):
            with h5py.File(source) as old, h5py.File(target, "w") as new:
                order = np.random.default_rng(seed).permutation(len(old["labels"]))
                new["features"] = old["features"][:][order]
                new["labels"] = old["labels"][:][order]
        """: "pieces",
        """
        def shuffled_copy(source, target, seed):
            with h5py.File(source) as old, h5py.File(target, "w") as new:
                order = np.random.default_rng(seed).permutation(len(old["labels"]))
                features = new.create_dataset("features", old["features"].shape, "float32")
                for start in range(0, len(order), 50):
                    features[start : start + 50] = old["features"][np.sort(order[start : start + 50])]
                new["labels"] = old["labels"][:][order]
        """: "step",
        """
        def shuffled_copy(source, target, seed):
            with h5py.File(source) as old, h5py.File(target, "w") as new:
                order = np.random.default_rng(seed).permutation(len(old["labels"]))
                features = new.create_dataset("features", old["features"].shape, "float32")
                for start in range(0, len(order), 50):
                    features[start : start + 50] = old["features"][order[start : start + 50]]
                new["labels"] = old["labels"][:][order]
        """: "increasing order",
        """
        def shuffled_copy(source, target, seed):
            with h5py.File(source) as old, h5py.File(target, "w") as new:
                order = np.random.default_rng(seed).permutation(len(old["labels"]))
                features = new.create_dataset("features", old["features"].shape, "float32")
                for start in range(0, len(order), 50):
                    rows = np.sort(order[start : start + 50])
                    order[start : start + 50] = rows
                    features[start : start + 50] = old["features"][rows]
                new["labels"] = old["labels"][:][order]
        """: "still rise",
        """
        def shuffled_copy(source, target, seed):
            with h5py.File(source) as old, h5py.File(target, "w") as new:
                features = new.create_dataset("features", old["features"].shape, "float32")
                for start in range(0, len(features), 50):
                    features[start : start + 50] = old["features"][start : start + 50]
                new["labels"] = old["labels"][:]
        """: "follow",
    },
)  # fmt: skip


def judge_chunk_shape(chunk_shape: tuple[int, ...]) -> str | None:
    """Right: at most 20 times too much for a picture and for a channel, and at least 10 kB."""
    shape = (500, 7, 7, 1280)
    if len(chunk_shape) != 4:
        return "A chunk has as many sides as the dataset: pictures, rows, columns, channels."
    if any(not 1 <= side <= whole for side, whole in zip(chunk_shape, shape, strict=True)):
        return f"Each side is at least 1, and at most that of the dataset, {shape}."
    chunks = [math.ceil(whole / side) for side, whole in zip(chunk_shape, shape, strict=True)]
    size = math.prod(chunk_shape)
    for_picture = chunks[1] * chunks[2] * chunks[3] * size / (7 * 7 * 1280)
    for_channel = chunks[0] * chunks[1] * chunks[2] * size / (500 * 7 * 7)
    if for_picture > 20:
        return f"A reader of one picture decompresses {for_picture:.0f} times as much."
    if for_channel > 20:
        return f"A reader of one channel decompresses {for_channel:.0f} times as much."
    if 4 * size < 10_000:
        return f"A chunk of yours has {4 * size:,} bytes: that makes very many chunks."
    return None


q2 = Exercise(
    judge=judge_chunk_shape,
    hint="With p pictures in a chunk, a reader of one picture decompresses p times as much. And "
    "with c channels in a chunk?",
    solution="chunk_shape = (16, 7, 7, 16)",
    right="Nobody gets what suits them best, and nobody has to read everything.",
    wrong={
        "chunk_shape = (1, 7, 7, 1280)": "one channel decompresses 1280 times",
        "chunk_shape = (500, 7, 7, 1)": "one picture decompresses 500 times",
        "chunk_shape = (4, 7, 7, 4)": "bytes",
        "chunk_shape = (16, 16)": "sides",
    },
)


def judge_extract_safely(extract_safely: Callable[..., Any]) -> str | None:
    """Right: good pictures' features as ever, the bad one's zero and not done, and names."""
    names = ["cat/a.png", "cat/b.jpg", "dog/c.png", "dog/d.png"]
    with tempfile.TemporaryDirectory() as folder:
        root, out = Path(folder, "pictures"), Path(folder, "features.h5")
        random = np.random.default_rng(0)
        for name in names:
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix == ".png":
                Image.fromarray(random.integers(0, 255, (60, 80, 3), "uint8")).save(path)
            else:
                path.write_bytes(b"\xff\xd8 cut off")
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                extract_safely(root, out)
        except PictureError:
            return "It stopped at the bad picture: a PictureError came out of your function."
        with h5py.File(out) as file:
            missing = {"features", "labels", "done", "filenames"} - set(file)
            if missing:
                return f"The file has no dataset {' and no '.join(sorted(missing))}."
            features, done = file["features"][:], file["done"][:]
            labels, files = file["labels"][:], file["filenames"][:]
    found = [name.decode() if isinstance(name, bytes) else str(name) for name in files]
    if len(features) != len(names) or len(done) != len(names):
        return f"Keep a row for each file, the bad one too: {len(names)}, not {len(features)}."
    if [name.replace("\\", "/") for name in found] != names:
        return f"The filenames are {found}, expected {names}: pictures.files, in order."
    if done[1]:
        return "The bad picture's row is marked as done. A head would train on its zeros."
    if not done[[0, 2, 3]].all():
        return "The good pictures aren't all done: only the bad one may be left out."
    if not (np.ravel(labels) == [0, 0, 1, 1]).all():
        return f"The labels are {list(labels)}, expected [0, 0, 1, 1]."
    one = features.reshape(len(names), -1)
    if one[1].any() or not one[[0, 2, 3]].any(axis=1).all():
        return "Features are in the wrong rows: the bad picture's row must be zero, no other."
    return None


q3 = Exercise(
    judge=judge_extract_safely,
    hint="Read the pictures of a batch in a loop, with try and except. Collect the pictures that "
    "could be read, and the numbers of their rows; write these rows only.",
    solution='''
        from helpers.errors import PictureError

        def extract_safely(folder, file_name):
            pictures = datasets.class_folders(folder)
            paths = pictures.paths()
            model = Network(weights="imagenet", include_top=False, input_shape=(224, 224, 3))
            with h5py.File(file_name, "a") as file:
                if "done" not in file:
                    shape = (len(paths), *model.output_shape[1:])
                    file.create_dataset("features", shape, dtype="float32")
                    file["labels"] = pictures.labels
                    file["filenames"] = list(pictures.files)
                    file["done"] = np.zeros(len(paths), dtype=bool)
                    file.flush()
                rows_to_do = np.flatnonzero(~file["done"][:])
                for start in range(0, len(rows_to_do), 25):
                    rows, loaded = [], []
                    for row in rows_to_do[start : start + 25]:
                        try:
                            loaded.append(images.load(paths[row], size=224))
                        except PictureError as error:
                            print(error)
                        else:
                            rows.append(row)
                    if rows:
                        batch = preprocess_input(np.stack(loaded))
                        file["features"][rows] = model.predict_on_batch(batch)
                        file.flush()
                        file["done"][rows] = True
                        file.flush()
    ''',
    right="The file names what is missing, and the next run tries the bad picture again.",
    wrong={
        """
        def extract_safely(folder, file_name):
            extract(folder, file_name)
        """: "stopped",
        """
        def extract_safely(folder, file_name):
            pictures = datasets.class_folders(folder)
            model = Network(weights="imagenet", include_top=False, input_shape=(224, 224, 3))
            with h5py.File(file_name, "w") as file:
                file.create_dataset("features", (len(pictures), *model.output_shape[1:]))
                file["labels"] = pictures.labels
                file["filenames"] = list(pictures.files)
                for row, path in enumerate(pictures.paths()):
                    try:
                        batch = images.load(path, size=224)[np.newaxis]
                        file["features"][row] = model.predict_on_batch(preprocess_input(batch))[0]
                    except Exception:
                        pass
                file["done"] = np.ones(len(pictures), bool)
        """: "marked as done",
        """
        def extract_safely(folder, file_name):
            pictures = datasets.class_folders(folder)
            good = [path for path in pictures.paths() if path.suffix == ".png"]
            with h5py.File(file_name, "w") as file:
                file["features"] = np.ones((len(good), 2))
                file["done"] = np.ones(len(good), bool)
                file["labels"] = np.zeros(len(good))
                file["filenames"] = [str(path) for path in good]
        """: "row for each file",
        """
        def extract_safely(folder, file_name):
            with h5py.File(file_name, "w") as file:
                file["features"] = np.ones((4, 2))
                file["done"] = np.array([True, False, True, True])
                file["labels"] = [0, 0, 1, 1]
        """: "filenames",
    },
)  # fmt: skip
