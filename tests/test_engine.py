import json
import os
import pickle
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers import datasets, engine, weights
from helpers.applications.resnext import GroupSum
from helpers.backend import keras
from helpers.engine import choose, exported
from helpers.errors import ArgumentError

layers = keras.layers


def small(seed: int = 0, size: int = 32, units: int = 5) -> keras.Model:
    """The layers that the zoo's networks are made of, few of each."""
    keras.utils.set_random_seed(seed)
    pixels = keras.Input((size, size, 3))
    x = layers.ZeroPadding2D(((0, 1), (0, 1)))(pixels)
    x = layers.Conv2D(4, 3, 2, use_bias=False)(x)
    x = layers.BatchNormalization(moving_mean_initializer="random_normal")(x)
    y = layers.DepthwiseConv2D(3, padding="same")(layers.ReLU(6.0)(x))
    x = layers.Concatenate()([layers.Add()([x, y]), layers.MaxPooling2D(3, 1, "same")(y)])
    x = layers.GlobalAveragePooling2D()(layers.Dropout(0.2)(x))
    return keras.Model(pixels, layers.Dense(units)(x), name="small")


def pictures(count: int = 3, size: int = 32) -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, (count, size, size, 3)).astype("float32")


@pytest.fixture
def model() -> keras.Model:
    return small()


def cache() -> list[str]:
    return sorted(path.name for path in weights.cache().with_name("onnx").glob("*"))


# --- which engine --------------------------------------------------------------------------------


def test_on_a_cpu_onnx_runtime_gives_tensorflows_features(model: keras.Model) -> None:
    found = choose(model, "auto")
    assert (found.name, found.note, found.at_once) == ("onnx", "", None)
    assert found.threads == engine.cores()
    expected = model.predict_on_batch(pictures(7))
    np.testing.assert_allclose(found.run(pictures(7)), expected, atol=1e-5)
    assert found.run(pictures(7)).dtype == np.float32


def test_a_pictures_features_have_the_same_bits_in_any_batch(model: keras.Model) -> None:
    run = choose(model, "onnx").run
    whole = run(pictures(16))
    for size in (1, 3, 5):
        pieces = [run(pictures(16)[start : start + size]) for start in range(0, 16, size)]
        np.testing.assert_array_equal(np.concatenate(pieces), whole)


def test_the_real_network_gives_tensorflows_features() -> None:
    from helpers import zoo

    net = zoo.load("EfficientNetLite0", include_top=False, pooling="avg")
    batch = net.preprocess(list(datasets.photographs().values()))
    found = choose(net.model)
    expected = net.model.predict_on_batch(batch)
    assert (found.name, found.note) == ("onnx", "")
    assert np.abs(found.run(batch) - expected).max() < 1e-4 * np.sqrt(np.mean(expected**2))


@pytest.mark.parametrize("wanted", ["auto", "tensorflow"])
def test_tensorflow_on_a_gpu_or_if_asked_for_exports_nothing(
    model: keras.Model, monkeypatch: pytest.MonkeyPatch, wanted: str
) -> None:
    monkeypatch.setattr(engine, "_has_gpu", lambda: wanted == "auto")
    found = choose(model, wanted)
    assert (found.name, found.note, found.at_once) == ("tensorflow", "", 1)
    np.testing.assert_array_equal(found.run(pictures()), model.predict_on_batch(pictures()))
    assert not cache()
    assert choose(model, "onnx").name == "onnx"
    with pytest.raises(ArgumentError, match=r"'onyx'.*Did you mean onnx\?"):
        choose(model, "onyx")


PICKLED = """
import pickle, sys
import numpy as np
engine = pickle.load(sys.stdin.buffer)
np.save(sys.argv[1], engine.run(np.load(sys.argv[1])))
print(engine.name, "keras" in sys.modules)
"""


@pytest.mark.parametrize("name", ["onnx", "tensorflow"])
def test_an_engine_takes_its_network_along(tmp_path: Path, name: str) -> None:
    """Into another process, where nothing else of it is: with a layer of the course's own, too."""
    keras.utils.set_random_seed(0)
    pixels = keras.Input((8, 8, 3))
    model = keras.Model(pixels, GroupSum(2)(layers.Conv2D(8, 3)(pixels)))
    batch = pictures(3, 8)
    found = choose(model, name, batch)
    path = tmp_path / "batch.npy"
    np.save(path, batch)
    command = [sys.executable, "-c", PICKLED, str(path)]
    done = subprocess.run(command, input=pickle.dumps(found), capture_output=True, check=False)
    assert done.stdout.decode().split() == [name, str(name == "tensorflow")], done.stderr
    np.testing.assert_array_equal(np.load(path), found.run(batch))


# --- where ONNX Runtime does not do --------------------------------------------------------------


