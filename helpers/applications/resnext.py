"""ResNeXt50 and ResNeXt101 (32×4d) in Keras, for the weight files that Keras still publishes."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from helpers import catalogue, images
from helpers.applications import common
from helpers.backend import keras
from helpers.catalogue import WeightFile

layers, ops = keras.layers, keras.ops

GROUPS = 32
EPSILON = 1.001e-5  # as in Keras's ResNets


class Stage(NamedTuple):
    """Residual blocks whose inner convolutions have so many filters (arXiv:1611.05431, table 1)."""

    blocks: int
    filters: int
    strides: int


def _stages(third: int) -> tuple[Stage, ...]:
    return Stage(3, 128, 1), Stage(4, 256, 2), Stage(third, 512, 2), Stage(3, 1024, 2)


def ResNeXt50(  # noqa: N802 - a constructor's name, as in keras.applications
    include_top: bool = True,
    weights: str | Path | None = "imagenet",
    input_tensor: Any = None,
    input_shape: common.Shape | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | None = "softmax",
    name: str = "resnext50",
) -> keras.Model:
    """ResNeXt50: ResNet50 whose 3×3 convolutions run in 32 groups, each on channels of its own.

    The arguments mean what they mean in `keras.applications`. Inputs are RGB pixels as
    `preprocess_input` leaves them, 32 pixels a side at least. The layers have the names of
    `keras.applications.ResNet50`'s, and the weights the shapes of the published files: a grouped
    convolution's kernel is a depthwise one's, (3, 3, filters, filters / 32).

    Args:
        include_top: keep the pooling and the classifier at the end.
        weights: `"imagenet"` (from Keras's cache, or downloaded there), a weight file of any
            layout, or None for a random start.
        input_tensor: a Keras tensor to build on, instead of an input of its own.
        input_shape: (rows, columns, 3), by default (224, 224, 3) with the top and (None, None, 3)
            without it, where None stands for any size.
        pooling: without the top: None gives (N, rows / 32, columns / 32, 2048), rounded up,
            `"avg"` and `"max"` give (N, 2048).
        classes: outputs of the classifier; 1000 with the ImageNet weights.
        classifier_activation: `"softmax"`, or None for logits.
        name: of the model.

    Raises:
        ArgumentError: arguments that do not go together.
        WeightsError: the weights could not be had.
        WeightsError: the file does not fit.

    Source:
        Xie and others 2016, arXiv:1611.05431, table 1; names, paddings and epsilon from
        keras_applications 1.0.8, the last Keras that had it.

    Example:
        >>> ResNeXt50(weights=None).count_params()
        25097128
    """
    return _resnext(
        _stages(6), "ResNeXt50", include_top, weights, input_tensor, input_shape, pooling, classes,
        classifier_activation, name,
    )  # fmt: skip


def ResNeXt101(  # noqa: N802 - a constructor's name, as in keras.applications
    include_top: bool = True,
    weights: str | Path | None = "imagenet",
    input_tensor: Any = None,
    input_shape: common.Shape | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | None = "softmax",
    name: str = "resnext101",
) -> keras.Model:
    """ResNeXt101: as `ResNeXt50`, with 23 blocks instead of 6 in its third stage.

    Arguments, errors and source are those of `ResNeXt50`.

    Example:
        >>> ResNeXt101(weights=None, include_top=False, pooling="avg").output_shape
        (None, 2048)
    """
    return _resnext(
        _stages(23), "ResNeXt101", include_top, weights, input_tensor, input_shape, pooling,
        classes, classifier_activation, name,
    )  # fmt: skip


def preprocess_input(pixels: Any) -> np.ndarray:
    """RGB pixels 0 … 255, (…, 3) → 0 … 1, then standardised by channel: Keras's mode "torch".

    >>> print(preprocess_input([0, 0, 255]).round(2))
    [-2.12 -2.04  2.64]
    """
    return images.scale(pixels, "torch")


@keras.saving.register_keras_serializable("helpers")
class GroupSum(keras.layers.Layer):
    """The sum over a group's inputs, which makes a depthwise convolution a grouped one.

    A depthwise convolution of multiplier m keeps m maps of each channel. In groups of m channels,
    output k of a group is the sum of map k of the group's channels. Keras has `Conv2D(groups=…)`
    for all of it, but the published kernels are depthwise, and on a CPU TensorFlow 2.21 takes 16
    to 130 times as long for a grouped convolution's gradient.

    Args:
        groups: of channels.

    Shapes:
        (N, rows, columns, groups * m * m) → (N, rows, columns, groups * m)

    Example:
        >>> GroupSum(groups=1)(np.array([[[[1, 2, 30, 40]]]])).numpy().tolist()
        [[[[31, 42]]]]
    """

    def __init__(self, groups: int, **options: Any) -> None:
        super().__init__(**options)
        self.groups = groups

    def call(self, x: Any) -> Any:
        """Channels counted by group, then by input, then by output."""
        width = self._width(x.shape)
        rows, columns = ops.shape(x)[1:3]
        maps = ops.reshape(x, (-1, rows, columns, self.groups, width, width))
        return ops.reshape(ops.sum(maps, -2), (-1, rows, columns, self.groups * width))

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        """(N, rows, columns, groups * m)."""
        return (*input_shape[:-1], self.groups * self._width(input_shape))

    def get_config(self) -> dict[str, Any]:
        """What `__init__` was given."""
        return {**super().get_config(), "groups": self.groups}

    def _width(self, shape: Any) -> int:
        return round((shape[-1] / self.groups) ** 0.5)


def _resnext(
    stages: tuple[Stage, ...],
    entry: str,
    include_top: bool,
    weights: str | Path | None,
    input_tensor: Any,
    input_shape: common.Shape | None,
    pooling: str | None,
    classes: int,
    activation: str | None,
    name: str,
) -> keras.Model:
    inputs = common.picture_input(include_top, weights, input_tensor, input_shape, pooling, classes)
    x = layers.ZeroPadding2D(3, name="conv1_pad")(inputs)
    x = layers.Conv2D(64, 7, strides=2, use_bias=False, name="conv1_conv")(x)
    x = _bn_relu(x, "conv1")
    x = layers.ZeroPadding2D(1, name="pool1_pad")(x)
    x = layers.MaxPooling2D(3, strides=2, name="pool1_pool")(x)
    for number, stage in enumerate(stages, start=2):
        for block in range(1, stage.blocks + 1):
            x = _block(x, stage, block == 1, f"conv{number}_block{block}")
    x = common.top(x, include_top, pooling, classes, activation)
    model = common.model(inputs, x, name)
    if weights == "imagenet":
        record = catalogue.find(entry)
        file = record.weights if include_top else record.weights_notop
        assert isinstance(file, WeightFile)  # both have both
        weights = common.published(file)
    if weights is not None:
        common.load(model, inputs, weights)
    return model


def _block(x: Any, stage: Stage, first: bool, name: str) -> Any:
    """Narrow, convolve in groups, widen; added to the input, or to a projection of it.

    The first block of a stage changes the number of channels and the size, so it projects.
    """
    shortcut, strides = x, stage.strides if first else 1
    if first:
        shortcut = _conv(x, 2 * stage.filters, f"{name}_0", strides)
        shortcut = _bn(shortcut, f"{name}_0")
    x = _bn_relu(_conv(x, stage.filters, f"{name}_1"), f"{name}_1")
    x = layers.ZeroPadding2D(1, name=f"{name}_2_pad")(x)
    x = layers.DepthwiseConv2D(
        3,
        strides,
        depth_multiplier=stage.filters // GROUPS,
        use_bias=False,
        name=f"{name}_2_conv",
    )(x)
    x = GroupSum(GROUPS, name=f"{name}_2_reduce")(x)
    x = _bn_relu(x, f"{name}_2")
    x = _bn(_conv(x, 2 * stage.filters, f"{name}_3"), f"{name}_3")
    x = layers.Add(name=f"{name}_add")([shortcut, x])
    return layers.Activation("relu", name=f"{name}_out")(x)


def _conv(x: Any, filters: int, name: str, strides: int = 1) -> Any:
    return layers.Conv2D(filters, 1, strides, use_bias=False, name=f"{name}_conv")(x)


def _bn(x: Any, name: str) -> Any:
    return layers.BatchNormalization(epsilon=EPSILON, name=f"{name}_bn")(x)


def _bn_relu(x: Any, name: str) -> Any:
    return layers.Activation("relu", name=f"{name}_relu")(_bn(x, name))
