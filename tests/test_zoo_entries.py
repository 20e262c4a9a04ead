"""Every entry of the zoo is built, is what the table says of it, and is used in the same way."""

import gc
import importlib
import inspect
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from helpers import h5files, images, weights, zoo
from helpers.backend import keras
from helpers.zoo import Entry, WeightFile

# Keras says that weights of 224 pixels will be loaded at other sizes, which is what is wanted here.
pytestmark = pytest.mark.filterwarnings("ignore:`input_shape` is undefined:UserWarning")
by_entry = pytest.mark.parametrize("entry", zoo.entries(), ids=lambda entry: entry.name)
ARGUMENTS = [
    "include_top", "weights", "input_tensor", "input_shape", "pooling", "classes",
    "classifier_activation", "name",
]  # fmt: skip
Asked = list[tuple[str, str, str | None]]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[Asked]:
    """The files that Keras asks for; nothing is fetched or loaded. Memory is given back."""
    files: Asked = []

    def get_file(fname: str, origin: str, file_hash: str | None = None, **_: Any) -> str:
        files.append((fname, origin, file_hash))
        return fname

    def fetch(name: str, include_top: bool) -> str:
        [file] = known(weights.published(name, include_top))
        return get_file(*file)

    # Keras's constructors, and ours for what Keras lacks.
    monkeypatch.setattr("keras.src.utils.file_utils.get_file", get_file)
    monkeypatch.setattr(weights, "fetch", fetch)
    monkeypatch.setattr(keras.Model, "load_weights", lambda *_: None)
    monkeypatch.setattr(h5files, "load_weights", lambda *_: None)
    yield files
    keras.backend.clear_session()
    gc.collect()  # the largest of them is 1.4 GB


def known(file: WeightFile | None) -> Asked:
    return [(file.name, file.url, file.hash)] if file else []


def layers_with_weights(model: keras.Model) -> int:
    inner = (getattr(layer, "layers", None) for layer in model.layers)
    return sum(
        layers_with_weights(layer) if layers else bool(layer.weights)
        for layer, layers in zip(model.layers, inner, strict=True)
    )


@by_entry
def test_constructor_preprocessing_and_labels_have_one_interface(entry: Entry) -> None:
    name, function = entry.builder.split(":")
    constructor = inspect.signature(getattr(importlib.import_module(name), function)).parameters
    assert set(ARGUMENTS) <= set(constructor)
    assert constructor["weights"].default == "imagenet"
    if entry.family == "MobileNetV3":  # Keras has its constructors in keras.applications alone
        name = "keras.applications.mobilenet_v3"
    module = importlib.import_module(name)
    assert list(inspect.signature(module.decode_predictions).parameters) == ["preds", "top"]
    assert list(inspect.signature(module.preprocess_input).parameters) == ["x", "data_format"]
    pixels = np.random.default_rng(0).integers(0, 256, (1, 4, 5, 3)).astype("float32")
    expected = images.scale(pixels, entry.preprocessing)
    np.testing.assert_array_equal(module.preprocess_input(pixels), expected)


@by_entry
def test_parameters_depth_input_and_file(entry: Entry, asked: Asked) -> None:
    model = zoo.build(entry.name, weights="imagenet" if entry.weights else None)
    assert model.count_params() == entry.parameters
    assert layers_with_weights(model) == entry.depth
    assert model.input_shape == (None, entry.input_size, entry.input_size, 3)
    assert model.output_shape == (None, 1000)
    assert asked == known(entry.weights)
    assert not entry.weights or entry.weights.parameters == entry.parameters


@by_entry
def test_the_smallest_input_and_the_file_without_the_top(entry: Entry, asked: Asked) -> None:
    def build(size: int) -> keras.Model:
        kind = "imagenet" if entry.weights_notop else None
        shape = (size, size, 3)
        return zoo.build(entry.name, weights=kind, include_top=False, input_shape=shape)

    model = build(entry.min_size)
    assert min(model.output_shape[1:]) >= 1
    assert asked == known(entry.weights_notop)
    assert not entry.weights_notop or entry.weights_notop.parameters == model.count_params()
    with pytest.raises(ValueError, match=f"{entry.min_size - 1}|{entry.min_size}"):
        build(entry.min_size - 1)
