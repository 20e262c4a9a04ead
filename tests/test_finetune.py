import re
from typing import Any

import numpy as np
import pytest

from helpers import finetune
from helpers.backend import keras
from helpers.errors import ArgumentError

layers = keras.layers


def small_network() -> keras.Model:
    """Two blocks with BatchNorm, named as in VGG, and a pooling layer that is in no block."""
    x = inputs = keras.Input((8, 8, 3))
    for block in (1, 2):
        x = layers.Conv2D(4, 3, name=f"block{block}_conv")(x)
        x = layers.BatchNormalization(name=f"block{block}_bn")(x)
    return keras.Model(inputs, layers.GlobalAveragePooling2D(name="pool")(x), name="small")


def classifier() -> keras.Model:
    network = small_network()
    return keras.Model(network.input, layers.Dense(3, "softmax", name="classes")(network.output))


def values(weight: Any) -> np.ndarray:
    return np.array(weight.numpy())


# --- blocks --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("builder", "number", "some"),
    [
        ("InceptionV3", 11, {"mixed0": 18, "mixed8": 229, "mixed9": 249, "mixed10": 280}),
        ("ResNet50", 16, {"conv2_block1": 7, "conv5_block3": 165}),
        ("VGG16", 5, {"block1": 1, "block5": 15}),
        ("MobileNet", 26, {"conv_dw_1": 5, "conv_pw_13": 84}),
        ("MobileNetV2", 17, {"expanded_conv": 4, "block_16": 143}),
        ("EfficientNetB0", 18, {"block1a": 7, "block7a": 221, "top": 234}),
    ],
)
def test_blocks_are_found_by_their_names(builder: str, number: int, some: dict[str, int]) -> None:
    model = getattr(keras.applications, builder)(weights=None, include_top=False)
    found = finetune.blocks(model)
    assert len(found) == number
    assert some.items() <= dict(found).items()
    assert [index for _, index in found] == sorted({index for _, index in found})


def test_an_inception_block_begins_after_the_one_before() -> None:
    model = keras.applications.InceptionResNetV2(weights=None, include_top=False)
    found = dict(finetune.blocks(model))
    assert model.layers[found["block35_2"] - 1].name == "block35_1_ac"
    assert model.layers[found["mixed_6a"] - 1].name == "block35_10_ac"


def test_a_network_that_names_no_blocks_has_none() -> None:
    assert finetune.blocks(keras.Sequential([keras.Input((4,)), layers.Dense(2)])) == []


# --- freeze_below --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "index"), [("block1", 1), ("block2", 3), ("block2_bn", 4), ("pool", 5)]
)
def test_freezing_below_a_block_or_a_layer(name: str, index: int) -> None:
    model = small_network()
    model.trainable = False  # as in the first phase
    assert finetune.freeze_below(model, name) == index
    for i, layer in enumerate(model.layers):
        assert layer.trainable == (i >= index and not layer.name.endswith("bn"))


def test_the_line_can_be_moved_down_and_up_again() -> None:
    model = small_network()
    for name, kernels in [("block2", 1), ("block1", 2), ("pool", 0)]:
        finetune.freeze_below(model, name)
        assert len(model.trainable_weights) == 2 * kernels


def test_training_changes_what_is_above_the_line_and_no_moving_statistics() -> None:
    base = small_network()
    finetune.freeze_below(base, "block2")
    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, layers.Dense(2, "softmax")(base(inputs)))
    model.compile(keras.optimizers.SGD(0.1), loss="sparse_categorical_crossentropy")
    before = {weight.path: values(weight) for weight in base.weights}
    pictures = np.random.default_rng(0).normal(3, 2, (16, 8, 8, 3))
    model.fit(pictures, np.arange(16) % 2, epochs=2, verbose=0)
    changed = {w.path for w in base.weights if not np.array_equal(values(w), before[w.path])}
    assert changed == {"block2_conv/kernel", "block2_conv/bias"}


def test_training_false_alone_does_not_keep_the_moving_statistics() -> None:
    """Why BatchNorm stays frozen above the line; if this fails, Keras has changed."""
    base = small_network()
    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, layers.Dense(1)(base(inputs, training=False)))
    model.compile("sgd", "mse")
    before = values(base.get_layer("block1_bn").moving_mean)
    model.fit(np.ones((4, 8, 8, 3)), np.ones((4, 1)), verbose=0)
    assert not np.array_equal(values(base.get_layer("block1_bn").moving_mean), before)


@pytest.mark.parametrize(
    ("name", "says"),
    [("block_2", r"'block_2'. Did you mean block2\?"), ("mixed9", "'mixed9'.*block1, block2")],
)
def test_a_wrong_name_is_answered_by_the_known_ones(name: str, says: str) -> None:
    with pytest.raises(ArgumentError, match=says):
        finetune.freeze_below(small_network(), name)


