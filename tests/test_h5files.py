"""Weight files of every layout, written here or by Keras, and read back exactly."""

import os
import subprocess
import sys
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
TAGGER = SHARED / "weights" / "music_tagger_crnn_weights_tensorflow.h5"
needs_files = pytest.mark.skipif(not TAGGER.is_file(), reason="../shared/weights is not here")

Write = Callable[[Path, "keras.Model"], None]


def randomised(model: "keras.Model", seed: int = 1) -> "keras.Model":
    rng = np.random.default_rng(seed)
    model.set_weights([rng.random(w.shape, "float32") for w in model.get_weights()])
    return model


def small(head: int | None = 3, first: str = "c1", seed: int = 1) -> "keras.Model":
    """A convolution, a BatchNorm, and a dense head after a Flatten; all weights random."""
    model = keras.Sequential([keras.Input((8, 8, 3))], name="small")
    model.add(layers.Conv2D(4, 3, name=first))
    model.add(layers.BatchNormalization(name="bn"))
    if head:
        model.add(layers.Flatten(name="flat"))
        model.add(layers.Dense(head, name="d"))
    return randomised(model, seed)


def nested(prefix: str = "i", seed: int = 1) -> "keras.Model":
    """A model and a wrapper as layers; trainable weights come behind some that are not."""
    inner = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.Conv2D(4, 3, name=f"{prefix}c"),
            layers.BatchNormalization(name=f"{prefix}b"),
            layers.Conv2D(4, 1, name=f"{prefix}d"),
        ],
        name="inner",
    )
    outer = [layers.Reshape((36, 4)), layers.Dropout(0.5)]
    outer += [layers.Bidirectional(layers.GRU(3, name="g"), name="bi"), layers.Dense(2, name="d")]
    return randomised(keras.Sequential([keras.Input((8, 8, 3)), inner, *outer]), seed)


def attention(seed: int = 1) -> "keras.Model":
    """Layers inside layers that Keras 3 finds through properties, lists and wrappers."""
    pixels = keras.Input((5, 8))
    x = layers.MultiHeadAttention(2, 4, name="a")(pixels, pixels)
    x = layers.RNN([layers.GRUCell(4), layers.LSTMCell(3)], name="r")(x)
    return randomised(keras.Model(pixels, layers.Dense(2, name="d")(x)), seed)


