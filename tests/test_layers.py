from typing import Any

import numpy as np
import pytest

from helpers.applications.efficientnet_lite import EfficientNetLite0
from helpers.backend import keras
from helpers.errors import ArgumentError
from helpers.layers import ReceptiveField, receptive_field, tap

layers = keras.layers
RANDOM = np.random.default_rng(0)


@pytest.fixture(scope="module")
def vgg19() -> keras.Model:
    return keras.applications.VGG19(weights=None, include_top=False, input_shape=(64, 64, 3))


@pytest.fixture(scope="module")
def lite0() -> keras.Model:
    return EfficientNetLite0(weights=None)


# --- tap -----------------------------------------------------------------------------------------


def test_one_name_gives_that_layers_output(vgg19: keras.Model) -> None:
    x = pixels = RANDOM.normal(size=(2, 64, 64, 3)).astype("float32")
    found = tap(vgg19, "block4_pool").predict_on_batch(pixels)
    assert found.shape == (2, 4, 4, 512)
    for layer in vgg19.layers[1:17]:  # by hand, up to block4_pool
        x = layer(x)
    np.testing.assert_allclose(found, np.asarray(x), rtol=1e-4, atol=1e-6)


def test_several_names_give_a_dict_from_one_pass(lite0: keras.Model) -> None:
    names = ["block1a_bn", "top_activation", "predictions"]
    pixels = RANDOM.normal(size=(1, 224, 224, 3)).astype("float32")
    found = tap(lite0, names).predict_on_batch(pixels)
    assert list(found) == names
    whole = lite0.predict_on_batch(pixels)
    np.testing.assert_allclose(found["predictions"], whole, rtol=1e-4, atol=1e-6)


def test_the_layers_are_shared_and_later_ones_are_not_run(vgg19: keras.Model) -> None:
    tapped = tap(vgg19, ["block2_pool"])
    assert tapped.get_layer("block1_conv1") is vgg19.get_layer("block1_conv1")
    assert tapped.layers[-1].name == "block2_pool"
    pixels = np.zeros((1, 64, 64, 3), "float32")
    assert tapped(pixels)["block2_pool"].shape == (1, 16, 16, 128)  # warnings are errors here


def test_sequential_models_too() -> None:
    stack = [layers.Conv2D(4, 3, name="first"), layers.Conv2D(5, 3, name="second")]
    model = keras.Sequential([keras.Input((32, 32, 3)), *stack])
    assert tap(model, "first").output_shape == (None, 30, 30, 4)
    assert receptive_field(model, "second") == ReceptiveField(5, 1, 0)


@pytest.mark.parametrize("names", ["block4_pol", ["block1_pool", "block4_pol"]])
def test_a_wrong_name_is_answered_by_the_nearest(vgg19: keras.Model, names: Any) -> None:
    with pytest.raises(ArgumentError, match=r"'block4_pol'.*block4_pool\?"):
        tap(vgg19, names)


# --- receptive fields ----------------------------------------------------------------------------


def test_vgg19_by_hand(vgg19: keras.Model) -> None:
    # Each 3 × 3 convolution adds two strides, each 2 × 2 pooling one, and doubles the stride.
    size, stride = 1, 1
    for block, convolutions in enumerate((2, 2, 4, 4, 4), start=1):
        size += 2 * stride * convolutions
        assert receptive_field(vgg19, f"block{block}_conv{convolutions}")[:2] == (size, stride)
        size, stride = size + stride, 2 * stride
        assert receptive_field(vgg19, f"block{block}_pool")[:2] == (size, stride)


def seen(model: keras.Model, name: str, unit: int, axis: int) -> tuple[int, int]:
    """The first and the last pixel, along an axis, whose gradient reaches a unit of a layer."""
    import tensorflow as tf

    inner = tap(model, name)
    rows, columns, channels = model.input_shape[1:]
    pixels = tf.random.stateless_uniform((1, rows, columns, channels), (0, 0), 1, 2)
    with tf.GradientTape() as tape:
        tape.watch(pixels)
        row = unit if axis == 1 else inner.output_shape[1] // 2
        column = unit if axis == 2 else inner.output_shape[2] // 2
        value = tf.reduce_sum(inner(pixels)[0, row, column])
    gradient = np.abs(tape.gradient(value, pixels).numpy()[0]).sum(axis=(2 - axis, 2))
    changed = np.flatnonzero(gradient)
    return int(changed[0]), int(changed[-1])


def positive(model: keras.Model) -> keras.Model:
    """With positive weights, so that no gradient is cut off by a ReLU or cancels."""
    for weight in model.trainable_weights:
        kernel = len(weight.shape) > 1
        value = 1 / np.prod(weight.shape[:3]) if kernel else 0.5
        weight.assign(np.full(weight.shape, value, "float32"))
    return model


@pytest.mark.parametrize("axis", [1, 2])
def test_the_field_is_what_gradients_reach(axis: int) -> None:
    """Kernels that aren't square, dilation, padding by layers, branches, and average pooling."""
    inputs = keras.Input((61, 63, 3))
    x = layers.ZeroPadding2D(((2, 1), (1, 0)))(inputs)
    x = layers.Conv2D(4, 4, strides=2)(x)
    one = layers.Conv2D(4, (1, 7), padding="same")(x)
    two = layers.DepthwiseConv2D(3, padding="same", dilation_rate=2)(x)
    x = layers.Concatenate()([one, layers.ReLU()(two)])
    x = layers.AveragePooling2D(3, strides=2, padding="same")(x)
    x = layers.SeparableConv2D(4, (5, 3), strides=2, padding="same")(x)
    model = positive(keras.Model(inputs, layers.BatchNormalization(name="end")(x)))

    field = receptive_field(model, "end", axis)
    length = model.input_shape[axis]
    for unit in range(model.output_shape[axis]):
        first = field.start + unit * field.stride
        expected = max(first, 0), min(first + field.size, length) - 1
        assert seen(model, "end", unit, axis) == expected


def test_a_network_with_skip_connections() -> None:
    model = positive(EfficientNetLite0(weights=None))
    field = receptive_field(model, "block3b_add")
    first = field.start + 13 * field.stride
    assert seen(model, "block3b_add", 13, 1) == (first, first + field.size - 1)


def test_what_sees_everything_is_refused(lite0: keras.Model) -> None:
    with pytest.raises(ArgumentError, match=r"avg_pool \(GlobalAveragePooling2D\)"):
        receptive_field(lite0, "predictions")


def test_padding_that_depends_on_an_open_size_is_refused() -> None:
    half = layers.Conv2D(4, 3, strides=2, padding="same", name="half")
    model = keras.Sequential([keras.Input((None, None, 3)), half])
    with pytest.raises(ArgumentError, match=r"half: .*input_shape"):
        receptive_field(model, "half")
