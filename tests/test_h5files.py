"""Weight files of every layout: each is written here, in that layout, and read back exactly."""

import contextlib
import json
import os
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from conftest import SHARED

from helpers import h5files
from helpers.backend import keras
from helpers.errors import ArgumentError, WeightsError
from helpers.h5files import kernels

layers = keras.layers
MOBILENET = SHARED / "weights" / "mobilenet_2_5_224_tf_no_top.h5"

Write = Callable[[Path, "keras.Model"], None]


def small(head: int | None = 3, first: str = "c1", side: int = 8) -> "keras.Model":
    """A convolution, a BatchNorm, and a dense head after a Flatten; random, moving averages too."""
    model = keras.Sequential([keras.Input((side, side, 3), name="pixels")], name="small")
    model.add(layers.Conv2D(4, 3, name=first))
    model.add(layers.BatchNormalization(name="bn"))
    if head:
        model.add(layers.Flatten(name="flat"))
        model.add(layers.Dense(head, name="d"))
    return randomised(model)


def randomised(model: "keras.Model", seed: int = 1) -> "keras.Model":
    rng = np.random.default_rng(seed)
    model.set_weights([rng.random(w.shape, "float32") for w in model.get_weights()])
    return model


def nested(prefix: str = "i") -> "keras.Model":
    """Layers inside layers: a model, and a wrapper of two recurrent ones.

    The one inside has trainable weights behind those of a BatchNorm that are not.
    """
    inner = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.Conv2D(4, 3, name=f"{prefix}c"),
            layers.BatchNormalization(name=f"{prefix}b"),
            layers.Conv2D(4, 1, name=f"{prefix}d"),
        ],
        name="inner",
    )
    return randomised(
        keras.Sequential([
            keras.Input((8, 8, 3)),
            inner,
            layers.Reshape((36, 4)),
            layers.Dropout(0.5),
            layers.Bidirectional(layers.GRU(3, name="g"), name="bi"),
            layers.Dense(2, name="d"),
        ])
    )  # fmt: skip


def differs(one: "keras.Model", other: "keras.Model") -> bool:
    pairs = zip(one.get_weights(), other.get_weights(), strict=True)
    return not all(np.array_equal(a, b) for a, b in pairs)


# --- the layouts, written by hand ----------------------------------------------------------------


def by_number(path: Path, model: "keras.Model") -> None:
    """Keras before 1.0: layer_K/param_P; layers without weights are counted too."""
    with h5py.File(path, "w") as file:
        file.attrs["nb_layers"] = len(model.layers)
        for k, layer in enumerate(model.layers):
            group = file.create_group(f"layer_{k}")
            group.attrs["nb_params"] = len(layer.get_weights())
            for p, array in enumerate(layer.get_weights()):
                group[f"param_{p}"] = array


def by_name(path: Path, model: "keras.Model", below: str = "/", chunks: int = 0) -> None:
    """Keras 1 and 2: lists of names in attributes, in several where one would be too long."""
    with h5py.File(path, "w") as file:
        root = file.require_group(below)
        root.attrs["backend"] = b"tensorflow"
        names = [layer.name.encode() for layer in model.layers]
        if chunks:
            for k in range(0, len(names), chunks):
                root.attrs[f"layer_names{k // chunks}"] = names[k : k + chunks]
        else:
            root.attrs["layer_names"] = names
        for layer in model.layers:
            group = root.create_group(layer.name)
            order = [*layer.trainable_weights, *layer.non_trainable_weights]
            group.attrs["weight_names"] = [f"{w.path}:0".encode() for w in order]
            for weight in order:
                group[f"{weight.path}:0"] = np.asarray(weight)


def whole_model(path: Path, model: "keras.Model") -> None:
    by_name(path, model, "model_weights")
    with h5py.File(path, "a") as file:
        file.attrs["model_config"] = json.dumps({"class_name": "Sequential"})


def in_parts(path: Path, model: "keras.Model") -> None:
    by_name(path, model, chunks=2)


def keras3(path: Path, model: "keras.Model") -> None:
    model.save_weights(path)


def archive(path: Path, model: "keras.Model") -> None:
    model.save(path)


LAYOUTS: dict[str, tuple[str, Write]] = {
    "nb_layers": ("x.h5", by_number),
    "layer_names": ("x.h5", by_name),
    "whole_model": ("x.h5", whole_model),
    "keras3_weights": ("x.weights.h5", keras3),
    "keras": ("x.keras", archive),
}


@pytest.fixture(params=[*LAYOUTS, "layer_names, in parts"])
def written(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path, "keras.Model"]:
    """A file in each of the layouts, and the model whose weights are in it."""
    model = small()
    name, write = LAYOUTS.get(request.param, ("x.h5", in_parts))
    write(tmp_path / name, model)
    return request.param.split(",")[0], tmp_path / name, model


def test_the_layout_is_recognised(written: tuple[str, Path, "keras.Model"]) -> None:
    layout, path, model = written
    tree = h5files.tree(path)
    assert tree.layout == layout
    assert tree.parameters == model.count_params()
    shapes = sorted(weight.shape for layer in tree.layers for weight in layer.weights)
    assert shapes == sorted(tuple(w.shape) for w in model.weights)