def same(one: "keras.Model", other: "keras.Model") -> bool:
    pairs = zip(one.get_weights(), other.get_weights(), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


# --- the layouts ---------------------------------------------------------------------------------


def by_number(path: Path, model: "keras.Model") -> None:
    """Keras before 1.0: layer_K/param_P; layers without weights are counted, too."""
    with h5py.File(path, "w") as file:
        file.attrs["nb_layers"] = len(model.layers)
        for k, layer in enumerate(model.layers):
            group = file.create_group(f"layer_{k}")
            group.attrs["nb_params"] = len(layer.get_weights())
            for p, array in enumerate(layer.get_weights()):
                group[f"param_{p}"] = array


def by_name(path: Path, model: "keras.Model", parts: int = 0) -> None:
    """Keras 1 and 2: lists of names in attributes, in several where one would be too long."""
    with h5py.File(path, "w") as file:
        file.attrs["backend"] = b"tensorflow"
        names = np.asarray([layer.name.encode() for layer in model.layers])  # of a fixed length
        for k in range(0, len(names), parts or len(names)):
            file.attrs[f"layer_names{k // parts}" if parts else "layer_names"] = (
                names[k : k + parts] if parts else names
            )
        for layer in model.layers:
            group = file.create_group(layer.name)
            order = [*layer.trainable_weights, *layer.non_trainable_weights]
            group.attrs["weight_names"] = np.asarray([f"{w.path}:0".encode() for w in order])
            for weight in order:
                group[f"{weight.path}:0"] = np.asarray(weight)


def by_name_as_texts(path: Path, model: "keras.Model") -> None:
    """The same lists, as other libraries write them: each name in a heap, of any length."""
    by_name(path, model)
    with h5py.File(path, "a") as file:
        for group in (file, *file.values()):
            (listed,) = group.attrs.keys() & {"layer_names", "weight_names"}
            names = [name.decode() for name in group.attrs[listed]]
            group.attrs.create(listed, names, (len(names),), h5py.string_dtype())


def with_optimizer(path: Path, model: "keras.Model") -> None:
    model.compile("adam", "mse")
    model.optimizer.build(model.trainable_variables)
    model.save(path)


LAYOUTS: dict[str, tuple[str, Write]] = {
    "nb_layers": ("x.h5", by_number),
    "layer_names": ("x.h5", by_name),
    "layer_names, in parts": ("x.h5", lambda path, model: by_name(path, model, parts=2)),
    "layer_names, as texts": ("x.h5", by_name_as_texts),
    "whole_model": ("x.h5", lambda path, model: model.save(path)),
    "whole_model, compiled": ("x.h5", with_optimizer),
    "keras3_weights": ("x.weights.h5", lambda path, model: model.save_weights(path)),
    "keras": ("x.keras", lambda path, model: model.save(path)),
}
NAMED = [name for name in LAYOUTS if name != "nb_layers"]


def written(folder: Path, layout: str, model: "keras.Model") -> Path:
    name, write = LAYOUTS[layout]
    write(folder / name, model)
    return folder / name


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_array_is_listed_and_read(tmp_path: Path, layout: str) -> None:
    model = small()
    path = written(tmp_path, layout, model)
    tree, found = h5files.tree(path), h5files.read(path)
    assert tree.layout == layout.split(",")[0]
    assert tree.parameters == model.count_params()
    shapes = sorted(weight.shape for layer in tree.layers for weight in layer.weights)
    assert shapes == sorted(tuple(w.shape) for w in model.weights)
    for k, layer in enumerate(model.layers):
        arrays = found.get(f"layer_{k}" if layout == "nb_layers" else layer.name, {}).values()
        for array, weight in zip(arrays, layer.get_weights(), strict=True):
            assert np.array_equal(array, weight)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_weight_is_loaded(tmp_path: Path, layout: str) -> None:
    model, other = small(), small(seed=2)
    report = h5files.load_weights(other, written(tmp_path, layout, model))
    assert report.loaded == (
        "c1/kernel", "c1/bias", "bn/gamma", "bn/beta", "bn/moving_mean", "bn/moving_variance",
        "d/kernel", "d/bias",
    )  # fmt: skip
    assert report.missing == report.unexpected == report.wrong_shape == ()
    assert same(other, model)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_another_shape_is_named_and_nothing_changes(tmp_path: Path, layout: str) -> None:
    path = written(tmp_path, layout, small())
    other = small(head=5, seed=2)
    with pytest.raises(WeightsError) as caught:
        h5files.load_weights(other, path)
    assert "d/kernel expected (144, 5), got (144, 3)" in str(caught.value)
    assert "d/bias expected (5,), got (3,)" in str(caught.value)
    assert same(other, small(head=5, seed=2))
    report = h5files.load_weights(other, path, skip_mismatch=True)
    assert [m.weight for m in report.wrong_shape] == ["d/kernel", "d/bias"]
    assert len(report.loaded) == 6
    assert np.array_equal(other.get_weights()[0], small().get_weights()[0])
    assert np.array_equal(other.get_weights()[-2], small(head=5, seed=2).get_weights()[-2])


@pytest.mark.parametrize("layout", NAMED)
@pytest.mark.parametrize("case", ["as it is", "frozen inside", "other names", "attention"])
def test_layers_inside_layers(tmp_path: Path, layout: str, case: str) -> None:
    # Keras's own loader of old layouts puts gamma into moving_mean where a layer is frozen.
    model = attention() if case == "attention" else nested()
    other = attention(2) if case == "attention" else nested("x" if "other" in case else "i", 2)
    other.layers[0].trainable = case != "frozen inside"
    h5files.load_weights(other, written(tmp_path, layout, model))
    assert same(other, model)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_normalization_uses_what_was_loaded(tmp_path: Path, layout: str) -> None:
    def model() -> "keras.Model":
        return keras.Sequential([keras.Input((3,)), layers.Normalization(name="n")])

    trained, other = model(), model()
    pictures = np.random.default_rng(0).normal(5, 3, (100, 3)).astype("float32")
    trained.layers[0].adapt(pictures)
    h5files.load_weights(other, written(tmp_path, layout, trained))
    assert np.array_equal(other.predict_on_batch(pictures), trained.predict_on_batch(pictures))


def test_the_state_of_random_numbers_is_no_weight(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((3,)), layers.Dropout(0.5), layers.Dense(2, name="d")])
    model.save_weights(tmp_path / "x.weights.h5")
    with h5py.File(tmp_path / "x.weights.h5", "a") as file:
        file.require_dataset("layers/dropout/seed_generator/vars/0", (2,), "u4")
    assert h5files.tree(tmp_path / "x.weights.h5").parameters == model.count_params() == 8
    assert len(h5files.load_weights(model, tmp_path / "x.weights.h5").loaded) == 2


@pytest.mark.parametrize("layout", ["whole_model", "keras3_weights", "keras"])
def test_bfloat16(tmp_path: Path, layout: str) -> None:
    model = keras.Sequential([keras.Input((3,)), layers.Dense(2, name="d", dtype="bfloat16")])
    path = written(tmp_path, layout, model)
    assert {w.dtype for layer in h5files.tree(path).layers for w in layer.weights} == {"bfloat16"}
    other = keras.Sequential([keras.Input((3,)), layers.Dense(2, name="d")])
    h5files.load_weights(other, path)
    assert np.array_equal(other.get_weights()[0], model.get_weights()[0].astype("float32"))


# --- matching: by name, the head, a part ---------------------------------------------------------


