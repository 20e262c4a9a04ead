"""ResNeXt50 and ResNeXt101 (32×4d) in Keras, for the weight files that Keras still publishes."""

from pathlib import Path
from typing import Any

from helpers import h5files, zoo
from helpers.applications import common
from helpers.applications.common import decode_predictions
from helpers.backend import keras

__all__ = ["ResNeXt50", "ResNeXt101", "decode_predictions", "preprocess_input"]

layers, ops = keras.layers, keras.ops

GROUPS = 32
EPSILON = 1.001e-5  # as in Keras's ResNets
BLOCKS = {"ResNeXt50": (3, 4, 6, 3), "ResNeXt101": (3, 4, 23, 3)}  # arXiv:1611.05431, table 1


def ResNeXt50(  # noqa: N802 - a constructor's name, as in keras.applications
    include_top: bool = True,
    weights: str | Path | None = "imagenet",
    input_tensor: Any = None,
    input_shape: common.Shape | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: Any = "softmax",
    name: str = "resnext50",
) -> keras.Model:
    """Build ResNeXt50: ResNet50 whose 3×3 convolutions run in 32 groups of channels.

    Layers are named as in `keras.applications.ResNet50`, and weights have the shapes of the
    published files: a grouped convolution's kernel is a depthwise one's, (3, 3, filters,
    filters / 32).

    The arguments mean what they mean for `keras.applications.ResNet50`. Inputs are RGB pixels as
    `preprocess_input` leaves them, (N, rows, columns, 3), at least 32 a side.

    Args:
        include_top: whether to keep the pooling and the classifier at the end. Without it the
            output is (N, rows / 32, columns / 32, 2048), rounded up, or (N, 2048) with pooling.
        weights: `"imagenet"` (from Keras's cache, or downloaded), the path of a weight file of any
            layout, or None for random weights.
        input_tensor: and all others: as for `EfficientNetLite0`.

    Raises:
        ArgumentError: the arguments don't go together.
        WeightsError: the weights couldn't be downloaded, or the file at `weights` doesn't fit.

    Source:
        Xie and others 2016, arXiv:1611.05431; names, paddings and epsilon from keras_applications
        1.0.8, the last Keras that had it.

    Example:
        >>> ResNeXt50(weights=None).count_params()
        25097128
    """
    return _resnext(
        "ResNeXt50", include_top, weights, input_tensor, input_shape, pooling, classes,
        classifier_activation, name,
    )  # fmt: skip


def ResNeXt101(  # noqa: N802 - a constructor's name, as in keras.applications
    include_top: bool = True,
    weights: str | Path | None = "imagenet",
    input_tensor: Any = None,
    input_shape: common.Shape | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: Any = "softmax",
    name: str = "resnext101",
) -> keras.Model:
    """Build ResNeXt101: ResNeXt50 with 23 blocks instead of 6 in its third stage.

    Arguments, errors and source are those of `ResNeXt50`.

    Example:
        >>> ResNeXt101(weights=None, include_top=False, pooling="avg").output_shape
        (None, 2048)
    """
    return _resnext(
        "ResNeXt101", include_top, weights, input_tensor, input_shape, pooling, classes,
        classifier_activation, name,
    )  # fmt: skip


def preprocess_input(x: Any, data_format: str | None = None) -> Any:
    """Scale RGB pixels from 0 … 255 to 0 … 1 and standardise each channel: Keras's mode "torch".

    Args:
        x: an array, a tensor or a Keras tensor, (…, rows, columns, 3). It isn't changed.
        data_format: `"channels_last"` or `"channels_first"`, by default Keras's setting.

    Returns:
        float32: a NumPy array for an array, a tensor for a tensor.

    Example:
        >>> print(preprocess_input([[[0, 0, 255]]]).round(2))
        [[[-2.12 -2.04  2.64]]]
    """
    x = common.as_float32(x)
    return keras.applications.imagenet_utils.preprocess_input(x, data_format, mode="torch")


