import gc
import hashlib
import os
import pickle
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from helpers import datasets, engine, weights
from helpers.applications.resnext import GroupSum
from helpers.backend import keras
from helpers.engine import choose, exported, in_threads
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
    found = choose(model, "auto", pictures)
    assert (found.name, found.note, found.at_once) == ("onnx", "", None)
    assert found.threads == engine.cores()
    expected = model.predict_on_batch(pictures(7))
    np.testing.assert_allclose(found.run(pictures(7)), expected, atol=1e-5)
    assert found.run(pictures(7)).dtype == np.float32


def test_a_pictures_features_have_the_same_bits_in_any_batch(model: keras.Model) -> None:
    run = choose(model, "onnx", pictures).run
    whole = run(pictures(16))
    for size in (1, 3, 5):
        pieces = [run(pictures(16)[start : start + size]) for start in range(0, 16, size)]
        np.testing.assert_array_equal(np.concatenate(pieces), whole)


def test_the_real_network_gives_tensorflows_features() -> None:
    from helpers import zoo

    net = zoo.load("EfficientNetLite0", include_top=False, pooling="avg")
    batch = net.preprocess(list(datasets.photographs().values()))
    found = choose(net.model, "auto", lambda: batch)
    expected = net.model.predict_on_batch(batch)
    assert found.name == "onnx"
    assert np.abs(found.run(batch) - expected).max() < 1e-4 * np.sqrt(np.mean(expected**2))


@pytest.mark.parametrize("wanted", ["auto", "tensorflow"])
def test_tensorflow_on_a_gpu_or_if_asked_for_exports_nothing(
    model: keras.Model, monkeypatch: pytest.MonkeyPatch, wanted: str
) -> None:
    monkeypatch.setattr(engine, "_has_gpu", lambda: wanted == "auto")
    found = choose(model, wanted, pictures)
    assert (found.name, found.note, found.at_once) == ("tensorflow", "", 1)
    np.testing.assert_array_equal(found.run(pictures()), model.predict_on_batch(pictures()))
    assert not cache()


