import dataclasses
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from conftest import SHARED

from helpers import bottlenecks, datasets, finetune, images, zoo
from helpers.backend import keras
from helpers.errors import ArgumentError, DataError

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
    with pytest.raises(DataError, match=r"train\.h5: class 'bee' has 1 picture; expected 2"):
        finetune.train_head(train, write(tmp_path / "test.h5", TEST))


def test_a_class_whose_pictures_were_all_skipped_is_named(tmp_path: Path) -> None:
    train = write(tmp_path / "train.h5", [0, 0, 1, 1])
    with pytest.raises(DataError, match="class 'cow' has 0 picture"):
        finetune.train_head(train, write(tmp_path / "test.h5", TEST))


def test_other_classes_are_refused(tmp_path: Path) -> None:
    train = write(tmp_path / "train.h5", TRAIN)
    test = write(tmp_path / "test.h5", TEST, classes=("ant", "bee", "dog"))
    with pytest.raises(DataError, match=r"test\.h5: classes .*'dog'.*'cow'.*same names"):
        finetune.train_head(train, test)


@pytest.mark.parametrize(
    ("field", "value"),
    [("model", "Other"), ("weights", "1" * 64), ("preprocessing", "tf"), ("input_size", 64)],
)
def test_features_of_another_network_are_refused(tmp_path: Path, field: str, value: Any) -> None:
    train = write(tmp_path / "train.h5", TRAIN)
    test = write(tmp_path / "test.h5", TEST, **{field: value})
    with pytest.raises(DataError, match=rf"test\.h5: {field} is {value}.*same network"):
        finetune.train_head(train, test)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"test\.h5: no such file"):
        finetune.train_head(write(tmp_path / "train.h5", TRAIN), tmp_path / "test.h5")


@pytest.mark.skipif(not FLOWERS.is_dir(), reason=f"the photographs are not in {FLOWERS}")
def test_photographs_of_flowers_are_told_apart(tmp_path: Path) -> None:
    net = zoo.pretrained(include_top=False, pooling="avg")
    for split in ("train", "test"):
        bottlenecks.extract(FLOWERS / split, tmp_path / f"{split}.h5", net, progress=False)
    head = finetune.train_head(tmp_path / "train.h5", tmp_path / "test.h5", epochs=30)
    assert len(head.classes) == 5
    assert head.accuracy >= 0.98


def small_network() -> keras.Model:
    """Two blocks with BatchNorm, named as in VGG, and a pooling layer that is in no block."""
    x = inputs = keras.Input((8, 8, 3))
    for block in (1, 2):
        x = keras.layers.Conv2D(4, 3, name=f"block{block}_conv")(x)
        x = keras.layers.BatchNormalization(name=f"block{block}_bn")(x)
    return keras.Model(inputs, keras.layers.GlobalAveragePooling2D(name="pool")(x), name="small")


@pytest.mark.parametrize(
    ("builder", "number", "some"),
    [
        ("InceptionV3", 11, {"mixed0": 18, "mixed8": 229, "mixed9": 249, "mixed10": 280}),
        ("ResNet50", 16, {"conv2_block1": 7, "conv5_block3": 165}),
        ("VGG16", 5, {"block1": 1, "block5": 15}),
        ("MobileNet", 26, {"conv_dw_1": 5, "conv_pw_13": 84}),
        ("MobileNetV2", 17, {"expanded_conv": 4, "block_16": 143}),
        ("EfficientNetB0", 18, {"block1a": 7, "block7a": 221, "top": 234}),
    ],
)
def test_blocks_are_found_by_their_names(builder: str, number: int, some: dict[str, int]) -> None:
    model = getattr(keras.applications, builder)(weights=None, include_top=False)
    found = finetune.blocks(model)
    assert len(found) == number
    assert some.items() <= dict(found).items()
    assert [index for _, index in found] == sorted({index for _, index in found})


@pytest.mark.parametrize(
    ("name", "size", "split_at"),
    [("InceptionV3", 75, ("mixed0", "mixed9")), ("EfficientNetLite0", 32, ("block1a", "block6b"))],
)
def test_a_network_can_be_split_where_a_block_begins(
    name: str, size: int, split_at: Sequence[str]
) -> None:
    model = zoo.build(name, include_top=False, input_shape=(size, size, 3))
    pictures = np.random.default_rng(0).normal(size=(2, size, size, 3)).astype("float32")
    whole = model.predict_on_batch(pictures)
    for block in split_at:
        seam = model.layers[dict(finetune.blocks(model))[block] - 1].output
        lower, upper = keras.Model(model.input, seam), keras.Model(seam, model.output)
        parts = upper.predict_on_batch(lower.predict_on_batch(pictures))
        np.testing.assert_allclose(parts, whole, atol=1e-5)


