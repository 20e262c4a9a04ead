import csv
import dataclasses
import hashlib
import importlib
import json
import re
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from conftest import Server, picture

from helpers import catalogue, images, zoo
from helpers.backend import keras
from helpers.errors import ArgumentError, WeightsError
from helpers.zoo import Pretrained

TOP, NO_TOP = "mobilenet_1_0_224_tf.h5", "mobilenet_1_0_224_tf_no_top.h5"
PIXELS = np.random.default_rng(0).uniform(-1, 1, (2, 224, 224, 3)).astype("float32")

# --- the architectures ---------------------------------------------------------------------------


def test_build_names_the_nearest_model() -> None:
    with pytest.raises(ArgumentError, match=r"Did you mean MobileNet\?"):
        zoo.build("MobilNet")


# --- the stand-in --------------------------------------------------------------------------------


@pytest.mark.parametrize(("include_top", "megabytes"), [(True, 528), (False, 56)])
def test_the_banner_says_how_large_the_file_is_that_was_wanted(
    include_top: bool, megabytes: int, capsys: pytest.CaptureFixture[str]
) -> None:
    zoo.pretrained("VGG16", include_top=include_top)
    assert f"({megabytes} MB)" in capsys.readouterr().err


def test_bundled_gives_the_stand_in_and_says_so_once(capsys: pytest.CaptureFixture[str]) -> None:
    net = zoo.pretrained("ResNet50")
    assert (net.name, net.wanted, net.weights) == (
        "EfficientNetLite0",
        "ResNet50",
        zoo.BUNDLED_SOURCE,
    )
    assert (net.entry.name, net.input_size, net.model.name) == (net.name, 224, "efficientnet_lite0")
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("Wanted: ResNet50. Used: EfficientNetLite0") == 1
    assert len(err.splitlines()) == 1
    assert "set it to auto" in err
    assert "98 MB" in err


def test_the_bundled_network_stands_in_for_nobody(
    network: Pretrained, capsys: pytest.CaptureFixture[str]
) -> None:
    net = zoo.pretrained("efficientnet-lite0", include_top=False, input_size=64)
    assert (net.name, net.wanted) == ("EfficientNetLite0", "EfficientNetLite0")
    assert net.weights == network.weights == zoo.BUNDLED_SOURCE
    assert capsys.readouterr().err == ""


def test_in_a_notebook_the_banner_is_a_box(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import IPython.display

    shown: list[Any] = []
    monkeypatch.setattr(IPython, "get_ipython", lambda: types.SimpleNamespace(kernel=None))
    monkeypatch.setattr(IPython.display, "display", shown.append)
    zoo._say_stand_in(catalogue.find("VGG16"), catalogue.find("EfficientNetLite0"), "<script>")
    assert capsys.readouterr() == ("", "")
    assert len(shown) == 1
    assert "Wanted: VGG16. Used: EfficientNetLite0" in shown[0].data
    assert "&lt;script&gt;" in shown[0].data
    assert "<script>" not in shown[0].data


def test_auto_falls_back_and_says_what_was_tried(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, closed_port: str
) -> None:
    monkeypatch.setenv("HELPERS_WEIGHTS", "auto")
    monkeypatch.setenv("HELPERS_MIRROR", closed_port)
    assert zoo.pretrained("VGG16").name == "EfficientNetLite0"
    err = capsys.readouterr().err
    assert err.count("Wanted: VGG16. Used: EfficientNetLite0") == 1
    assert f"{closed_port.removeprefix('http://')} cannot be reached" in err
    assert "storage.googleapis.com cannot be reached" in err
    assert "HELPERS_WEIGHTS_DIR" in err


def test_imagenet_never_stands_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELPERS_WEIGHTS", "imagenet")
    with pytest.raises(WeightsError, match=r"Put https://.*vgg16.*HELPERS_WEIGHTS_DIR"):
        zoo.pretrained("VGG16")
    assert zoo.pretrained().name == "EfficientNetLite0"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"name": "ResNet"}, "ResNet50"),
        ({"input_size": 128}, "input_size=224, got 128.*include_top=False"),
        ({"include_top": False, "input_size": 31}, "32 or more, got 31"),
        ({"include_top": False, "pooling": "mean"}, "mean"),
    ],
)
def test_arguments_that_cannot_be(arguments: dict[str, Any], reason: str) -> None:
    with pytest.raises(ArgumentError, match=reason):
        zoo.pretrained(**arguments)


