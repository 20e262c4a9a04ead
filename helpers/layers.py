"""Tapping layers: a model → a model of its inner layers, and what one unit of a layer can see."""

from collections.abc import Sequence
from typing import NamedTuple

from helpers.backend import keras
from helpers.errors import ArgumentError, nearest

layers = keras.layers

WINDOWED = (layers.Conv2D, layers.DepthwiseConv2D, layers.SeparableConv2D)
POOLING = (layers.MaxPooling2D, layers.AveragePooling2D)
BY_POSITION = (
    layers.Activation, layers.Add, layers.Average, layers.BatchNormalization, layers.Concatenate,
    layers.Dropout, layers.LeakyReLU, layers.Maximum, layers.Multiply, layers.Normalization,
    layers.PReLU, layers.ReLU, layers.Rescaling, layers.Subtract,
)  # fmt: skip


class ReceptiveField(NamedTuple):
    """Along one axis: unit i sees pixels `start + i * stride` … `start + i * stride + size - 1`.

    `start` is negative where the padding is seen too.
    """

    size: int
    stride: int
    start: int


def tap(model: keras.Model, names: str | Sequence[str]) -> keras.Model:
    """A model that shares all its layers with this one, and gives what the named ones put out.

    Args:
        model: functional or sequential, built.
        names: a layer's name: the model gives that layer's output. Or several names: it gives a
            dict, name → output, all from one pass.

    Raises:
        ArgumentError: no such layer; the nearest name is offered.

    Example:
        >>> vgg19 = keras.applications.VGG19(weights=None, include_top=False)
        >>> tap(vgg19, "block4_pool").output_shape
        (None, None, None, 512)
    """
    known = {layer.name: layer for layer in model.layers}
    for name in [names] if isinstance(names, str) else names:
        if name not in known:
            raise ArgumentError(f"{model.name} has no layer {name!r}. {nearest(name, known)}")
    inputs = model.inputs[0] if len(model.inputs) == 1 else model.inputs
    if isinstance(names, str):
        return keras.Model(inputs, known[names].output)
    return keras.Model(inputs, {name: known[name].output for name in names})


def receptive_field(model: keras.Model, name: str, axis: int = 1) -> ReceptiveField:
    """The pixels that a unit of a layer can see, computed from the layers that lead to it.

    From layer to layer, a window of k units with stride s makes the size larger by (k - 1) times
    the stride so far, and the stride s times larger (arXiv:1603.07285, section 4).

    Args:
        model: functional or sequential, built for one input size, channels last.
        name: the layer's.
        axis: 1 along the rows, 2 along the columns.

    Raises:
        ArgumentError: no such layer, or one that no window leads to, such as global pooling.

    Example:
        >>> vgg19 = keras.applications.VGG19(weights=None, include_top=False)
        >>> receptive_field(vgg19, "block1_pool").size
        6
    """
    inner = tap(model, name)
    fields = {id(tensor): ReceptiveField(1, 1, 0) for tensor in inner.inputs}
    for operation in inner.operations:
        if isinstance(operation, layers.InputLayer):
            continue
        seen = [fields[id(tensor)] for tensor in keras.tree.flatten(operation.input)]
        kernel, stride, before = _window(operation, axis)
        start = min(field.start for field in seen)
        size = max(field.start + field.size for field in seen) - start
        so_far = seen[0].stride
        fields[id(operation.output)] = ReceptiveField(
            size + (kernel - 1) * so_far, so_far * stride, start - before * so_far
        )
    return fields[id(inner.outputs[0])]


def _window(layer: keras.layers.Layer, axis: int) -> tuple[int, int, int]:
    """A layer's window along an axis: units, stride, and units of padding before the first."""
    if isinstance(layer, BY_POSITION):
        return 1, 1, 0
    if isinstance(layer, layers.ZeroPadding2D):
        return 1, 1, layer.padding[axis - 1][0]
    if isinstance(layer, WINDOWED):
        kernel = (layer.kernel_size[axis - 1] - 1) * layer.dilation_rate[axis - 1] + 1
    elif isinstance(layer, POOLING):
        kernel = layer.pool_size[axis - 1]
    else:
        raise ArgumentError(
            f"{layer.name} ({type(layer).__name__}): not known to look through a window. What "
            "comes after global pooling, Flatten or Dense sees the whole picture; ask for a layer "
            "before it."
        )
    stride, length = layer.strides[axis - 1], layer.input.shape[axis]
    if layer.padding == "valid":
        return kernel, stride, 0
    if stride == 1:
        return kernel, 1, (kernel - 1) // 2
    if length is None:
        raise ArgumentError(
            f"{layer.name}: its padding depends on the input's size, which is open. "
            "Build the model with input_shape=(224, 224, 3), for example."
        )
    return kernel, stride, max((-(-length // stride) - 1) * stride + kernel - length, 0) // 2