def test_an_inception_block_begins_after_the_one_before() -> None:
    model = keras.applications.InceptionResNetV2(weights=None, include_top=False)
    found = dict(finetune.blocks(model))
    assert len(found) == 3 + 10 + 20 + 9  # of the last ten, the tenth has no name
    assert model.layers[found["block35_2"] - 1].name == "block35_1_ac"
    assert model.layers[found["mixed_6a"] - 1].name == "block35_10_ac"


def test_a_network_that_names_no_blocks_has_none() -> None:
    assert finetune.blocks(finetune.linear_head((4,), 2)) == []


@pytest.mark.parametrize(
    ("name", "index"), [("block1", 1), ("block2", 3), ("block2_bn", 4), ("pool", 5)]
)
def test_freezing_below_a_block_or_a_layer(name: str, index: int) -> None:
    model = small_network()
    model.trainable = False  # as after the first phase
    assert finetune.freeze_below(model, name) == index
    batch_norm = {2, 4}
    for i, layer in enumerate(model.layers):
        assert layer.trainable == (i >= index and i not in batch_norm)
        assert all(weight.trainable == layer.trainable for weight in layer.weights)


def test_the_line_can_be_moved_down_and_up_again() -> None:
    model = small_network()
    for name, kernels in [("block2", 1), ("block1", 2), ("pool", 0)]:
        finetune.freeze_below(model, name)
        assert len(model.trainable_weights) == 2 * kernels


def test_training_changes_what_is_above_the_line_and_no_moving_statistics() -> None:
    base = small_network()
    finetune.freeze_below(base, "block2")
    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, keras.layers.Dense(2, "softmax")(base(inputs)))
    model.compile(keras.optimizers.SGD(0.1), loss="sparse_categorical_crossentropy")
    before = {weight.path: np.array(weight) for weight in base.weights}
    x = np.random.default_rng(0).normal(3, 2, (16, 8, 8, 3))
    model.fit(x, np.arange(16) % 2, epochs=2, verbose=0)
    changed = {w.path for w in base.weights if not np.array_equal(w, before[w.path])}
    assert changed == {"block2_conv/kernel", "block2_conv/bias"}


def test_training_false_alone_does_not_keep_the_moving_statistics() -> None:
    """The reason why BatchNorm stays frozen; when Keras mends it, `freeze_below` can let it go."""
    base = small_network()
    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, keras.layers.Dense(1)(base(inputs, training=False)))
    model.compile("sgd", "mse")
    before = np.array(base.get_layer("block1_bn").moving_mean)
    model.fit(np.ones((4, 8, 8, 3)), np.ones((4, 1)), verbose=0)
    assert not np.array_equal(base.get_layer("block1_bn").moving_mean, before)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("block_2", "small: no block or layer 'block_2'. Did you mean block2?"),
        ("mixed9", "small: no block or layer 'mixed9'. Known: block1, block2."),
    ],
)
def test_a_block_that_is_not_there_is_answered_by_the_nearest(name: str, says: str) -> None:
    with pytest.raises(ArgumentError) as error:
        finetune.freeze_below(small_network(), name)
    assert str(error.value) == says


def test_a_model_around_the_network_says_which_layers_it_has() -> None:
    around = keras.Sequential([small_network(), keras.layers.Dense(2)], name="around")
    with pytest.raises(ArgumentError, match=r"no block or layer 'block2'\. Known: small, "):
        finetune.freeze_below(around, "block2")


# --- split ---------------------------------------------------------------------------------------


def classifier(network: keras.Model, seed: int = 0) -> keras.Model:
    keras.utils.set_random_seed(seed)
    outputs = keras.layers.Dense(3, activation="softmax", name="classes")(network.output)
    return keras.Model(network.input, outputs, name="classifier")


def compiled(model: keras.Model) -> keras.Model:
    model.compile(keras.optimizers.SGD(0.002, 0.9), loss="sparse_categorical_crossentropy")
    return model


