"""Inner layers: get their outputs, and compute which pixels a unit of one can see."""

from collections.abc import Sequence
from typing import NamedTuple

from helpers.backend import keras
from helpers.errors import ArgumentError, nearest

layers = keras.layers

CONVOLUTION = (layers.Conv2D, layers.DepthwiseConv2D, layers.SeparableConv2D)
POOLING = (layers.MaxPooling2D, layers.AveragePooling2D)
BY_POSITION = (
    layers.Activation, layers.Add, layers.Average, layers.BatchNormalization, layers.Concatenate,
    layers.Dropout, layers.LeakyReLU, layers.Maximum, layers.Multiply, layers.Normalization,
    layers.PReLU, layers.ReLU, layers.Rescaling, layers.Subtract,
)  # fmt: skip


class ReceptiveField(NamedTuple):
    """Along one axis, unit i sees `size` pixels from `start + i * stride` on, padding included."""

    size: int
    stride: int
    start: int


def tap(model: keras.Model, names: str | Sequence[str]) -> keras.Model:
    """Build a model that gives the outputs of inner layers; it shares the network's weights.

    Returns:
        For one name, a model that gives that layer's output; for several, a dict from each name to
        its output, computed in one pass.

    Raises:
        ArgumentError: the network has no such layer.

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
    """Compute which pixels a unit of a layer can see, from the layers that lead to it.

    A window of k units adds (k - 1) × stride to the size (arXiv:1603.07285, section 4).

    Args:
        model: functional or sequential, channels last.
        axis: 1 for rows, 2 for columns.

    Raises:
        ArgumentError: no such layer, or one that sees the whole picture, such as a Dense layer.

    Example:
        >>> vgg19 = keras.applications.VGG19(weights=None, include_top=False)
        >>> receptive_field(vgg19, "block1_pool")
        ReceptiveField(size=6, stride=2, start=-2)
    """
    inner = tap(model, name)
    fields = {id(tensor): ReceptiveField(1, 1, 0) for tensor in inner.inputs}
    for operation in inner.operations:
        if isinstance(operation, layers.InputLayer):
            continue
        seen = [fields[id(tensor)] for tensor in keras.tree.flatten(operation.input)]
        kernel, stride, padding = _window(operation, axis)
        start = min(field.start for field in seen)
        size = max(field.start + field.size for field in seen) - start
        so_far = seen[0].stride
        fields[id(operation.output)] = ReceptiveField(
            size + (kernel - 1) * so_far, so_far * stride, start - padding * so_far
        )
    return fields[id(inner.outputs[0])]


def _window(layer: keras.layers.Layer, axis: int) -> tuple[int, int, int]:
    """Give a window's units and stride, and the padding before the first."""
    if isinstance(layer, BY_POSITION):
        return 1, 1, 0
    if isinstance(layer, layers.ZeroPadding2D):
        return 1, 1, layer.padding[axis - 1][0]
    if isinstance(layer, CONVOLUTION):
        kernel = (layer.kernel_size[axis - 1] - 1) * layer.dilation_rate[axis - 1] + 1
    elif isinstance(layer, POOLING):
        kernel = layer.pool_size[axis - 1]
    else:
        raise ArgumentError(
            f"{layer.name} ({type(layer).__name__}) has no window: it sees the whole picture. "
            "Ask for a layer before it."
        )
    stride, length = layer.strides[axis - 1], layer.input.shape[axis]
    if layer.padding == "valid":
        return kernel, stride, 0
    if stride == 1:
        return kernel, 1, (kernel - 1) // 2
    if length is None:
        todo = "Build the model with input_shape=(224, 224, 3), for example."
        raise ArgumentError(f"{layer.name}: its padding depends on the open input size. {todo}")
    return kernel, stride, max((-(-length // stride) - 1) * stride + kernel - length, 0) // 2
