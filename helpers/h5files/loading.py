"""Load weights of any layout into a Keras 3 model: everything is compared, then assigned."""

import html
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from helpers.errors import ArgumentError, WeightsError, printable
from helpers.h5files import kernels
from helpers.h5files.layouts import KERAS3, Layer, Tree, opened

if TYPE_CHECKING:
    import keras

Convention = Literal["tf", "th"]
Pair = tuple[Any, Layer]  # a layer of the model, and the one of the file


class Mismatch(NamedTuple):
    """A weight whose shape in the file is not the model's."""

    weight: str
    expected: tuple[int, ...]
    got: tuple[int, ...]


@dataclass(frozen=True)
class Report:
    """What was loaded and what was not, as "layer/weight"; `notes` says what was converted."""

    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]  # the file's names; the others are the model's
    wrong_shape: tuple[Mismatch, ...]
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [
            f"{len(self.loaded)} loaded, {len(self.missing)} missing, "
            f"{len(self.unexpected)} unexpected, {len(self.wrong_shape)} of a wrong shape",
            *self.notes,
        ]
        for what in ("missing", "unexpected"):
            if names := getattr(self, what):
                lines.append(f"{what} in the file: {_few(names)}")
        lines += [f"{w}: expected {expected}, got {got}" for w, expected, got in self.wrong_shape]
        return printable("\n".join(lines))

    def _repr_html_(self) -> str:
        return "".join(f"<div>{html.escape(line)}</div>" for line in str(self).splitlines())


def load_weights(
    model: "keras.Model",
    path: str | Path,
    by_name: bool = False,
    skip_mismatch: bool = False,
    partial: bool = False,
    dim_ordering: Convention | None = None,
    trained_kernels: Convention | None = None,
) -> Report:
    """Load a weight file of any layout into a built model, or refuse it and change nothing.

    Layers are matched in their order, as Keras does; in a Keras 3 file, in the order of each class.

    Args:
        by_name: match layers by their names instead; those of one side only are left alone.
        skip_mismatch: leave weights of another shape alone, instead of refusing the file.
        partial: stop where the shorter of file and model ends, instead of refusing the file.
        dim_ordering: `"th"` if the file has channels first. By default its name
            (`…_th_dim_ordering_…`) or the shapes tell.
        trained_kernels: `"th"` if Theano trained the kernels, so that they have to be turned by
            180°. By default the file's name (`…_th_kernels`) or its `backend` tells.

    Raises:
        ArgumentError: the model is not built, or a convention is neither th nor tf.
        WeightsError: the file is damaged, not safe, or does not fit; the model is as it was.
    """
    if not model.built or not model.weights:
        raise ArgumentError(f"{model.name}: it has no weights yet. Build it, on an Input, first.")
    for argument, said in (("dim_ordering", dim_ordering), ("trained_kernels", trained_kernels)):
        if said not in (None, "tf", "th"):
            raise ArgumentError(f'{argument}: expected "tf" or "th", got {said!r}.')
    found: list[tuple[str, Any, np.ndarray]] = []
    notes: list[str] = []
    with opened(path, to_read=True) as tree:
        pairs, missing, unexpected = _paired(model, tree, by_name)
        if not pairs or ((missing or unexpected) and not (by_name or partial)):
            raise WeightsError(_other_layers(tree, model, missing, unexpected))
        first, turn = _conventions(tree, pairs, dim_ordering, trained_kernels)
        for layer, stored in pairs:
            arrays = [weight.read() for weight in stored.weights]
            if tree.layout in KERAS3:
                variables = [_variable(layer, weight.name) for weight in stored.weights]
            else:
                variables = _in_the_files_order(layer, stored)
                arrays = _converted(layer, arrays, first, turn, notes)
            if len(arrays) != len(variables) or {*map(id, variables)} != {*map(id, layer.weights)}:
                here, there = ([w.name for w in each.weights] for each in (layer, stored))
                raise WeightsError(
                    f"{layer.name}: expected {len(here)} arrays ({_few(here)}), the file's "
                    f"{stored.name} has {len(there)} ({_few(there)}). Nothing was loaded."
                )
            names = [f"{layer.name}/{variable.name}" for variable in variables]
            found += zip(names, variables, arrays, strict=True)
    right = [(n, v, a) for n, v, a in found if tuple(v.shape) == a.shape]
    wrong = [Mismatch(n, tuple(v.shape), a.shape) for n, v, a in found if tuple(v.shape) != a.shape]
    if not right or (wrong and not skip_mismatch):
        shapes = [f"{name} expected {expected}, got {got}" for name, expected, got in wrong]
        raise WeightsError(
            f"{tree.file} does not fit {model.name}, which is unchanged: {_few(shapes, '; ')}. "
            "Build the model that it belongs to, or leave these out with skip_mismatch."
        )
    for _, variable, array in right:
        variable.assign(array)
    for layer, _ in pairs:
        _finalize(layer)  # a Normalization computes what it uses from its variables
    return Report(
        tuple(name for name, *_ in right),
        tuple(f"{layer.name}/{w.name}" for layer in missing for w in layer.weights),
        tuple(f"{layer.name}/{w.name}" for layer in unexpected for w in layer.weights),
        tuple(wrong),
        tuple(dict.fromkeys(notes)),
    )


