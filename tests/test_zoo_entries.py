"""Every entry of the zoo is built, and is what the table says of it."""

import gc
from collections.abc import Iterator
from typing import Any

import pytest

from helpers import catalogue, h5files, zoo
from helpers.backend import keras
from helpers.catalogue import Entry, WeightFile

# Keras says that weights of 224 pixels will be loaded at other sizes, which is what is wanted here.
pytestmark = pytest.mark.filterwarnings("ignore:`input_shape` is undefined:UserWarning")
by_entry = pytest.mark.parametrize("entry", catalogue.entries(), ids=lambda entry: entry.name)
Asked = list[tuple[str, str, str | None]]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[Asked]:
    """The files that Keras asks for; nothing is fetched or loaded. Memory is given back."""
    files: Asked = []

    def get_file(fname: str, origin: str, file_hash: str | None = None, **_: Any) -> str:
        files.append((fname, origin, file_hash))
        return fname

    # Keras's constructors, and ours for what Keras lacks.
    monkeypatch.setattr("keras.src.utils.file_utils.get_file", get_file)
    monkeypatch.setattr(keras.utils, "get_file", get_file)
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