@pytest.mark.parametrize("layout", NAMED)
def test_by_name(tmp_path: Path, layout: str) -> None:
    model, other = small(), small(first="another", seed=2)
    before = other.get_weights()
    report = h5files.load_weights(other, written(tmp_path, layout, model), by_name=True)
    assert report.missing == ("another/kernel", "another/bias")
    assert [name.split("/")[0] for name in report.unexpected] == ["c1", "c1"]
    assert [name.split("/")[0] for name in report.loaded] == ["bn"] * 4 + ["d"] * 2
    wanted = before[:2] + model.get_weights()[2:]
    assert all(map(np.array_equal, other.get_weights(), wanted))


def test_layers_of_other_names_are_listed(tmp_path: Path) -> None:
    by_name(tmp_path / "x.h5", small())
    other = keras.Sequential([keras.Input((8,)), layers.Dense(2, name="only")], name="other")
    with pytest.raises(WeightsError, match=r"does not fit other.*c1, bn, d;.*only"):
        h5files.load_weights(other, tmp_path / "x.h5", by_name=True)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_head_on_one_side_only(tmp_path: Path, layout: str) -> None:
    (tmp_path / "top").mkdir()
    with_top = written(tmp_path / "top", layout, small())
    without_top = written(tmp_path, layout, small(head=None))
    model, headless = small(seed=2), small(head=None, seed=2)
    with pytest.raises(WeightsError, match="the file has a 3-class head, the model has none"):
        h5files.load_weights(headless, with_top)
    with pytest.raises(WeightsError, match="the model has a 3-class head, the file has none"):
        h5files.load_weights(model, without_top)
    assert same(model, small(seed=2)) and same(headless, small(head=None, seed=2))
    report = h5files.load_weights(headless, with_top, partial=True)
    assert (len(report.loaded), len(report.unexpected), report.missing) == (6, 2, ())
    report = h5files.load_weights(model, without_top, partial=True)
    assert (len(report.loaded), report.missing) == (6, ("d/kernel", "d/bias"))
    assert all(map(np.array_equal, model.get_weights()[:6], headless.get_weights()))
    assert all(map(np.array_equal, headless.get_weights(), small(head=None).get_weights()))
    assert all(map(np.array_equal, model.get_weights()[6:], small(seed=2).get_weights()[6:]))


@pytest.mark.parametrize("count", [1, 3])
def test_a_head_of_several_layers_is_called_a_head(tmp_path: Path, count: int) -> None:
    """VGG's has three."""
    head = [layers.Dense(5) for _ in range(count)]
    by_name(tmp_path / "x.h5", keras.Sequential([keras.Input((4,)), layers.Dense(3), *head]))
    without = keras.Sequential([keras.Input((4,)), layers.Dense(3)])
    with pytest.raises(WeightsError, match="the file has a 5-class head, the model has none"):
        h5files.load_weights(without, tmp_path / "x.h5")


@pytest.mark.parametrize("write", [by_number, by_name])
def test_the_beginning_of_a_network(tmp_path: Path, write: Write) -> None:
    convolutions = [layers.Conv2D(3, 3, padding="same", name=f"c{k}") for k in range(6)]
    pixels = keras.Input((8, 8, 3))
    whole = randomised(
        keras.Sequential([pixels, *convolutions[:2], layers.ReLU(), *convolutions[2:]])
    )
    write(tmp_path / "x.h5", whole)
    wanted = whole.get_weights()[:4]
    part = keras.Sequential([pixels, *(layers.Conv2D(3, 3) for _ in range(2))])
    with pytest.raises(WeightsError, match=r"the file has 4 layers more .*partial"):
        h5files.load_weights(part, tmp_path / "x.h5")
    assert len(h5files.load_weights(part, tmp_path / "x.h5", partial=True).unexpected) == 8
    assert all(map(np.array_equal, part.get_weights(), wanted))


# --- th and tf -----------------------------------------------------------------------------------


def convolved(picture: np.ndarray, kernel: np.ndarray, theano: bool) -> np.ndarray:
    """A convolution from its definition: (channels, rows, columns) → (out, rows, columns).

    With Theano y[i, j] = Σ x[i + m - 1 - a, j + n - 1 - b] w[a, b], else Σ x[i + a, j + b] w[a, b];
    the kernel is (out, in, rows, columns).
    """
    out, _, m, n = kernel.shape
    result = np.zeros((out, picture.shape[1] - m + 1, picture.shape[2] - n + 1))
    for o, i, j in np.ndindex(result.shape):
        for a, b in np.ndindex(m, n):
            at = (i + m - 1 - a, j + n - 1 - b) if theano else (i + a, j + b)
            result[o, i, j] += picture[:, at[0], at[1]] @ kernel[o, :, a, b]
    return result