def _paired(model: Any, tree: Tree, by_name: bool) -> tuple[list[Pair], list[Any], list[Layer]]:
    here = {key: layer for key, layer in _by_class(model.layers).items() if layer.weights}
    there = {layer.key: layer for layer in tree.layers if layer.weights}
    if by_name:
        here = {layer.name: layer for layer in here.values()}
        there = {layer.name: layer for layer in there.values()}
    elif tree.layout not in KERAS3:
        here = {str(k): layer for k, layer in enumerate(here.values())}
        there = {str(k): layer for k, layer in enumerate(there.values())}
    return (
        [(here[key], there[key]) for key in here if key in there],
        [here[key] for key in here if key not in there],
        [there[key] for key in there if key not in here],
    )


def _by_class(layers: Iterable[Any]) -> dict[str, Any]:
    # Keras 3's keys: the class in snake case, numbered from the second on.
    keys: dict[str, Any] = {}
    count: dict[str, int] = {}
    for layer in layers:
        name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", type(layer).__name__)
        name = re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()
        number = count[name] = count.get(name, -1) + 1
        keys[f"{name}_{number}" if number else name] = layer
    return keys


def _conventions(
    tree: Tree, pairs: list[Pair], dim_ordering: str | None, trained_kernels: str | None
) -> tuple[bool, bool]:
    """Decide whether kernels are channels first, and whether they have to be turned."""
    if tree.layout in KERAS3:
        return False, False
    shapes = [(tuple(layer.weights[0].shape), stored.weights[0].shape) for layer, stored in pairs]
    shapes = [(wanted, got) for wanted, got in shapes if len(wanted) == len(got) == 4]
    transposed = any(got != wanted == (*got[2:], got[1], got[0]) for wanted, got in shapes)
    named = {b: a for a, b in re.findall("(th|tf)_(dim_ordering|kernels)", tree.file.lower())}
    by_backend = {"theano": "th", None: None}.get(tree.attributes.get("backend"), "tf")
    first = (dim_ordering or named.get("dim_ordering") or ("th" if transposed else "tf")) == "th"
    trained = trained_kernels or named.get("kernels") or by_backend
    if not trained and first and any(wanted[:2] != (1, 1) for wanted, _ in shapes):
        raise WeightsError(
            f"{tree.file}: its kernels are stored (out, in, rows, columns), and nothing says "
            "whether Theano trained it, whose convolution turns each kernel by 180°. Say "
            'trained_kernels="th" (turned) or trained_kernels="tf" (not). Nothing was loaded.'
        )
    return first, trained == "th"


