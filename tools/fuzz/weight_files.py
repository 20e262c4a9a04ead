"""Weight files for the fuzzer: sound ones of every layout, and what it does with damaged ones."""

import contextlib
import functools
import io
import math
import random
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from helpers import h5files
from helpers.errors import HelpersError

ARCHIVED = "model.weights.h5"
LAYOUTS = (
    "numbers", "Keras 1", "names as texts", "gzip", "newest HDF5",
    "x.h5", "x.keras", "x.weights.h5", "deflated",
)  # fmt: skip
Shapes = dict[str, dict[str, tuple[int, ...]]]
SHAPES: Shapes = {
    "c": {"kernel": (3, 3, 2, 3), "bias": (3,)},
    "b": {"gamma": (3,), "beta": (3,), "moving_mean": (3,), "moving_variance": (3,)},
    "d": {"kernel": (12, 6), "bias": (6,)},
    "g": {"kernel": (2, 9), "recurrent_kernel": (3, 9), "bias": (9,)},
}
# Keras 1 kept a recurrent layer's gates apart.
GATE: dict[str, tuple[int, ...]] = {"W": (2, 3), "U": (3, 3), "b": (3,)}
KERAS_1 = SHAPES | {"g": {f"{part}_{gate}": GATE[part] for gate in "zrh" for part in GATE}}


def read(path: Path) -> None:
    """The target: a tree, loading, all arrays; a refusal must leave the model as it was.

    Every other file, by its size, is loaded as far as it fits.
    """
    tree = h5files.tree(path)
    str(tree), tree._repr_html_()
    model, before = _model()
    lenient = path.stat().st_size % 2 == 1
    try:
        h5files.load_weights(model, path, partial=lenient, skip_mismatch=lenient)
    except HelpersError:
        _compare(model, before)
        raise
    model.set_weights(before)
    h5files.read(path)


def sound() -> dict[str, bytes]:
    """A file of each layout, as Keras and other libraries write it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.h5"
        files = {
            "numbers": _written(path, by_number, KERAS_1),
            "Keras 1": _written(path, by_name, KERAS_1),
            "names as texts": _written(path, by_name, SHAPES, texts=True),
            "gzip": _written(path, by_name, SHAPES, compression="gzip", shuffle=True, chunks=True),
            "newest HDF5": _written(path, by_name, SHAPES, libver="latest"),
        }
        model, _ = _model()
        model.save_weights(Path(folder) / "x.weights.h5")
        for name in ("x.h5", "x.keras"):
            model.save(Path(folder) / name)
        files |= {n: (Path(folder) / n).read_bytes() for n in ("x.h5", "x.keras", "x.weights.h5")}
        return files | {"deflated": _archived(files["x.weights.h5"], zipfile.ZIP_DEFLATED)}


def flips(sound: bytes, count: int, seed: int) -> Iterator[bytes]:
    """Yield copies with one other byte each, from the first to the last; every second by a bit."""
    chance = random.Random(seed)
    for k in range(count):
        data = bytearray(sound)
        change = chance.randrange(1, 256) if k % 2 else 1 << chance.randrange(8)
        data[(k * len(data) + chance.randrange(len(data))) // count] ^= change
        yield bytes(data)


# --- files that lie: sound as HDF5, but not as weight files --------------------------------------

NUMBERS = (-1, 0, 1, 2, 3, 12, 1000, 2**31, 2**40, 2**62)
KINDS = ("f4", "f2", "f8", "i8", "u1", "c16", "S9", h5py.string_dtype(), "V5", "M8[s]")
WORDS = (
    "layers", "vars", "0", "kernel", "bias", "gru", "cell", "c/kernel:0", "model_weights",
    "seed_generator", "layer_0", "d", "..", "", "\x1b[31m<b>", "x" * 300,
)  # fmt: skip


def lies(sound: Sequence[bytes], count: int, seed: int) -> Iterator[bytes]:
    """Sound HDF5 files with other attributes, shapes, kinds, names and links than they should have.

    Damage to the bytes mostly ends in HDF5's own checks; these get past them.
    """
    chance = random.Random(seed)
    for _ in range(count):
        data = chance.choice(sound)
        archived = data.startswith(b"PK")
        if archived:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                data = archive.read(ARCHIVED)
        data = _lie(data, chance) + b" " * chance.randrange(2)
        yield _archived(data) if archived else data


def _lie(data: bytes, chance: random.Random) -> bytes:
    lying = io.BytesIO(data)
    with h5py.File(lying, "r+") as file:
        for _ in range(chance.choice((1, 1, 2, 5))):
            names: list[str] = []
            file.visit(names.append)
            change = chance.choice((_attribute, _attribute, _dataset, _dataset, _link, _move))
            with contextlib.suppress(OSError, RuntimeError, ValueError, TypeError, KeyError):
                # h5py itself will not have some of them.
                change(file[chance.choice(["/", *names])], chance)
    return lying.getvalue()


def _attribute(item: Any, chance: random.Random) -> None:
    names = [*item.attrs, "nb_layers", "nb_params", "layer_names", "weight_names", "name"]
    name = chance.choice(names)
    words = [chance.choice(WORDS) for _ in range(chance.randrange(5))]
    old = item.attrs.get(name)
    values = [chance.choice(NUMBERS), words, chance.choice(WORDS), np.array(words, "S"), 1.5, True]
    if isinstance(old, np.ndarray) and old.size:
        values += [chance.sample([*old], len(old)), old[:-1], [*old, *old]]
    item.attrs[name] = chance.choice(values)


def _dataset(item: Any, chance: random.Random) -> None:
    if not isinstance(item, h5py.Dataset):
        return
    old = item.shape or ()
    shape = tuple(chance.choice((*NUMBERS[2:], *old)) for _ in range(chance.randrange(6)))
    if chance.random() < 0.4:
        shape = tuple(chance.sample(old, len(old)))
    parent, name = item.parent, item.name.rpartition("/")[2]
    del parent[name]
    options: dict[str, Any] = {"chunks": tuple(min(n, 50) for n in shape)} if shape else {}
    if options and chance.random() < 0.5:
        options["compression"] = "gzip"
    kind = chance.choice((*["f4"] * 8, *KINDS))
    if math.prod(shape) < 10_000 and kind == "f4":
        options["data"] = np.ones(shape, "f4")
    if chance.random() < 0.3:
        options.pop("chunks", None), options.pop("compression", None)
    parent.create_dataset(name, shape, kind, **options)


def _link(item: Any, chance: random.Random) -> None:
    if item.name == "/":
        return
    parent, name, file = item.parent, item.name.rpartition("/")[2], item.file
    target = chance.choice((
        h5py.SoftLink("/d"), h5py.SoftLink("/nowhere"), h5py.ExternalLink("/etc/passwd", "/"),
        file["/"], parent, h5py.Empty("f4"), np.float32(3), np.dtype("f4"),
    ))  # fmt: skip
    del parent[name]
    parent[name] = target


def _move(item: Any, chance: random.Random) -> None:
    if item.name != "/":
        item.file.move(item.name, f"{item.parent.name.rstrip('/')}/{chance.choice(WORDS)}")


def by_number(file: h5py.File, layers: Shapes, **options: Any) -> None:
    """Keras 1's `layer_K/param_P`."""
    file.attrs["nb_layers"] = len(layers)
    for k, shapes in enumerate(layers.values()):
        group = file.create_group(f"layer_{k}")
        group.attrs["nb_params"] = len(shapes)
        for p, shape in enumerate(shapes.values()):
            group.create_dataset(f"param_{p}", data=_array(shape), **options)