def refused(model: keras.Model, reason: str) -> None:
    """With `auto` TensorFlow computes and it is said; `onnx` is an error."""
    found = choose(model, "auto")
    assert found.name == "tensorflow"
    assert found.note.startswith("small does not run in ONNX Runtime here: ")
    assert reason in found.note
    assert found.note.endswith("TensorFlow computes instead.")
    np.testing.assert_array_equal(found.run(pictures()), model.predict_on_batch(pictures()))
    with pytest.raises(ArgumentError, match="Choose the engine tensorflow") as caught:
        choose(model, "onnx")
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"seed": 1}, "from TensorFlow's, whose scale is"),
        ({"units": 6}, r"(2, 6), expected (2, 5)"),
    ],
)
def test_a_file_of_another_network_is_noticed(
    model: keras.Model, other: dict[str, int], said: str
) -> None:
    """Its name is right and so is its hash, as if the identity had missed a difference."""
    right, wrong = exported(model), exported(small(**other))
    name = f"{right.name.split('-')[0]}-{wrong.name.split('-')[1]}"
    right.unlink()
    os.replace(wrong, wrong.with_name(name))
    refused(model, said)


@pytest.mark.parametrize(("apart", "does"), [(5e-4, True), (2e-3, False), (np.nan, False)])
def test_the_tolerance_is_a_thousandth_of_the_scale(
    model: keras.Model, monkeypatch: pytest.MonkeyPatch, apart: float, does: bool
) -> None:
    expected = np.asarray(model(pictures()))
    shifted = expected.copy()
    shifted[1, 2] += apart * np.sqrt(np.mean(expected**2))
    monkeypatch.setattr(engine, "_InOnnxRuntime", lambda _: lambda _: shifted)
    assert choose(model, "auto", pictures()).name == ("onnx" if does else "tensorflow")


def test_the_sample_is_of_pictures_whose_features_are_not_close_to_zero() -> None:
    """Of a network without biases, grey ones have none at all: what is left is rounding."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((32, 32, 3)), layers.Conv2D(4, 3, use_bias=False)])
    assert np.std(model(engine.sample_pictures(32, 32) / 127.5 - 1)) > 0.1
    same = engine.sample_pictures(32, 32)
    np.testing.assert_array_equal(engine.sample_pictures(32, 32), same)
    assert (same.shape, same.dtype) == ((2, 32, 32, 3), np.uint8)
    assert choose(model).name == "onnx"


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "float16"])
def test_another_precision_is_refused(policy: str) -> None:
    pixels = keras.Input((32, 32, 3))
    model = keras.Model(pixels, layers.Conv2D(4, 3, dtype=policy)(pixels))
    for wanted in engine.NAMES:
        with pytest.raises(ArgumentError, match=r"float16, expected float32.*set_dtype_policy"):
            choose(model, wanted)


def test_a_layer_that_cannot_be_exported() -> None:
    import tensorflow

    def double(x: "tensorflow.Tensor") -> "tensorflow.Tensor":
        y = tensorflow.numpy_function(lambda array: 2 * array, [x], tensorflow.float32)
        return tensorflow.ensure_shape(y, x.shape)

    class Python(keras.layers.Layer):
        def call(self, x: "tensorflow.Tensor") -> "tensorflow.Tensor":
            return double(x)

    pixels = keras.Input((32, 32, 3))
    model = keras.Model(pixels, layers.Flatten()(Python()(pixels)), name="small")
    refused(model, "small does not run in ONNX Runtime here")
    assert not [name for name in cache() if name.endswith(".new")]


def test_a_cache_that_cannot_be_written_to(keras_home: Path, model: keras.Model) -> None:
    (keras_home / "onnx").write_text("a file where the folder should be")
    refused(model, "Set KERAS_HOME to a folder that can")


# --- the exported file ---------------------------------------------------------------------------


def test_a_network_is_exported_once_whatever_keras_numbers_its_layers(
    model: keras.Model, capfd: pytest.CaptureFixture[str]
) -> None:
    first = exported(model)
    assert capfd.readouterr() == ("", "")
    again = small()
    assert [layer.name for layer in again.layers] != [layer.name for layer in model.layers]
    before = first.stat().st_ino
    assert exported(again) == first
    assert first.stat().st_ino == before
    assert cache() == [first.name]


def test_workers_that_begin_together_export_it_once(
    model: keras.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    began = []

    def slowly(model: keras.Model, path: Path) -> None:
        began.append(path)
        time.sleep(0.3)
        path.write_bytes(b"the network")

    monkeypatch.setattr(engine, "_export", slowly)
    with ThreadPoolExecutor(4) as pool:
        paths = list(pool.map(lambda _: exported(model), range(4)))
    assert len(began) == 1
    assert [path.name for path in paths] == cache() * 4


def test_a_file_on_a_read_only_disk_is_used(
    mounted: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, model: keras.Model
) -> None:
    disk = mounted("size=4m")
    monkeypatch.setenv("KERAS_HOME", str(disk))
    path = exported(model)
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    assert exported(model) == path
    assert choose(model, "auto").name == "onnx"


@pytest.mark.parametrize("damage", ["bit", "cut"])
def test_a_damaged_file_is_made_again(model: keras.Model, damage: str) -> None:
    path = exported(model)
    whole = path.read_bytes()
    middle = len(whole) // 2
    flipped = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
    path.write_bytes(flipped if damage == "bit" else whole[:middle])
    found = choose(model, "onnx")
    np.testing.assert_allclose(found.run(pictures()), model(pictures()), atol=1e-5)
    assert len(cache()) == 1


@pytest.mark.parametrize("change", ["weights", "layers", "size"])
def test_another_network_has_another_file(model: keras.Model, change: str) -> None:
    first = exported(model)
    if change == "weights":
        model.layers[-1].bias.assign([1.0] * 5)
    if change == "layers":
        model.layers[-1].activation = keras.activations.relu
    if change == "size":
        model = small(size=40)
    assert exported(model) != first
    assert len(cache()) == 2


def test_only_the_files_last_used_are_kept(
    model: keras.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what is not ours is left alone, even if it looks much like it."""
    monkeypatch.setattr(engine, "KEPT", 3)
    folder = weights.cache().with_name("onnx")
    folder.mkdir()
    others = [
        "thesis.txt",
        "model.onnx",
        f"{'0' * 16}-copy.onnx",
        f"{engine._identity(model)}-x.onnx",
    ]
    for name in others:
        (folder / name).touch()
        os.utime(folder / name, (0, 0))
    (folder / f"{'1' * 16}.new").touch()  # of a process that was killed
    paths = []
    for number in range(engine.KEPT + 2):
        model.layers[-1].bias.assign([float(number)] * 5)
        paths.append(exported(model))
        os.utime(paths[-1], (number, number))
        if number == engine.KEPT - 1:
            model.layers[-1].bias.assign([0.0] * 5)
            assert exported(model) == paths[0], "it is used again, so it is the newest"
    kept = [path.name for path in [paths[0], *paths[-engine.KEPT + 1 :]]]
    assert cache() == sorted(kept + others)


