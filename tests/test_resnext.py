from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from helpers import catalogue, zoo
from helpers.applications import resnext
from helpers.applications.resnext import GroupSum, ResNeXt50, ResNeXt101, Stage, preprocess_input
from helpers.backend import keras
from helpers.errors import ArgumentError, WeightsError

FIFTY, HUNDRED_AND_ONE = (3, 4, 6, 3), (3, 4, 23, 3)


@pytest.fixture(scope="module")
def full() -> keras.Model:
    return ResNeXt50(weights=None)


@pytest.fixture(scope="module")
def kerass() -> keras.Model:
    return keras.applications.ResNet50(weights=None)


@pytest.fixture(scope="module")
def small() -> keras.Model:
    """ResNeXt50 without its top: the names, the shapes and the order are those of every size."""
    return ResNeXt50(weights=None, include_top=False)


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


def with_weights(model: keras.Model) -> dict[str, list[tuple[int, ...]]]:
    return {
        layer.name: [tuple(weight.shape) for weight in layer.weights]
        for layer in model.layers
        if layer.weights
    }


# --- names, shapes, order ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("builder", "blocks", "parameters"),
    [(ResNeXt50, FIFTY, 25_097_128), (ResNeXt101, HUNDRED_AND_ONE, 44_315_560)],
)
def test_names_shapes_and_order_are_the_published(
    builder: Any, blocks: tuple[int, ...], parameters: int
) -> None:
    model = builder(weights=None)
    assert model.count_params() == parameters
    found, expected = list(with_weights(model).items()), list(published_shapes(blocks))
    assert found[:-1] == expected[:-1]
    assert found[-1] == ("predictions", expected[-1][1])  # Keras calls it so now


def test_layers_with_weights_are_named_and_ordered_as_kerass_resnet(
    full: keras.Model, kerass: keras.Model
) -> None:
    assert list(with_weights(full)) == list(with_weights(kerass))


def test_what_stands_around_the_blocks_is_kerass_resnet(
    full: keras.Model, kerass: keras.Model
) -> None:
    for name in (
        "conv1_pad", "conv1_conv", "conv1_bn", "conv1_relu", "pool1_pad", "pool1_pool", "avg_pool",
        "predictions", "conv3_block1_1_bn", "conv3_block1_add", "conv3_block1_out",
    ):  # fmt: skip
        one, other = (model.get_layer(name).get_config() for model in (full, kerass))
        changed = {key: (one[key], other[key]) for key in one if one[key] != other[key]}
        expected: dict[str, Any] = {"use_bias": (False, True)} if name == "conv1_conv" else {}
        if name.endswith("_bn"):
            expected = {"axis": (-1, 3)}  # the same axis
        assert changed == expected, name


@pytest.mark.parametrize(("stage", "size"), [(2, 56), (3, 28), (4, 14), (5, 7)])
def test_sizes_of_the_stages_are_the_papers(full: keras.Model, stage: int, size: int) -> None:
    shape = full.get_layer(f"conv{stage}_block{FIFTY[stage - 2]}_out").output.shape
    assert shape == (None, size, size, 2 ** (stage + 6))


# --- a grouped convolution -----------------------------------------------------------------------


def test_group_sum_by_hand() -> None:
    groups, width = 2, 3
    maps = np.random.default_rng(0).normal(size=(2, 4, 5, groups * width * width))
    found = np.asarray(GroupSum(groups)(maps.astype("float32")))
    assert found.shape == (2, 4, 5, groups * width)
    for group in range(groups):
        for out in range(width):
            expected = sum(
                maps[..., (group * width + channel) * width + out] for channel in range(width)
            )
            np.testing.assert_allclose(found[..., group * width + out], expected, atol=1e-5)


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


@pytest.mark.parametrize(("first", "strides"), [(True, 2), (False, 1)])
def test_a_block_by_hand(first: bool, strides: int) -> None:
    filters, width = 64, 2
    x = keras.Input((8, 6, 128))
    block = keras.Model(x, resnext._block(x, Stage(1, filters, 2), first, "b"))
    rng = np.random.default_rng(0)
    for weight in block.weights:
        low = 0.5 if weight.name in ("gamma", "moving_variance") else -0.2
        weight.assign(rng.uniform(low, low + 0.4, weight.shape))
    pixels = rng.normal(size=(8, 6, 128))
    w = {layer.name: [a.astype("float64") for a in layer.get_weights()] for layer in block.layers}

    def bn(maps: np.ndarray, name: str) -> np.ndarray:
        gamma, beta, mean, variance = w[name]
        return gamma * (maps - mean) / np.sqrt(variance + 1.001e-5) + beta

    def relu(maps: np.ndarray) -> np.ndarray:
        return np.maximum(maps, 0)

    inner = relu(bn(pixels @ w["b_1_conv"][0][0, 0], "b_1_bn"))
    padded, kernel = np.pad(inner, ((1, 1), (1, 1), (0, 0))), w["b_2_conv"][0]
    rows, columns = 8 // strides, 6 // strides
    grouped = np.zeros((rows, columns, filters))
    for row in range(rows):
        for column in range(columns):
            window = padded[row * strides :, column * strides :][:3, :3]
            for out in range(filters):
                group, k = divmod(out, width)
                for channel in range(group * width, (group + 1) * width):
                    grouped[row, column, out] += (
                        window[:, :, channel] * kernel[:, :, channel, k]
                    ).sum()
    inner = relu(bn(grouped, "b_2_bn"))
    inner = bn(inner @ w["b_3_conv"][0][0, 0], "b_3_bn")
    shortcut = pixels
    if first:
        shortcut = bn(pixels[::strides, ::strides] @ w["b_0_conv"][0][0, 0], "b_0_bn")
    expected = relu(inner + shortcut)

    found = block.predict_on_batch(pixels[None].astype("float32"))[0]
    assert expected.std() > 0.1
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_saved_block_is_loaded_again(tmp_path: Path) -> None:
    x = keras.Input((None, None, 64))
    block = keras.Model(x, resnext._block(x, Stage(1, 64, 1), True, "b"))
    block.save(tmp_path / "block.keras")
    loaded = keras.models.load_model(tmp_path / "block.keras")
    batch = np.random.default_rng(0).normal(size=(1, 5, 4, 64)).astype("float32")
    np.testing.assert_array_equal(loaded.predict_on_batch(batch), block.predict_on_batch(batch))


