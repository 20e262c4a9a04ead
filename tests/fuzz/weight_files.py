"""Weight files for the fuzzer: sound ones of every layout, and what it does with damaged ones."""

import functools
import random
import tempfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from helpers import h5files
from helpers.errors import HelpersError

SHAPES: dict[str, dict[str, tuple[int, ...]]] = {
    "c": {"kernel": (3, 3, 2, 3), "bias": (3,)},
    "b": {"gamma": (3,), "beta": (3,), "moving_mean": (3,), "moving_variance": (3,)},
    "d": {"kernel": (12, 2), "bias": (2,)},
}


def read(path: Path) -> None:
    """The target: a tree, all arrays, and loading; a refusal must leave the model as it was."""
    model, before = _model()
    try:
        tree = h5files.tree(path)
        str(tree), tree._repr_html_()
        h5files.read(path)
        h5files.load_weights(model, path)
    except HelpersError:
        _compare(model, before)
        raise
    model.set_weights(before)


def sound() -> list[bytes]:
    """One file in each layout, and one with compressed arrays."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.h5"
        return [
            _written(path, by_number),
            _written(path, by_name),
            _written(path, by_name, compression="gzip", shuffle=True),
            _written(path, whole_model),
            _written(path, by_class),
            _archived(Path(folder) / "x.keras"),
        ]


def repair(data: bytes, _: random.Random) -> bytes:
    """HDF5's older format, which Keras writes, has no checksums to set right."""
    return data


def by_number(file: h5py.File, **options: Any) -> None:
    """Keras 1's `layer_K/param_P`."""
    file.attrs["nb_layers"] = len(SHAPES)
    for k, shapes in enumerate(SHAPES.values()):
        group = file.create_group(f"layer_{k}")
        group.attrs["nb_params"] = len(shapes)
        for p, shape in enumerate(shapes.values()):
            group.create_dataset(f"param_{p}", data=_array(shape), **options)


def by_name(file: h5py.Group, **options: Any) -> None:
    """Keras 1 and 2: lists of names in attributes."""
    file.attrs["backend"] = b"tensorflow"
    file.attrs["layer_names"] = [name.encode() for name in SHAPES]
    for name, shapes in SHAPES.items():
        group = file.create_group(name)
        group.attrs["weight_names"] = [f"{name}/{weight}:0".encode() for weight in shapes]
        for weight, shape in shapes.items():
            group.create_dataset(f"{name}/{weight}:0", data=_array(shape), **options)


def whole_model(file: h5py.File, **options: Any) -> None:
    """The same, below `model_weights`."""
    file.attrs["model_config"] = '{"class_name": "Sequential"}'
    by_name(file.create_group("model_weights"), **options)


def by_class(file: h5py.File, **options: Any) -> None:
    """Keras 3's `layers/CLASS/vars/P`."""
    for key, shapes in zip(
        ("conv2d", "batch_normalization", "dense"), SHAPES.values(), strict=True
    ):
        group = file.create_group(f"layers/{key}/vars")
        for p, shape in enumerate(shapes.values()):
            group.create_dataset(str(p), data=_array(shape), **options)


def _array(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(0).random(shape, "float32")


def _written(path: Path, write: Any, **options: Any) -> bytes:
    with h5py.File(path, "w") as file:
        if options:
            options["chunks"] = True
        write(file, **options)
    return path.read_bytes()


def _archived(path: Path) -> bytes:
    model, _ = _model()
    model.save(path)
    return path.read_bytes()


@functools.cache
def _model() -> tuple[Any, list[np.ndarray]]:
    from helpers.backend import keras

    layers = keras.layers
    model = keras.Sequential([keras.Input((4, 4, 2)), layers.Conv2D(3, 3, name="c")])
    model.add(layers.BatchNormalization(name="b"))
    model.add(layers.Flatten(name="f"))
    model.add(layers.Dense(2, name="d"))
    return model, model.get_weights()


def _compare(model: Any, before: list[np.ndarray]) -> None:
    pairs = zip(before, model.get_weights(), strict=True)
    if not all(np.array_equal(a, b, equal_nan=True) for a, b in pairs):
        raise AssertionError("the file was refused, and the model was changed")