def test_a_model_around_the_network_says_which_layers_it_has() -> None:
    around = keras.Sequential([small_network(), layers.Dense(2)])
    with pytest.raises(ArgumentError, match=r"'block2'.*small, "):
        finetune.freeze_below(around, "block2")


# --- split ---------------------------------------------------------------------------------------


def test_the_two_parts_are_the_network_and_share_its_weights() -> None:
    model = classifier()
    frozen, trainable = finetune.split(model, at="block2")
    pictures = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype("float32")
    parts = trainable.predict_on_batch(frozen.predict_on_batch(pictures))
    np.testing.assert_allclose(parts, model.predict_on_batch(pictures), rtol=1e-5)
    assert {id(w) for w in frozen.weights + trainable.weights} == {id(w) for w in model.weights}
    assert not frozen.trainable_weights
    trained = ["block2_conv/kernel", "block2_conv/bias", "classes/kernel", "classes/bias"]
    assert [w.path for w in trainable.trainable_weights] == trained


def test_training_the_upper_part_gives_the_weights_of_training_the_whole() -> None:
    model = classifier()
    random = np.random.default_rng(0)
    batches = [(random.normal(size=(4, 8, 8, 3)).astype("float32"), [0, 1, 2, 0]) for _ in range(4)]
    start = model.get_weights()

    finetune.freeze_below(model, "block2")
    model.compile(keras.optimizers.SGD(0.1, 0.9), loss="sparse_categorical_crossentropy")
    for pictures, labels in batches:
        model.train_on_batch(pictures, np.array(labels))
    expected = model.get_weights()

    model.set_weights(start)
    frozen, trainable = finetune.split(model, at="block2")
    trainable.compile(keras.optimizers.SGD(0.1, 0.9), loss="sparse_categorical_crossentropy")
    for pictures, labels in batches:
        trainable.train_on_batch(frozen.predict_on_batch(pictures), np.array(labels))
    for weight, wanted in zip(model.get_weights(), expected, strict=True):
        np.testing.assert_allclose(weight, wanted, rtol=1e-4, atol=1e-6)
    assert sum(not np.array_equal(a, b) for a, b in zip(start, expected, strict=True)) == 4


def branched() -> keras.Model:
    """Two branches between two places where it can be cut."""
    x = inputs = keras.Input((8, 8, 3), name="in")
    x = layers.Conv2D(4, 3, name="block1_conv")(x)
    left = layers.Conv2D(4, 1, name="left")(x)
    right = layers.BatchNormalization(name="right")(layers.Conv2D(4, 1, name="r")(x))
    x = layers.Add(name="add")([left, right])
    x = layers.Conv2D(4, 3, name="block2_conv")(x)
    return keras.Model(inputs, x, name="branched")


@pytest.mark.parametrize("at", ["right", "block1", "in"])
def test_where_it_cannot_be_cut_the_nearest_place_is_named(at: str) -> None:
    model = branched()
    with pytest.raises(ArgumentError, match=f"branched: .*{at!r}") as error:
        finetune.split(model, at)
    assert all(layer.trainable for layer in model.layers), "the model is unchanged"
    place = re.findall(r"nearest place is '(\w+)'", str(error.value))[0]
    frozen, trainable = finetune.split(model, place)
    assert len(frozen.layers) + len(trainable.layers) == len(model.layers) + 1  # an Input more


def test_the_nearest_place_is_named_by_its_block() -> None:
    model = keras.applications.ResNet50(weights=None, include_top=False, input_shape=(32, 32, 3))
    with pytest.raises(ArgumentError, match="'conv5_block3'"):
        finetune.split(model, "conv5_block3_1_bn")


def test_one_layer_cannot_be_cut() -> None:
    head = keras.Sequential([keras.Input((4,)), layers.Dense(2, name="only")])
    with pytest.raises(ArgumentError, match="can't be cut anywhere"):
        finetune.split(head, "only")


def test_an_output_below_the_line_crosses_it() -> None:
    small = small_network()
    tapped = keras.Model(small.input, [small.get_layer("block1_bn").output, small.output])
    with pytest.raises(ArgumentError, match="'block2_bn'"):
        finetune.split(tapped, "block2_bn")


def test_a_sequential_model_can_be_split() -> None:
    stack = [layers.Dense(4, name=f"block{i}_dense") for i in (1, 2, 3)]
    model = keras.Sequential([keras.Input((5,)), *stack])
    frozen, trainable = finetune.split(model, "block3")
    assert [len(part.weights) for part in (frozen, trainable)] == [4, 2]