def keras_1(path: Path, arrays: dict[str, dict[str, np.ndarray]], **attributes: str) -> None:
    with h5py.File(path, "w") as file:
        file.attrs.update(attributes)
        file.attrs["layer_names"] = np.asarray([name.encode() for name in arrays])
        for name, weights in arrays.items():
            group = file.create_group(name)
            names = np.asarray([f"{name}_{weight}".encode() for weight in weights])
            group.attrs["weight_names"] = names
            for weight, array in weights.items():
                group[f"{name}_{weight}"] = array


def theanos(path: Path, theano: bool, **attributes: str) -> Callable[[np.ndarray], Any]:
    """Write a file with channels first; return what its network says of a picture."""
    rng = np.random.default_rng(5)
    kernel, bias = rng.normal(size=(4, 3, 3, 3)), rng.normal(size=4)
    dense, offset = rng.normal(size=(4 * 6 * 6, 2)), rng.normal(size=2)
    arrays = {"c1": {"W": kernel, "b": bias}, "flat": {}, "d": {"W": dense, "b": offset}}
    keras_1(path, arrays, **attributes)

    def answer(picture: np.ndarray) -> np.ndarray:
        maps = convolved(picture, kernel, theano) + bias[:, None, None]
        return maps.ravel() @ dense + offset  # flattened channel by channel

    return answer


def two_layers() -> "keras.Model":
    return randomised(keras.Sequential([
        keras.Input((8, 8, 3)), layers.Conv2D(4, 3, name="c1"), layers.Flatten(name="flat"),
        layers.Dropout(0.5), layers.Dense(2, name="d"),
    ]))  # fmt: skip


@pytest.mark.parametrize(
    ("name", "theano", "attributes", "said"),
    [
        ("x_th_dim_ordering_th_kernels.h5", True, {}, {}),
        ("x_th_dim_ordering_tf_kernels.h5", False, {}, {}),
        ("x.h5", True, {"backend": "theano"}, {}),
        ("x.h5", False, {"backend": "tensorflow"}, {}),
        ("x.h5", True, {}, {"trained_kernels": "th"}),
        ("x.h5", False, {}, {"trained_kernels": "tf", "dim_ordering": "th"}),
    ],
)
def test_a_file_with_channels_first_gives_the_same_answers(
    tmp_path: Path, name: str, theano: bool, attributes: dict[str, str], said: dict[str, Any]
) -> None:
    answer = theanos(tmp_path / name, theano, **attributes)
    model = two_layers()
    notes = h5files.load_weights(model, tmp_path / name, **said).notes
    assert ("kernels turned by 180°" in notes) == theano
    assert "kernels transposed from (out, in, rows, columns)" in notes
    assert any("d/kernel" in note and "reordered" in note for note in notes)
    picture = np.random.default_rng(6).normal(size=(3, 8, 8))
    got = model.predict_on_batch(picture.transpose(1, 2, 0)[None])
    assert np.allclose(got[0], answer(picture), atol=1e-4)


def test_whose_kernels_they_are_is_not_guessed(tmp_path: Path) -> None:
    theanos(tmp_path / "x.h5", theano=True)
    model = two_layers()
    with pytest.raises(WeightsError, match='trained_kernels="th"'):
        h5files.load_weights(model, tmp_path / "x.h5")
    with pytest.raises(ArgumentError, match='dim_ordering: expected "tf" or "th", got \'xy\''):
        h5files.load_weights(model, tmp_path / "x.h5", dim_ordering="xy")  # type: ignore[arg-type]
    assert same(model, two_layers())


def test_keras_2_on_theano_kept_channels_last_and_turned_kernels(tmp_path: Path) -> None:
    model, other = small(), small(seed=2)
    by_name(tmp_path / "x.h5", model)
    with h5py.File(tmp_path / "x.h5", "a") as file:
        file.attrs["backend"] = "theano"
    h5files.load_weights(other, tmp_path / "x.h5")
    assert np.array_equal(other.get_weights()[0], model.get_weights()[0][::-1, ::-1])
    assert np.array_equal(other.get_weights()[-2], model.get_weights()[-2])
    depthwise = keras.Sequential([keras.Input((8, 8, 3)), layers.DepthwiseConv2D(3, name="dw")])
    by_name(tmp_path / "y.h5", depthwise)
    with h5py.File(tmp_path / "y.h5", "a") as file:
        file.attrs["backend"] = "theano"
    with pytest.raises(WeightsError, match="dw is a DepthwiseConv2D"):
        h5files.load_weights(depthwise, tmp_path / "y.h5")


def test_a_1x1_kernel_needs_no_turn(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((8, 8, 3)), layers.Conv2D(4, 1, name="c")])
    stored = np.arange(12.0).reshape(4, 3, 1, 1)
    keras_1(tmp_path / "x.h5", {"c": {"W": stored, "b": np.zeros(4)}})
    h5files.load_weights(model, tmp_path / "x.h5")
    assert np.array_equal(model.get_weights()[0][0, 0], stored[:, :, 0, 0].T)


