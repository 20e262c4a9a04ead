import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from conftest import SHARED

from helpers import bottlenecks, finetune, zoo
from helpers.errors import FeaturesError

NETWORK = {
    "model": "Tiny",
    "weights": "0" * 64,
    "preprocessing": "lite",
    "input_size": 32,
    "output_shape": [8],
    "files": "whatever",
}


def write(
    path: Path,
    labels: Sequence[int] | np.ndarray,
    shown: Sequence[int] | np.ndarray | None = None,
    seed: int = 0,
    classes: Sequence[str] = ("ant", "bee", "cow"),
    maps: bool = False,
    **changed: Any,
) -> Path:
    """A features file whose rows show the classes `shown`, well apart, and have these labels."""
    labels = np.asarray(labels)
    shown = labels if shown is None else np.asarray(shown)
    features = np.random.default_rng(seed).normal(size=(len(labels), 8)).astype("float32")
    features[np.arange(len(labels)), shown] += 20
    if maps:
        features = np.tile(features[:, None, None], (1, 2, 2, 1))
    with h5py.File(path, "w") as file:
        file["features"], file["labels"] = features, labels
        file.attrs["classes"] = list(classes)
        file.attrs["fingerprint"] = json.dumps({**NETWORK, **changed})
    return path


FLOWERS = SHARED / "photos" / "flowers5"
QUICK: dict[str, Any] = {"epochs": 10, "learning_rate": 0.1}
TRAIN, TEST = np.repeat([0, 1, 2], 30), np.repeat([0, 1, 2], 10)


def test_classes_that_are_apart_are_learnt(tmp_path: Path) -> None:
    train, test = write(tmp_path / "train.h5", TRAIN), write(tmp_path / "test.h5", TEST, seed=1)
    head = finetune.train_head(train, test, **QUICK)
    assert head.accuracy == 1.0
    assert head.loss < 0.1
    assert head.classes == ["ant", "bee", "cow"]
    assert head.seconds > 0
    assert head.epochs == len(head.history["val_loss"]) <= 10
    with h5py.File(test) as file:
        answers = head.model.predict_on_batch(file["features"][:]).argmax(1)
    np.testing.assert_array_equal(answers, TEST)


def test_labels_shifted_by_one_are_seen(tmp_path: Path) -> None:
    train = write(tmp_path / "train.h5", TRAIN)
    test = write(tmp_path / "test.h5", (TEST + 1) % 3, shown=TEST, seed=1)
    assert finetune.train_head(train, test, **QUICK).accuracy < 0.05


def test_maps_are_averaged_over_their_positions(tmp_path: Path) -> None:
    shape: dict[str, Any] = {"maps": True, "output_shape": [2, 2, 8]}
    train = write(tmp_path / "train.h5", TRAIN, **shape)
    test = write(tmp_path / "test.h5", TEST, seed=1, **shape)
    head = finetune.train_head(train, test, **QUICK)
    assert head.model.input_shape == (None, 2, 2, 8)
    assert head.accuracy == 1.0
    assert head.model.count_params() == 8 * 3 + 3


def test_the_seed_decides_everything(tmp_path: Path) -> None:
    train, test = write(tmp_path / "train.h5", TRAIN), write(tmp_path / "test.h5", TEST, seed=1)
    one, same, other = (finetune.train_head(train, test, seed=s, epochs=3) for s in (4, 4, 5))
    assert one.loss == same.loss != other.loss
    assert one.history == same.history


def test_the_test_file_chooses_nothing(tmp_path: Path) -> None:
    train, test = write(tmp_path / "train.h5", TRAIN), write(tmp_path / "test.h5", TEST, seed=1)
    garbage = write(tmp_path / "garbage.h5", (TEST + 1) % 3, shown=TEST, seed=2)
    one, other = (finetune.train_head(train, file, epochs=5) for file in (test, garbage))
    for kernel, same in zip(one.model.get_weights(), other.model.get_weights(), strict=True):
        np.testing.assert_array_equal(kernel, same)
    assert one.history == other.history


def test_training_stops_and_keeps_the_best_epoch(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    noise = write(tmp_path / "noise.h5", random.permutation(TRAIN), shown=TRAIN)  # nothing to learn
    head = finetune.train_head(noise, noise, learning_rate=0.1, patience=3)
    losses = head.history["val_loss"]
    assert head.epochs == int(np.argmin(losses)) + 1 + 3 < 100
    assert min(losses) < losses[-1]


def test_few_pictures_are_split_so_that_each_class_is_in_both_parts(tmp_path: Path) -> None:
    train = write(tmp_path / "train.h5", [0, 0, 1, 1, 2, 2])
    head = finetune.train_head(train, write(tmp_path / "test.h5", TEST, seed=1), epochs=2)
    assert head.epochs == 2


def test_a_class_with_one_picture_cannot_be_split(tmp_path: Path) -> None:
    train = write(tmp_path / "train.h5", [0, 0, 1, 2, 2])
    with pytest.raises(FeaturesError, match=r"train\.h5: class 'bee' has 1 picture; expected 2"):
        finetune.train_head(train, write(tmp_path / "test.h5", TEST))


def test_a_class_whose_pictures_were_all_skipped_is_named(tmp_path: Path) -> None:
    train = write(tmp_path / "train.h5", [0, 0, 1, 1])
    with pytest.raises(FeaturesError, match="class 'cow' has 0 picture"):
        finetune.train_head(train, write(tmp_path / "test.h5", TEST))


def test_other_classes_are_refused(tmp_path: Path) -> None:
    train = write(tmp_path / "train.h5", TRAIN)
    test = write(tmp_path / "test.h5", TEST, classes=("ant", "bee", "dog"))
    with pytest.raises(FeaturesError, match=r"test\.h5: classes .*'dog'.*'cow'.*same names"):
        finetune.train_head(train, test)


@pytest.mark.parametrize(
    ("field", "value"),
    [("model", "Other"), ("weights", "1" * 64), ("preprocessing", "tf"), ("input_size", 64)],
)
def test_features_of_another_network_are_refused(tmp_path: Path, field: str, value: Any) -> None:
    train = write(tmp_path / "train.h5", TRAIN)
    test = write(tmp_path / "test.h5", TEST, **{field: value})
    with pytest.raises(FeaturesError, match=rf"test\.h5: {field} is {value}.*same network"):
        finetune.train_head(train, test)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FeaturesError, match=r"test\.h5: no such file"):
        finetune.train_head(write(tmp_path / "train.h5", TRAIN), tmp_path / "test.h5")


@pytest.mark.skipif(not FLOWERS.is_dir(), reason=f"the photographs are not in {FLOWERS}")
def test_photographs_of_flowers_are_told_apart(tmp_path: Path) -> None:
    net = zoo.pretrained(include_top=False, pooling="avg")
    for split in ("train", "test"):
        bottlenecks.extract(FLOWERS / split, tmp_path / f"{split}.h5", net, progress=False)
    head = finetune.train_head(tmp_path / "train.h5", tmp_path / "test.h5", epochs=30)
    assert len(head.classes) == 5
    assert head.accuracy >= 0.98
