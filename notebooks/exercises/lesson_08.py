"""The exercises of lesson 08."""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from safetensors.numpy import save_file

from helpers.checks import Exercise


def judge_largest(largest: Callable[..., Any], work: Path) -> str | None:
    """Right: name and shape of the dataset with the most numbers, at whatever depth it is."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "any.h5"
        with h5py.File(path, "w") as file:
            file["long"] = np.zeros(60)
            file["group/wide"] = np.zeros((4, 50))
            file["group/inner/tall/0"] = np.zeros((40, 8))
            file["group/inner/zero"] = np.zeros((2, 2))
        given = largest(path)
    if given is None:
        return "largest returned None. Does it end with return?"
    if not isinstance(given, tuple | list) or len(given) != 2:
        return f"Return two things, the name and the shape. You returned {given!r}."
    name, shape = given
    if name in ("long", "/long"):
        return (
            "You found the longest first axis, or only looked at the top of the file. Count all numbers, at every "
            "depth."
        )
    if name in ("group/wide", "/group/wide"):
        return "group/wide has 4 × 50 numbers, and group/inner/tall/0 has 40 × 8."
    if not isinstance(name, str) or name.lstrip("/") != "group/inner/tall/0":
        return f"In the file of this test the largest is group/inner/tall/0, and you returned {name!r}."
    if not isinstance(shape, tuple) or shape != (40, 8):
        return f"The name is right. Return the dataset's shape with it, here (40, 8), not {shape!r}."
    name, shape = largest(work / "reader.h5")
    if shape != (256, 10):
        return f"In reader.h5 the largest has the shape (256, 10), and you returned {name!r}, {shape!r}."
    return None


q1 = Exercise(
    judge_largest,
    hint="Let visititems call a function that keeps the name, the shape and the size of each dataset.",
    solution="""
        def largest(path):
            best_name, best_shape, best_size = None, None, -1

            def compare(name, item):
                nonlocal best_name, best_shape, best_size
                if isinstance(item, h5py.Dataset) and item.size > best_size:
                    best_name, best_shape, best_size = name, item.shape, item.size

            with h5py.File(path) as file:
                file.visititems(compare)
            return best_name, best_shape
    """,
    right="Now run it on a file of your own.",
    wrong={
        """
        def largest(path):
            with h5py.File(path) as file:
                found = [(item.size, name, item.shape) for name, item in file.items() if hasattr(item, "size")]
            return max(found)[1:]
        """: "top of the file",
        """
        def largest(path):
            found = []
            def add(name, item):
                if isinstance(item, h5py.Dataset):
                    found.append((max(item.shape, default=0), name, item.shape))
            with h5py.File(path) as file:
                file.visititems(add)
            return max(found)[1:]
        """: "Count all numbers",
        """
        def largest(path):
            found = []
            def add(name, item):
                if isinstance(item, h5py.Dataset):
                    found.append((item.size, name))
            with h5py.File(path) as file:
                file.visititems(add)
            return max(found)
        """: "you returned",
        """
        def largest(path):
            with h5py.File(path) as file:
                file.visititems(lambda name, item: None)
        """: "None",
    },
)


def write_mystery(trained: Any, path: Path) -> None:
    """Write the digits network: numbered layers, Theano's axes and rows, kernels not rotated."""
    with h5py.File(path, "w") as file:
        file.attrs["nb_layers"] = len(trained.layers)
        for k, layer in enumerate(trained.layers):
            group = file.create_group(f"layer_{k}")
            group.attrs["nb_params"] = len(layer.get_weights())
            for p, array in enumerate(layer.get_weights()):
                if array.ndim == 4:
                    array = array.transpose(3, 2, 0, 1)
                elif array.ndim == 2:
                    array = array.reshape(4, 4, 16, 10).transpose(2, 0, 1, 3).reshape(256, 10)
                group[f"param_{p}"] = array


def judge_repaired(repaired: Any, readers: Sequence[Any]) -> str | None:
    """Right: the weights of the second network."""
    if not hasattr(repaired, "get_weights"):
        return f"repaired is to be a model, with the file's weights. It is of type {type(repaired).__name__}."
    given, right = repaired.get_weights(), readers[1].get_weights()
    if [array.shape for array in given] != [array.shape for array in right]:
        return "Its arrays have other shapes than those of build_reader()."
    if all(np.allclose(g, r) for g, r in zip(given, right, strict=True)):
        return None
    if not np.allclose(given[1], right[1]):
        return "Its first bias isn't the file's param_1 of layer_0. Has repaired got the file's weights at all?"
    if np.allclose(given[2], right[2][::-1, ::-1]):
        return "Its kernels are rotated now, and weren't in the file. Their axes are Theano's; is the rotation?"
    if not np.allclose(given[2], right[2]):
        return "The second kernel's axes are (filters, channels, rows, columns) in the file. Transpose them."
    if not np.allclose(given[4], right[4]):
        return "The kernels are right. The answers aren't: think of the rows of the dense layer."
    return "Most arrays are right. Compare the others with the file."