def test_every_array_is_read_exactly(written: tuple[str, Path, "keras.Model"]) -> None:
    layout, path, model = written
    found = h5files.read(path)
    assert [name for name in found if name.startswith("layer_")] == (
        [f"layer_{k}" for k in range(4)] if layout == "nb_layers" else []
    )
    for k, layer in enumerate(model.layers):
        arrays = found[f"layer_{k}" if layout == "nb_layers" else layer.name].values()
        for array, weight in zip(arrays, layer.get_weights(), strict=True):
            assert np.array_equal(array, weight)


def test_every_weight_is_loaded_exactly(written: tuple[str, Path, "keras.Model"]) -> None:
    _, path, model = written
    other = randomised(small(), 2)
    assert differs(other, model)
    report = h5files.load_weights(other, path)
    assert report.loaded == (
        "c1/kernel", "c1/bias", "bn/gamma", "bn/beta", "bn/moving_mean", "bn/moving_variance",
        "d/kernel", "d/bias",
    )  # fmt: skip
    assert report.missing == report.unexpected == report.wrong_shape == ()
    assert not differs(other, model)


def test_a_changed_shape_is_named_and_nothing_is_changed(
    written: tuple[str, Path, "keras.Model"],
) -> None:
    _, path, _ = written
    other = keras.Sequential([keras.Input((8, 8, 3)), *small(head=None).layers], name="other")
    other.add(layers.Flatten(name="flat"))
    other.add(layers.Dense(5, name="d"))
    before = other.get_weights()
    with pytest.raises(WeightsError) as caught:
        h5files.load_weights(other, path)
    text = str(caught.value)
    assert "d/kernel expected (144, 5), got (144, 3)" in text
    assert "d/bias expected (5,), got (3,)" in text
    assert "unchanged" in text
    assert all(np.array_equal(a, b) for a, b in zip(before, other.get_weights(), strict=True))
    report = h5files.load_weights(other, path, skip_mismatch=True)
    assert [m.weight for m in report.wrong_shape] == ["d/kernel", "d/bias"]
    assert len(report.loaded) == 6
    assert np.array_equal(other.get_weights()[-2], before[-2])


@pytest.mark.parametrize("layout", [*LAYOUTS][1:])
def test_layers_inside_layers(layout: str, tmp_path: Path) -> None:
    name, write = LAYOUTS[layout]
    model, other = nested(), randomised(nested(), 2)
    write(tmp_path / name, model)
    assert differs(other, model)
    h5files.load_weights(other, tmp_path / name)
    assert not differs(other, model)


@pytest.mark.parametrize("layout", ["layer_names", "keras3_weights"])
def test_a_frozen_layer_inside_takes_its_own_weights(layout: str, tmp_path: Path) -> None:
    # Keras's own loader puts gamma into moving_mean here: a frozen model lists its weights so.
    name, write = LAYOUTS[layout]
    model, other = nested(), randomised(nested(), 2)
    other.layers[0].trainable = False
    write(tmp_path / name, model)
    h5files.load_weights(other, tmp_path / name)
    assert not differs(other, model)


@pytest.mark.parametrize("layout", ["layer_names", "keras3_weights"])
def test_layers_inside_may_have_other_names(layout: str, tmp_path: Path) -> None:
    name, write = LAYOUTS[layout]
    model, other = nested(), randomised(nested("other_"), 2)
    write(tmp_path / name, model)
    h5files.load_weights(other, tmp_path / name)
    assert not differs(other, model)


def test_the_state_of_random_numbers_is_no_weight(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((3,)), layers.Dropout(0.5), layers.Dense(2, name="d")])
    model.save_weights(tmp_path / "x.weights.h5")
    with h5py.File(tmp_path / "x.weights.h5", "a") as file:
        file.require_dataset("layers/dropout/seed_generator/vars/0", (2,), "u4")
    assert h5files.tree(tmp_path / "x.weights.h5").parameters == model.count_params() == 8
    assert len(h5files.load_weights(model, tmp_path / "x.weights.h5").loaded) == 2


@pytest.mark.parametrize("layout", [*LAYOUTS][1:])
def test_by_name(layout: str, tmp_path: Path) -> None:
    name, write = LAYOUTS[layout]
    model = small()
    write(tmp_path / name, model)
    other = randomised(small(first="another"), 2)
    before = other.get_weights()
    report = h5files.load_weights(other, tmp_path / name, by_name=True)
    assert report.missing == ("another/kernel", "another/bias")
    assert [name.split("/")[0] for name in report.unexpected] == ["c1", "c1"]
    assert [name.split("/")[0] for name in report.loaded] == ["bn"] * 4 + ["d"] * 2
    for k, (array, old, new) in enumerate(
        zip(other.get_weights(), before, model.get_weights(), strict=True)
    ):
        assert np.array_equal(array, old if k < 2 else new)


