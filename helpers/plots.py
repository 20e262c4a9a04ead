"""Figures of pictures, predictions and training, as JPEG images that a notebook shows.

Without pyplot, because a widget may draw in a thread while a cell does. `title` is above a figure,
and `alt` describes it to those who can't see it.
"""

import contextlib
import io
import itertools
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib.style
import numpy as np
from IPython.display import Image
from matplotlib.figure import Figure
from matplotlib.text import Text

from helpers.errors import printable

if TYPE_CHECKING:
    from helpers.zoo import Entry

# Okabe and Ito, "Color Universal Design" (2008).
PALETTE = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#999999"
BLUE, ORANGE, GREEN, RED, PINK, SKY, GREY = PALETTE
SHOWN_DPI = 100  # fewer than are drawn, so that text is sharp on any screen

_drawing = threading.Lock()  # the style is set for the whole process while one figure is drawn


@contextlib.contextmanager
def _style() -> Iterator[None]:
    no_formulas = {"text.parse_math": False}  # a file's name may have two $ in it
    with _drawing, matplotlib.style.context(["helpers.lessons", no_formulas]):
        yield


@_style()
def answers(
    pictures: Sequence[Any],
    predictions: Sequence[Sequence[tuple[str, str, float]]],
    captions: Sequence[str] = (),
    title: str = "",
    alt: str = "",
    columns: int | None = None,
) -> Image:
    """Draw pictures in rows, and below each its best labels as bars.

    Args:
        pictures: arrays (rows, columns, 3), uint8, or Pillow images.
        predictions: for each what `decode_predictions` gives for it, the best label first.
        captions: above each, such as a network's name.
        columns: how many pictures stand in a row; all of them if not given.
    """
    columns = min(columns or len(pictures), len(pictures))
    rows = -(-len(pictures) // columns)
    top = max(len(labels) for labels in predictions)
    side = min(2.4, 10 / columns)
    height = side + 0.22 * top + (0.2 if captions else 0)
    figure = Figure(figsize=(side * columns, rows * height))
    heights = [side, 0.22 * top] * rows
    axes = figure.subplots(2 * rows, columns, squeeze=False, height_ratios=heights)
    for axis in axes.flatten():
        axis.set_axis_off()
    for place, picture in enumerate(pictures):
        row, column = divmod(place, columns)
        above, below = axes[2 * row, column], axes[2 * row + 1, column]
        above.imshow(np.asarray(picture), cmap="gray")
        above.set_title(captions[place] if captions else "")
        for rank, (_, label, probability) in enumerate(predictions[place]):
            below.barh(rank, probability, height=0.9, color=SKY if rank == 0 else "#DDDDDD")
            below.text(0.02, rank, f"{label.replace('_', ' ')} {probability:.2f}", va="center")
        below.set(xlim=(0, 1), ylim=(top - 0.5, -0.5))
    return _image(figure, title, alt, dpi=115)


@_style()
def gallery(
    pictures: Sequence[np.ndarray],
    captions: Sequence[str],
    title: str = "",
    columns: int = 5,
    colours: Sequence[str] | None = None,
    alt: str = "",
) -> Image:
    """Draw pictures in rows, with a caption under each.

    Args:
        pictures: (rows, columns, 3), or (rows, columns) for a grey one.
        colours: of the captions, which are then bold; black if not given.
    """
    columns = max(1, min(columns, len(pictures)))
    rows, side = max(1, -(-len(pictures) // columns)), min(2.0, 7.5 / columns)
    tallest = max((picture.shape[0] / picture.shape[1] for picture in pictures), default=1)
    lines = max((caption.count("\n") + 1 for caption in captions), default=1)
    height = rows * (side * min(tallest, 1.5) + 0.14 * lines + 0.1) + (0.3 if title else 0)
    figure = Figure(figsize=(side * columns, height))
    axes = figure.subplots(rows, columns, squeeze=False).flatten()
    for axis in axes:
        axis.set(xticks=[], yticks=[], frame_on=False)
    weight = "bold" if colours else "normal"
    colours = colours or ["black"] * len(pictures)
    for axis, picture, caption, colour in zip(axes, pictures, captions, colours, strict=False):
        axis.imshow(picture, cmap="gray")
        axis.set_xlabel(caption, fontsize=8, color=colour, fontweight=weight)
    return _image(figure, title, alt, dpi=115)


@_style()
def curves(histories: Mapping[str, Mapping[str, Sequence[float]]], title: str = "") -> Image:
    """Draw loss and accuracy by epoch: solid on training pictures, dashed on validation pictures.

    Args:
        histories: of `model.fit(...)`, by name.
    """
    measures = [m for m in ("loss", "accuracy") if any(m in each for each in histories.values())]
    figure = Figure(figsize=(8, 2.8))
    axes = figure.subplots(1, len(measures), squeeze=False)[0]
    for axis, measure in zip(axes, measures, strict=True):
        axis.set(xlabel="epoch", ylabel=measure)
        axis.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        for (name, history), colour in zip(histories.items(), itertools.cycle(PALETTE)):
            for prefix, line, rows in (("", ".-", "training"), ("val_", ".--", "validation")):
                values = history.get(prefix + measure, [])
                epochs = range(1, len(values) + 1)
                if values:
                    axis.plot(epochs, values, line, color=colour, label=f"{name}, {rows}")
        axis.set_ylim(0, 1.02 if measure == "accuracy" else None)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right center")
    return _image(figure, title)


@_style()
def zoo(kept: Collection["Entry"], entries: Sequence["Entry"], alt: str = "") -> Image:
    """Draw networks' accuracy against the size of their weight files, those `kept` in blue.

    A name is beside each that no smaller one of them beats, unless names would overlap.
    """
    figure = Figure(figsize=(8, 4))
    axis = figure.subplots()
    outside = [entry for entry in entries if entry not in kept]
    for group, colour, marker, label in (
        (outside, GREY, "x", "outside"),
        (kept, BLUE, "o", "within the limits"),
    ):
        sizes, accuracies = [e.size_mb for e in group], [e.top1 for e in group]
        axis.scatter(sizes, accuracies, c=colour, marker=marker, label=f"{label}: {len(group)}")
    lowest = 1.0
    for one in sorted(kept, key=lambda entry: -entry.top1):
        beaten = any(other.size_mb <= one.size_mb and other.top1 > one.top1 for other in kept)
        if not beaten and one.top1 < lowest - 0.009:  # closer names would overlap
            lowest = one.top1
            axis.text(one.size_mb * 0.95, one.top1 + 0.003, one.name, ha="right", size=8)
    axis.set(xscale="log", xlim=(3, 2000), xlabel="MB of the weight file (log scale)")
    axis.set(ylim=(0.66, 0.89), ylabel="top-1 accuracy")
    axis.set_xticks([10, 30, 100, 300, 1000], ["10", "30", "100", "300", "1000"])
    axis.legend(loc="lower right")
    return _image(figure, alt=alt)


def _image(figure: Figure, title: str = "", alt: str = "", dpi: int = 150) -> Image:
    if title:
        figure.suptitle(title)
    for text in figure.findobj(Text):
        text.set_text(printable(text.get_text()))
    file = io.BytesIO()
    figure.savefig(file, format="jpeg", dpi=dpi, pil_kwargs={"quality": 85, "optimize": True})
    width = int(figure.get_figwidth() * SHOWN_DPI)
    return Image(data=file.getvalue(), format="jpeg", width=width, alt=printable(alt or title))
