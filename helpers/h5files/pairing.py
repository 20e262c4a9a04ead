"""Which layer of a file belongs to which layer of a model."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from helpers.h5files.layouts import Contents, StoredLayer

if TYPE_CHECKING:
    import keras


class Pair(NamedTuple):
    """A layer of a model, and what a file has for it."""

    layer: Any
    stored: StoredLayer


def pairs(
    model: "keras.Model", contents: Contents, by_name: bool
) -> tuple[list[Pair], list[Any], list[StoredLayer]]:
    """The layers of both sides that belong together; the model's alone; the file's alone."""
    here = [layer for layer in model.layers if layer.weights]
    there = [layer for layer in contents.layers if layer.weights]
    if by_name:
        keys_here = [layer.name for layer in here]
        keys_there = [layer.name for layer in there]
    elif contents.is_keras3:
        classes = by_class(model.layers)
        keys_here = [classes[id(layer)] for layer in here]
        keys_there = [layer.key for layer in there]
    else:
        keys_here = [str(k) for k in range(len(here))]
        keys_there = [str(k) for k in range(len(there))]
    stored = dict(zip(keys_there, there, strict=True))
    pairs = [
        Pair(layer, stored[key])
        for key, layer in zip(keys_here, here, strict=True)
        if key in stored
    ]
    missing = [layer for key, layer in zip(keys_here, here, strict=True) if key not in stored]
    known = set(keys_here)
    return pairs, missing, [layer for key, layer in stored.items() if key not in known]


def by_class(layers: Sequence[Any]) -> dict[int, str]:
    """Keras 3's keys: the class in snake case, and its number among the layers of that class."""
    keys, count = {}, dict[str, int]()
    for layer in layers:
        name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", type(layer).__name__)
        name = re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()
        seen = count[name] = count.get(name, -1) + 1
        keys[id(layer)] = f"{name}_{seen}" if seen else name
    return keys