def test_without_the_top_come_features() -> None:
    assert zoo.pretrained(include_top=False).model.output_shape == (None, 7, 7, 1280)
    net = zoo.pretrained(include_top=False, pooling="avg", input_size=96)
    assert net.model.output_shape == (None, 1280)
    assert net.preprocess(picture(0)).shape == (1, 96, 96, 3)


# --- weights of one's own ------------------------------------------------------------------------


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
    """A MobileNet, and the folder that has its weight files."""
    folder = tmp_path_factory.mktemp("weights")
    model = mobilenet(0)
    write_legacy(model, folder / TOP)
    features = keras.applications.MobileNet(
        weights=None, include_top=False, input_shape=(224, 224, 3)
    )
    features.set_weights(model.get_weights()[:-2])
    write_legacy(features, folder / NO_TOP)
    return model, folder


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that HELPERS_WEIGHTS_DIR names, in auto mode."""
    monkeypatch.setenv("HELPERS_WEIGHTS", "auto")
    monkeypatch.setenv("HELPERS_WEIGHTS_DIR", str(tmp_path))
    return tmp_path


def test_own_weights_are_loaded(
    original: tuple[keras.Model, Path],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, folder = original
    monkeypatch.setenv("HELPERS_WEIGHTS", "imagenet")
    monkeypatch.setenv("HELPERS_WEIGHTS_DIR", str(folder))
    net = zoo.pretrained("MobileNet")
    assert (net.name, net.wanted, net.entry.preprocessing) == ("MobileNet", "MobileNet", "tf")
    assert TOP in net.weights
    np.testing.assert_array_equal(
        net.model.predict_on_batch(PIXELS), model.predict_on_batch(PIXELS)
    )
    features = zoo.pretrained("MobileNet", include_top=False, pooling="avg")
    assert NO_TOP in features.weights
    [pooling] = [x for x in model.layers if isinstance(x, keras.layers.GlobalAveragePooling2D)]
    inner = keras.Model(model.input, pooling.output)
    np.testing.assert_allclose(
        features.model.predict_on_batch(PIXELS),
        inner.predict_on_batch(PIXELS).reshape(2, 1024),
        rtol=1e-5,
    )
    assert capsys.readouterr().err == ""


def test_own_weights_come_from_a_mirror(
    original: tuple[keras.Model, Path],
    serve: Callable[[dict[str, bytes]], Server],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, folder = original
    mirror = serve({TOP: (folder / TOP).read_bytes()})
    monkeypatch.setenv("HELPERS_WEIGHTS", "auto")
    monkeypatch.setenv("HELPERS_MIRROR", mirror.url)
    for _ in range(2):
        net = zoo.pretrained("MobileNet")
        assert net.name == "MobileNet"
        np.testing.assert_array_equal(net.model.get_weights()[0], model.get_weights()[0])
    assert mirror.requests == [TOP]


def test_bundled_does_not_look_at_own_weights(
    original: tuple[keras.Model, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HELPERS_WEIGHTS_DIR", str(original[1]))
    assert zoo.pretrained("MobileNet").name == "EfficientNetLite0"


@pytest.mark.parametrize("other", ["another model", "narrower", "without the top", "no weights"])
def test_a_file_of_another_model_is_refused(
    own: Path, other: str, network: Pretrained, original: tuple[keras.Model, Path]
) -> None:
    if other == "another model":
        write_legacy(network.model, own / TOP)
    elif other == "narrower":
        write_legacy(mobilenet(0, alpha=0.25), own / TOP)
    elif other == "without the top":
        (own / TOP).write_bytes((original[1] / NO_TOP).read_bytes())
    else:
        with h5py.File(own / TOP, "w") as file:
            file["x"] = 1
    with pytest.raises(WeightsError, match=rf"{TOP} does not fit mobilenet.*unchanged"):
        zoo.build("MobileNet", weights=own / TOP)


def test_a_truncated_file_is_passed_over_and_the_banner_says_why(
    own: Path, original: tuple[keras.Model, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    whole = (original[1] / TOP).read_bytes()
    (own / TOP).write_bytes(whole[: len(whole) // 2])
    assert zoo.pretrained("MobileNet").name == "EfficientNetLite0"
    assert re.search(f"{TOP}: .*truncated", capsys.readouterr().err)


# --- preprocessing -------------------------------------------------------------------------------


def of(network: Pretrained, name: str) -> Pretrained:
    """The network, with another's preprocessing."""
    return dataclasses.replace(network, entry=catalogue.find(name))