def test_the_two_parts_are_the_network_and_share_its_weights() -> None:
    model = classifier(small_network())
    frozen, trainable = finetune.split(model, at="block2")
    pictures = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype("float32")
    parts = trainable.predict_on_batch(frozen.predict_on_batch(pictures))
    np.testing.assert_allclose(parts, model.predict_on_batch(pictures), rtol=1e-5)
    assert {id(w) for w in frozen.weights}.isdisjoint(id(w) for w in trainable.weights)
    assert {id(w) for w in frozen.weights + trainable.weights} == {id(w) for w in model.weights}
    assert not frozen.trainable_weights
    trained = ["block2_conv/kernel", "block2_conv/bias", "classes/kernel", "classes/bias"]
    assert [w.path for w in trainable.trainable_weights] == trained


def test_split_training_gives_the_weights_of_naive_training(folder: Path, tmp_path: Path) -> None:
    """The bundled network, its last block, through the features file, and the plain way."""
    net = zoo.pretrained(include_top=False, pooling="avg", input_size=64)
    naive = classifier(net.model)
    start = naive.get_weights()
    finetune.freeze_below(naive, "block7a")
    compiled(naive)
    files = datasets.class_folders(folder)
    pictures = net.preprocess([images.read(path) for path in files.paths()])
    orders = [np.random.default_rng(seed).permutation(12).reshape(3, 4) for seed in range(2)]
    for rows in np.concatenate(orders):
        naive.train_on_batch(pictures[rows], files.labels[rows])
    expected = naive.get_weights()

    naive.set_weights(start)
    frozen, trainable = finetune.split(naive, at="block7a")
    below = dataclasses.replace(net, model=frozen)
    bottlenecks.extract(folder, tmp_path / "f.h5", below, progress=False)
    compiled(trainable)
    for rows in np.concatenate(orders):
        # A batch has its rows in rising order, whichever order they were asked for in.
        (batch,) = bottlenecks.batches(tmp_path / "f.h5", rows, batch_size=4)
        trainable.train_on_batch(*batch)

    moved = 0
    for weight, wanted, before in zip(naive.weights, expected, start, strict=True):
        np.testing.assert_allclose(weight, wanted, rtol=0, atol=1e-4 * np.abs(wanted).max())
        if not np.array_equal(wanted, before):
            moved += 1
            change = np.abs(wanted - before).max()
            np.testing.assert_allclose(weight - before, wanted - before, atol=1e-2 * change)
    assert moved == 3 + 1 + 2  # three kernels of the block, one of the top, the classes
    whole = naive.predict_on_batch(pictures)
    parts = trainable.predict_on_batch(frozen.predict_on_batch(pictures))
    np.testing.assert_allclose(whole, parts, atol=1e-5)


def branched() -> keras.Model:
    """Two branches between two seams; BatchNorm in both."""
    x = inputs = keras.Input((8, 8, 3), name="in")
    x = keras.layers.Conv2D(4, 3, name="block1_conv")(x)
    left = keras.layers.Conv2D(4, 1, name="left")(x)
    right = keras.layers.BatchNormalization(name="right")(keras.layers.Conv2D(4, 1, name="r")(x))
    x = keras.layers.Add(name="add")([left, right])
    x = keras.layers.Conv2D(4, 3, name="block2_conv")(x)
    return keras.Model(inputs, x, name="branched")


@pytest.mark.parametrize(
    ("at", "says"),
    [
        ("right", "'right', for more than one tensor crosses the line. Nearest place to cut: "),
        ("block1", "'block1', for nothing below the line has weights, so nothing is saved. "),
        ("in", "'in', for nothing below the line has weights, so nothing is saved. "),
    ],
)
def test_a_line_that_is_no_seam_is_answered_by_the_nearest(at: str, says: str) -> None:
    model = branched()
    with pytest.raises(ArgumentError) as error:
        finetune.split(model, at)
    assert str(error.value).startswith("branched: cannot be cut at " + says)
    assert all(layer.trainable for layer in model.layers), "the model is unchanged"
    place = re.findall(r"Nearest place to cut: '(\w+)'", str(error.value))[0]
    frozen, trainable = finetune.split(model, place)
    assert len(frozen.layers) + len(trainable.layers) == len(model.layers) + 1  # an Input more


