"""Diagrams of blocks: counted, read from models, and drawn."""

import io

import numpy as np
import pytest
from PIL import Image

import diagrams
from helpers.backend import keras
from helpers.errors import ArgumentError

layers = keras.layers
SQUEEZE = ["global average", "conv 1×1, 2", "swish", "conv 1×1, 8", "sigmoid"]


@pytest.fixture
def model() -> keras.Model:
    """Have a stem and a block with a gate, padding, a shortcut and two ways that meet early."""
    keras.backend.clear_session()
    inputs = keras.Input((16, 16, 3))
    start = layers.Conv2D(4, 3, name="stem")(inputs)
    x = layers.ZeroPadding2D()(layers.Conv2D(8, 1)(start))
    x = layers.DepthwiseConv2D(3)(x)
    x = layers.ReLU(6)(layers.BatchNormalization()(x))
    gate = layers.Reshape((1, 1, 8))(layers.GlobalAveragePooling2D()(x))
    gate = layers.Conv2D(2, 1, activation="silu")(gate)
    gate = layers.Conv2D(8, 1, activation="sigmoid")(gate)
    x = layers.Multiply(name="gated")([x, gate])
    x = layers.Concatenate()([x, layers.AveragePooling2D(3, 1, "same")(start)])
    shortcut = layers.Conv2D(12, 1, groups=2)(start)
    x = layers.Add(name="added")([shortcut, x])
    x = layers.MaxPooling2D(2)(x) + 3.0
    x = layers.ReLU(6)(x) * (1 / 6)
    return keras.Model(inputs, layers.Dense(5, activation="gelu", name="end")(x))


def test_a_block_is_read_with_its_branches(model: keras.Model) -> None:
    gated = ["conv 1×1, 8", "depthwise 3×3", "BN", "ReLU6", ("multiply", [], SQUEEZE)]
    assert diagrams.read(model, "stem", "end") == [
        4,
        ("add", [("concat", gated, ["avg pool 3×3"])], ["grouped 1×1, 12"]),
        "max pool 2×2",
        "plus",
        "ReLU6",
        "times",
        "dense, 5",
        "GELU",
    ]


def test_channels_follow_the_layers_of_the_model(model: keras.Model) -> None:
    block = diagrams.read(model, "stem", "end")
    assert diagrams.channels(block) == [4, 12, 12, 12, 12, 12, 5, 5]
    assert model.get_layer("added").output.shape[-1] == 12


def test_a_part_is_read_up_to_the_layer_that_was_named(model: keras.Model) -> None:
    block = diagrams.read(model, "depthwise_conv2d", "gated")
    assert block == [8, "BN", "ReLU6", ("multiply", [], SQUEEZE)]


def test_a_layer_that_is_not_there_is_named(model: keras.Model) -> None:
    with pytest.raises(ArgumentError, match=r"'steem'.*stem"):
        diagrams.read(model, "steem", "end")


def test_branches_of_different_widths_cannot_be_added() -> None:
    with pytest.raises(ArgumentError, match=r"\[512, 256\]"):
        diagrams.channels([256, ("add", ["conv 1×1, 512"], [])])


def test_a_block_that_takes_more_than_one_output_is_refused(model: keras.Model) -> None:
    with pytest.raises(ArgumentError, match=r"'added' takes more.*'depthwise_conv2d'"):
        diagrams.read(model, "depthwise_conv2d", "added")


def test_a_separable_convolution_is_read_as_its_two_parts() -> None:
    layer = layers.SeparableConv2D(6, 3, activation="relu")
    keras.Sequential([keras.Input((8, 8, 4)), layer])
    assert diagrams.describe(layer) == ["depthwise 3×3", "conv 1×1, 6", "ReLU"]


def test_a_drawing_has_the_size_of_its_blocks() -> None:
    one = [64, "conv 3×3, 64", "ReLU"]
    wide = [64, ("concat", one[1:], one[1:], []), "BN"]
    small, large = (
        Image.open(io.BytesIO(diagrams.draw(blocks).data))
        for blocks in ({"one": one}, {"one": one, "wide": wide})
    )
    assert large.width > 1.4 * small.width
    assert large.height > small.height


def test_a_layer_is_as_wide_as_it_has_channels() -> None:
    pixels = np.asarray(Image.open(io.BytesIO(diagrams.draw({"": [64, "conv 1×1, 16"]}).data)))
    drawn = (pixels == [0x86, 0xBD, 0xE6, 255]).all(axis=-1).sum(axis=1)
    drawn = drawn[drawn > 30]  # without the legend below
    assert drawn[0] > 3 * drawn[-1]
    assert (np.diff(drawn.astype(int)) <= 0).all()