q2 = Exercise(
    judge_repaired,
    hint=(
        "show(work / 'mystery.h5') gives the layout and the shapes. Read all arrays into a list, in order, and let "
        "from_th convert it with each combination of its options. The accuracy tells which is right."
    ),
    solution="""
        arrays = []
        with h5py.File(work / "mystery.h5") as file:
            for k in range(file.attrs["nb_layers"]):
                group = file[f"layer_{k}"]
                for p in range(group.attrs["nb_params"]):
                    arrays.append(group[f"param_{p}"][...])

        best = 0
        for rotate in [True, False]:
            for reorder in [True, False]:
                candidate = build_reader()
                candidate.set_weights(from_th(arrays, 4, 4, 16, rotate, reorder))
                if accuracy(candidate) > best:
                    best = accuracy(candidate)
                    repaired = candidate
    """,
    right="Theano's axes and rows, but no rotation: as in the published weights of the music tagger.",
    wrong={
        "repaired = build_reader()": "at all",
        "repaired = accuracy(readers[1])": "a model",
        """
        with h5py.File(work / "mystery.h5") as file:
            arrays = [file[f"layer_{k}/param_{p}"][...] for k in (0, 1, 3) for p in (0, 1)]
        repaired = build_reader()
        repaired.set_weights(from_th(arrays, 4, 4, 16))
        """: "rotated now",
        """
        with h5py.File(work / "mystery.h5") as file:
            arrays = [file[f"layer_{k}/param_{p}"][...] for k in (0, 1, 3) for p in (0, 1)]
        repaired = build_reader()
        repaired.set_weights(from_th(arrays, 4, 4, 16, rotate=False, reorder=False))
        """: "rows of the dense layer",
        """
        with h5py.File(work / "mystery.h5") as file:
            arrays = [file[f"layer_{k}/param_{p}"][...] for k in (0, 1, 3) for p in (0, 1)]
        repaired = build_reader()
        for target, array in zip(repaired.weights, arrays):
            target.assign(array.reshape(target.shape))
        """: "Transpose",
    },
)


def judge_load_safely(
    load_safely: Callable[..., Any], build_reader: Callable[..., Any], readers: Sequence[Any]
) -> str | None:
    """Right: loads a file that fits, and refuses four that don't, without a change."""
    right = {weight.path: np.asarray(weight) for weight in readers[2].weights}
    last = "reader/digits/bias"
    cases = {
        "one array is missing": {name: array for name, array in right.items() if name != last},
        "the last array has another shape": {**right, last: np.zeros(5, "float32")},
        "there's an array that the model doesn't have": {**right, "reader/more/kernel": np.zeros(3, "float32")},
        "a kernel is flat, with the right number of values": {
            **right,
            "reader/digits/kernel": right["reader/digits/kernel"].ravel(),
        },
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "test.safetensors"
        save_file(right, path)
        model = build_reader()
        load_safely(model, path)
        for weight in model.weights:
            if not np.array_equal(weight, right[weight.path]):
                return f"A file that fits was given, and {weight.path} isn't what the file has."
        for what, arrays in cases.items():
            save_file(arrays, path)
            model = build_reader()
            before = model.get_weights()
            refused = False
            try:
                load_safely(model, path)
            except ValueError:
                refused = True
            except (KeyError, TypeError, AssertionError) as error:
                return f"When {what} it raised {type(error).__name__}. Compare first, and raise a ValueError."
            changed = sum(not np.array_equal(old, new) for old, new in zip(before, model.get_weights(), strict=True))
            if not refused:
                return f"When {what}, it didn't raise a ValueError."
            if changed:
                return (
                    f"When {what}, it raised an error, but {changed} arrays had changed already. Compare everything "
                    "first."
                )
    return None


q3 = Exercise(
    judge_load_safely,
    hint="Compare the two sets of names, then each shape. Assign in a second loop.",
    solution="""
        def load_safely(model, path):
            stored = load_file(path)
            expected = {weight.path: tuple(weight.shape) for weight in model.weights}
            found = {name: array.shape for name, array in stored.items()}
            if found != expected:
                raise ValueError(f"Nothing was loaded: expected {expected}, found {found}")
            for weight in model.weights:
                weight.assign(stored[weight.path])
    """,
    right="One comparison of two dictionaries does it.",
    wrong={
        """
        def load_safely(model, path):
            stored = load_file(path)
            for weight in model.weights:
                weight.assign(stored[weight.path])
        """: "KeyError",
        """
        def load_safely(model, path):
            stored = load_file(path)
            if set(stored) != {weight.path for weight in model.weights}:
                raise ValueError("other names")
            for weight in model.weights:
                weight.assign(stored[weight.path])
        """: "had changed already",
        """
        def load_safely(model, path):
            stored = load_file(path)
            for weight in model.weights:
                if weight.path not in stored or stored[weight.path].shape != tuple(weight.shape):
                    raise ValueError(weight.path)
            for weight in model.weights:
                weight.assign(stored[weight.path])
        """: "doesn't have",
        """
        def load_safely(model, path):
            stored = load_file(path)
            for weight in model.weights:
                if weight.path in stored and stored[weight.path].shape == tuple(weight.shape):
                    weight.assign(stored[weight.path])
        """: "didn't raise",
        """
        def load_safely(model, path):
            model.set_weights(list(load_file(path).values()))
        """: "",
    },
)