def _converted(
    layer: Any, arrays: list[np.ndarray], first: bool, turn: bool, notes: list[str]
) -> list[np.ndarray]:
    kind = type(layer).__name__
    if kind in kernels.GATES and len(arrays) == 3 * len(kernels.GATES[kind][0]):
        return kernels.gates(kind, arrays)
    if (first or turn) and arrays[0].ndim == 4:
        if kind != "Conv2D":
            raise ValueError(f"{layer.name} is a {kind}, and th kernels are for a Conv2D only")
        arrays = [kernels.kernel(arrays[0], first, turn), *arrays[1:]]
        notes += ["kernels transposed from (out, in, rows, columns)"] if first else []
        notes += ["kernels turned by 180°"] if turn else []
    shape = _flattened(layer) if first and kind == "Dense" else None
    if shape and len(arrays[0]) == np.prod(shape):
        arrays = [kernels.dense(arrays[0], shape), *arrays[1:]]
        done = "rows reordered, for the map before it was flattened channels first"
        notes.append(f"{layer.name}/kernel: {done}")
    return arrays


def _flattened(layer: Any) -> tuple[int, int, int] | None:
    """Give (rows, columns, channels) of the map that a Flatten right before a layer had."""
    before: Any = layer
    while before is layer or type(before).__name__ == "Dropout":
        before = before.input._keras_history.operation
    flattened = type(before).__name__ == "Flatten" and len(before.input.shape) == 4
    return before.input.shape[1:] if flattened else None


def _in_the_files_order(layer: Any, stored: Layer) -> list[Any]:
    # By names, because a layer made of layers lists them in another order once it is frozen.
    variables = [*layer.trainable_weights, *layer.non_trainable_weights]
    ours = {"/".join(v.path.split("/")[-2:]): v for v in variables}
    theirs = ["/".join(w.name.removesuffix(":0").split("/")[-2:]) for w in stored.weights]
    return [ours[name] for name in theirs] if sorted(theirs) == sorted(ours) else variables


def _variable(layer: Any, path: str) -> Any:
    """Follow a path of a Keras 3 file: attributes, classes in lists of layers, then a number."""
    *parts, number = path.split("/")
    for part in parts:
        layer = layer.get(part) if isinstance(layer, dict) else getattr(layer, part, None)
        layer = _by_class(layer) if isinstance(layer, list | tuple) else layer
    store: dict[str, Any] = {}
    if hasattr(layer, "save_own_variables"):
        layer.save_own_variables(store)
    return store.get(number)


def _finalize(layer: Any) -> None:
    for inner in getattr(layer, "layers", []):
        _finalize(inner)
    if hasattr(layer, "finalize_state"):
        layer.finalize_state()


def _other_layers(tree: Tree, model: Any, missing: list[Any], unexpected: list[Layer]) -> str:
    side, other, more = ("file", "model", unexpected) if unexpected else ("model", "file", missing)
    if missing and unexpected:
        why, todo = "their layers are others", "Build the model that the file belongs to"
    elif missing and re.search(r"_\d{5}\.weights\.h5$", tree.file):
        why = "by its name it is one of several shards of a network"
        todo = "Keras's own load_weights reads them all, from the list beside them, ….weights.json"
    elif len(more) > 3:  # VGG's head is the longest
        why, todo = f"the {side} has {len(more)} layers more", "Load what both have with partial"
    else:
        classes = more[-1].weights[-1].shape[-1]
        why = f"the {side} has a {classes}-class head, the {other} has none"
        todo = "Take both with the top or both without, or load what both have with partial"
    here, there = ([layer.name for layer in layers] for layers in (missing, unexpected))
    return (
        f"{tree.file} does not fit {model.name}, which is unchanged: {why} (only in the file: "
        f"{_few(there)}; only in the model: {_few(here)}). {todo}."
    )


def _few(names: Sequence[str], comma: str = ", ", most: int = 6) -> str:
    listed = comma.join(names[:most])
    return (listed or "none") + (f" and {len(names) - most} more" if len(names) > most else "")
