"""ResNeXt50 and ResNeXt101 (32×4d) in Keras, for the weight files that Keras still publishes.

Xie and others 2016, arXiv:1611.05431; names, paddings and epsilon from keras_applications 1.0.8.
"""

from pathlib import Path
from typing import Any

from helpers import h5files
from helpers import weights as weight_files
from helpers.applications import common
from helpers.applications.common import decode_predictions
from helpers.backend import keras

__all__ = ["ResNeXt50", "ResNeXt101", "decode_predictions", "preprocess_input"]

layers, ops = keras.layers, keras.ops

GROUPS = 32
EPSILON = 1.001e-5  # as in Keras's ResNets
BLOCKS = {"ResNeXt50": (3, 4, 6, 3), "ResNeXt101": (3, 4, 23, 3)}


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

    Arguments are those of `EfficientNetLite0`; `"imagenet"` is in Keras's cache, or downloaded.
    Layers are named as in `keras.applications.ResNet50`, and weights have the shapes of the
    published files: a grouped convolution's kernel is a depthwise one's, (3, 3, filters,
    filters / 32).

    Example:
        >>> ResNeXt50(weights=None).count_params()
        25097128
    """
    return _resnext("ResNeXt50", **locals())


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
    """Build ResNeXt101: ResNeXt50 with 23 blocks instead of 6 in its third stage."""
    return _resnext("ResNeXt101", **locals())


def preprocess_input(x: Any, data_format: str | None = None) -> Any:
    """Scale RGB pixels from 0 … 255 to 0 … 1 and standardise each channel: Keras's mode "torch".

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
    output k of a group is the sum of map k of the group's channels. Keras has `Conv2D(groups=…)`,
    but the published kernels are depthwise, and on a CPU its gradient takes far longer.

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
        width = round((x.shape[-1] / self.groups) ** 0.5)
        rows, columns = ops.shape(x)[1:3]
        maps = ops.reshape(x, (-1, rows, columns, self.groups, width, width))
        return ops.reshape(ops.sum(maps, -2), (-1, rows, columns, self.groups * width))

    def get_config(self) -> dict[str, Any]:
        """Return what `__init__` was given."""
        return {**super().get_config(), "groups": self.groups}


def _resnext(
    entry: str,
    include_top: bool,
    weights: str | Path | None,
    input_tensor: Any,
    input_shape: common.Shape | None,
    pooling: str | None,
    classes: int,
    classifier_activation: Any,
    name: str,
) -> keras.Model:
    common.check_arguments(include_top, weights, pooling, classes, classifier_activation)
    inputs = common.picture_input(include_top, weights, input_tensor, input_shape)
    x = layers.ZeroPadding2D(3, name="conv1_pad")(inputs)
    x = layers.Conv2D(64, 7, strides=2, use_bias=False, name="conv1_conv")(x)
    x = _bn_relu(x, "conv1")
    x = layers.ZeroPadding2D(1, name="pool1_pad")(x)
    x = layers.MaxPooling2D(3, strides=2, name="pool1_pool")(x)
    for stage, blocks in enumerate(BLOCKS[entry]):
        for block in range(blocks):
            strides = 2 if stage > 0 and block == 0 else 1
            x = _block(x, 128 * 2**stage, strides, f"conv{stage + 2}_block{block + 1}")
    x = common.add_top(x, include_top, pooling, classes, classifier_activation)
    network = keras.Model(inputs, x, name=name)  # without layers that input_tensor came from
    if weights == "imagenet":
        weights = weight_files.fetch(entry, include_top)
    if weights is not None:
        h5files.load_weights(network, weights)
    return common.from_source(inputs, x, name)


def _block(x: Any, filters: int, strides: int, name: str) -> Any:
    """Add a residual block: narrow, convolve in groups, widen."""
    shortcut = x
    if x.shape[-1] != 2 * filters:  # the first block of a stage
        shortcut = _conv_bn(x, 2 * filters, f"{name}_0", strides)
    x = _conv_bn(x, filters, f"{name}_1")
    x = layers.Activation("relu", name=f"{name}_1_relu")(x)
    x = layers.ZeroPadding2D(1, name=f"{name}_2_pad")(x)
    x = layers.DepthwiseConv2D(
        3, strides, depth_multiplier=filters // GROUPS, use_bias=False, name=f"{name}_2_conv"
    )(x)
    x = GroupSum(GROUPS, name=f"{name}_2_reduce")(x)
    x = _bn_relu(x, f"{name}_2")
    x = layers.Add(name=f"{name}_add")([shortcut, _conv_bn(x, 2 * filters, f"{name}_3")])
    return layers.Activation("relu", name=f"{name}_out")(x)


def _conv_bn(x: Any, filters: int, name: str, strides: int = 1) -> Any:
    x = layers.Conv2D(filters, 1, strides, use_bias=False, name=f"{name}_conv")(x)
    return layers.BatchNormalization(epsilon=EPSILON, name=f"{name}_bn")(x)


def _bn_relu(x: Any, name: str) -> Any:
    x = layers.BatchNormalization(epsilon=EPSILON, name=f"{name}_bn")(x)
    return layers.Activation("relu", name=f"{name}_relu")(x)