def test_kernels_and_dense_rows_against_a_loop() -> None:
    kernel = np.random.default_rng(0).normal(size=(2, 3, 4, 5))
    dense = np.random.default_rng(0).normal(size=(2 * 3 * 4, 5))
    got, turned = kernels.kernel(kernel, turn=False), kernels.kernel(kernel)
    for o, c, r, k in np.ndindex(kernel.shape):
        assert got[r, k, c, o] == turned[3 - r, 4 - k, c, o] == kernel[o, c, r, k]
    for r, c, k in np.ndindex(2, 3, 4):
        first, last = (k * 2 + r) * 3 + c, (r * 3 + c) * 4 + k
        assert np.array_equal(kernels.dense(dense, (2, 3, 4))[last], dense[first])


# --- Keras 1's recurrent layers and BatchNorm ----------------------------------------------------


def keras1_activation(x: Any) -> Any:
    return keras.ops.clip(0.2 * x + 0.5, 0, 1)


def written_gates(path: Path, order: str) -> dict[str, np.ndarray]:
    rng, shapes = np.random.default_rng(7), {"W": (2, 3), "U": (3, 3), "b": (3,)}
    arrays = {f"{part}_{gate}": rng.normal(size=shapes[part]) for gate in order for part in shapes}
    keras_1(path, {"r": arrays})
    return arrays


@pytest.mark.parametrize("kind", ["GRU", "LSTM"])
def test_a_keras_1_recurrent_layer_against_its_equations(tmp_path: Path, kind: str) -> None:
    a = written_gates(tmp_path / "x.h5", "zrh" if kind == "GRU" else "icfo")
    steps = np.random.default_rng(8).normal(size=(5, 2))
    h, c = np.zeros(3), np.zeros(3)

    def gate(name: str, x: np.ndarray, h: np.ndarray) -> np.ndarray:
        return x @ a[f"W_{name}"] + h @ a[f"U_{name}"] + a[f"b_{name}"]

    for x in steps:
        if kind == "GRU":
            z, r = np.asarray(keras1_activation(np.stack([gate(g, x, h) for g in "zr"])))
            h = z * h + (1 - z) * np.tanh(gate("h", x, r * h))
        else:
            i, f, o = np.asarray(keras1_activation(np.stack([gate(g, x, h) for g in "ifo"])))
            c = f * c + i * np.tanh(gate("c", x, h))
            h = o * np.tanh(c)
    options: dict[str, Any] = {"reset_after": False} if kind == "GRU" else {}
    layer = getattr(layers, kind)(3, recurrent_activation=keras1_activation, name="r", **options)
    model = keras.Sequential([keras.Input((5, 2)), layer])
    assert len(h5files.load_weights(model, tmp_path / "x.h5").loaded) == 3
    assert np.allclose(model.predict_on_batch(steps[None])[0], h, atol=1e-5)


def test_gates_that_do_not_fit_change_nothing(tmp_path: Path) -> None:
    arrays = written_gates(tmp_path / "x.h5", "zrh")
    reset_after = randomised(keras.Sequential([keras.Input((5, 2)), layers.GRU(3, name="r")]))
    before = reset_after.get_weights()
    with pytest.raises(WeightsError, match=r"r/bias expected \(2, 9\), got \(9,\)"):
        h5files.load_weights(reset_after, tmp_path / "x.h5")
    assert all(map(np.array_equal, reset_after.get_weights(), before))
    keras_1(tmp_path / "x.h5", {"r": arrays | {"W_r": np.zeros((2, 4))}})
    gru = keras.Sequential([keras.Input((5, 2)), layers.GRU(3, reset_after=False, name="r")])
    before = gru.get_weights()
    with pytest.raises(WeightsError, match=r"r/kernel expected \(2, 9\), got \(2, 10\)"):
        h5files.load_weights(gru, tmp_path / "x.h5")
    assert all(map(np.array_equal, gru.get_weights(), before))


# --- real files ----------------------------------------------------------------------------------


@needs_files
def test_a_real_file_through_both_loaders_gives_the_same_features() -> None:
    def mobilenet() -> "keras.Model":
        options = {"alpha": 0.25, "include_top": False, "pooling": "avg", "weights": None}
        return keras.applications.MobileNet((128, 128, 3), **options)

    ours, keras_own = mobilenet(), mobilenet()
    assert len(h5files.load_weights(ours, MOBILENET).loaded) == 135
    keras_own.load_weights(MOBILENET)
    picture = np.random.default_rng(0).uniform(-1, 1, (2, 128, 128, 3)).astype("float32")
    features = ours.predict_on_batch(picture)
    assert np.array_equal(features, keras_own.predict_on_batch(picture))
    assert features.std() > 0.1
    model = keras.applications.MobileNet(alpha=0.25, weights=None)
    with pytest.raises(WeightsError, match="the model has a 1000-class head, the file has none"):
        h5files.load_weights(model, MOBILENET)