def test_no_match_at_all_is_refused(tmp_path: Path) -> None:
    by_name(tmp_path / "x.h5", small())
    other = keras.Sequential([keras.Input((8,)), layers.Dense(2, name="only")], name="other")
    with pytest.raises(WeightsError, match=r"not one of its 4 layers \(c1, bn, flat, d\)"):
        h5files.load_weights(other, tmp_path / "x.h5", by_name=True)


# --- the head, and a part of the weights ---------------------------------------------------------


@pytest.mark.parametrize("layout", [*LAYOUTS])
def test_a_head_on_one_side_only_is_said(layout: str, tmp_path: Path) -> None:
    name, write = LAYOUTS[layout]
    (tmp_path / "top").mkdir()
    write(tmp_path / "top" / name, small())
    write(tmp_path / name, small(head=None))
    with_head, without = randomised(small(), 2), randomised(small(head=None), 2)
    with pytest.raises(WeightsError, match="the file has a 3-class head, the model has none"):
        h5files.load_weights(without, tmp_path / "top" / name)
    with pytest.raises(WeightsError, match="the model has a 3-class head, the file has none"):
        h5files.load_weights(with_head, tmp_path / name)
    assert not differs(with_head, randomised(small(), 2))
    assert not differs(without, randomised(small(head=None), 2))


@pytest.mark.parametrize("layout", [*LAYOUTS])
def test_partial_stops_where_the_shorter_ends(layout: str, tmp_path: Path) -> None:
    name, write = LAYOUTS[layout]
    (tmp_path / "top").mkdir()
    write(tmp_path / "top" / name, small())
    write(tmp_path / name, small(head=None))
    with_head, without = randomised(small(), 2), randomised(small(head=None), 2)
    report = h5files.load_weights(without, tmp_path / "top" / name, partial=True)
    assert (len(report.loaded), len(report.unexpected), report.missing) == (6, 2, ())
    assert not differs(without, small(head=None))
    head = with_head.get_weights()[-2:]
    report = h5files.load_weights(with_head, tmp_path / name, partial=True)
    assert (len(report.loaded), report.missing) == (6, ("d/kernel", "d/bias"))
    assert all(
        np.array_equal(a, b) for a, b in zip(head, with_head.get_weights()[-2:], strict=True)
    )
    assert np.array_equal(with_head.get_weights()[0], without.get_weights()[0])


def test_vgg16_by_parts(tmp_path: Path) -> None:
    """A sequential VGG16 with names of its own takes the functional one's weights; so does a part."""
    functional = keras.applications.VGG16(False, weights=None, input_shape=(32, 32, 3))
    inner = functional.get_layer("block2_pool").output
    both = keras.Model(functional.inputs, [functional.output, inner])
    picture = np.random.default_rng(0).random((1, 32, 32, 3), "float32")
    wanted, wanted_inside = both.predict_on_batch(picture)

    def sequential(layers: int | None = None) -> "keras.Model":
        configs = [(type(layer), layer.get_config()) for layer in functional.layers[1:layers]]
        copies = [kind.from_config(c | {"name": f"my_{c['name']}"}) for kind, c in configs]
        return keras.Sequential([keras.Input((32, 32, 3)), *copies])

    whole, part = sequential(), sequential(7)
    assert part.layers[-1].name == "my_block2_pool"
    for write in (by_number, by_name):
        write(tmp_path / "x.h5", functional)
        for model in (whole, part):
            model.set_weights([np.zeros(w.shape) for w in model.weights])
        assert not np.allclose(whole.predict_on_batch(picture), wanted, atol=1e-6)
        assert len(h5files.load_weights(whole, tmp_path / "x.h5").loaded) == 26
        assert np.allclose(whole.predict_on_batch(picture), wanted, atol=1e-6)
        with pytest.raises(WeightsError, match=r"9 layers more.*partial"):
            h5files.load_weights(part, tmp_path / "x.h5")
        report = h5files.load_weights(part, tmp_path / "x.h5", partial=True)
        assert (len(report.loaded), len(report.unexpected)) == (8, 18)
        assert np.allclose(part.predict_on_batch(picture), wanted_inside, atol=1e-6)


# --- th and tf -----------------------------------------------------------------------------------


def convolved(picture: np.ndarray, kernel: np.ndarray, theano: bool) -> np.ndarray:
    """A convolution as its definition has it, element by element.

    `picture` (channels, rows, columns), `kernel` (out, in, rows, columns) → (out, rows, columns).
    Theano's y[i, j] = Σ x[i + m - 1 - a, j + n - 1 - b] w[a, b]; TensorFlow's is Σ x[i + a, j + b]
    w[a, b].
    """
    out, channels, m, n = kernel.shape
    rows, columns = picture.shape[1] - m + 1, picture.shape[2] - n + 1
    result = np.zeros((out, rows, columns))
    for o in range(out):
        for i in range(rows):
            for j in range(columns):
                for c in range(channels):
                    for a in range(m):
                        for b in range(n):
                            at = (i + m - 1 - a, j + n - 1 - b) if theano else (i + a, j + b)
                            result[o, i, j] += picture[c, *at] * kernel[o, c, a, b]
    return result