def test_the_nearest_place_is_named_by_its_block() -> None:
    model = zoo.build("ResNet50", include_top=False, input_shape=(32, 32, 3))
    with pytest.raises(ArgumentError, match=r"Nearest place to cut: 'conv5_block3'\."):
        finetune.split(model, "conv5_block3_1_bn")


def test_what_cannot_be_cut_at_all_is_said() -> None:
    head = finetune.linear_head((4,), 2)
    with pytest.raises(ArgumentError, match=r"Nowhere else can it be cut, either\."):
        finetune.split(head, head.layers[0].name)


def test_an_output_below_the_line_is_no_seam() -> None:
    small = small_network()
    tapped = keras.Model(small.input, [small.get_layer("block1_bn").output, small.output])
    with pytest.raises(ArgumentError, match="more than one tensor crosses the line"):
        finetune.split(tapped, "block2_bn")


def test_a_part_is_not_split_again() -> None:
    _, trainable = finetune.split(small_network(), "block1_bn")
    with pytest.raises(ArgumentError, match=r"those of another model.*Split the model that"):
        finetune.split(trainable, "block2")


def test_a_sequential_model_can_be_split() -> None:
    layers = [keras.layers.Dense(4, name=f"block{i}_dense") for i in (1, 2, 3)]
    model = keras.Sequential([keras.Input((5,)), *layers])
    frozen, trainable = finetune.split(model, "block3")
    assert [len(part.weights) for part in (frozen, trainable)] == [4, 2]


# --- what freezing costs -------------------------------------------------------------------------


def test_costs_count_what_freezing_leaves_trainable() -> None:
    network = zoo.build("MobileNetV2", include_top=False, input_shape=(32, 32, 3))
    costs = finetune.freeze_costs(network, pictures=10, batch_size=4)
    assert [cost.block for cost in costs] == [*dict(finetune.blocks(network)), None]
    for cost in (costs[0], costs[9], costs[-2]):
        finetune.freeze_below(network, str(cost.block))
        assert cost.trainable == sum(w.numpy().size for w in network.trainable_weights)
    assert {cost.frozen + cost.trainable for cost in costs} == {network.count_params()}
    assert costs[-1].trainable == 0


def test_costs_rise_with_the_blocks_that_are_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    network = zoo.build("VGG16", include_top=False, input_shape=(32, 32, 3))
    monkeypatch.setattr(finetune, "_seconds_by_layer", lambda model, _: [1.0] * len(model.layers))
    monkeypatch.setattr(finetune, "_seconds", lambda run: 0.8)  # of 8 pictures
    costs = finetune.freeze_costs(network, pictures=50, batch_size=4)
    # 19 layers; block5, the last, has 4 of them, 3 convolutions of 512 to 512 and a pooling.
    weights = 3 * (9 * 512 + 1) * 512
    kept = 4 * (3 * 2 * 2 * 512 + 512)
    assert costs[-2].seconds == pytest.approx(50 * 0.1 * (1 + 2 * 4 / 19))
    assert costs[-2].memory_mb == pytest.approx(
        4 * (network.count_params() + 3 * weights + kept) / 2**20
    )
    assert costs[-1].seconds == pytest.approx(5.0)
    for falling in ([c.trainable for c in costs], [c.memory_mb for c in costs]):
        assert falling == sorted(falling, reverse=True)


def test_the_seconds_of_a_layer_are_its_own() -> None:
    """Layers with much work take longer, in a graph with branches too."""
    wide = keras.Input((64, 64, 3))
    x = keras.layers.Conv2D(4, 1, name="light")(wide)
    y = keras.layers.Conv2D(128, 7, name="heavy")(wide)
    pooled = keras.layers.GlobalAveragePooling2D
    both = keras.layers.Concatenate()([pooled()(x), pooled()(y)])
    model = keras.Model(wide, both)
    by_layer = dict(
        zip(
            [layer.name for layer in model.layers],
            finetune._seconds_by_layer(model, np.zeros((8, 64, 64, 3), "float32")),
            strict=True,
        )
    )
    assert by_layer["heavy"] > 3 * by_layer["light"] > 0


def test_costs_need_blocks_and_a_size() -> None:
    plain = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(2, 3)])
    with pytest.raises(ArgumentError, match="name no blocks"):
        finetune.freeze_costs(plain, 10)
    with pytest.raises(ArgumentError, match="expected one input size"):
        finetune.freeze_costs(zoo.build("VGG16", include_top=False), 10)
