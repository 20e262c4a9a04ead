import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from helpers import heads
from helpers.errors import DataError

FINGERPRINT = {
    "model": "Tiny",
    "weights": "0" * 64,
    "preprocessing": "lite",
    "input_size": 32,
    "output_shape": [8],
}
TRAIN, TEST = np.repeat([0, 1, 2], 30), np.repeat([0, 1, 2], 10)
QUICK: dict[str, Any] = {"epochs": 10, "learning_rate": 0.1}


def write(
    path: Path,
    labels: Sequence[int] | np.ndarray,
    shown: np.ndarray | None = None,
    seed: int = 0,
    classes: Sequence[str] = ("ant", "bee", "cow"),
    maps: bool = False,
    **changed: Any,
) -> Path:
    """A features file whose rows look like the classes `shown`, well apart, with these labels."""
    features = np.random.default_rng(seed).normal(size=(len(labels), 8)).astype("float32")
    features[np.arange(len(labels)), labels if shown is None else shown] += 20
    if maps:
        features = np.tile(features[:, None, None], (1, 2, 2, 1))
        changed["output_shape"] = [2, 2, 8]
    with h5py.File(path, "w") as file:
        file["features"], file["labels"], file["classes"] = features, labels, list(classes)
        file["filenames"] = [f"{row}.png" for row in range(len(labels))]
        file.attrs["classes"] = list(classes)
        file.attrs["fingerprint"] = json.dumps(FINGERPRINT | changed)
    return path


@pytest.fixture
def train(tmp_path: Path) -> Path:
    return write(tmp_path / "train.h5", TRAIN)


@pytest.fixture
def test(tmp_path: Path) -> Path:
    return write(tmp_path / "test.h5", TEST, seed=1)


def test_classes_that_are_apart_are_learned(train: Path, test: Path) -> None:
    head = heads.train(train, test, **QUICK)
    assert head.accuracy == 1.0
    assert head.loss < 0.1
    assert head.classes == ["ant", "bee", "cow"]
    assert head.seconds > 0
    assert head.epochs == len(head.history["val_loss"]) <= 10
    with h5py.File(test) as file:
        answers = head.model.predict_on_batch(file["features"][:]).argmax(1)
    np.testing.assert_array_equal(answers, TEST)


def test_shifted_labels_give_a_low_accuracy(tmp_path: Path, train: Path) -> None:
    test = write(tmp_path / "test.h5", (TEST + 1) % 3, shown=TEST, seed=1)
    assert heads.train(train, test, **QUICK).accuracy < 0.05


def test_maps_are_averaged_over_their_positions(tmp_path: Path) -> None:
    train = write(tmp_path / "train.h5", TRAIN, maps=True)
    head = heads.train(train, write(tmp_path / "test.h5", TEST, seed=1, maps=True), **QUICK)
    assert head.model.input_shape == (None, 2, 2, 8)
    assert head.model.count_params() == 8 * 3 + 3
    assert head.accuracy == 1.0


def test_the_seed_decides_everything(train: Path, test: Path) -> None:
    one, same, other = (heads.train(train, test, seed=seed, epochs=3) for seed in (4, 4, 5))
    assert one.loss == same.loss != other.loss
    assert one.history == same.history


def test_the_test_file_decides_nothing(tmp_path: Path, train: Path, test: Path) -> None:
    garbage = write(tmp_path / "garbage.h5", (TEST + 1) % 3, shown=TEST, seed=2)
    one, other = (heads.train(train, file, epochs=5) for file in (test, garbage))
    for weight, same in zip(one.model.get_weights(), other.model.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, same)


def test_training_stops_and_keeps_the_best_epoch(tmp_path: Path, test: Path) -> None:
    labels = np.random.default_rng(0).permutation(TRAIN)
    noise = write(tmp_path / "noise.h5", labels, shown=TRAIN)  # there is nothing to learn
    head = heads.train(noise, test, learning_rate=0.1, patience=3)
    losses = head.history["val_loss"]
    assert head.epochs == int(np.argmin(losses)) + 1 + 3 < 100


def test_two_pictures_of_each_class_are_enough(tmp_path: Path, test: Path) -> None:
    few = write(tmp_path / "few.h5", [0, 0, 1, 1, 2, 2])
    assert heads.train(few, test, epochs=2).epochs == 2


@pytest.mark.parametrize(
    ("labels", "says"), [([0, 0, 1, 2, 2], "'bee' has 1"), ([0, 0, 1, 1], "'cow' has 0")]
)
def test_a_class_too_small_to_split_is_named(
    tmp_path: Path, test: Path, labels: list[int], says: str
) -> None:
    with pytest.raises(DataError, match=rf"few\.h5: .*{says}"):
        heads.train(write(tmp_path / "few.h5", labels), test)


def test_one_class_is_not_enough(tmp_path: Path) -> None:
    one, test = (write(tmp_path / name, [0, 0, 0], classes=["ant"]) for name in ("1.h5", "2.h5"))
    with pytest.raises(DataError, match=r"expected 2 or more classes.* got 1"):
        heads.train(one, test)


@pytest.mark.parametrize("how", ["itself", "link", "copy", "of the same pictures"])
def test_the_training_pictures_are_no_test(tmp_path: Path, how: str) -> None:
    train = write(tmp_path / "train.h5", TRAIN, sizes_and_times="1" * 64)
    test = train if how == "itself" else tmp_path / "test.h5"
    if how == "link":
        test.symlink_to(train)
    elif how == "copy":
        shutil.copy(train, test)
    elif how != "itself":
        write(test, TRAIN, seed=1, sizes_and_times="1" * 64)
    with pytest.raises(DataError, match="has the same pictures as"):
        heads.train(train, test)


def test_other_classes_are_refused(tmp_path: Path, train: Path) -> None:
    test = write(tmp_path / "test.h5", TEST, classes=("ant", "bee", "dog"))
    with pytest.raises(DataError, match=r"test\.h5: .*'cow'.* got .*'dog'"):
        heads.train(train, test)


@pytest.mark.parametrize(
    ("field", "value"),
    [("model", "Other"), ("weights", "1" * 64), ("preprocessing", "tf"), ("input_size", 64)],
)
def test_features_of_another_network_are_refused(
    tmp_path: Path, train: Path, field: str, value: Any
) -> None:
    test = write(tmp_path / "test.h5", TEST, **{field: value})
    with pytest.raises(DataError, match=rf"test\.h5: expected {field} .* got {value}"):
        heads.train(train, test)


def test_a_missing_file_is_named(tmp_path: Path, train: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.h5"):
        heads.train(train, tmp_path / "nowhere.h5")