def theanos(path: Path, theano: bool, backend: str | None = None) -> Callable[[np.ndarray], Any]:
    """Writes a Keras 1 file with channels first; returns what its network says of a picture."""
    rng = np.random.default_rng(5)
    kernel, bias = rng.normal(size=(4, 3, 3, 3)), rng.normal(size=4)
    dense, offset = rng.normal(size=(4 * 6 * 6, 2)), rng.normal(size=2)
    arrays = {"c1": [kernel, bias], "flat": [], "d": [dense, offset]}
    with h5py.File(path, "w") as file:
        if backend:
            file.attrs["backend"] = backend
        file.attrs["layer_names"] = [name.encode() for name in arrays]
        for name, values in arrays.items():
            group = file.create_group(name)
            group.attrs["weight_names"] = [f"{name}_{k}".encode() for k in "Wb"[: len(values)]]
            for k, value in zip("Wb", values, strict=False):
                group[f"{name}_{k}"] = value

    def answer(picture: np.ndarray) -> np.ndarray:
        maps = convolved(picture, kernel, theano) + bias[:, None, None]
        return maps.ravel() @ dense + offset  # flattened channel by channel

    return answer


def two_layers() -> "keras.Model":
    return keras.Sequential([
        keras.Input((8, 8, 3)), layers.Conv2D(4, 3, name="c1"), layers.Flatten(name="flat"),
        layers.Dropout(0.5), layers.Dense(2, name="d"),
    ])  # fmt: skip


@pytest.mark.parametrize(
    ("name", "theano", "backend", "said"),
    [
        ("x_th_dim_ordering_th_kernels.h5", True, None, {}),
        ("x_th_dim_ordering_tf_kernels.h5", False, None, {}),
        ("x.h5", True, "theano", {}),
        ("x.h5", False, "tensorflow", {}),
        ("x.h5", True, None, {"trained_kernels": "th"}),
        ("x.h5", False, None, {"trained_kernels": "tf", "dim_ordering": "th"}),
    ],
)
def test_a_file_with_channels_first_gives_the_same_answers(
    tmp_path: Path, name: str, theano: bool, backend: str | None, said: dict[str, Any]
) -> None:
    answer = theanos(tmp_path / name, theano, backend)
    model = two_layers()
    report = h5files.load_weights(model, tmp_path / name, **said)
    assert ("kernels turned by 180°" in report.notes) == theano
    assert "kernels transposed from (out, in, rows, columns)" in report.notes
    assert [note for note in report.notes if note.startswith("d/kernel: rows reordered")]
    picture = np.random.default_rng(6).normal(size=(3, 8, 8))
    got = model.predict_on_batch(picture.transpose(1, 2, 0)[None])
    assert np.allclose(got[0], answer(picture), atol=1e-4)


def test_whose_kernels_they_are_is_not_guessed(tmp_path: Path) -> None:
    theanos(tmp_path / "x.h5", theano=True)
    model = two_layers()
    before = model.get_weights()
    with pytest.raises(WeightsError, match='Say trained_kernels="th"'):
        h5files.load_weights(model, tmp_path / "x.h5")
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))
    with pytest.raises(ArgumentError, match='dim_ordering: expected "tf" or "th", got \'xy\''):
        h5files.load_weights(model, tmp_path / "x.h5", dim_ordering="xy")  # type: ignore[arg-type]


def test_keras_2_with_theano_stored_tf_shapes_and_turned_kernels(tmp_path: Path) -> None:
    model, other = small(), randomised(small(), 2)
    by_name(tmp_path / "x.h5", model)
    with h5py.File(tmp_path / "x.h5", "a") as file:
        file.attrs["backend"] = "theano"
    h5files.load_weights(other, tmp_path / "x.h5")
    assert np.array_equal(other.get_weights()[0], model.get_weights()[0][::-1, ::-1])
    assert np.array_equal(other.get_weights()[-2], model.get_weights()[-2])


def test_a_1x1_kernel_needs_no_turn(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((8, 8, 3)), layers.Conv2D(4, 1, name="c")])
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.attrs["nb_layers"] = 1
        group = file.create_group("layer_0")
        group.attrs["nb_params"] = 2
        group["param_0"] = np.arange(12.0).reshape(4, 3, 1, 1)
        group["param_1"] = np.zeros(4)
    h5files.load_weights(model, tmp_path / "x.h5")
    assert model.get_weights()[0][0, 0].tolist() == np.arange(12.0).reshape(4, 3).T.tolist()


# --- Keras 1's recurrent layers and BatchNorm ----------------------------------------------------


def keras1_activation(x: np.ndarray) -> np.ndarray:
    return np.clip(0.2 * x + 0.5, 0, 1)