@needs_files
def test_a_real_file_of_keras_1() -> None:
    tree, arrays = h5files.tree(TAGGER), h5files.read(TAGGER)
    assert tree.layout == "layer_names"
    assert [array.shape for array in arrays["gru1"].values()] == [(128, 32), (32, 32), (32,)] * 3
    assert tree.parameters == sum(
        array.size for layer in arrays.values() for array in layer.values()
    )


# --- what is not let in --------------------------------------------------------------------------


def refused(path: Path, match: str, model: "keras.Model | None" = None) -> None:
    """Neither read nor loaded, and the model is as it was."""
    model = model or small(seed=2)
    before = model.get_weights()
    for use in (h5files.read, lambda path: h5files.load_weights(model, path)):
        with pytest.raises(WeightsError, match=match):
            use(path)
    assert all(map(np.array_equal, model.get_weights(), before))


@pytest.mark.parametrize("kind", ["external link", "soft link", "external", "virtual", "second"])
def test_links_are_listed_and_never_followed(tmp_path: Path, kind: str) -> None:
    """A good file, but for one array, which is elsewhere."""
    secret, path, where = tmp_path / "secret.h5", tmp_path / "x.h5", "c1/small/c1/kernel:0"
    with h5py.File(secret, "w") as file:
        file["kernel"] = np.full((3, 3, 3, 4), 42.0)
    by_name(path, small())
    with h5py.File(path, "a") as file:
        kernel = file[where][()]
        del file[where]
        if kind == "external link":
            file[where] = h5py.ExternalLink(secret.name, "kernel")
        elif kind == "soft link":
            file["elsewhere"], file[where] = kernel, h5py.SoftLink("/elsewhere")
        elif kind == "second":
            file["a"] = kernel
            file[where] = file["a"]
        elif kind == "external":
            (tmp_path / "secret.bin").write_bytes(b"x" * kernel.nbytes)
            file.create_dataset(where, kernel.shape, "f4", external=str(tmp_path / "secret.bin"))
        else:
            layout = h5py.VirtualLayout(kernel.shape, kernel.dtype)
            layout[...] = h5py.VirtualSource(secret, "kernel", kernel.shape)
            file.create_virtual_dataset(where, layout)
    tree = h5files.tree(path)
    (link,) = tree.links
    assert where in link or "/a" in link
    assert "not followed" in str(tree)
    refused(path, "links")


def test_31_groups_linked_twice(tmp_path: Path) -> None:
    """2³¹ paths lead to one array; and a circle."""
    path = tmp_path / "x.weights.h5"
    with h5py.File(path, "w") as file:
        group = file.create_group("layers/dense")
        for _ in range(28):
            group["b"] = group.create_group("a")
            group = group["a"]
        group["vars/0"] = np.zeros(3)
        file["layers/circle"] = file["layers"]
    assert len(h5files.tree(path).links) == 29
    refused(path, "links")


@pytest.mark.parametrize("listed", ["layer_names", "weight_names"])
def test_a_name_that_is_listed_many_times(tmp_path: Path, listed: str) -> None:
    """60,000 layers of 60,000 arrays each would be 125 kB."""
    keras_1(tmp_path / "x.h5", {"d": {"W": np.zeros(3)}})
    with h5py.File(tmp_path / "x.h5", "a") as file:
        group = file if listed == "layer_names" else file["d"]
        group.attrs[listed] = [*group.attrs[listed]] * 2
    with pytest.raises(WeightsError, match=f"its {listed} have a name twice"):
        h5files.tree(tmp_path / "x.h5")


@pytest.mark.parametrize("start", [0, 512])
@pytest.mark.parametrize("many", [True, False])
def test_texts_that_declare_much(tmp_path: Path, start: int, many: bool) -> None:
    """Every name of a list refers to one long text; or one text declares a length of 2 GB."""
    count, path = 1_000_000 if many else 9, tmp_path / "x.h5"
    names = ["x" * count, *("yz" for _ in range(300))]
    with h5py.File(path, "w", userblock_size=start) as file:
        file.attrs.create("layer_names", names, (301,), h5py.string_dtype())
    data = path.read_bytes()
    at = data.index(count.to_bytes(4, "little"))  # then the heap's address, and an index
    text = data[at : at + 16] if many else (2**31).to_bytes(4, "little") + data[at + 4 : at + 16]
    path.write_bytes(data[:at] + text * (301 if many else 1) + data[at + (4816 if many else 16) :])
    with pytest.raises(WeightsError, match="its texts declare more bytes than are stored"):
        h5files.tree(path)