def test_onnx_on_a_gpu_if_asked_for(model: keras.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_has_gpu", lambda: True)
    assert choose(model, "onnx", pictures).name == "onnx"


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
    found = choose(model, name, lambda: batch)
    path = tmp_path / "batch.npy"
    np.save(path, batch)
    command = [sys.executable, "-c", PICKLED, str(path)]
    done = subprocess.run(command, input=pickle.dumps(found), capture_output=True, check=False)
    assert done.stdout.decode().split() == [name, str(name == "tensorflow")], done.stderr
    np.testing.assert_array_equal(np.load(path), found.run(batch))


def test_an_unknown_engine_is_an_error(model: keras.Model) -> None:
    with pytest.raises(ArgumentError, match=r"No engine 'onyx'\. Did you mean onnx\?"):
        choose(model, "onyx", pictures)


# --- where ONNX Runtime does not do --------------------------------------------------------------


def refused(model: keras.Model, reason: str) -> None:
    """With `auto` TensorFlow computes and it is said; `onnx` is an error."""
    found = choose(model, "auto", pictures)
    assert found.name == "tensorflow"
    assert found.note.startswith("small does not run in ONNX Runtime here: ")
    assert reason in found.note
    assert found.note.endswith("TensorFlow computes instead.")
    np.testing.assert_array_equal(found.run(pictures()), model.predict_on_batch(pictures()))
    with pytest.raises(ArgumentError, match="Choose the engine tensorflow") as caught:
        choose(model, "onnx", pictures)
    assert reason in str(caught.value)


def test_a_file_of_other_weights_is_noticed(model: keras.Model) -> None:
    """Its name is right and so is its hash, as if the fingerprint had missed a difference."""
    right, wrong = exported(model), exported(small(seed=1))
    name = f"{right.name.split('-')[0]}-{wrong.name.split('-')[1]}"
    right.unlink()
    os.replace(wrong, wrong.with_name(name))
    refused(model, "from TensorFlow's, whose scale is")


def test_features_of_another_shape_are_noticed(model: keras.Model) -> None:
    right, wrong = exported(model), exported(small(units=6))
    name = f"{right.name.split('-')[0]}-{wrong.name.split('-')[1]}"
    right.unlink()
    os.replace(wrong, wrong.with_name(name))
    refused(model, "its features are (3, 6), expected (3, 5)")


@pytest.mark.parametrize(("apart", "does"), [(5e-4, True), (2e-3, False), (np.nan, False)])
def test_the_tolerance_is_a_thousandth_of_the_scale(
    model: keras.Model, monkeypatch: pytest.MonkeyPatch, apart: float, does: bool
) -> None:
    expected = np.asarray(model(pictures()))
    shifted = expected.copy()
    shifted[1, 2] += apart * np.sqrt(np.mean(expected**2))
    monkeypatch.setattr(engine, "_InOnnxRuntime", lambda _: lambda _: shifted)
    assert choose(model, "auto", pictures).name == ("onnx" if does else "tensorflow")


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


def test_a_cache_on_a_read_only_disk(
    mounted: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, model: keras.Model
) -> None:
    monkeypatch.setenv("KERAS_HOME", str(mounted("ro")))
    refused(model, "cannot be written to (Read-only file system). Set KERAS_HOME")


# --- the exported file ---------------------------------------------------------------------------


def test_a_network_is_exported_once_whatever_keras_numbers_its_layers(model: keras.Model) -> None:
    first = exported(model)
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
    paths = []
    in_threads(lambda _: paths.append(exported(model)), iter(range(4)), 4)
    assert len(began) == 1
    assert [path.name for path in paths] == cache() * 4


def test_the_files_name_says_what_it_is_and_its_hash(model: keras.Model) -> None:
    path = exported(model)
    identity, hash_ = path.stem.split("-")
    assert len(identity) == 16
    assert hash_ == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_file_on_a_read_only_disk_is_used(
    mounted: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, model: keras.Model
) -> None:
    disk = mounted("size=4m")
    monkeypatch.setenv("KERAS_HOME", str(disk))
    path = exported(model)
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    assert exported(model) == path
    assert choose(model, "auto", pictures).name == "onnx"


@pytest.mark.parametrize("damage", ["bit", "cut"])
def test_a_damaged_file_is_made_again(model: keras.Model, damage: str) -> None:
    path = exported(model)
    whole = path.read_bytes()
    middle = len(whole) // 2
    flipped = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
    path.write_bytes(flipped if damage == "bit" else whole[:middle])
    found = choose(model, "onnx", pictures)
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
    monkeypatch.setattr(engine, "KEPT", 3)
    paths = []
    for number in range(engine.KEPT + 2):
        model.layers[-1].bias.assign([float(number)] * 5)
        paths.append(exported(model))
        os.utime(paths[-1], (number, number))
        if number == engine.KEPT - 1:
            model.layers[-1].bias.assign([0.0] * 5)
            assert exported(model) == paths[0], "it is used again, so it is the newest"
    assert cache() == sorted(path.name for path in [paths[0], *paths[-engine.KEPT + 1 :]])


def test_exporting_says_nothing(model: keras.Model, capfd: pytest.CaptureFixture[str]) -> None:
    exported(model)
    assert capfd.readouterr() == ("", "")


def test_copies_made_while_exporting_do_not_add_up(
    model: keras.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As tf2onnx makes them: each refers to itself, so that only a search for such frees it."""

    class Copy:
        pass

    copies = weakref.WeakSet[Copy]()
    most = 0

    def export(*args: object, **more: object) -> None:
        nonlocal most
        for _ in range(20):
            copy = Copy()
            copy.itself = copy  # type: ignore[attr-defined]
            copies.add(copy)
            assert len([[number] for number in range(500)]) == 500  # what else is made meanwhile
            most = max(most, len(copies))

    before = gc.get_threshold(), gc.get_freeze_count()
    monkeypatch.setattr(keras.Model, "export", export)
    engine._export(model, tmp_path / "copies.onnx")
    assert 1 <= most <= 4
    assert (gc.get_threshold(), gc.get_freeze_count()) == before


# --- in threads ----------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_every_item_is_worked_on_once(threads: int) -> None:
    done: list[int] = []
    in_threads(done.append, iter(range(100)), threads)
    assert sorted(done) == list(range(100))


def test_as_many_items_at_once_as_there_are_threads() -> None:
    meeting = threading.Barrier(3, timeout=20)
    in_threads(lambda _: meeting.wait(), iter(range(6)), 3)


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_the_first_error_ends_it_and_each_finishes_its_own(error: type[BaseException]) -> None:
    begun, finished = list[int](), list[int]()
    failing = threading.Event()

    def work(item: int) -> None:
        begun.append(item)
        if item == 3:
            failing.set()
            raise error
        if item == 4:
            failing.wait()
        finished.append(item)

    with pytest.raises(error):
        in_threads(work, iter(range(1000)), 2)
    assert set(begun) - set(finished) == {3}
    assert len(begun) < 1000