def written_gates(path: Path, order: str, units: int, inputs: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(7)
    arrays = {}
    for gate in order:
        arrays[f"W_{gate}"] = rng.normal(size=(inputs, units))
        arrays[f"U_{gate}"] = rng.normal(size=(units, units))
        arrays[f"b_{gate}"] = rng.normal(size=units)
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [b"r"]
        group = file.create_group("r")
        group.attrs["weight_names"] = [f"r_{name}".encode() for name in arrays]
        for name, array in arrays.items():
            group[f"r_{name}"] = array
    return arrays


def test_a_keras_1_gru(tmp_path: Path) -> None:
    a = written_gates(tmp_path / "x.h5", "zrh", units=3, inputs=2)
    steps = np.random.default_rng(8).normal(size=(5, 2))
    h = np.zeros(3)
    for x in steps:
        z = keras1_activation(x @ a["W_z"] + h @ a["U_z"] + a["b_z"])
        r = keras1_activation(x @ a["W_r"] + h @ a["U_r"] + a["b_r"])
        new = np.tanh(x @ a["W_h"] + (r * h) @ a["U_h"] + a["b_h"])
        h = z * h + (1 - z) * new
    activation = lambda x: keras.ops.clip(0.2 * x + 0.5, 0, 1)  # noqa: E731
    gru = layers.GRU(3, recurrent_activation=activation, reset_after=False, name="r")
    model = keras.Sequential([keras.Input((5, 2)), gru])
    assert len(h5files.load_weights(model, tmp_path / "x.h5").loaded) == 3
    assert np.allclose(model.predict_on_batch(steps[None])[0], h, atol=1e-5)


def test_a_keras_1_lstm(tmp_path: Path) -> None:
    a = written_gates(tmp_path / "x.h5", "icfo", units=3, inputs=2)
    steps = np.random.default_rng(8).normal(size=(5, 2))
    h = c = np.zeros(3)
    for x in steps:
        i, f, o = (
            keras1_activation(x @ a[f"W_{g}"] + h @ a[f"U_{g}"] + a[f"b_{g}"]) for g in "ifo"
        )
        c = f * c + i * np.tanh(x @ a["W_c"] + h @ a["U_c"] + a["b_c"])
        h = o * np.tanh(c)
    activation = lambda x: keras.ops.clip(0.2 * x + 0.5, 0, 1)  # noqa: E731
    model = keras.Sequential(
        [keras.Input((5, 2)), layers.LSTM(3, recurrent_activation=activation, name="r")]
    )
    h5files.load_weights(model, tmp_path / "x.h5")
    assert np.allclose(model.predict_on_batch(steps[None])[0], h, atol=1e-5)


def test_a_gru_that_resets_after_the_matrix_is_refused(tmp_path: Path) -> None:
    written_gates(tmp_path / "x.h5", "zrh", units=3, inputs=2)
    model = keras.Sequential([keras.Input((5, 2)), layers.GRU(3, name="r")])
    with pytest.raises(WeightsError, match="expected a GRU with reset_after=False"):
        h5files.load_weights(model, tmp_path / "x.h5")


def test_keras_1_batchnorm_names(tmp_path: Path) -> None:
    values = [np.full(4, k + 0.5, "float32") for k in range(4)]
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.attrs["layer_names"] = [b"bn1"]
        group = file.create_group("bn1")
        names = [f"bn1_{n}_1:0" for n in ("gamma", "beta", "running_mean", "running_std")]
        group.attrs["weight_names"] = [name.encode() for name in names]
        for name, value in zip(names, values, strict=True):
            group[name] = value
    model = keras.Sequential([keras.Input((4,)), layers.BatchNormalization(name="b")])
    h5files.load_weights(model, tmp_path / "x.h5")
    bn = model.layers[0]
    for weight, value in zip(
        (bn.gamma, bn.beta, bn.moving_mean, bn.moving_variance), values, strict=True
    ):
        assert np.array_equal(weight, value)


def test_dense_reorders_against_a_loop() -> None:
    rows, columns, channels, units = 2, 3, 4, 5
    stored = np.random.default_rng(0).normal(size=(rows * columns * channels, units))
    got = kernels.dense(stored, (rows, columns, channels))
    for r in range(rows):
        for c in range(columns):
            for k in range(channels):
                first, last = (k * rows + r) * columns + c, (r * columns + c) * channels + k
                assert np.array_equal(got[last], stored[first])


# --- real files ----------------------------------------------------------------------------------


@pytest.mark.skipif(not MOBILENET.is_file(), reason="../shared/weights is not here")
def test_a_real_file_through_both_loaders_gives_the_same_features() -> None:
    ours, keras_own = (
        keras.applications.MobileNet(
            (224, 224, 3), alpha=0.25, include_top=False, pooling="avg", weights=None
        )
        for _ in range(2)
    )
    assert len(h5files.load_weights(ours, MOBILENET).loaded) == 135
    keras_own.load_weights(MOBILENET)
    picture = np.random.default_rng(0).uniform(-1, 1, (2, 224, 224, 3)).astype("float32")
    features = ours.predict_on_batch(picture)
    assert np.array_equal(features, keras_own.predict_on_batch(picture))
    assert features.std() > 0.1


@pytest.mark.skipif(not MOBILENET.is_file(), reason="../shared/weights is not here")
def test_a_real_file_for_a_model_with_the_top() -> None:
    model = keras.applications.MobileNet(alpha=0.25, weights=None)
    with pytest.raises(WeightsError, match="the model has a 1000-class head, the file has none"):
        h5files.load_weights(model, MOBILENET)


# --- what is not let in --------------------------------------------------------------------------


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["kernel"] = np.full((3, 3, 3, 4), 42.0)
    return tmp_path / "secret.h5"


def linked(path: Path, secret: Path, kind: str) -> None:
    """A good file, but for one array, which is elsewhere."""
    by_name(path, small())
    with h5py.File(path, "a") as file:
        where = "c1/small/c1/kernel:0"
        kernel = file[where][()]
        del file[where]
        if kind == "external link":
            file[where] = h5py.ExternalLink(secret.name, "kernel")
        elif kind == "soft link":
            file["elsewhere"] = kernel
            file[where] = h5py.SoftLink("/elsewhere")
        elif kind == "external data set":
            raw = path.with_name("raw.bin")
            raw.write_bytes(b"x" * kernel.nbytes)
            file.create_dataset(where, kernel.shape, kernel.dtype, external=str(raw))
        else:
            source = h5py.VirtualSource(secret, "kernel", kernel.shape)
            layout = h5py.VirtualLayout(kernel.shape, kernel.dtype)
            layout[...] = source
            file.create_virtual_dataset(where, layout)


@pytest.mark.parametrize(
    "kind", ["external link", "soft link", "external data set", "virtual data set"]
)
def test_links_are_listed_and_never_followed(tmp_path: Path, secret: Path, kind: str) -> None:
    linked(tmp_path / "x.h5", secret, kind)
    model = randomised(small(), 2)
    for refused in (h5files.read, lambda path: h5files.load_weights(model, path)):
        with pytest.raises(WeightsError, match=r"link|external|virtual|another file"):
            refused(tmp_path / "x.h5")
    assert not differs(model, randomised(small(), 2))
    if "link" in kind:  # a listed array behind a link cannot even be described
        with pytest.raises(WeightsError, match="is a link, and a weight file has none"):
            h5files.tree(tmp_path / "x.h5")
    else:
        (link,) = h5files.tree(tmp_path / "x.h5").links
        assert "kernel:0" in link
        assert "not followed" in str(h5files.tree(tmp_path / "x.h5"))


def test_links_beside_the_layers_are_listed(tmp_path: Path, secret: Path) -> None:
    by_name(tmp_path / "x.h5", small())
    with h5py.File(secret, "a") as file:
        file["group/inside"] = h5py.SoftLink("/kernel")
    with h5py.File(tmp_path / "x.h5", "a") as file:
        file["c1/aside"] = h5py.ExternalLink(str(secret), "/group")
        file["up"] = file["/"]  # a hard link in a circle is no way out, and no way on
    tree = h5files.tree(tmp_path / "x.h5")
    assert tree.links == (f"/c1/aside → {secret}, /group",)
    with pytest.raises(WeightsError, match="it has links"):
        h5files.load_weights(small(), tmp_path / "x.h5")


@pytest.mark.parametrize("compression", ["gzip", None])
def test_a_shape_bomb_is_refused_unread(tmp_path: Path, compression: str | None) -> None:
    by_name(tmp_path / "x.h5", small(head=None))
    with h5py.File(tmp_path / "x.h5", "a") as file:
        where = "c1/small/c1/kernel:0"
        del file[where]
        file.create_dataset(
            where, (1 << 50,), "f4", chunks=(1 << 20,) if compression else None,
            compression=compression,
        )  # fmt: skip
    assert h5files.tree(tmp_path / "x.h5").layers[0].weights[0].shape == (1 << 50,)
    with pytest.raises(WeightsError, match=r"declares [\d,]+ bytes in shape"):
        h5files.read(tmp_path / "x.h5")
    with pytest.raises(WeightsError, match="expected"):
        h5files.load_weights(small(head=None), tmp_path / "x.h5")


def test_zeros_that_unpack_to_much_are_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset(
            "a/b", (1 << 25,), "u1", compression="gzip", data=np.zeros(1 << 25, "u1")
        )
    with pytest.raises(WeightsError, match="declares 33,554,432 bytes"):
        h5files.read(tmp_path / "x.h5")


def test_an_archive_that_unpacks_to_much_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.weights.h5", b"\0" * (1 << 25))
    with pytest.raises(WeightsError, match="declares 33,554,432 bytes"):
        h5files.tree(tmp_path / "x.keras")


@contextlib.contextmanager
def most_memory(most: int) -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < most
    finally:
        tracemalloc.stop()


def zipped(path: Path, members: dict[str, bytes], kind: int = zipfile.ZIP_DEFLATED) -> bytearray:
    with zipfile.ZipFile(path, "w", kind) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return bytearray(path.read_bytes())


def test_an_archive_that_lies_about_what_is_stored_is_refused(tmp_path: Path) -> None:
    data = zipped(tmp_path / "x.keras", {"model.weights.h5": b"\0" * (1 << 25)})
    at = data.index(b"PK\x01\x02") + 20  # its compressed size, in the directory at the end
    data[at : at + 4] = (1 << 25).to_bytes(4, "little")
    (tmp_path / "x.keras").write_bytes(data)
    with pytest.raises(WeightsError, match="declares 33,554,432 bytes"):
        h5files.tree(tmp_path / "x.keras")


@pytest.mark.parametrize(
    ("kind", "damage"),
    [(zipfile.ZIP_DEFLATED, "bytes"), (zipfile.ZIP_STORED, "bytes"), (zipfile.ZIP_STORED, "end")],
)
def test_a_damaged_archive_is_refused(tmp_path: Path, kind: int, damage: str) -> None:
    keras3(tmp_path / "x.weights.h5", small())
    content = (tmp_path / "x.weights.h5").read_bytes()
    data = zipped(tmp_path / "x.keras", {"model.weights.h5": content}, kind)
    if damage == "bytes":
        data[60:90] = b"\xff" * 30
    else:  # both sizes, which are one where nothing is compressed
        at = data.index(b"PK\x01\x02") + 20
        data[at : at + 8] = (1 << 20).to_bytes(4, "little") * 2
    (tmp_path / "x.keras").write_bytes(data)
    with pytest.raises(WeightsError, match=r"x\.keras: (damaged|model)"):
        h5files.tree(tmp_path / "x.keras")


def test_of_an_archives_notes_only_the_beginning_is_read(tmp_path: Path) -> None:
    keras3(tmp_path / "x.weights.h5", small())
    content = (tmp_path / "x.weights.h5").read_bytes()
    notes = b'{"keras_version": "3.1.0"}' + b" " * 50_000_000
    zipped(tmp_path / "x.keras", {"model.weights.h5": content, "metadata.json": notes})
    with most_memory(10_000_000):
        assert h5files.tree(tmp_path / "x.keras").attributes == {"keras_version": "3.1.0"}


def test_a_number_of_arrays_that_cannot_be_is_refused_at_the_first(tmp_path: Path) -> None:
    by_number(tmp_path / "x.h5", small())
    with h5py.File(tmp_path / "x.h5", "a") as file:
        file["layer_3"].attrs["nb_params"] = 2_000_000
    with most_memory(10_000_000), pytest.raises(WeightsError, match="'param_2' is listed"):
        h5files.tree(tmp_path / "x.h5")


def test_gates_of_unequal_sizes_change_nothing(tmp_path: Path) -> None:
    written_gates(tmp_path / "x.h5", "zrh", units=3, inputs=2)
    with h5py.File(tmp_path / "x.h5", "a") as file:
        file.attrs["layer_names"] = [b"first", b"r"]
        group = file.create_group("first")
        group.attrs["weight_names"] = [b"first_W"]
        group["first_W"] = np.ones((2, 2))
        del file["r/r_W_r"]
        file["r/r_W_r"] = np.zeros((2, 4))
    model = keras.Sequential([
        keras.Input((5, 2)), layers.Dense(2, use_bias=False), layers.GRU(3, reset_after=False),
    ])  # fmt: skip
    before = model.get_weights()
    with pytest.raises(WeightsError, match=r"gru/kernel expected \(2, 9\), got \(2, 10\)"):
        h5files.load_weights(model, tmp_path / "x.h5")
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


def test_what_is_no_number_is_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["a/text"] = ["one", "two"]
    with pytest.raises(WeightsError, match="expected numbers, got object"):
        h5files.read(tmp_path / "x.h5")


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "an empty file"),
        (b"<!DOCTYPE html><html>Sign in", "a web page"),
        (b"Rar!\x1a\x07\x00", "starts with"),
        (b"\x89HDF\r\n\x1a\n" + b"\0" * 600, "damaged"),
        (b"PK\x03\x04" + b"\0" * 100, "damaged"),
    ],
)
def test_no_weight_file_says_what_it_is(tmp_path: Path, content: bytes, what: str) -> None:
    (tmp_path / "x.h5").write_bytes(content)
    with pytest.raises(WeightsError, match=what):
        h5files.tree(tmp_path / "x.h5")