def by_name(file: h5py.Group, layers: Shapes, texts: bool = False, **options: Any) -> None:
    """Keras 1 and 2: lists of names in attributes, of a fixed length or each in a heap."""
    kind = h5py.string_dtype() if texts else "S20"
    file.attrs["backend"] = b"tensorflow"
    file.attrs["layer_names"] = np.array([*layers], kind)
    for name, shapes in layers.items():
        group = file.create_group(name)
        group.attrs["weight_names"] = np.array([f"{name}/{weight}:0" for weight in shapes], kind)
        for weight, shape in shapes.items():
            group.create_dataset(f"{name}/{weight}:0", data=_array(shape), **options)


def _array(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(0).random(shape, "float32")


def _written(
    path: Path, write: Any, layers: Shapes, libver: str | None = None, **options: Any
) -> bytes:
    with h5py.File(path, "w", libver=libver) as file:
        write(file, layers, **options)
    return path.read_bytes()


def _archived(data: bytes, kind: int = zipfile.ZIP_STORED) -> bytes:
    """As a .keras file has it; Keras itself compresses nothing."""
    archive_bytes = io.BytesIO()
    with zipfile.ZipFile(archive_bytes, "w", kind) as archive:
        archive.writestr("metadata.json", '{"keras_version": "3.15.1"}')
        archive.writestr(ARCHIVED, data)
    return archive_bytes.getvalue()


@functools.cache
def _model() -> tuple[Any, list[np.ndarray]]:
    from helpers.backend import keras

    layers = keras.layers
    model = keras.Sequential([keras.Input((4, 4, 2)), layers.Conv2D(3, 3, name="c")])
    model.add(layers.BatchNormalization(name="b"))
    model.add(layers.Flatten(name="f"))
    model.add(layers.Dense(6, name="d"))
    model.add(layers.Reshape((3, 2)))
    model.add(layers.GRU(3, reset_after=False, name="g"))
    return model, model.get_weights()


def _compare(model: Any, before: list[np.ndarray]) -> None:
    pairs = zip(before, model.get_weights(), strict=True)
    if not all(np.array_equal(a, b, equal_nan=True) for a, b in pairs):
        raise AssertionError("the file was refused, and the model was changed")
