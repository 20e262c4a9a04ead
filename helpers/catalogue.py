"""The model zoo as data: one record a model, read from data/zoo.csv, without Keras."""

import csv
import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from helpers.errors import ArgumentError, nearest

ZOO = Path(__file__).resolve().parents[1] / "data" / "zoo.csv"
BUNDLED = "EfficientNetLite0"


@dataclass(frozen=True)
class WeightFile:
    """A published file of weights: the name under which Keras keeps it, its address, its hash.

    Keras names a hash for most of its files, not for all: an MD5, or a SHA-256. `parameters` are
    the numbers in it.
    """

    name: str
    url: str
    hash: str | None
    parameters: int

    @property
    def size_mb(self) -> float:
        """Of the file, about: computed, 4 bytes a parameter, in units of 1024 × 1024 as Keras's."""
        return 4 * self.parameters / 2**20


MUSIC_TAGGER = WeightFile(
    "music_tagger_crnn_weights_tensorflow.h5",
    "https://raw.githubusercontent.com/keunwoochoi/music-auto_tagging-keras/master/data/"
    "music_tagger_crnn_weights_tensorflow.h5",
    "df63638de9f3113780768181670c554f122fbd1297c63c065836d70a251115a8",
    400_562,
)
"""MusicTaggerCRNN's one file; it hears, so it is no model of the table."""


@dataclass(frozen=True)
class Entry:
    """One model. Accuracies are fractions, on ImageNet's validation pictures, one centre crop.

    `depth` counts layers with weights, as Keras's table does; `size_mb` is the weight file with
    the top; `input_size` and `min_size` are pixels a side; `preprocessing` is the mode of
    `keras.applications.imagenet_utils.preprocess_input`, or `"lite"`, or `"none"` where the model
    does it itself; `paper` and `source` say where the idea and the figures are from; `builder` is
    "module:function"; `top5` and the files are None where nothing is published.
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


@functools.cache
def entries() -> tuple[Entry, ...]:
    """All models, families together.

    Raises:
        ArgumentError: the table is not beside the package.
    """
    if not ZOO.is_file():
        raise ArgumentError(
            f"{ZOO.name} is not beside the package. Install it from the course's folder: "
            "pip install -e ."
        )
    with ZOO.open(newline="", encoding="utf-8") as file:
        return tuple(_entry(row) for row in csv.DictReader(file))


def names() -> list[str]:
    """The models' names, in the table's order."""
    return [entry.name for entry in entries()]


def within(
    top1: float = 0.0,
    size_mb: float = math.inf,
    work: float = math.inf,
    counted: Mapping[str, float] | None = None,
) -> list[Entry]:
    """The models within limits, the most accurate first.

    Args:
        top1: at least.
        size_mb: of the weight file, at most.
        work: at most, in the unit of `counted`; a model that is not in `counted` fits no limit.
        counted: a model's name → what one picture costs it, such as billions of multiply-adds.

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


def find(name: str) -> Entry:
    """A model's record; upper and lower case, `-` and `_` do not matter.

    Raises:
        ArgumentError: no such model; the nearest name is offered.

    >>> find("efficientnet-lite0").parameters
    4694024
    """
    wanted = _plain(str(name))  # a function of Keras may be given, and then none is found
    for entry in entries():
        if _plain(entry.name) == wanted:
            return entry
    raise ArgumentError(f"No model {name!r} in the catalogue. {nearest(name, names())}")


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