@pytest.mark.parametrize("kind", ["folder", "pipe", "link", "link to nowhere"])
@pytest.mark.parametrize("name", [".new", f"-{'1' * 64}.onnx"])
def test_what_only_has_the_name_of_a_file_of_ours_does_no_harm(
    model: keras.Model, tmp_path: Path, kind: str, name: str
) -> None:
    thesis = tmp_path / "thesis.txt"
    thesis.write_text("mine")
    folder = weights.cache().with_name("onnx")
    for stem in (engine._identity(model), "0" * 16):
        path = folder / f"{stem}{name}"
        path.parent.mkdir(exist_ok=True)
        if kind == "folder":
            (path if stem == "0" * 16 or name != ".new" else path.with_name("x")).mkdir()
        elif kind == "pipe":
            os.mkfifo(path)
        else:
            path.symlink_to(thesis if kind == "link" else "nowhere")
    assert choose(model, "onnx").name == "onnx"
    assert thesis.read_text() == "mine"


# --- engines that are remembered -----------------------------------------------------------------


def prepared(model: keras.Model, wanted: str = "onnx", **facts: Any) -> engine.Prepared:
    return engine.Prepared(choose(model, wanted), facts)


def test_a_remembered_engine_computes_the_same(model: keras.Model) -> None:
    assert engine.remembered("tiny") is None
    given = prepared(model, side=32)
    engine.remember("tiny", given)
    engine.remember("another name", given)
    found = engine.remembered("tiny")
    assert found
    assert found.facts == {"side": 32}
    batch = pictures()
    np.testing.assert_array_equal(found.engine.run(batch), given.engine.run(batch))
    assert engine.remembered("another name")


def test_tensorflow_is_not_remembered(model: keras.Model) -> None:
    engine.remember("tiny", prepared(model, "tensorflow"))
    assert engine.remembered("tiny") is None


@pytest.mark.parametrize("damage", ["file", "list", "text", "name", "facts"])
def test_what_was_damaged_is_not_remembered(model: keras.Model, damage: str) -> None:
    given = prepared(model)
    engine.remember("tiny", given)
    path = given.engine.run.network  # type: ignore[attr-defined]
    noted = path.with_name(engine.REMEMBERED)
    if damage == "file":
        path.write_bytes(path.read_bytes()[:-1] + b"!")
    else:
        texts = {
            "list": "[1]",
            "text": "{",
            "name": '{"tiny": ["../other.onnx", {}]}',
            "facts": f'{{"tiny": ["{path.name}", 3]}}',
        }
        noted.write_text(texts[damage])
    assert engine.remembered("tiny") is None
    engine.remember("tiny", given)  # and what can't be read is written anew
    assert json.loads(noted.read_bytes())["tiny"][0] == path.name