# --- files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ResNeXt50", "ResNeXt101"])
def test_the_catalogues_files_are_those_that_keras_still_names(name: str) -> None:
    from keras.src.applications import resnet

    entry, kerass = catalogue.find(name), resnet.WEIGHTS_HASHES[name.lower()]
    for file, ending, hash_ in zip(
        (entry.weights, entry.weights_notop), ("", "_notop"), kerass, strict=True
    ):
        assert file
        assert file.name == f"{name.lower()}_weights_tf_dim_ordering_tf_kernels{ending}.h5"
        assert (file.url, file.hash) == (resnet.BASE_WEIGHTS_PATH + file.name, hash_)


def write_published(path: Path, scale: dict[str, float]) -> dict[str, list[np.ndarray]]:
    """A file without the top, in the layout of keras.applications'; weightless layers too."""
    rng, arrays = np.random.default_rng(0), dict[str, list[np.ndarray]]()
    with h5py.File(path, "w") as file:
        for name, shapes in list(published_shapes(FIFTY))[:-1]:
            arrays[name] = [
                rng.random(shape, dtype="float32") * scale.get(name, 1) for shape in shapes
            ]
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


def test_a_file_in_the_published_form_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "resnext50_weights_tf_dim_ordering_tf_kernels_notop.h5"
    arrays = write_published(path, {"conv2_block1_0_conv": 3.0})
    model = zoo.build("ResNeXt50", weights=path, include_top=False)
    assert set(arrays) == set(with_weights(model))
    for name, expected in arrays.items():
        for one, other in zip(model.get_layer(name).get_weights(), expected, strict=True):
            np.testing.assert_array_equal(one, other)
    with pytest.raises(WeightsError, match=r"predictions"):
        ResNeXt50(weights=path)


# --- arguments -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        {"classes": 7, "input_shape": (50, 77, 3)},
        {"include_top": False, "input_shape": (64, 64, 3), "pooling": "max"},
    ],
    ids=str,
)
def test_shapes_are_those_of_keras_applications(arguments: dict[str, Any]) -> None:
    ours = ResNeXt50(weights=None, **arguments)
    kerass = keras.applications.ResNet50(weights=None, **arguments)
    assert ours.input_shape == kerass.input_shape
    assert ours.output_shape == kerass.output_shape


@pytest.mark.parametrize(("rows", "columns"), [(32, 32), (33, 65)])
def test_any_size_without_the_top(small: keras.Model, rows: int, columns: int) -> None:
    maps = small.predict_on_batch(np.zeros((2, rows, columns, 3), "float32"))
    assert maps.shape == (2, -(-rows // 32), -(-columns // 32), 2048)


def test_logits_without_the_activation() -> None:
    model = ResNeXt50(weights=None, classes=3, classifier_activation=None)
    assert model.layers[-1].activation is keras.activations.linear


def test_it_builds_on_another_models_output(small: keras.Model, tmp_path: Path) -> None:
    small.save_weights(tmp_path / "own.weights.h5")
    grey = keras.Input((64, 64, 1))
    coloured = keras.layers.Conv2D(3, 1, name="mine")(grey)
    path = tmp_path / "own.weights.h5"
    model = ResNeXt50(include_top=False, weights=path, input_tensor=coloured)
    assert model.input_shape == (None, 64, 64, 1)
    for layer in small.layers[1:]:
        for one, other in zip(
            layer.get_weights(), model.get_layer(layer.name).get_weights(), strict=True
        ):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"classes": 5}, "classes=1000, got 5"),
        ({"pooling": "mean"}, "'mean'"),
        ({"input_shape": (64, 64, 3)}, r"\(224, 224, 3\) with the ImageNet top"),
        ({"weights": None, "input_shape": (31, 64, 3)}, "32 or more"),
    ],
)
def test_arguments_that_do_not_go_together(arguments: dict[str, Any], reason: str) -> None:
    with pytest.raises(ArgumentError, match=reason):
        ResNeXt50(**arguments)


def test_preprocessing_is_the_catalogues() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 3), dtype=np.uint8)
    expected = (pixels / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(preprocess_input(pixels), expected, atol=1e-5)
    for name in ("ResNeXt50", "ResNeXt101"):
        mode = catalogue.find(name).preprocessing
        np.testing.assert_array_equal(preprocess_input(pixels), zoo.scale(pixels, mode))
    floats = pixels.astype("float32")
    preprocess_input(floats)
    np.testing.assert_array_equal(floats, pixels)
