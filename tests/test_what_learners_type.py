"""What a learner types is bad input too: each error says what was expected, and the next step."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from conftest import picture
from PIL import Image

from helpers import datasets, features, finetune, heads, images, layers, zoo
from helpers.__main__ import main
from helpers.backend import keras
from helpers.errors import ArgumentError, DataError, HelpersError, PictureError
from helpers.zoo import Network


def small_network() -> keras.Model:
    layers = [keras.layers.Conv2D(2, 3, name=f"block{i}_conv") for i in (1, 2)]
    return keras.Sequential([keras.Input((9, 9, 3)), *layers], name="small")


def write_features(path: Path, classes: list[str], **fingerprint: Any) -> Path:
    """A features file as `extract` makes one, of random rows: four of each class."""
    with h5py.File(path, "w") as file:
        file["features"] = np.random.default_rng(0).random((4 * len(classes), 8), "float32")
        file["labels"] = np.repeat(np.arange(len(classes)), 4)
        file["filenames"] = [f"{name}/{i}.png" for name in classes for i in range(4)]
        file["classes"] = classes
        file.attrs["fingerprint"] = json.dumps({"model": "MobileNet"} | fingerprint)
    return path


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A learner's folder, from which everything is typed."""
    monkeypatch.chdir(tmp_path)
    for name in ("pets/cat/1.png", "pets/dog/1.png", "split/train/cat/1.png", "flat/1.png"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(0)).save(name)
    Path("notes.txt").write_text("words")
    Path("pets/bird").mkdir()
    write_features(Path("train.h5"), ["cat", "dog"])
    write_features(Path("birds.h5"), ["cat", "bird"])
    write_features(Path("resnet.h5"), ["cat", "dog"], model="ResNet50")
    write_features(Path("one.h5"), ["cat"])
    return tmp_path


