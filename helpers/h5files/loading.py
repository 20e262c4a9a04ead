"""Weights of any layout → a Keras 3 model: everything is compared before anything is assigned."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from helpers.errors import ArgumentError, WeightsError
from helpers.h5files import kernels, layouts
from helpers.h5files.conventions import Convention, Conventions, channels_last
from helpers.h5files.layouts import Contents, StoredLayer, StoredWeight
from helpers.h5files.pairing import Pair, by_class, pairs
from helpers.h5files.report import Mismatch, Report, few

if TYPE_CHECKING:
    import keras

LONGEST_HEAD = 3  # layers with weights: VGG's


@dataclass(frozen=True)
class _Match:
    """A variable of the model, the arrays of the file that make it, and how."""

    name: str
    variable: Any
    shape: tuple[int, ...]
    sources: Sequence[StoredWeight]
    convert: Callable[[list[np.ndarray]], np.ndarray]
    note: str = ""


def load_weights(
    model: "keras.Model",
    path: str | Path,
    by_name: bool = False,
    skip_mismatch: bool = False,
    partial: bool = False,
    dim_ordering: Convention | None = None,
    trained_kernels: Convention | None = None,
) -> Report:
    """Loads a weight file of any layout into a built model, or refuses it and changes nothing.

    Layers are matched in their order, as Keras does; in a Keras 3 file in the order of each class.
    All names and shapes are compared, and all arrays read, before the first is assigned.

    Args:
        model: any built Keras 3 model, channels last.
        path: a file in any layout that `h5files.tree` knows.
        by_name: match layers by their names instead; those of one side only are left alone.
        skip_mismatch: leave weights of another shape alone, instead of refusing the file.
        partial: stop where the shorter of file and model ends, instead of refusing the file.
        dim_ordering: of the file: `"th"` is channels first. By default the shapes and the file's
            name (`…_th_dim_ordering_…`) decide.
        trained_kernels: `"th"` where Theano trained the file, so that its kernels are turned by
            180°. By default the file's name (`…_th_kernels`) and its `backend` decide; where
            channels come first and nothing says it, it has to be given.

    Returns:
        The report: what was loaded, and what was left alone on either side.

    Raises:
        WeightsError: no such file.
        WeightsError: not safe to read; nothing in it matches; or it does not fit, and then the
            message names what does not, and the model is as it was.

    Example:
        >>> import tempfile
        >>> from helpers.backend import keras
        >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
        >>> path = tempfile.mkdtemp() + "/some.weights.h5"
        >>> model.save_weights(path)
        >>> print(load_weights(model, path))
        2 loaded, 0 missing, 0 unexpected, 0 of a wrong shape
    """
    if not model.built or not model.weights:
        raise ArgumentError(f"{model.name}: it has no weights yet. Build it, on an Input, first.")
    with layouts.opened(path) as contents:
        layouts.refuse_links(contents)
        paired, missing, unexpected = pairs(model, contents, by_name)
        if (missing or unexpected) and not (by_name or partial):
            raise WeightsError(_other_layers(contents, model, missing, unexpected))
        conventions = Conventions.of(contents, paired, dim_ordering, trained_kernels)
        matches, wrong = [], []
        for pair in paired:
            for match in _matches(pair, conventions):
                if match.shape == tuple(match.variable.shape):
                    matches.append(match)
                else:
                    wrong.append(Mismatch(match.name, tuple(match.variable.shape), match.shape))
        notes = conventions.notes() if any(len(match.shape) == 4 for match in matches) else ()
        report = Report(
            tuple(match.name for match in matches),
            tuple(f"{layer.name}/{w.name}" for layer in missing for w in layer.weights),
            tuple(f"{layer.name}/{w.name}" for layer in unexpected for w in layer.weights),
            tuple(wrong),
            (*notes, *(match.note for match in matches if match.note)),
        )
        if wrong and not skip_mismatch:
            raise WeightsError(
                f"{contents.path.name} does not fit {model.name}, which is unchanged: "
                + "; ".join(f"{w} expected {e}, got {g}" for w, e, g in wrong[:5])
                + (f"; and {len(wrong) - 5} more" if len(wrong) > 5 else "")
                + ". Build the model that it belongs to, or leave these out with skip_mismatch."
            )
        if not matches:
            raise WeightsError(
                f"{contents.path.name}: not one of its {len(contents.layers)} layers "
                f"({few([layer.name for layer in contents.layers])}) is one of {model.name}'s "
                f"({few([layer.name for layer in model.layers])}). Nothing was loaded."
            )
        arrays = [match.convert([source.read() for source in match.sources]) for match in matches]
    for match, array in zip(matches, arrays, strict=True):
        match.variable.assign(array)
    return report


def _matches(pair: Pair, conventions: Conventions) -> Iterator[_Match]:
    layer, stored = pair.layer, pair.stored.weights
    kind = type(layer).__name__
    if conventions.keras3:
        found = dict(_tracked(layer, stored, ""))
        if {weight.name for weight in stored} != set(found):
            raise WeightsError(_other_arrays(pair, [*found]))
        for weight in stored:
            yield _plain(layer, found[weight.name], weight)
        return
    variables = [*layer.trainable_weights, *layer.non_trainable_weights]
    if kind in kernels.GATES and len(stored) == 3 * len(kernels.GATES[kind][0]):
        yield from _recurrent(layer, kind, stored)
        return
    if len(stored) != len(variables):
        raise WeightsError(_other_arrays(pair, [variable.name for variable in variables]))
    for variable, weight in zip(_in_the_files_order(variables, stored), stored, strict=True):
        match = _plain(layer, variable, weight)
        if kind == "Conv2D" and len(weight.shape) == 4:
            match = _convolution(match, weight, conventions)
        elif kind == "Dense" and len(weight.shape) == 2 and conventions.channels_first:
            match = _after_flatten(match, layer, weight)
        yield match


def _other_arrays(pair: Pair, expected: Sequence[str]) -> str:
    return (
        f"{pair.layer.name}: expected {len(expected)} arrays ({few(expected)}), the file's "
        f"{pair.stored.name} has {len(pair.stored.weights)} "
        f"({few([weight.name for weight in pair.stored.weights])}). Nothing was loaded."
    )


def _plain(layer: Any, variable: Any, weight: StoredWeight) -> _Match:
    return _Match(
        f"{layer.name}/{variable.name}", variable, weight.shape, [weight], lambda arrays: arrays[0]
    )


def _convolution(match: _Match, weight: StoredWeight, conventions: Conventions) -> _Match:
    first, turn = conventions.channels_first, conventions.turn
    shape = channels_last(weight.shape) if first else weight.shape
    return replace(match, shape=shape, convert=lambda a: kernels.kernel(a[0], first, turn))


def _after_flatten(match: _Match, layer: Any, weight: StoredWeight) -> _Match:
    shape = _flattened(layer)
    if shape is None or np.prod(shape) != weight.shape[0]:
        return match
    return replace(
        match,
        convert=lambda arrays: kernels.dense(arrays[0], shape),
        note=f"{match.name}: rows reordered, for the map before it was flattened channels first",
    )


def _flattened(layer: Any) -> tuple[int, int, int] | None:
    """(rows, columns, channels) of the map that a Flatten right before a dense layer had."""
    before: Any = layer
    while before is layer or type(before).__name__ == "Dropout":
        before = before.input._keras_history.operation
    if type(before).__name__ != "Flatten" or len(before.input.shape) != 4:
        return None
    rows, columns, channels = before.input.shape[1:]
    return rows, columns, channels


def _recurrent(layer: Any, kind: str, stored: list[StoredWeight]) -> Iterator[_Match]:
    """Keras 1 kept three arrays for each gate; Keras 3 has three in all."""
    if getattr(layer, "reset_after", False):
        raise WeightsError(
            f"{layer.name}: expected a GRU with reset_after=False, got reset_after=True. "
            "The file's multiplies by the reset gate before the matrix. Use Keras 1's recurrent "
            "activation too, clip(0.2 * x + 0.5, 0, 1). Nothing was loaded."
        )
    for part, variable in enumerate(layer.weights):
        gates = [weight.shape for weight in stored[part::3]]

        def convert(arrays: list[np.ndarray], part: int = part) -> np.ndarray:
            return kernels.gates(kind, arrays)[part]

        shape = (*gates[0][:-1], sum(gate[-1] for gate in gates))
        yield _Match(f"{layer.name}/{variable.name}", variable, shape, stored, convert)


def _in_the_files_order(variables: list[Any], stored: list[StoredWeight]) -> list[Any]:
    """By "layer/weight" where both sides name theirs so, else as they come.

    A layer made of layers lists what is trainable first, and so differently once it is frozen.
    """
    tails = {"/".join(v.path.split("/")[-2:]): v for v in variables}
    wanted = ["/".join(w.name.removesuffix(":0").split("/")[-2:]) for w in stored]
    if len(tails) == len(variables) and sorted(wanted) == sorted(tails):
        return [tails[name] for name in wanted]
    return variables


def _tracked(layer: Any, stored: Sequence[StoredWeight], prefix: str) -> Iterator[tuple[str, Any]]:
    """A layer's variables by their paths in a Keras 3 file, as far as the file goes."""
    names = {w.name.removeprefix(prefix).split("/")[0] for w in stored if w.name.startswith(prefix)}
    inner: set[int] = set()
    for name in sorted(names):
        for part, child in _children(layer, name):
            inner |= {id(variable) for variable in child.weights}
            yield from _tracked(child, stored, f"{prefix}{part}/")
    own = [variable for variable in layer.weights if id(variable) not in inner]
    yield from ((f"{prefix}{k}", variable) for k, variable in enumerate(own))


