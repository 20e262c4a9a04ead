"""Fine-tuning by blocks: find them, freeze those below a line, cut a network there."""

import re

from helpers.backend import keras
from helpers.errors import ArgumentError, nearest

# Inception networks name the layer that ends a block; the others prefix all of a block's layers.
LAST_LAYER = re.compile(r"(mixed_?\d+[a-z]?|block\d+_\d+)(?:_ac)?")
PREFIX = re.compile(
    r"(stem|top|conv\d+_block\d+|block_?\d+[a-z]?|expanded_conv(?:_\d+)?|conv_[dp]w_\d+)_"
)


def blocks(model: keras.Model) -> list[tuple[str, int]]:
    """List a network's blocks in order, by the names of its layers.

    Args:
        model: the network itself, not a model that contains it as a layer.

    Returns:
        Pairs of a block's name and its first layer's index.

    Example:
        >>> blocks(keras.applications.InceptionV3(weights=None, include_top=False))[-2:]
        [('mixed9', 249), ('mixed10', 280)]
    """
    names = [layer.name for layer in model.layers]
    ends = {i: match[1] for i, name in enumerate(names) if (match := LAST_LAYER.fullmatch(name))}
    if ends:
        stem = max(cut for cut in _cuts(model) if cut <= min(ends))
        return list(zip(ends.values(), [stem, *(i + 1 for i in ends)], strict=False))
    first: dict[str, int] = {}
    for i, name in enumerate(names):
        if match := PREFIX.match(name):
            first.setdefault(match[1], i)
    return list(first.items())


def freeze_below(model: keras.Model, name: str) -> int:
    """Freeze every layer below a block or layer, and make that one and those above it trainable.

    BatchNorm layers stay frozen above the line too, and so keep their moving statistics. In Keras
    3.15, `base(x, training=False)` alone doesn't do that: in `fit`, a functional model passes
    `training=True` on to the layers it contains (https://github.com/keras-team/keras/issues/20285).
    Compile the model afterwards, or `fit` won't notice.

    Args:
        model: as in `blocks`.
        name: of a block or a layer.

    Returns:
        The index of the first layer above the line.

    Raises:
        ArgumentError: the network has no such block or layer.
    """
    line = _index(model, name)
    model.trainable = True  # a model that is frozen as a whole ignores its layers' `trainable`
    for i, layer in enumerate(model.layers):
        layer.trainable = i >= line and not isinstance(layer, keras.layers.BatchNormalization)
    return line


def split(model: keras.Model, at: str) -> tuple[keras.Model, keras.Model]:
    """Cut a network in two where freezing ends, so that the frozen part runs once per picture.

    Run the first part with `bottlenecks.extract`, and train the second on that file with
    `fit(features.batches(path, seed=0), shuffle=False)`. Both share their weights with `model`. The
    same batches give the same weights as training `model` after `freeze_below(model, at)`, but
    dropout in the frozen part drops nothing, and pictures can't be augmented anew in every epoch.

    Args:
        model: the whole network, with the head that is to be trained.
        at: the first block or layer to train.

    Raises:
        ArgumentError: no such block or layer, or more than one tensor crosses the line, or nothing
            below it has weights; the model is then unchanged.

    Example:
        >>> model = keras.applications.VGG16(weights=None, classes=5)
        >>> frozen, trainable = split(model, at="block5")
        >>> frozen.output_shape, trainable.output_shape
        ((None, 14, 14, 512), (None, 5))
    """
    line = _index(model, at)
    cuts = [i for i in _cuts(model) if any(layer.weights for layer in model.layers[:i])]
    if line not in cuts:
        where = "It can't be cut anywhere."
        if cuts:
            closest = min(cuts, key=lambda i: abs(i - line))
            names = {i: name for name, i in blocks(model)}
            where = f"The nearest place is {names.get(closest, model.layers[closest].name)!r}."
        raise ArgumentError(
            f"{model.name}: can't be cut at {at!r}: expected one tensor to cross the line, and "
            f"layers with weights below it. {where}"
        )
    seam = model.layers[line - 1].output
    inputs, outputs = (t[0] if len(t) == 1 else t for t in (model.inputs, model.outputs))
    frozen, trainable = keras.Model(inputs, seam), keras.Model(seam, outputs)
    freeze_below(model, at)
    return frozen, trainable


def _index(model: keras.Model, name: str) -> int:
    found = {layer.name: i for i, layer in enumerate(model.layers)} | dict(blocks(model))
    if name not in found:
        known = [block for block, _ in blocks(model)] or [layer.name for layer in model.layers]
        raise ArgumentError(f"{model.name}: no block or layer {name!r}. {nearest(name, known)}")
    return found[name]


def _cuts(model: keras.Model) -> list[int]:
    """All i for which the output of layer i - 1 is all that the layers from i on depend on."""
    made_by = {id(layer.output): i for i, layer in enumerate(model.layers)}
    last_use = [0] * len(model.layers)
    for i, layer in enumerate(model.layers):
        for tensor in keras.tree.flatten(layer.input):
            last_use[made_by.get(id(tensor), 0)] = i
    for tensor in model.outputs:
        last_use[made_by.get(id(tensor), -1)] = len(model.layers)
    return [i for i in range(1, len(model.layers)) if max(last_use[: i - 1], default=0) < i]