# What is typed, the error, and what must be in it: what is wrong, what was expected, what to do.
TYPED: dict[str, tuple[Callable[[Network], Any], type[HelpersError], list[str]]] = {
    "a model misspelt": (
        lambda net: zoo.load("ResNet5"),
        ArgumentError,
        ["'ResNet5'", "Did you mean ResNet50?"],
    ),
    "a function of Keras for a name": (
        lambda net: zoo.build(keras.applications.VGG16),  # type: ignore[arg-type]
        ArgumentError,
        ["<function VGG16", "VGG16"],
    ),
    "a layer that is not there": (
        lambda net: layers.tap(small_network(), "block1_con"),
        ArgumentError,
        ["'block1_con'", "Did you mean block1_conv?"],
    ),
    "a layer's number for its name": (
        lambda net: finetune.freeze_below(small_network(), 249),  # type: ignore[arg-type]
        ArgumentError,
        ["249", "block1, block2"],
    ),
    "a folder without class folders": (
        lambda net: datasets.class_folders("flat"),
        DataError,
        ["flat:", "one folder for each class", "Put the pictures of each class into a folder"],
    ),
    "a folder that is not there": (
        lambda net: datasets.class_folders("pest"),
        DataError,
        ["pest:", "one folder for each class", "not there"],
    ),
    "an empty class": (
        lambda net: datasets.class_folders("pets"),
        DataError,
        ["bird", "empty", "Fill or remove it"],
    ),
    "a folder one level too high": (
        lambda net: datasets.class_folders("split"),
        DataError,
        ["split:", "splits", "split/train"],
    ),
    "a picture where a folder was meant": (
        lambda net: datasets.class_folders("flat/1.png"),
        DataError,
        ["flat/1.png", "a file", "images.load"],
    ),
    "a folder where a picture was meant": (
        lambda net: images.load("pets"),
        PictureError,
        ["pets:", "a folder", "datasets.class_folders"],
    ),
    "a picture that is not there": (
        lambda net: images.load("flat/2.png"),
        PictureError,
        ["flat/2.png", "no such file"],
    ),
    "no picture": (
        lambda net: images.load("notes.txt"),
        PictureError,
        ["notes.txt", "a text file", "JPEG, PNG"],
    ),
    "a path where a picture was meant": (
        lambda net: net.preprocess("flat/1.png"),  # type: ignore[arg-type]
        ArgumentError,
        ["flat/1.png", "(rows, columns, 3)", "images.load"],
    ),
    "no pictures at all": (lambda net: net.preprocess([]), ArgumentError, ["none"]),
    "a picture in grey": (
        lambda net: net.preprocess([np.zeros((9, 9), "uint8")]),
        ArgumentError,
        ["(rows, columns, 3)", "(9, 9)", "images.load"],
    ),
    "pixels already scaled": (
        lambda net: net.preprocess(images.load("flat/1.png") / 255),
        ArgumentError,
        ["uint8", "float64", "(255 * x)"],
    ),
    "features for probabilities": (
        lambda net: net.decode(np.zeros((1, 1280))),
        ArgumentError,
        ["(N, 1000)", "(1, 1280)", "Without the top"],
    ),
    "an input size under the minimum": (
        lambda net: zoo.load("InceptionV3", include_top=False, input_size=32),
        ArgumentError,
        ["InceptionV3", "75", "32"],
    ),
    "another input size with the top": (
        lambda net: zoo.load("VGG16", input_size=299),
        ArgumentError,
        ["VGG16", "224", "299", "include_top=False"],
    ),
    "an unknown split": (
        lambda net: datasets.five_classes("tset"),
        DataError,
        ["'tset'", "Did you mean test?"],
    ),
    "an unknown data set": (
        lambda net: datasets.get("flower"),
        DataError,
        ["'flower'", "Did you mean flowers?"],
    ),
    "one class": (
        lambda net: heads.train("one.h5", "one.h5"),
        DataError,
        ["one.h5", "2 or more classes", "got 1", "extract again"],
    ),
    "other classes in the test file": (
        lambda net: heads.train("train.h5", "birds.h5"),
        DataError,
        ["birds.h5", "['cat', 'dog']", "['cat', 'bird']", "same names"],
    ),
    "features of another model": (
        lambda net: heads.train("train.h5", "resnet.h5"),
        DataError,
        ["resnet.h5", "MobileNet", "ResNet50", "same network"],
    ),
    "features that were never extracted": (
        lambda net: features.describe("tain.h5"),
        DataError,
        ["tain.h5", "no such file", "python -m helpers extract"],
    ),
    "a file that is no features file": (
        lambda net: features.describe("notes.txt"),
        DataError,
        ["notes.txt", "not a features file", "python -m helpers extract"],
    ),
}


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("what", TYPED)
def test_the_error_says_what_was_expected_and_the_next_step(what: str, network: Network) -> None:
    typed, error, facts = TYPED[what]
    with pytest.raises(error) as caught:
        typed(network)
    said = str(caught.value)
    assert not [fact for fact in facts if fact not in said], said
    assert "/tmp" not in said, "a path that nobody has typed"


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("command", "fact"),
    [
        ("predict flat/1.png --model ResNet5", "Did you mean ResNet50?"),
        ("predict pets", "datasets.class_folders"),
        ("extract flat x.h5", "one folder for each class"),
        ("extract pets x.h5", "Fill or remove it"),
        ("train train.h5 birds.h5", "same names"),
        ("train tain.h5 train.h5", "python -m helpers extract"),
    ],
)
def test_on_the_command_line_it_is_one_line(
    command: str,
    fact: str,
    network: Network,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def quick(name: str, **_: Any) -> Network:
        """Spares the building of a network, where one is asked for that there is."""
        zoo.find(name)
        return network

    monkeypatch.setattr(zoo, "load", quick)
    assert main(command.split()) == 1
    out, err = capsys.readouterr()
    assert out == ""
    [line] = err.splitlines()
    assert line.startswith("helpers: ")
    assert fact in line