def test_no_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no such file"):
        h5files.tree(tmp_path / "none.h5")
    with pytest.raises(WeightsError, match="a folder, expected a weight file"):
        h5files.read(tmp_path)


def test_a_truncated_file_changes_nothing(written: tuple[str, Path, "keras.Model"]) -> None:
    _, path, _ = written
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    model = randomised(small(), 2)
    with pytest.raises(WeightsError):
        h5files.load_weights(model, path)
    assert not differs(model, randomised(small(), 2))


def test_an_array_that_cannot_be_unpacked_changes_nothing(tmp_path: Path) -> None:
    """All shapes are right, and the last array's bytes are not: found while reading it."""
    with h5py.File(tmp_path / "x.h5", "w") as file:
        model = small()
        file.attrs["layer_names"] = [layer.name for layer in model.layers]
        for layer in model.layers:
            group = file.create_group(layer.name)
            group.attrs["weight_names"] = [w.name for w in layer.weights]
            for w, array in zip(layer.weights, layer.get_weights(), strict=True):
                group.create_dataset(w.name, data=array, chunks=array.shape, compression="gzip")
        chunk = file["d/kernel"].id.get_chunk_info(0)
    with (tmp_path / "x.h5").open("r+b") as raw:
        raw.seek(chunk.byte_offset)
        raw.write(b"\xff" * chunk.size)
    other = randomised(small(), 2)
    with pytest.raises(WeightsError, match="damaged"):
        h5files.load_weights(other, tmp_path / "x.h5")
    assert not differs(other, randomised(small(), 2))


