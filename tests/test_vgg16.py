from collections.abc import Callable

import numpy as np
import pytest

from helpers.applications import vgg16
from helpers.applications.vgg16 import functional, sequential
from helpers.backend import keras
from helpers.errors import ArgumentError

Builder = Callable[..., keras.Model]
SHAPE, CLASSES = (40, 33, 3), 7  # small, not square, no multiple of 32
BUILDERS = pytest.mark.parametrize("builder", [functional, sequential])
TOPS = pytest.mark.parametrize("include_top", [True, False])


def keras_vgg16(include_top: bool) -> keras.Model:
    """Keras's own with random weights, biases too: zeros would fit wherever they are put."""
    keras.utils.set_random_seed(0)
    arguments = {"classes": CLASSES} if include_top else {}
    model = keras.applications.VGG16(
        weights=None, include_top=include_top, input_shape=SHAPE, **arguments
    )
    rng = np.random.default_rng(0)
    for layer in with_weights(model):
        layer.bias.assign(rng.normal(0, 0.1, layer.bias.shape))
    return model


@pytest.fixture(scope="module")
def oracles() -> dict[bool, keras.Model]:
    return {include_top: keras_vgg16(include_top) for include_top in (True, False)}


def with_weights(model: keras.Model) -> list[keras.layers.Layer]:
    return [layer for layer in model.layers if layer.weights]


def all_outputs(model: keras.Model, batch: np.ndarray) -> list[np.ndarray]:
    """What comes out of each layer that has weights, and of the whole."""
    outputs = [layer.output for layer in with_weights(model)] + model.outputs
    return keras.Model(model.inputs, outputs).predict_on_batch(batch)


@TOPS
@BUILDERS
def test_equal_to_keras(
    builder: Builder, include_top: bool, oracles: dict[bool, keras.Model]
) -> None:
    oracle = oracles[include_top]
    model = builder(SHAPE, include_top=include_top, classes=CLASSES)
    shapes = [tuple(weight.shape) for weight in model.weights]
    assert shapes == [tuple(weight.shape) for weight in oracle.weights]
    model.set_weights(oracle.get_weights())
    for one, other in zip(model.weights, oracle.weights, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())

    batch = np.random.default_rng(1).normal(0, 60, (2, *SHAPE)).astype("float32")
    found, expected = all_outputs(model, batch), all_outputs(oracle, batch)
    assert len(found) == (17 if include_top else 14)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-5 * np.abs(other).max())
        assert other.std() > 0


@TOPS
def test_functional_has_keras_names(include_top: bool, oracles: dict[bool, keras.Model]) -> None:
    model = functional(SHAPE, include_top=include_top)
    names = [layer.name for layer in model.layers[1:]]
    assert names == [layer.name for layer in oracles[include_top].layers[1:]]


def test_sequential_has_caffe_names() -> None:
    model = sequential((32, 32, 3))
    blocks = ((1, 2), (2, 2), (3, 3), (4, 3), (5, 3))
    names = [f"conv{block}_{i + 1}" for block, count in blocks for i in range(count)]
    assert [layer.name for layer in with_weights(model)] == [*names, "fc6", "fc7", "fc8"]
    assert isinstance(model, keras.Sequential)
    for before, layer in zip(model.layers, model.layers[1:], strict=False):
        if layer.name.startswith("conv"):
            assert isinstance(before, keras.layers.ZeroPadding2D)
            assert layer.padding == "valid"


@BUILDERS
def test_parameters_of_the_paper(builder: Builder) -> None:
    body = builder((None, None, 3), include_top=False).count_params()
    top = (7 * 7 * 512 + 1) * 4096 + (4096 + 1) * 4096 + (4096 + 1) * 1000
    assert body == 14_714_688
    assert body + top == 138_357_544
    assert vgg16.HIDDEN == 4096


@BUILDERS
def test_any_size_without_the_top(builder: Builder) -> None:
    model = builder((None, None, 3), include_top=False)
    for rows, columns in ((32, 32), (64, 96)):
        batch = np.zeros((1, rows, columns, 3), "float32")
        assert model.predict_on_batch(batch).shape == (1, rows // 32, columns // 32, 512)


@BUILDERS
@pytest.mark.parametrize(
    ("shape", "include_top", "message"),
    [
        ((31, 64, 3), False, r"expected 32 or more a side, got \(31, 64, 3\)"),
        ((64, 31, 3), True, r"expected 32 or more a side, got \(64, 31, 3\)"),
        ((None, 64, 3), True, r"expected fixed sides with the top, got \(None, 64, 3\)"),
        ((3, 224, 224), True, "expected 32 or more a side"),
        ((224, 224), True, r"expected \(rows, columns, channels\), got \(224, 224\)"),
        ((224, 224, None), False, r"expected \(rows, columns, channels\)"),
    ],
)
def test_shapes_that_cannot_be(
    builder: Builder, shape: tuple[int, ...], include_top: bool, message: str
) -> None:
    with pytest.raises(ArgumentError, match=message):
        builder(shape, include_top=include_top)