@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("ResNet50", "resnet50"),
        ("VGG16", "vgg16"),
        ("VGG19", "vgg19"),
        ("MobileNet", "mobilenet"),
        ("InceptionV3", "inception_v3"),
    ],
)
def test_preprocessing_is_the_models_own(network: Pretrained, name: str, module: str) -> None:
    pixels = picture(1, 224, 224)
    own = importlib.import_module(f"keras.applications.{module}").preprocess_input
    expected = own(pixels[None].astype("float32"))
    np.testing.assert_array_equal(of(network, name).preprocess(pixels), expected)


def test_pictures_of_any_size_become_one_batch(network: Pretrained) -> None:
    pictures = [picture(1, 300, 400), picture(2, 500, 250), picture(3, 224, 224)]
    batch = network.preprocess(pictures)
    assert (batch.shape, batch.dtype) == ((3, 224, 224, 3), np.float32)
    for row, original in zip(batch, pictures, strict=True):
        np.testing.assert_array_equal(
            row, (images.fit(original, 224).astype("float32") - 127) / 128
        )
        np.testing.assert_array_equal(network.preprocess(original)[0], row)
    same = np.stack([picture(4), picture(5)])
    np.testing.assert_array_equal(network.preprocess(same), network.preprocess(list(same)))


@pytest.mark.parametrize(
    "wrong",
    [np.zeros((30, 30, 3), "float32"), np.zeros((30, 30), "uint8"), [np.zeros((9, 9, 1), "uint8")]],
    ids=["float", "grey", "one channel"],
)
def test_what_is_no_picture_is_refused(network: Pretrained, wrong: Any) -> None:
    with pytest.raises(ArgumentError):
        network.preprocess(wrong)


# --- labels --------------------------------------------------------------------------------------


def test_the_labels_are_those_that_keras_publishes() -> None:
    index = {str(i): list(row) for i, row in enumerate(zoo.imagenet_classes())}
    published = "c2c37ea517e94d9795004a39431a14cb"  # of imagenet_class_index.json, named by Keras
    assert hashlib.md5(json.dumps(index).encode()).hexdigest() == published


def test_known_labels() -> None:
    classes = zoo.imagenet_classes()
    assert len(classes) == 1000
    assert classes[0] == ("n01440764", "tench")
    assert classes[285] == ("n02124075", "Egyptian_cat")
    assert classes[386] == ("n02504458", "African_elephant")
    with zoo.CLASSES.open(newline="", encoding="utf-8") as file:
        assert [int(row["index"]) for row in csv.DictReader(file)] == list(range(1000))


def test_decode_says_what_keras_says(network: Pretrained, monkeypatch: pytest.MonkeyPatch) -> None:
    from keras.src.applications import imagenet_utils

    index = {str(i): list(row) for i, row in enumerate(zoo.imagenet_classes())}
    monkeypatch.setattr(imagenet_utils, "CLASS_INDEX", index)
    probabilities = np.random.default_rng(0).dirichlet(np.ones(1000), 3).astype("float32")
    for top in (1, 5, 1000):
        ours = network.decode(probabilities, top)
        assert ours == keras.applications.imagenet_utils.decode_predictions(probabilities, top)
        assert [len(row) for row in ours] == [top] * 3


def test_decode_puts_the_best_first(network: Pretrained) -> None:
    probabilities = np.zeros((1, 1000), "float32")
    probabilities[0, [285, 386, 0]] = 0.25, 0.5, 0.125
    assert network.decode(probabilities, 3) == [
        [
            ("n02504458", "African_elephant", 0.5),
            ("n02124075", "Egyptian_cat", 0.25),
            ("n01440764", "tench", 0.125),
        ]
    ]


@pytest.mark.parametrize("shape", [(1000,), (1, 999), (1, 7, 7, 1280)])
def test_decode_refuses_what_are_no_probabilities(
    network: Pretrained, shape: tuple[int, ...]
) -> None:
    with pytest.raises(ArgumentError, match=r"expected probabilities \(N, 1000\)"):
        network.decode(np.zeros(shape))


def test_labels_that_are_not_there_are_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zoo.imagenet_classes.cache_clear()
    monkeypatch.setattr(zoo, "CLASSES", tmp_path / "imagenet_classes.csv")
    with pytest.raises(ArgumentError, match=r"imagenet_classes\.csv.*pip install"):
        zoo.imagenet_classes()


def test_the_stand_in_has_its_own_size_where_the_top_fixes_it() -> None:
    assert zoo.pretrained("InceptionV3", input_size=299).input_size == 224
    assert zoo.pretrained("InceptionV3", include_top=False, input_size=150).input_size == 150


def test_a_weight_file_that_is_not_there_is_named() -> None:
    with pytest.raises(WeightsError, match=r"nowhere\.h5: no such file"):
        zoo.build("MobileNet", weights="nowhere.h5")
