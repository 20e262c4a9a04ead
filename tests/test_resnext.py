"""ResNeXt against Keras's ResNet50, Keras's grouped convolution and the published files' layout."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from helpers import weights, zoo
from helpers.applications import resnext
from helpers.applications.resnext import GroupSum, ResNeXt50, ResNeXt101, preprocess_input
from helpers.backend import keras
from helpers.errors import WeightsError

FIFTY, HUNDRED_AND_ONE = (3, 4, 6, 3), (3, 4, 23, 3)


@pytest.fixture(scope="module")
def full() -> keras.Model:
    return ResNeXt50(weights=None)


@pytest.fixture(scope="module")
def resnet50() -> keras.Model:
    return keras.applications.ResNet50(weights=None)


def published_shapes(blocks: tuple[int, ...]) -> Iterator[tuple[str, list[tuple[int, ...]]]]:
    """Layers with weights of the published files, in their order, from the paper's table 1."""

    def bn(name: str, channels: int) -> tuple[str, list[tuple[int, ...]]]:
        return f"{name}_bn", [(channels,)] * 4

    yield "conv1_conv", [(7, 7, 3, 64)]
    yield bn("conv1", 64)
    channels = 64
    for stage, count in enumerate(blocks):
        inner = 128 * 2**stage
        for block in range(1, count + 1):
            name = f"conv{stage + 2}_block{block}"
            yield f"{name}_1_conv", [(1, 1, channels, inner)]
            yield bn(f"{name}_1", inner)
            yield f"{name}_2_conv", [(3, 3, inner, inner // 32)]
            yield bn(f"{name}_2", inner)
            if block == 1:
                yield f"{name}_0_conv", [(1, 1, channels, 2 * inner)]
            yield f"{name}_3_conv", [(1, 1, inner, 2 * inner)]
            if block == 1:
                yield bn(f"{name}_0", 2 * inner)
            yield bn(f"{name}_3", 2 * inner)
            channels = 2 * inner
    yield "probs", [(2048, 1000), (1000,)]


# --- names, shapes, order ------------------------------------------------------------------------


@pytest.mark.parametrize(("builder", "blocks"), [(ResNeXt50, FIFTY), (ResNeXt101, HUNDRED_AND_ONE)])
def test_names_shapes_and_order_are_the_published(builder: Any, blocks: tuple[int, ...]) -> None:
    found = [
        (layer.name, [tuple(weight.shape) for weight in layer.weights])
        for layer in builder(weights=None).layers
        if layer.weights
    ]
    expected = list(published_shapes(blocks))
    assert found[:-1] == expected[:-1]
    assert found[-1] == ("predictions", expected[-1][1])  # Keras calls it so now


def edges(model: keras.Model) -> set[tuple[str, str]]:
    """Pairs of layers, one of which takes the other's output; inserted layers are contracted."""
    instead = {"_2_pad": "_1_relu", "_2_reduce": "_2_conv"}
    found = set()
    for layer in model.layers[1:]:
        for tensor in keras.tree.flatten(layer.input):
            before = tensor._keras_history.operation.name
            for inserted, source in instead.items():
                before = before.replace(inserted, source)
            found.add((before, layer.name))
    return {pair for pair in found if not pair[1].endswith(tuple(instead))}


def test_layers_are_connected_as_in_resnet50(full: keras.Model, resnet50: keras.Model) -> None:
    ours, theirs = edges(full), edges(resnet50)
    first = {full.layers[0].name, resnet50.layers[0].name}
    assert {e for e in ours if e[0] not in first} == {e for e in theirs if e[0] not in first}


def test_layers_around_the_grouped_convolutions_are_resnet50s(
    full: keras.Model, resnet50: keras.Model
) -> None:
    """Except for two things: no biases before a normalisation, and where a stage's stride is."""
    free = {"use_bias", "axis", "filters", "strides"}
    for layer in resnet50.layers[1:]:
        if not layer.name.endswith("_2_conv"):
            one, other = layer.get_config(), full.get_layer(layer.name).get_config()
            assert {key for key in one if one[key] != other[key]} <= free, layer.name
    strided = {layer.name for layer in full.layers if getattr(layer, "strides", 1) == (2, 2)}
    first = {f"conv{stage}_block1_{n}_conv" for stage in (3, 4, 5) for n in (0, 2)}
    assert strided == {"conv1_conv", "pool1_pool", *first}
    pad, conv = full.get_layer("conv3_block1_2_pad"), full.get_layer("conv3_block1_2_conv")
    assert (pad.padding, conv.padding) == (((1, 1), (1, 1)), "valid")


@pytest.mark.parametrize(("stage", "size"), [(2, 56), (3, 28), (4, 14), (5, 7)])
def test_sizes_of_the_stages_are_the_papers(full: keras.Model, stage: int, size: int) -> None:
    shape = full.get_layer(f"conv{stage}_block{FIFTY[stage - 2]}_out").output.shape
    assert shape == (None, size, size, 2 ** (stage + 6))


# --- a grouped convolution -----------------------------------------------------------------------


@pytest.mark.parametrize(("filters", "strides"), [(64, 1), (128, 2), (1024, 1)])
def test_depthwise_and_sum_are_kerass_grouped_convolution(filters: int, strides: int) -> None:
    width = filters // 32
    x = keras.Input((7, 6, filters))
    depthwise = keras.layers.DepthwiseConv2D(
        3, strides, depth_multiplier=width, use_bias=False, name="depthwise"
    )
    grouped = keras.layers.Conv2D(filters, 3, strides, groups=32, use_bias=False)
    model = keras.Model(x, [GroupSum(32)(depthwise(x)), grouped(x)])
    kernel = np.random.default_rng(0).normal(size=(3, 3, filters, width)).astype("float32")
    rearranged = np.empty((3, 3, width, filters), "float32")  # (rows, columns, in a group, out)
    for channel in range(filters):
        group, within = divmod(channel, width)
        rearranged[:, :, within, group * width : (group + 1) * width] = kernel[:, :, channel]
    depthwise.set_weights([kernel])
    grouped.set_weights([rearranged])
    batch = np.random.default_rng(1).normal(size=(2, 7, 6, filters)).astype("float32")
    ours, kerass = model.predict_on_batch(batch)
    assert kerass.std() > 1
    np.testing.assert_allclose(ours, kerass, atol=1e-4)


def test_a_saved_group_sum_is_loaded_again(tmp_path: Path) -> None:
    x = keras.Input((None, None, 128))
    keras.Model(x, GroupSum(32, name="sum")(x)).save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.get_layer("sum").groups == 32
    assert loaded.output_shape == (None, None, None, 64)


# --- files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ResNeXt50", "ResNeXt101"])
def test_the_files_are_those_that_keras_still_names(name: str) -> None:
    from keras.src.applications import resnet

    entry, hashes = zoo.find(name), resnet.WEIGHTS_HASHES[name.lower()]
    for file, ending, hash_ in zip(
        (entry.weights, entry.weights_notop), ("", "_notop"), hashes, strict=True
    ):
        assert file
        assert file.name == f"{name.lower()}_weights_tf_dim_ordering_tf_kernels{ending}.h5"
        assert (file.url, file.hash) == (resnet.BASE_WEIGHTS_PATH + file.name, hash_)


def write_published(path: Path) -> dict[str, list[np.ndarray]]:
    """A file without the top, in the layout of keras.applications'; weightless layers too."""
    rng, arrays = np.random.default_rng(0), dict[str, list[np.ndarray]]()
    with h5py.File(path, "w") as file:
        for name, shapes in list(published_shapes(FIFTY))[:-1]:
            arrays[name] = [rng.random(shape, dtype="float32") for shape in shapes]
            names = [f"{name}/{k}:0" for k in range(len(shapes))]
            group = file.create_group(name)
            group.attrs["weight_names"] = np.array(names, "S")
            for key, array in zip(names, arrays[name], strict=True):
                group[key] = array
        listed = []
        for name in arrays:
            listed += [f"lambda_{name}", name] if name.endswith("2_bn") else [name]
        for name in set(listed) - set(arrays):
            file.create_group(name).attrs["weight_names"] = np.array([], "S")
        file.attrs["layer_names"] = np.array(listed, "S")
    return arrays


def test_imagenet_is_the_published_file_also_on_another_models_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrays = write_published(tmp_path / "notop.h5")
    asked = []

    def fetch(name: str, include_top: bool) -> Path:
        asked.append((name, include_top))
        return tmp_path / "notop.h5"

    monkeypatch.setattr(weights, "fetch", fetch)
    grey = keras.Input((64, 64, 1))
    coloured = keras.layers.Conv2D(3, 1, name="mine")(grey)
    model = ResNeXt50(include_top=False, input_tensor=coloured)
    assert model.input_shape == (None, 64, 64, 1)
    for name, expected in arrays.items():
        for one, other in zip(model.get_layer(name).get_weights(), expected, strict=True):
            np.testing.assert_array_equal(one, other)
    assert asked == [("ResNeXt50", False)]
    with pytest.raises(WeightsError, match="predictions"):
        ResNeXt50(weights=tmp_path / "notop.h5")


def test_without_a_connection_the_error_says_how_to_get_the_weights() -> None:
    with pytest.raises(WeightsError, match=r"resnext50_.*_notop\.h5.*HELPERS_MIRROR"):
        ResNeXt50(include_top=False)


# --- arguments -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        {"classes": 7, "input_shape": (50, 77, 3), "classifier_activation": None},
        {"include_top": False, "input_shape": (33, 65, 3)},
    ],
    ids=str,
)
def test_shapes_are_those_of_keras_applications(arguments: dict[str, Any]) -> None:
    ours = ResNeXt50(weights=None, **arguments)
    theirs = keras.applications.ResNet50(weights=None, **arguments)
    assert ours.input_shape == theirs.input_shape
    assert ours.output_shape == theirs.output_shape


def test_preprocessing_is_kerass_mode_torch() -> None:
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 3, 4, 3)).astype("float32")
    expected = keras.applications.densenet.preprocess_input(pixels.copy())
    before = pixels.copy()
    np.testing.assert_array_equal(preprocess_input(pixels), expected)
    np.testing.assert_array_equal(pixels, before)
    inputs = keras.Input((3, 4, 3))
    model = keras.Model(inputs, preprocess_input(inputs))
    np.testing.assert_allclose(model.predict_on_batch(pixels), expected, atol=1e-5)
    assert resnext.decode_predictions(np.eye(1000)[[0]], top=1) == [[("n01440764", "tench", 1.0)]]