def test_a_listed_layer_that_is_not_there(tmp_path: Path) -> None:
    by_name(tmp_path / "x.h5", small())
    with h5py.File(tmp_path / "x.h5", "a") as file:
        del file["bn"]
    with pytest.raises(WeightsError, match="'bn' is listed in the file, and is not there"):
        h5files.tree(tmp_path / "x.h5")


def test_groups_without_end_are_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.weights.h5", "w") as file:
        file.create_group("layers/dense/cell")
        file["layers/dense/cell/cell"] = file["layers/dense/cell"]
    with pytest.raises(WeightsError, match="deep in one another"):
        h5files.tree(tmp_path / "x.weights.h5")


def test_a_model_without_weights(tmp_path: Path) -> None:
    by_name(tmp_path / "x.h5", small())
    for model in (
        keras.Sequential(name="empty"),
        keras.Sequential([layers.Dense(2)], name="empty"),
    ):
        with pytest.raises(ArgumentError, match="empty: it has no weights yet"):
            h5files.load_weights(model, tmp_path / "x.h5")


def test_fewer_arrays_in_a_layer_than_the_model_has(tmp_path: Path) -> None:
    model = small(head=None)
    keras3(tmp_path / "x.weights.h5", model)
    by_name(tmp_path / "x.h5", model)
    for name, where in (("x.weights.h5", "layers/conv2d/vars/1"), ("x.h5", None)):
        with h5py.File(tmp_path / name, "a") as file:
            if where:
                del file[where]
            else:
                names = file["c1"].attrs["weight_names"]
                file["c1"].attrs["weight_names"] = names[:1]
        with pytest.raises(WeightsError, match=r"c1: expected \d arrays .*the file's c1 has 1"):
            h5files.load_weights(model, tmp_path / name)


