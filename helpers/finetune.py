"""Training on top of a pretrained network: heads on its features, and freezing by block."""

import math
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn.model_selection import train_test_split

from helpers import bottlenecks
from helpers.backend import keras
from helpers.errors import ArgumentError, DataError, nearest

# Inception networks name the layer that ends a block; the others begin each layer's name with it.
ENDS = re.compile(r"(mixed_?\d+[a-z]?|block\d+_\d+)(?:_ac)?")
BEGINS = re.compile(
    r"(stem|top|conv\d+_block\d+|block_?\d+[a-z]?|expanded_conv(?:_\d+)?|conv_[dp]w_\d+)_"
)
FIXED = (keras.layers.BatchNormalization, keras.layers.Normalization)  # stay as they were


@dataclass(frozen=True)
class TrainedHead:
    """A trained head, its curves (`history`, by epoch), and its score on the test file."""

    model: keras.Model
    history: dict[str, list[float]]
    accuracy: float
    loss: float
    classes: list[str]
    epochs: int
    seconds: float


def linear_head(features: tuple[int, ...], classes: int) -> keras.Model:
    """Features (rows, columns, channels) or (channels,) → class probabilities, by one Dense layer.

    Maps are averaged over their positions first, as the networks themselves do before they answer.
    """
    model = keras.Sequential([keras.Input(features)])
    if len(features) == 3:
        model.add(keras.layers.GlobalAveragePooling2D())
    model.add(keras.layers.Dense(classes, activation="softmax"))
    return model


