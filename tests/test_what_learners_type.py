"""What a learner types is bad input too: each error says what was expected, and the next step."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from conftest import picture
from PIL import Image

from helpers import bottlenecks, datasets, finetune, images, layers, weights, zoo
from helpers.__main__ import main
from helpers.backend import keras
from helpers.errors import (
    ArgumentError,
    DataError,
    HelpersError,
    PictureError,
)
from helpers.zoo import Network


def small_network() -> keras.Model:
    layers = [keras.layers.Conv2D(2, 3, name=f"block{i}_conv") for i in (1, 2)]
    return keras.Sequential([keras.Input((9, 9, 3)), *layers], name="small")


def write_features(path: Path, classes: list[str], **fingerprint: Any) -> Path:
    """A features file as `extract` makes one, of random rows: four of each class."""
    with h5py.File(path, "w") as file:
        file["features"] = np.random.default_rng(0).random((4 * len(classes), 8), "float32")
        file["labels"] = np.repeat(np.arange(len(classes)), 4)
        file.attrs["classes"] = classes
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


# What is typed, the error, and its whole text: what is wrong, what was expected, the next step.
TYPED: dict[str, tuple[Callable[[Network], Any], type[HelpersError], str]] = {
    "a model misspelt": (
        lambda net: zoo.load("ResNet5"),
        ArgumentError,
        r"No model 'ResNet5' in the catalogue\. Did you mean ResNet50\?",
    ),
    "a function of Keras for a name": (
        lambda net: zoo.build(keras.applications.VGG16),  # type: ignore[arg-type]
        ArgumentError,
        r"No model <function VGG16 at \w+> in the catalogue\. (Did you mean|Known): .*VGG16.*",
    ),
    "a layer that is not there": (
        lambda net: layers.tap(small_network(), "block1_con"),
        ArgumentError,
        r"small has no layer 'block1_con'\. Did you mean block1_conv\?",
    ),
    "a block that is not there": (
        lambda net: finetune.freeze_below(small_network(), "blok2"),
        ArgumentError,
        r"small: no block or layer 'blok2'\. Did you mean block2\?",
    ),
    "a layer's number for its name": (
        lambda net: finetune.freeze_below(small_network(), 249),  # type: ignore[arg-type]
        ArgumentError,
        r"small: no block or layer 249\. Known: block1, block2\.",
    ),
    "a folder without class folders": (
        lambda net: datasets.class_folders("flat"),
        DataError,
        r"flat: expected one folder for each class in it, found none\. Put the pictures of each "
        r"class into a folder that has the class's name\.",
    ),
    "a folder that is not there": (
        lambda net: datasets.class_folders("pest"),
        DataError,
        r"pest: expected a folder that has one folder for each class; it is not there\.",
    ),
    "an empty class": (
        lambda net: datasets.class_folders("pets"),
        DataError,
        r"pets/bird: the folder of class 'bird' is empty\. Fill or remove it\.",
    ),
    "a folder one level too high": (
        lambda net: datasets.class_folders("split"),
        DataError,
        r"split/train: the folder of class 'train' is empty\. There are folders in it, such as "
        r"'cat': if they are the classes, give 'train' as the folder of class folders\.",
    ),
    "a picture where a folder was meant": (
        lambda net: datasets.class_folders("flat/1.png"),
        DataError,
        r"flat/1\.png: expected a folder that has one folder for each class; it is a file\. A "
        r"single picture is read by images\.read\.",
    ),
    "a folder where a picture was meant": (
        lambda net: images.load("pets"),
        PictureError,
        r"pets: a folder, expected a picture file\. Of class folders see datasets\.class_folders\.",
    ),
    "a picture that is not there": (
        lambda net: images.load("flat/2.png"),
        PictureError,
        r"flat/2\.png: no such file\.",
    ),
    "no picture": (
        lambda net: images.load("notes.txt"),
        PictureError,
        r"notes\.txt: no picture; expected JPEG, PNG, GIF, BMP, WEBP\. Save it as one of them\.",
    ),
    "a path where a picture was meant": (
        lambda net: net.preprocess("flat/1.png"),  # type: ignore[arg-type]
        ArgumentError,
        r"Expected one picture, \(rows, columns, 3\), got 'flat/1\.png'\. images\.read makes "
        r"such an array of any picture file, .*",
    ),
    "no pictures at all": (
        lambda net: net.preprocess([]),
        ArgumentError,
        r"Expected one picture or more, got none\.",
    ),
    "a picture in grey": (
        lambda net: net.preprocess([np.zeros((9, 9), "uint8")]),
        ArgumentError,
        r"Expected one picture, \(rows, columns, 3\), got \(9, 9\)\. images\.read makes such an "
        r"array of any picture file, grey ones and those with transparency too\.",
    ),
    "pixels already scaled": (
        lambda net: net.preprocess(images.load("flat/1.png") / 255),
        ArgumentError,
        r"Expected pixels 0 \.\.\. 255 as uint8, got float64\. Preprocessing comes after resizing; "
        r"for floats 0 \.\.\. 1 use \(255 \* x\)\.astype\('uint8'\)\.",
    ),
    "features for probabilities": (
        lambda net: net.decode(np.zeros((1, 1280))),
        ArgumentError,
        r"decode: expected probabilities \(N, 1000\), got \(1, 1280\)\. Without the top a network "
        r"gives features, which have no labels\.",
    ),
    "an input size under the minimum": (
        lambda net: zoo.load("InceptionV3", include_top=False, input_size=32),
        ArgumentError,
        r"InceptionV3: expected input_size 75 or more, got 32\.",
    ),
    "another input size with the top": (
        lambda net: zoo.load("VGG16", input_size=299),
        ArgumentError,
        r"VGG16 with its top: expected input_size=224, got 299\. Other sizes need "
        r"include_top=False\.",
    ),
    "an unknown split": (
        lambda net: datasets.five_classes("tset"),
        DataError,
        r"No split 'tset' of the five classes\. Did you mean test\?",
    ),
    "an unknown data set": (
        lambda net: datasets.get("flower"),
        DataError,
        r"No data set 'flower'\. Did you mean flowers\?",
    ),
    "one class": (
        lambda net: finetune.train_head("one.h5", "one.h5"),
        DataError,
        r"one\.h5: has one class, 'cat'; expected 2 or more to tell apart\. Put the pictures of "
        r"each class into a folder of its own, and extract again\.",
    ),
    "other classes in the test file": (
        lambda net: finetune.train_head("train.h5", "birds.h5"),
        DataError,
        r"birds\.h5: classes \['cat', 'bird'\], and those of train\.h5 are \['cat', 'dog'\]\. The "
        r"folders must have the same names, for a label is its class's position\.",
    ),
    "features of another model": (
        lambda net: finetune.train_head("train.h5", "resnet.h5"),
        DataError,
        r"resnet\.h5: model is ResNet50, and that of train\.h5 is MobileNet\. Extract both with "
        r"the same network\.",
    ),
    "features that were never extracted": (
        lambda net: bottlenecks.describe("tain.h5"),
        DataError,
        r"tain\.h5: no such file\. Make it with: python -m helpers extract",
    ),
    "a file that is no features file": (
        lambda net: bottlenecks.describe("notes.txt"),
        DataError,
        r"notes\.txt: not a file that `extract` made .*",
    ),
}


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("what", TYPED)
def test_the_error_says_what_was_expected_and_the_next_step(what: str, network: Network) -> None:
    typed, error, text = TYPED[what]
    with pytest.raises(error) as caught:
        typed(network)
    assert re.fullmatch(text, str(caught.value), re.DOTALL), str(caught.value)
    assert "/tmp" not in str(caught.value), "a path that nobody has typed"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("bundeld", "HELPERS_WEIGHTS=bundeld: Did you mean bundled?"),
        ("42", "HELPERS_WEIGHTS=42: Known: auto, bundled, imagenet."),
    ],
)
def test_a_wrong_choice_of_weights(monkeypatch: pytest.MonkeyPatch, value: str, text: str) -> None:
    monkeypatch.setenv("HELPERS_WEIGHTS", value)
    with pytest.raises(ArgumentError) as caught:
        weights.policy()
    assert str(caught.value) == text


# --- on the command line -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "text"),
    [
        ("predict flat/1.png --model ResNet5", "Did you mean ResNet50?"),
        ("predict pets", "pets: a folder, expected a picture file."),
        ("predict notes.txt", "no picture; expected JPEG, PNG"),
        ("predict flat/2.png", "flat/2.png: no such file."),
        ("extract flat x.h5", "expected one folder for each class in it, found none."),
        ("extract flat/1.png x.h5", "it is a file."),
        ("extract pest x.h5", "it is not there."),
        ("extract pets x.h5", "the folder of class 'bird' is empty."),
        ("extract split x.h5", "if they are the classes, give 'train'"),
        ("train train.h5 birds.h5", "The folders must have the same names"),
        ("train train.h5 resnet.h5", "Extract both with the same network."),
        ("train one.h5 one.h5", "expected 2 or more to tell apart."),
        ("train tain.h5 train.h5", "Make it with: python -m helpers extract"),
        ("train pets train.h5", "not a file that `extract` made"),
    ],
)
@pytest.mark.usefixtures("here")
def test_on_the_command_line_it_is_one_line(
    command: str,
    text: str,
    network: Network,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def quick(name: str, **_: Any) -> Network:
        """Spares the building of a network, where one is asked for that there is."""
        zoo.find(name)
        return network

    monkeypatch.setattr(zoo, "pretrained", quick)
    assert main(command.split()) == 1
    out, err = capsys.readouterr()
    assert out == ""
    [line] = err.splitlines()
    assert line.startswith("helpers: ")
    assert text in line


@pytest.mark.parametrize(
    ("command", "text"),
    [
        ("predict x.png --top 0", "--top: expected 1 or more, got 0"),
        ("extract pets x.h5 --batch-size -1", "--batch-size: expected 1 or more, got -1"),
        ("pedict x.png", "invalid choice: 'pedict'"),
        ("extract pets", "arguments are required: OUT.h5"),
    ],
)
def test_wrong_usage_ends_with_what_was_wrong(
    command: str, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(command.split())
    assert caught.value.code == 2
    assert text in capsys.readouterr().err.splitlines()[-1]
