"""What the constructors share: arguments that mean what they mean in `keras.applications`."""

from pathlib import Path
from typing import Any

from helpers import h5files
from helpers.backend import keras
from helpers.catalogue import WeightFile
from helpers.errors import ArgumentError, WeightsError

layers = keras.layers

Shape = tuple[int | None, int | None, int]

INPUT_SIZE = 224
MIN_SIZE = 32
CLASSES = 1000


def picture_input(
    include_top: bool,
    weights: str | Path | None,
    input_tensor: Any,
    input_shape: Shape | None,
    pooling: str | None,
    classes: int,
) -> Any:
    """The tensor to build on, after the arguments have been found to go together.

    Without a shape of its own it is (224, 224, 3) with the top and (None, None, 3) without it.

    Raises:
        ArgumentError: they do not go together.
    """
    trained_top = include_top and weights == "imagenet"
    if trained_top and classes != CLASSES:
        raise ArgumentError(
            f'weights="imagenet" with the top: expected classes={CLASSES}, got {classes}. '
            "For other classes use include_top=False and add a head."
        )
    if pooling not in (None, "avg", "max"):
        raise ArgumentError(f'pooling: expected None, "avg" or "max", got {pooling!r}.')
    if input_tensor is not None:
        return on_tensor(input_tensor, (None, None, 3))
    trained = (INPUT_SIZE, INPUT_SIZE, 3)
    shape = tuple(input_shape or (trained if include_top else (None, None, 3)))
    if len(shape) != 3 or shape[2] != 3:
        raise ArgumentError(f"input_shape: expected (rows, columns, 3), got {shape}.")
    if trained_top and shape != trained:
        raise ArgumentError(
            f"input_shape: expected {trained} with the ImageNet top, got {shape}. "
            "Other sizes need include_top=False."
        )
    if any(side is not None and side < MIN_SIZE for side in shape[:2]):
        raise ArgumentError(f"input_shape: expected {MIN_SIZE} or more a side, got {shape}.")
    return layers.Input(shape)


def on_tensor(tensor: Any, shape: Shape) -> Any:
    """A Keras tensor to build on, after its shape has been compared; None stands for any side.

    Raises:
        ArgumentError: no Keras tensor, or one of another shape.
    """
    if not keras.backend.is_keras_tensor(tensor):
        raise ArgumentError(
            "input_tensor: expected a Keras tensor, such as keras.Input(...) or a layer's output, "
            f"got {type(tensor).__name__}. Arrays go into the model once it is built."
        )
    fits = len(tensor.shape) == 4 and all(
        wanted is None or side == wanted
        for side, wanted in zip(tensor.shape[1:], shape, strict=True)
    )
    if not fits:
        raise ArgumentError(
            f"input_tensor: expected the shape {(None, *shape)}, got {tuple(tensor.shape)}."
        )
    return tensor


def top(
    x: Any,
    include_top: bool,
    pooling: str | None,
    classes: int,
    activation: str | None,
    dropout: float = 0.0,
) -> Any:
    """The end of a network: pooling and classifier, or pooling alone, or nothing."""
    if include_top:
        x = layers.GlobalAveragePooling2D(name="avg_pool")(x)
        if dropout:
            x = layers.Dropout(dropout, name="top_dropout")(x)
        return layers.Dense(classes, activation=activation, name="predictions")(x)
    if pooling == "avg":
        return layers.GlobalAveragePooling2D(name="avg_pool")(x)
    if pooling == "max":
        return layers.GlobalMaxPooling2D(name="max_pool")(x)
    return x


def model(inputs: Any, outputs: Any, name: str) -> keras.Model:
    """The model from where its input tensor came from to its outputs."""
    sources = keras.utils.get_source_inputs(inputs)
    return keras.Model(sources[0] if len(sources) == 1 else sources, outputs, name=name)


def own(model: keras.Model, inputs: Any) -> keras.Model:
    """The part of a model that a constructor built: from its input tensor on.

    Layers that the tensor came from belong to somebody else, and are in no file of ours.
    """
    return keras.Model(inputs, model.output, name=model.name)


def load(model: keras.Model, inputs: Any, path: str | Path) -> None:
    """Loads a weight file of any layout into what a constructor built on `inputs`."""
    h5files.load_weights(own(model, inputs), path)


def published(file: WeightFile) -> str:
    """A published file in Keras's cache, its hash proved; `keras.utils.get_file` brings it there.

    `weights.fetch` also looks in other folders and asks mirrors; this is for a constructor that is
    called as those of `keras.applications` are.

    Raises:
        WeightsError: it could not be had.
    """
    try:
        return keras.utils.get_file(file.name, file.url, cache_subdir="models", file_hash=file.hash)
    except Exception as error:  # Keras raises nothing narrower where a server does not answer
        raise WeightsError(
            f"{file.name} could not be had: {error}. Build with weights=None for a random start, "
            "or with weights=PATH for a file that is here."
        ) from error