def _children(layer: Any, name: str) -> Iterator[tuple[str, Any]]:
    """What stands under a name in a layer: another layer, or, under `layers`, several."""
    if name == "layers" and hasattr(layer, "layers"):
        keys = by_class(layer.layers)
        yield from ((f"layers/{keys[id(one)]}", one) for one in layer.layers)
    else:
        child = vars(layer).get(name)
        if hasattr(child, "weights"):
            yield name, child


def _other_layers(
    contents: Contents, model: "keras.Model", missing: list[Any], unexpected: list[StoredLayer]
) -> str:
    """Says how the layers of file and model differ, and in the commonest case why: the head."""
    if unexpected and not missing and len(unexpected) <= LONGEST_HEAD:
        outputs = unexpected[-1].weights[-1].shape[-1:]
        why = f"the file has a {_number(outputs)}-class head, the model has none"
        todo = "Take the file without the top (notop), or only what the model has, with partial"
    elif missing and not unexpected and len(missing) <= LONGEST_HEAD:
        outputs = tuple(missing[-1].weights[-1].shape[-1:])
        why = f"the model has a {_number(outputs)}-class head, the file has none"
        todo = "Build the model with include_top=False, or load the rest with partial"
    elif unexpected and not missing:
        why = f"the model ends, and the file has {len(unexpected)} layers more"
        todo = "If the model is the file's beginning, load that with partial"
    else:
        why = "their layers are others"
        todo = "Build the model that the file belongs to, or match layers by_name"
    return (
        f"{contents.path.name} does not fit {model.name}, which is unchanged: {why} "
        f"(only in the file: {few([layer.name for layer in unexpected])}; "
        f"only in the model: {few([layer.name for layer in missing])}). {todo}."
    )


def _number(shape: tuple[int, ...]) -> str:
    return str(shape[0]) if shape else "?"
