"""What the networks share: arguments, preprocessing and labels mean what they mean in Keras."""

from pathlib import Path
from typing import Any

import numpy as np

from helpers import zoo
from helpers.backend import keras
from helpers.errors import ArgumentError

layers = keras.layers

Shape = tuple[int | None, int | None, int]


def check_arguments(
    include_top: bool,
    weights: str | Path | None,
    pooling: str | None,
    classes: int,
    activation: Any,
    published: str = "imagenet",
    published_classes: int = 1000,
    published_activation: str = "softmax",
) -> None:
    """Refuse arguments that don't go together, or not with the published weights."""
    if weights not in (None, published) and not Path(weights).is_file():
        raise ArgumentError(
            f'weights: expected "{published}", None or the path of a weight file, got {weights!r}.'
        )
    if include_top and weights == published and classes != published_classes:
        raise ArgumentError(
            f'weights="{published}" with the top: expected classes={published_classes}, '
            f"got {classes}. For other classes use include_top=False and add a head."
        )
    allowed = [keras.activations.get(name) for name in (published_activation, None)]
    if include_top and weights and keras.activations.get(activation) not in allowed:
        raise ArgumentError(
            "classifier_activation with trained weights: expected "
            f'"{published_activation}" or None, got {activation!r}.'
        )
    if pooling not in (None, "avg", "max"):
        raise ArgumentError(f'pooling: expected None, "avg" or "max", got {pooling!r}.')


def picture_input(
    include_top: bool, weights: str | Path | None, tensor: Any, input_shape: Shape | None
) -> Any:
    """Return the tensor to build on: the one given, or an input, after checking its shape."""
    imagenet = weights == "imagenet"
    if tensor is not None:
        return check_tensor(tensor, (None, None, 3 if imagenet else None))
    default: Shape = (224, 224, 3) if include_top else (None, None, 3)
    shape = tuple(input_shape or default)
    small = any(side is not None and side < 32 for side in shape[:2])
    if small or len(shape) != 3 or (imagenet and shape[2] != 3):
        raise ArgumentError(
            f"input_shape: expected (rows, columns, 3) with 32 or more a side, got {shape}."
        )
    if include_top and (None in shape or (imagenet and shape != default)):
        raise ArgumentError(
            f"input_shape: expected {default if imagenet else 'fixed sides'} with the top, "
            f"got {shape}. Other sizes need include_top=False."
        )
    return layers.Input(shape)


def check_tensor(tensor: Any, shape: tuple[int | None, ...]) -> Any:
    """Return a Keras tensor after comparing its shape, where None stands for any size."""
    if not keras.backend.is_keras_tensor(tensor):
        raise ArgumentError(
            "input_tensor: expected a Keras tensor, such as keras.Input(...) or a layer's output, "
            f"got {type(tensor).__name__}. Arrays go into the model once it is built."
        )
    found = tuple(tensor.shape[1:])
    fits = all(wanted in (None, side) for wanted, side in zip(shape, found, strict=False))
    if len(found) != len(shape) or not fits:
        raise ArgumentError(
            f"input_tensor: expected the shape {(None, *shape)}, got {(None, *found)}."
        )
    return tensor


def add_top(
    x: Any,
    include_top: bool,
    pooling: str | None,
    classes: int,
    activation: Any,
    dropout: float = 0,
) -> Any:
    """Add the end of an image network: pooling and classifier, or pooling alone, or nothing."""
    if include_top or pooling == "avg":
        x = layers.GlobalAveragePooling2D(name="avg_pool")(x)
    elif pooling == "max":
        x = layers.GlobalMaxPooling2D(name="max_pool")(x)
    if include_top and dropout:
        x = layers.Dropout(dropout, name="top_dropout")(x)
    if include_top:
        x = layers.Dense(classes, activation=activation, name="predictions")(x)
    return x


def from_source(inputs: Any, outputs: Any, name: str) -> keras.Model:
    """Make the model that begins where `inputs` came from, as Keras does with an input tensor."""
    sources = keras.utils.get_source_inputs(inputs)
    return keras.Model(sources[0] if len(sources) == 1 else sources, outputs, name=name)


def as_float32(x: Any) -> Any:
    """Turn pixels into float32: a Keras or backend tensor stays one; an array is copied."""
    if keras.backend.is_keras_tensor(x) or keras.ops.is_tensor(x):
        return keras.ops.cast(x, "float32")
    return np.array(x, "float32")


def decode_predictions(preds: Any, top: int = 5) -> list[list[tuple[str, str, float]]]:
    """Name the `top` ImageNet classes of each picture, (N, 1000), as Keras does, the best first.

    Example:
        >>> decode_predictions(np.eye(1000)[[285]], top=1)
        [[('n02124075', 'Egyptian_cat', 1.0)]]
    """
    return zoo.decode(preds, zoo.imagenet_classes(), top)
