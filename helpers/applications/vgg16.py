"""VGG16 in Keras twice, functionally and sequentially, from table D of its paper."""

from typing import NamedTuple

from helpers.backend import keras
from helpers.errors import ArgumentError

layers = keras.layers

MIN_SIZE = 32
HIDDEN = 4096


class Block(NamedTuple):
    """3×3 convolutions of so many filters each, then 2×2 max pooling."""

    convolutions: int
    filters: int


TABLE_D = (Block(2, 64), Block(2, 128), Block(3, 256), Block(3, 512), Block(3, 512))


def functional(
    input_shape: tuple[int | None, int | None, int] = (224, 224, 3),
    include_top: bool = True,
    classes: int = 1000,
    name: str = "vgg16",
) -> keras.Model:
    """VGG16 as a functional model with the layers' names of `keras.applications`.

    Args:
        input_shape: (rows, columns, channels), 32 pixels a side at least; channels last. Without
            the top a side may be None, for any size.
        include_top: keep Flatten and the three dense layers; without them the output is
            (N, rows / 32, columns / 32, 512).
        classes: outputs of the last dense layer.
        name: of the model.

    Raises:
        ArgumentError: a shape that the network cannot have.

    Source:
        Simonyan & Zisserman 2014, arXiv:1409.1556, table 1, column D; its dropout is left out,
        as in `keras.applications`.

    Example:
        >>> functional((32, 32, 3), include_top=False).count_params()
        14714688
    """
    inputs = x = layers.Input(_checked(input_shape, include_top))
    for number, block in enumerate(TABLE_D, start=1):
        for repeat in range(1, block.convolutions + 1):
            x = layers.Conv2D(
                block.filters,
                3,
                activation="relu",
                padding="same",
                name=f"block{number}_conv{repeat}",
            )(x)
        x = layers.MaxPooling2D(2, strides=2, name=f"block{number}_pool")(x)
    if include_top:
        x = layers.Flatten(name="flatten")(x)
        x = layers.Dense(HIDDEN, activation="relu", name="fc1")(x)
        x = layers.Dense(HIDDEN, activation="relu", name="fc2")(x)
        x = layers.Dense(classes, activation="softmax", name="predictions")(x)
    return keras.Model(inputs, x, name=name)


def sequential(
    input_shape: tuple[int | None, int | None, int] = (224, 224, 3),
    include_top: bool = True,
    classes: int = 1000,
    name: str = "vgg16_sequential",
) -> keras.Sequential:
    """VGG16 as a list of layers: zeros are padded by layers of their own, names are Caffe's.

    The names are `conv1_1` … `conv5_3`, `pool1` … `pool5`, `fc6` … `fc8`; the arguments, the
    parameters and the outputs are those of `functional`.

    Raises:
        ArgumentError: a shape that the network cannot have.

    Example:
        >>> sequential((32, 32, 3), include_top=False).output_shape
        (None, 1, 1, 512)
    """
    model = keras.Sequential([layers.Input(_checked(input_shape, include_top))], name=name)
    for number, block in enumerate(TABLE_D, start=1):
        for repeat in range(1, block.convolutions + 1):
            model.add(layers.ZeroPadding2D(1, name=f"pad{number}_{repeat}"))
            model.add(
                layers.Conv2D(block.filters, 3, activation="relu", name=f"conv{number}_{repeat}")
            )
        model.add(layers.MaxPooling2D(2, strides=2, name=f"pool{number}"))
    if include_top:
        model.add(layers.Flatten(name="flatten"))
        model.add(layers.Dense(HIDDEN, activation="relu", name="fc6"))
        model.add(layers.Dense(HIDDEN, activation="relu", name="fc7"))
        model.add(layers.Dense(classes, activation="softmax", name="fc8"))
    return model


def _checked(
    shape: tuple[int | None, int | None, int], include_top: bool
) -> tuple[int | None, int | None, int]:
    if len(shape) != 3 or shape[2] is None:
        raise ArgumentError(f"input_shape: expected (rows, columns, channels), got {shape}.")
    if any(side is not None and side < MIN_SIZE for side in shape[:2]):
        raise ArgumentError(f"input_shape: expected {MIN_SIZE} or more a side, got {shape}.")
    if include_top and None in shape:
        raise ArgumentError(
            f"input_shape: expected fixed sides with the top, got {shape}; its first dense layer "
            "has a weight for every position. Any size needs include_top=False."
        )
    return shape