@keras.saving.register_keras_serializable("helpers")
class GroupSum(keras.layers.Layer):
    """Sum over a group's inputs, which makes a depthwise convolution a grouped one.

    A depthwise convolution of multiplier m keeps m maps of each channel. In groups of m channels,
    output k of a group is the sum of map k of the group's channels: (N, rows, columns, groups * m
    * m) → (N, rows, columns, groups * m). Keras has `Conv2D(groups=…)` for all of it, but the
    published kernels are depthwise, and on a CPU TensorFlow 2.21 takes 16 to 130 times as long for
    a grouped convolution's gradient.

    Example:
        >>> maps = keras.ops.convert_to_tensor([[[[1, 2, 30, 40]]]])
        >>> GroupSum(groups=1)(maps).numpy().tolist()
        [[[[31, 42]]]]
    """

    def __init__(self, groups: int, **options: Any) -> None:
        super().__init__(**options)
        self.groups = groups

    def call(self, x: Any) -> Any:
        """Sum; channels are counted by group, then by input, then by output."""
        width = self._width(x.shape)
        rows, columns = ops.shape(x)[1:3]
        maps = ops.reshape(x, (-1, rows, columns, self.groups, width, width))
        return ops.reshape(ops.sum(maps, -2), (-1, rows, columns, self.groups * width))

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        """Return (N, rows, columns, groups * m)."""
        return (*input_shape[:-1], self.groups * self._width(input_shape))

    def get_config(self) -> dict[str, Any]:
        """Return what `__init__` was given."""
        return {**super().get_config(), "groups": self.groups}

    def _width(self, shape: Any) -> int:
        return round((shape[-1] / self.groups) ** 0.5)


def _resnext(
    entry: str,
    include_top: bool,
    weights: str | Path | None,
    input_tensor: Any,
    input_shape: common.Shape | None,
    pooling: str | None,
    classes: int,
    activation: Any,
    name: str,
) -> keras.Model:
    common.check_arguments(include_top, weights, pooling, classes, activation)
    inputs = common.picture_input(include_top, weights, input_tensor, input_shape)
    x = layers.ZeroPadding2D(3, name="conv1_pad")(inputs)
    x = layers.Conv2D(64, 7, strides=2, use_bias=False, name="conv1_conv")(x)
    x = _bn_relu(x, "conv1")
    x = layers.ZeroPadding2D(1, name="pool1_pad")(x)
    x = layers.MaxPooling2D(3, strides=2, name="pool1_pool")(x)
    for stage, blocks in enumerate(BLOCKS[entry]):
        for block in range(blocks):
            strides = 2 if stage > 0 and block == 0 else 1
            x = _block(x, 128 * 2**stage, strides, block == 0, f"conv{stage + 2}_block{block + 1}")
    x = common.add_top(x, include_top, pooling, classes, activation)
    network = keras.Model(inputs, x, name=name)  # without layers that input_tensor came from
    if weights == "imagenet":
        found = zoo.find(entry)
        file = found.weights if include_top else found.weights_notop
        assert file is not None  # both networks have both files
        weights = common.published_file(file, entry)
    if weights is not None:
        h5files.load_weights(network, weights)
    return common.from_source(inputs, x, name)


def _block(x: Any, filters: int, strides: int, first: bool, name: str) -> Any:
    """Add a residual block: narrow, convolve in groups, widen.

    The first block of a stage changes the number of channels, so it projects its shortcut too.
    """
    shortcut = x
    if first:
        shortcut = _bn(_conv(x, 2 * filters, f"{name}_0", strides), f"{name}_0")
    x = _bn_relu(_conv(x, filters, f"{name}_1"), f"{name}_1")
    x = layers.ZeroPadding2D(1, name=f"{name}_2_pad")(x)
    x = layers.DepthwiseConv2D(
        3, strides, depth_multiplier=filters // GROUPS, use_bias=False, name=f"{name}_2_conv"
    )(x)
    x = GroupSum(GROUPS, name=f"{name}_2_reduce")(x)
    x = _bn_relu(x, f"{name}_2")
    x = _bn(_conv(x, 2 * filters, f"{name}_3"), f"{name}_3")
    x = layers.Add(name=f"{name}_add")([shortcut, x])
    return layers.Activation("relu", name=f"{name}_out")(x)


def _conv(x: Any, filters: int, name: str, strides: int = 1) -> Any:
    return layers.Conv2D(filters, 1, strides, use_bias=False, name=f"{name}_conv")(x)


def _bn(x: Any, name: str) -> Any:
    return layers.BatchNormalization(epsilon=EPSILON, name=f"{name}_bn")(x)


def _bn_relu(x: Any, name: str) -> Any:
    return layers.Activation("relu", name=f"{name}_relu")(_bn(x, name))