def test_a_long_name_is_cut_in_an_error(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.attrs["layer_names"] = [b"x" * 60_000]
    with pytest.raises(WeightsError) as caught:
        h5files.tree(tmp_path / "x.h5")
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("kind", ["chunks that are not stored", "a large chunk", "many arrays"])
def test_work_that_the_shapes_do_not_show(tmp_path: Path, kind: str) -> None:
    """Files of less than 200 kB, of which no array alone is large."""
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        if kind == "chunks that are not stored":  # HDF5 takes 8 GB for the rest
            file.create_dataset("a", (1 << 22,), "f4", chunks=(1,))[:100] = 1
        elif kind == "a large chunk":
            options = {"chunks": (1 << 25,), "maxshape": (None,), "compression": "gzip"}
            file.create_dataset("a", data=np.zeros(9, "f4"), **options)
        else:
            for k in range(40):
                file.create_dataset(str(k), data=np.zeros(1 << 20, "u1"), compression="gzip")
    assert path.stat().st_size < 200_000
    refused(path, "more than are stored")


@pytest.mark.parametrize("count", [1, 2])
def test_shards_are_named_for_what_they_are(tmp_path: Path, count: int) -> None:
    model = keras.Sequential([keras.Input((64,)), *(layers.Dense(64) for _ in range(count + 1))])
    model.save_weights(tmp_path / "x.weights.json", max_shard_size=3e-5)
    assert len(list(tmp_path.glob("x_*.weights.h5"))) == count + 1
    refused(tmp_path / "x.weights.json", "the list of a network's shards")
    with pytest.raises(WeightsError, match=r"one of several shards .*load_weights"):
        h5files.load_weights(model, tmp_path / "x_00000.weights.h5")


@pytest.mark.parametrize("compression", ["gzip", None])
@pytest.mark.parametrize("count", [1 << 50, 1 << 25])
def test_a_shape_bomb_is_refused_unread(tmp_path: Path, compression: str, count: int) -> None:
    by_name(tmp_path / "x.h5", small())
    with h5py.File(tmp_path / "x.h5", "a") as file:
        where = "c1/small/c1/kernel:0"
        del file[where]
        chunks = (1 << 20,) if compression else None
        array = file.create_dataset(where, (count,), "f4", chunks=chunks, compression=compression)
        if compression:
            array[: 1 << 20] = 0
    assert h5files.tree(tmp_path / "x.h5").layers[0].weights[0].shape == (count,)
    refused(tmp_path / "x.h5", r"declares [\d,]+ bytes in shape")


def test_an_archive_that_unpacks_to_much_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.weights.h5", b"\0" * (1 << 25))
    refused(tmp_path / "x.keras", "33,554,432 bytes")


@pytest.mark.parametrize("damage", ["half", "bytes", "page", "empty", "header"])
@pytest.mark.parametrize("layout", ["layer_names", "keras3_weights", "keras"])
def test_no_weight_file(tmp_path: Path, layout: str, damage: str) -> None:
    path = written(tmp_path, layout, small())
    data = path.read_bytes()
    start = len(data) // 2 if layout == "keras" else 60
    path.write_bytes({
        "half": data[: len(data) // 2],
        "bytes": data[:start] + b"\xff" * 300 + data[start + 300 :],
        "page": b"<!DOCTYPE html><html>Sign in",
        "empty": b"",
        "header": data[:8] + b"\0" * 600,
    }[damage])  # fmt: skip
    refused(path, "a web page" if damage == "page" else path.name)
    with pytest.raises(WeightsError):
        h5files.tree(path)


def test_no_file_and_a_folder(tmp_path: Path) -> None:
    refused(tmp_path / "none.h5", "no such file")
    refused(tmp_path, "no such file")


def test_an_array_that_cannot_be_unpacked_changes_nothing(tmp_path: Path) -> None:
    """All shapes are right, and the last array's bytes are not: found while reading it."""
    model = small()
    by_name(tmp_path / "x.h5", model)
    with h5py.File(tmp_path / "x.h5", "a") as file:
        where = "d/small/d/kernel:0"
        del file[where]
        array = file.create_dataset(where, data=model.get_weights()[-2], compression="gzip")
        chunk = array.id.get_chunk_info(0)
    with (tmp_path / "x.h5").open("r+b") as raw:
        raw.seek(chunk.byte_offset)
        raw.write(b"\xff" * chunk.size)
    refused(tmp_path / "x.h5", "x.h5: .*Nothing was loaded")


def test_what_is_listed_and_not_there(tmp_path: Path) -> None:
    by_name(tmp_path / "x.h5", small())
    by_number(tmp_path / "y.h5", small())
    with h5py.File(tmp_path / "x.h5", "a") as file, h5py.File(tmp_path / "y.h5", "a") as other:
        del file["bn"]
        other["layer_3"].attrs["nb_params"] = 2_000_000_000
    refused(tmp_path / "x.h5", "'bn' is listed in it, and is not there")
    refused(tmp_path / "y.h5", "'layer_3/param_2' is listed")


def test_groups_very_deep_and_texts_for_numbers(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file, h5py.File(tmp_path / "y.h5", "w") as other:
        file.create_group("layers/dense" + "/cell" * 40)
        other["a/text"] = ["one", "two"]
    refused(tmp_path / "x.h5", "deep")
    refused(tmp_path / "y.h5", "expected numbers")


def test_a_model_without_weights(tmp_path: Path) -> None:
    by_name(tmp_path / "x.h5", small())
    for stack in ([], [layers.Dense(2)]):
        with pytest.raises(ArgumentError, match="empty: it has no weights yet"):
            h5files.load_weights(keras.Sequential(stack, name="empty"), tmp_path / "x.h5")


@pytest.mark.parametrize("layout", ["layer_names", "keras3_weights"])
def test_fewer_arrays_in_a_layer_than_the_model_has(tmp_path: Path, layout: str) -> None:
    path = written(tmp_path, layout, small())
    with h5py.File(path, "a") as file:
        if layout == "layer_names":
            file["c1"].attrs["weight_names"] = file["c1"].attrs["weight_names"][:1]
        else:
            del file["layers/conv2d/vars/1"]
    with pytest.raises(WeightsError, match=r"c1: expected 2 arrays .*the file's c1 has 1"):
        h5files.load_weights(small(), path)


READ_ALL = """
import pathlib, sys
from helpers import h5files
from helpers.errors import WeightsError
path, data = pathlib.Path(sys.argv[1]), bytearray(pathlib.Path(sys.argv[1]).read_bytes())
for place in map(int, sys.argv[2:]):
    data[place // 8] ^= 1 << place % 8
    path.write_bytes(data)
    data[place // 8] ^= 1 << place % 8
    try:
        str(h5files.tree(path)), h5files.read(path)
        print("read")
    except WeightsError:
        print("refused")
"""


def test_a_flipped_bit_where_keras_3_keeps_its_texts(tmp_path: Path) -> None:
    """In a heap's sizes it makes HDF5 loop for ever; in an attribute's type it makes h5py crash."""
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3)], name="sequential")
    model.save_weights(tmp_path / "x.weights.h5")
    data = (tmp_path / "x.weights.h5").read_bytes()
    heap, attribute = data.index(b"GCOL"), data.rindex(b"name\0\0\0\0\x19\x01")
    free = data.index(b"dense\0\0\0") + 16  # the size of what is not used
    loops = [8 * (heap + 9) + bit for bit in range(4)] + [8 * free + bit for bit in (4, 5, 7)]
    crashes = [8 * (attribute + 9) + bit for bit in (1, 2, 3)]
    command = [sys.executable, "-c", READ_ALL, str(tmp_path / "x.weights.h5")]
    command += map(str, loops + crashes)
    found = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert found.stdout.split() == ["refused"] * len(loops) + ["read"] * len(crashes), found.stderr