# --- what people see -----------------------------------------------------------------------------


def test_names_are_escaped(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>\x1b[31m"
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.attrs["layer_names"] = [evil.encode()]
        group = file.create_group(evil.replace("/", "|"))
        file.attrs["layer_names"] = [evil.replace("/", "|").encode()]
        group.attrs["weight_names"] = [evil.replace("/", "|").encode()]
        group[evil.replace("/", "|")] = np.zeros(3)
    tree = h5files.tree(tmp_path / "x.h5")
    assert "<script" not in tree._repr_html_()
    assert "&lt;script" in tree._repr_html_()
    assert "\x1b" not in str(tree)
    assert "\\x1b[31m" in str(tree)
    model = keras.Sequential([keras.Input((3,)), layers.BatchNormalization(name="b")])
    with pytest.raises(WeightsError) as caught:
        h5files.load_weights(model, tmp_path / "x.h5")
    assert "\x1b" not in str(caught.value)


def test_a_tree_as_text(tmp_path: Path) -> None:
    whole_model(tmp_path / "x.h5", small())
    lines = str(h5files.tree(tmp_path / "x.h5")).splitlines()
    assert lines[0] == "x.h5: a whole model as HDF5, 563 parameters"
    assert "  backend = tensorflow" in lines
    assert any(line.split() == ["small/d/kernel:0", "(144,", "3)", "float32"] for line in lines)
    assert lines[-1] == "  and 1 layer without weights"


def test_a_report_as_text(tmp_path: Path) -> None:
    by_name(tmp_path / "x.h5", small())
    report = h5files.load_weights(small(first="<b>"), tmp_path / "x.h5", by_name=True)
    assert str(report).splitlines()[:2] == [
        "6 loaded, 2 missing, 2 unexpected, 0 of a wrong shape",
        "missing in the file: <b>/kernel, <b>/bias",
    ]
    assert "&lt;b&gt;/kernel" in report._repr_html_()


def test_layers_of_a_class_stand_in_their_order(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.weights.h5", "w") as file:
        for key in ("dense", "conv2d", "conv2d_10", "conv2d_2"):
            file[f"layers/{key}/vars/0"] = np.zeros(2)
    tree = h5files.tree(tmp_path / "x.weights.h5")
    assert [layer.name for layer in tree.layers] == ["conv2d", "conv2d_2", "conv2d_10", "dense"]


def test_a_features_file_is_listed_as_it_is(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "features.h5", "w") as file:
        file["features"] = np.zeros((5, 7), "float32")
        file["labels"] = np.zeros(5, int)
    tree = h5files.tree(tmp_path / "features.h5")
    assert tree.layout == "hdf5"
    assert [w.name for w in tree.layers[0].weights] == ["features", "labels"]
    with pytest.raises(WeightsError):
        h5files.load_weights(small(), tmp_path / "features.h5")


@pytest.fixture(autouse=True)
def no_files_left() -> Iterator[None]:
    """Every file is closed again: an open one cannot be replaced on Windows."""
    yield
    if os.path.isdir("/proc/self/fd"):
        open_files = [os.readlink(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd")
                      if os.path.islink(f"/proc/self/fd/{n}")]  # fmt: skip
        assert not [name for name in open_files if name.endswith((".h5", ".keras"))]