def train_head(
    train: str | Path,
    test: str | Path,
    seed: int = 0,
    epochs: int = 100,
    batch_size: int = 32,
    learning_rate: float = 1e-3,
    validation: float = 0.2,
    patience: int = 10,
) -> TrainedHead:
    """Trains a linear head on one features file and scores it, once, on another.

    A part of the training rows (`validation`, the same share of each class) decides when to stop;
    the weights of the best epoch are kept. The test rows choose nothing.

    Args:
        train, test: files of `bottlenecks.extract`, of the same network and classes.
        seed: of the split, the head's start and the order of the rows.
        epochs: at most.
        patience: epochs without a lower validation loss before it stops.

    Raises:
        DataError: files that do not belong together, one class only, or a class too small to
            be split.
    """
    classes = _classes_in_common(train, test)
    if len(classes) < 2:
        raise DataError(
            f"{train}: has one class, {classes[0]!r}; expected 2 or more to tell apart. Put the "
            "pictures of each class into a folder of its own, and extract again."
        )
    labels = bottlenecks.describe(train)["labels"]
    counts = np.bincount(labels, minlength=len(classes))
    if counts.min() < 2:
        raise DataError(
            f"{train}: class {classes[int(counts.argmin())]!r} has {counts.min()} picture; "
            "expected 2 or more, one to train and one to validate."
        )
    rows, held_out = train_test_split(
        np.arange(len(labels)),
        test_size=max(validation, len(classes) / len(labels)),
        stratify=labels,
        random_state=seed,
    )
    started = time.perf_counter()
    keras.utils.set_random_seed(seed)
    model = linear_head(bottlenecks.describe(train)["shape"][1:], len(classes))
    model.compile(
        keras.optimizers.Adam(learning_rate),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    history = model.fit(
        bottlenecks.batches(train, rows, batch_size, seed),
        validation_data=bottlenecks.batches(train, held_out, batch_size),
        shuffle=False,  # Keras's own is for arrays
        epochs=epochs,
        callbacks=[keras.callbacks.EarlyStopping(patience=patience, restore_best_weights=True)],
        verbose=0,
    ).history
    seconds = time.perf_counter() - started
    loss, accuracy = model.evaluate(bottlenecks.batches(test, batch_size=batch_size), verbose=0)
    return TrainedHead(
        model, history, float(accuracy), float(loss), classes, len(history["loss"]), seconds
    )


def _classes_in_common(train: str | Path, test: str | Path) -> list[str]:
    one, other = bottlenecks.describe(train), bottlenecks.describe(test)
    for field in ("model", "weights", "preprocessing", "input_size", "output_shape"):
        if one["fingerprint"].get(field) != other["fingerprint"].get(field):
            raise DataError(
                f"{test}: {field} is {other['fingerprint'].get(field)}, and that of {train} is "
                f"{one['fingerprint'].get(field)}. Extract both with the same network."
            )
    if one["classes"] != other["classes"]:
        raise DataError(
            f"{test}: classes {other['classes']}, and those of {train} are {one['classes']}. The "
            "folders must have the same names, for a label is its class's position."
        )
    return one["classes"]


def blocks(model: keras.Model) -> list[tuple[str, int]]:
    """A network's blocks in order, as (name, index of the block's first layer in `model.layers`).

    Names are those of the network's own layers: `mixed0` to `mixed10` in InceptionV3, `block1a` to
    `top` in EfficientNet, `conv5_block3` in ResNet, `block5` in VGG. A network whose layers name no
    blocks gives an empty list.

    Example:
        >>> from helpers import zoo
        >>> blocks(zoo.build("InceptionV3", include_top=False))[-2:]
        [('mixed9', 249), ('mixed10', 280)]
    """
    ends = {i: m[1] for i, layer in enumerate(model.layers) if (m := ENDS.fullmatch(layer.name))}
    if ends:
        stem = max(seam for seam in _seams(model) if seam < min(ends))
        return list(zip(ends.values(), (i + 1 for i in (stem, *ends)), strict=False))
    first: dict[str, int] = {}
    for i, layer in enumerate(model.layers):
        if match := BEGINS.match(layer.name):
            first.setdefault(match[1], i)
    return list(first.items())


def freeze_below(model: keras.Model, name: str) -> int:
    """Freezes all layers below a block or a layer, and makes it and those above it trainable.

    BatchNorm layers stay frozen above the line too: only then do they run in inference mode and
    keep their moving statistics. Calling the network with `training=False`, as guides advise, does
    not do it in Keras 3, whose functional models override that argument in `fit`
    (https://github.com/keras-team/keras/issues/20285).

    It sets each layer's `trainable` and nothing else: compile afterwards, or nothing changes.

    Args:
        model: the network itself, not a model that has it as a layer.
        name: of a block (see `blocks`), else of a layer.

    Returns:
        The index of the first layer above the line.

    Raises:
        ArgumentError: it has no such block or layer; names the nearest.
    """
    line = _index(model, name)
    model.trainable = True  # alone it does not do: where it is True already, nothing is set
    for i, layer in enumerate(model.layers):
        batch_norm = isinstance(layer, keras.layers.BatchNormalization)
        layer.trainable = i >= line and not batch_norm
    return line


@dataclass(frozen=True)
class FreezeCost:
    """What training costs with all blocks before `block` frozen; None: all of them are.

    `frozen` and `trainable` count parameters; `memory_mb` is about what a batch needs, in units
    of 1024 × 1024 bytes; `seconds` is what an epoch is expected to take on this machine.
    """

    block: str | None
    frozen: int
    trainable: int
    memory_mb: float
    seconds: float


def freeze_costs(model: keras.Model, pictures: int, batch_size: int = 32) -> list[FreezeCost]:
    """What each choice of `freeze_below` costs, one for each block, and one with all frozen.

    Memory: the weights; for each that is trained its gradient and Adam's two moments; and the
    outputs of the layers above the line, which are kept for the way back. Time: a pass through the
    network, measured, and twice that for the share of it that lies above the line, for the way
    back computes two products where the way forth computes one. It is a rule of thumb.

    Args:
        model: the network itself, functional or sequential, built for one input size.
        pictures: in an epoch.
        batch_size: pictures in a step.

    Raises:
        ArgumentError: the network names no blocks, or its input size is open.

    Example:
        >>> from helpers import zoo
        >>> base = zoo.pretrained(include_top=False, input_size=64).model
        >>> [(cost.block, cost.trainable) for cost in freeze_costs(base, pictures=100)[-3:]]
        [('block7a', 1009792), ('top', 409600), (None, 0)]
    """
    found = blocks(model)
    if not found:
        raise ArgumentError(f"{model.name}: its layers name no blocks; see finetune.blocks.")
    if None in model.input_shape[1:]:
        raise ArgumentError(
            f"{model.name}: expected one input size, got {model.input_shape}. "
            "Build the model with input_shape=(224, 224, 3), for example."
        )
    batch = np.zeros((8, *model.input_shape[1:]), "float32")
    by_layer = _seconds_by_layer(model, batch)
    model.predict_on_batch(batch)  # the first time Keras translates it, too
    forth = min(_seconds(lambda: model.predict_on_batch(batch)) for _ in range(3)) / len(batch)
    parameters = model.count_params()
    costs = []
    for block, line in [*found, (None, len(model.layers))]:
        above = model.layers[line:]
        trainable = sum(layer.count_params() for layer in above if not isinstance(layer, FIXED))
        kept = sum(math.prod(layer.output.shape[1:]) for layer in above) * batch_size
        share = sum(by_layer[line:]) / sum(by_layer)
        costs.append(
            FreezeCost(
                block,
                parameters - trainable,
                trainable,
                4 * (parameters + 3 * trainable + kept) / 2**20,
                pictures * forth * (1 + 2 * share),
            )
        )
    return costs


def _seconds_by_layer(model: keras.Model, batch: np.ndarray) -> list[float]:
    """How long each layer takes, one after the other; the best of three rounds."""
    rounds = []
    for _ in range(3):
        made, seconds = {id(model.inputs[0]): keras.ops.convert_to_tensor(batch)}, []
        for layer in model.layers:
            if isinstance(layer, keras.layers.InputLayer):
                seconds.append(0.0)
                continue
            tensors = [made[id(tensor)] for tensor in keras.tree.flatten(layer.input)]
            given = keras.tree.pack_sequence_as(layer.input, tensors)
            started = time.perf_counter()
            made[id(layer.output)] = layer(given, training=False)
            seconds.append(time.perf_counter() - started)
        rounds.append(seconds)
    return [min(each) for each in zip(*rounds, strict=True)]


def _seconds(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def split(model: keras.Model, at: str) -> tuple[keras.Model, keras.Model]:
    """Cuts a network where freezing ends: what is below need run only once for each picture.

    The parts share their weights with the model, so to train the upper part is to train the model:
    afterwards `model.predict` answers for whole pictures. The lower part runs once, by
    `bottlenecks.extract`, and the upper part trains on that file, for example by
    `fit(bottlenecks.batches(path, seed=0), shuffle=False)`. After the same steps on the same
    batches the weights are those that training the whole model would give, for below the line
    everything is frozen, and BatchNorm runs in inference mode on both sides (see `freeze_below`).

    Two things are lost below the line. Dropout there, which training the whole model applies even
    to frozen layers (EfficientNetB0 has it in its blocks), drops nothing. And pictures cannot be
    augmented anew in every epoch, for no picture is looked at again. The way round is to augment
    before: make class folders with k changed copies of each picture and extract those; all copies
    of a picture belong on one side of any split of the rows.

    Args:
        model: the whole network, a functional or sequential model, with the head to be trained.
        at: the block (see `blocks`) or layer that is the first to be trained.

    Returns:
        The frozen part, from pictures to the tensor at the line, and the trainable part, from there
        to the model's output. Compile the second; the first is never trained.

    Raises:
        ArgumentError: it has no such block or layer, or more than one tensor crosses the line
            there; names the nearest place. The model is then unchanged.

    Example:
        >>> import dataclasses
        >>> from helpers import zoo
        >>> net = zoo.pretrained(include_top=False, pooling="avg")
        >>> classes = keras.layers.Dense(5, activation="softmax")(net.model.output)
        >>> frozen, trainable = split(keras.Model(net.model.input, classes), at="block7a")
        >>> frozen.output_shape, trainable.output_shape
        ((None, 7, 7, 192), (None, 5))
        >>> below = dataclasses.replace(net, model=frozen)  # for `bottlenecks.extract`
    """
    line = _index(model, at)
    cuts = [i + 1 for i in _seams(model) if _has_weights(model.layers[: i + 1])][:-1]
    if line not in cuts:
        why = "more than one tensor crosses the line"
        if not _has_weights(model.layers[:line]):
            why = "nothing below the line has weights, so nothing is saved"
        nearest_cut = min(cuts, key=lambda cut: abs(cut - line), default=None)
        where = "Nowhere else can it be cut, either."
        if nearest_cut is not None:
            names = {index: block for block, index in blocks(model)}
            place = names.get(nearest_cut, model.layers[nearest_cut].name)
            where = f"Nearest place to cut: {place!r}."
        raise ArgumentError(f"{model.name}: cannot be cut at {at!r}, for {why}. {where}")
    seam = model.layers[line - 1].output
    inputs, outputs = (t[0] if len(t) == 1 else t for t in (model.inputs, model.outputs))
    try:
        frozen, trainable = keras.Model(inputs, seam), keras.Model(seam, outputs)
    except ValueError as error:
        raise ArgumentError(
            f"{model.name}: its layers are those of another model, or used twice in this one "
            f"({error}). Split the model that they were built in."
        ) from error
    freeze_below(model, at)
    return frozen, trainable


def _index(model: keras.Model, name: str) -> int:
    found = {layer.name: i for i, layer in enumerate(model.layers)} | dict(blocks(model))
    if name not in found:
        known = [block for block, _ in blocks(model)] or [layer.name for layer in model.layers]
        raise ArgumentError(f"{model.name}: no block or layer {name!r}. {nearest(name, known)}")
    return found[name]


def _has_weights(layers: list[keras.Layer]) -> bool:
    return any(layer.weights for layer in layers)


def _seams(model: keras.Model) -> list[int]:
    """The layers after which a single tensor, their output, is all that the rest depends on."""
    made_by = {id(layer.output): i for i, layer in enumerate(model.layers)}
    needed_until = [0] * len(model.layers)
    for i, layer in enumerate(model.layers):
        for tensor in keras.tree.flatten(layer.input):
            needed_until[made_by.get(id(tensor), 0)] = i
    for tensor in model.outputs:
        needed_until[made_by.get(id(tensor), -1)] = len(model.layers)
    seams, reach = [], 0
    for i, until in enumerate(needed_until):
        if reach <= i:
            seams.append(i)
        reach = max(reach, until)
    return seams