# --- what people see -----------------------------------------------------------------------------


def test_names_are_escaped(tmp_path: Path) -> None:
    evil = "<script>alert(1)<|script>\x1b[31m"
    keras_1(tmp_path / "x.h5", {evil: {"W": np.zeros(3)}}, note=evil)
    tree = h5files.tree(tmp_path / "x.h5")
    assert "<script" not in tree._repr_html_() and "&lt;script" in tree._repr_html_()
    assert "\x1b" not in str(tree) + tree._repr_html_() and "\\x1b[31m" in str(tree)
    model = keras.Sequential([keras.Input((3,)), layers.BatchNormalization(name="b")])
    with pytest.raises(WeightsError) as caught:
        h5files.load_weights(model, tmp_path / "x.h5")
    assert "\x1b" not in str(caught.value)


def test_a_tree_as_text(tmp_path: Path) -> None:
    path = written(tmp_path, "whole_model", small())
    lines = str(h5files.tree(path)).splitlines()
    assert lines[0] == "x.h5: a whole model as HDF5, 563 parameters"
    assert "  backend = tensorflow" in lines
    assert any(line.split() == ["small/d/kernel", "(144,", "3)", "float32"] for line in lines)
    assert lines[-1] == "  and 1 layer without weights"


def test_a_report_as_text(tmp_path: Path) -> None:
    by_name(tmp_path / "x.h5", small())
    report = h5files.load_weights(small(first="<b>"), tmp_path / "x.h5", by_name=True)
    assert str(report).splitlines()[:2] == [
        "6 loaded, 2 missing, 2 unexpected, 0 of a wrong shape",
        "missing in the file: <b>/kernel, <b>/bias",
    ]
    assert "&lt;b&gt;/kernel" in report._repr_html_()


def test_layers_of_a_class_are_in_their_order(tmp_path: Path) -> None:
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
    with pytest.raises(WeightsError, match="does not fit small"):
        h5files.load_weights(small(), tmp_path / "features.h5")


@pytest.fixture(autouse=True)
def no_files_left() -> Iterator[None]:
    """Every file is closed again: an open one cannot be replaced on Windows."""
    yield
    links = Path("/proc/self/fd").glob("*")  # none but on Linux
    open_files = [os.readlink(link) for link in links if link.is_symlink()]
    assert not [name for name in open_files if name.endswith((".h5", ".keras"))]
