"""Figures of pictures, predictions and training; each returns an image that a notebook shows.

The images are JPEG: a figure full of photographs is ten times as large as PNG, and notebooks are
kept with their outputs. Nothing here uses pyplot, whose list of open figures is not for threads: a
widget may draw while a cell does.
"""

import io
import itertools
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from IPython.display import Image
from matplotlib.figure import Figure
from matplotlib.text import Text

from helpers.catalogue import Entry
from helpers.errors import printable
from helpers.finetune import FreezeCost

BLUE, ORANGE, GREY, GREEN, RED = "#2563eb", "#d97706", "#9ca3af", "#059669", "#dc2626"


def top_bars(
    image: np.ndarray,
    answers: Mapping[str, Sequence[tuple[str, str, float]]],
    title: str,
) -> Image:
    """A picture, and beside it the best labels of one or more networks as bars.

    Args:
        image: (rows, columns, 3) uint8.
        answers: a network's name → what its `decode` gave for this picture.
        title: over it all.
    """
    figure = Figure(figsize=(4 + 4.2 * len(answers), 3.2), layout="constrained")
    axes = figure.subplots(1, 1 + len(answers), width_ratios=[1] + [1.1] * len(answers))
    figure.suptitle(title)
    axes[0].imshow(image)
    axes[0].set_axis_off()
    for axis, (name, best) in zip(axes[1:], answers.items(), strict=True):
        labels = [label.replace("_", " ") for _, label, _ in best]
        values = [probability for *_, probability in best]
        bars = axis.barh(labels, values, color=[BLUE] + [GREY] * (len(values) - 1))
        axis.bar_label(bars, fmt="%.2f", padding=3)
        axis.invert_yaxis()
        axis.set(xlim=(0, 1.12), xlabel="probability", ylabel="label", title=name)
        axis.spines[["top", "right"]].set_visible(False)
    return _image(figure)


def gallery(
    pictures: Sequence[np.ndarray],
    captions: Sequence[str],
    title: str,
    columns: int = 5,
    colours: Sequence[str] | None = None,
) -> Image:
    """Pictures in rows with a caption under each; `colours` are of the captions."""
    rows = max(1, -(-len(pictures) // columns))
    figure = Figure(figsize=(2.0 * columns, 2.25 * rows + 0.4), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    figure.suptitle(title)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[], frame_on=False)
    colours = colours or ["#1f2937"] * len(pictures)
    for axis, picture, caption, colour in zip(axes.flat, pictures, captions, colours, strict=False):
        axis.imshow(picture)
        axis.set_xlabel(caption, fontsize=9, color=colour)
    return _image(figure)


def curves(histories: Mapping[str, Mapping[str, Sequence[float]]], title: str) -> Image:
    """Loss and accuracy by epoch of one or more trainings: solid on training, dashed on validation.

    Args:
        histories: a name → `model.fit(…).history`; accuracy is drawn where it was measured.
        title: over it all.
    """
    measures = [m for m in ("loss", "accuracy") if any(m in each for each in histories.values())]
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    axes = figure.subplots(1, len(measures), squeeze=False)[0]
    figure.suptitle(title)
    palette = (BLUE, ORANGE, GREEN, RED, GREY)
    for axis, measure in zip(axes, measures, strict=True):
        for (name, history), colour in zip(histories.items(), palette, strict=False):
            epochs = np.arange(1, len(history[measure]) + 1)
            axis.plot(epochs, history[measure], ".-", color=colour, label=f"{name}, training")
            if f"val_{measure}" in history:
                axis.plot(
                    epochs,
                    history[f"val_{measure}"],
                    ".--",
                    color=colour,
                    label=f"{name}, validation",
                )
        axis.set(xlabel="epoch", ylabel=measure, title=f"{measure} by epoch")
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.set_ylim(0, 1.02 if measure == "accuracy" else None)
        axis.spines[["top", "right"]].set_visible(False)
    axes[-1].legend(frameon=False, fontsize=8)
    return _image(figure)


def zoo(kept: Collection[Entry], entries: Sequence[Entry], title: str) -> Image:
    """Accuracy against the size of the weight file: those that are kept in blue, the rest grey.

    Args:
        kept: of the entries; those that no smaller one of them beats carry their names,
            as far as there is room.
        entries: all that are drawn.
        title: over it.
    """
    figure = Figure(figsize=(10, 5), layout="constrained")
    axis = figure.subplots()
    left = [entry for entry in entries if entry not in kept]
    for group, colour, label in ((left, GREY, "outside"), (kept, BLUE, "within the limits")):
        sizes, accuracies = [e.size_mb for e in group], [e.top1 for e in group]
        axis.scatter(sizes, accuracies, color=colour, label=f"{label}: {len(group)}")
    lowest = 1.0
    for one in sorted(kept, key=lambda entry: -entry.top1):
        beaten = any(other.size_mb <= one.size_mb and other.top1 > one.top1 for other in kept)
        if not beaten and one.top1 < lowest - 0.009:  # else one name would lie on the other
            lowest = one.top1
            style: dict[str, Any] = {"textcoords": "offset points", "ha": "right", "fontsize": 8}
            axis.annotate(one.name, (one.size_mb, one.top1), (-5, 3), **style)
    axis.set(xscale="log", xlim=(4, 2000), xlabel="MB of the weight file (log scale)")
    axis.set(title=title, ylim=(0.66, 0.89), ylabel="top-1 accuracy")
    axis.set_xticks([10, 30, 100, 300, 1000], ["10", "30", "100", "300", "1000"])
    axis.legend(frameon=False, loc="lower right")
    axis.spines[["top", "right"]].set_visible(False)
    return _image(figure)


def feature_maps(maps: np.ndarray, title: str, count: int = 6) -> Image:
    """The channels that vary most over the picture, the liveliest first; bright is active.

    Args:
        maps: (rows, columns, channels), what a layer gives for one picture.
        title: over it all.
        count: of channels.
    """
    liveliest = np.argsort(-maps.std(axis=(0, 1)), kind="stable")[:count]
    figure = Figure(figsize=(1.9 * count, 2.6), layout="constrained")
    axes = figure.subplots(1, count, squeeze=False)[0]
    figure.suptitle(title)
    for axis in axes:
        axis.set_axis_off()
    for axis, channel in zip(axes, liveliest, strict=False):
        axis.imshow(maps[..., channel])
        axis.set_title(f"channel {channel}", fontsize=9)
    return _image(figure)


def freeze_costs(costs: Sequence[FreezeCost], chosen: int) -> Image:
    """The blocks' parameters, grey where they are frozen; memory and time for each choice.

    Args:
        costs: of `finetune.freeze_costs`.
        chosen: which of them is marked.
    """
    names = [cost.block or "none" for cost in costs]
    own = [a.trainable - b.trainable for a, b in itertools.pairwise(costs)]
    colours = [GREY] * chosen + [BLUE] * (len(own) - chosen)
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    figure.suptitle(f"The first block that is trained: {names[chosen]}")
    bars, memory, time = figure.subplots(1, 3)
    bars.bar(names[:-1], [count / 1e6 for count in own], color=colours)
    bars.set(title="parameters (blue: trained)", ylabel="millions")
    for axis, values, title, unit in (
        (memory, [cost.memory_mb for cost in costs], "memory for a batch", "MB"),
        (time, [cost.seconds for cost in costs], "one epoch, expected", "seconds"),
    ):
        axis.plot(names, values, color=GREY)
        axis.plot(names[chosen], values[chosen], "o", color=BLUE)
        axis.set(title=title, ylabel=unit, ylim=(0, max(values) * 1.08))
    for axis in (bars, memory, time):
        axis.set_xlabel("first block that is trained" if axis is not bars else "block")
        axis.tick_params("x", rotation=90, labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    return _image(figure)


def _image(figure: Figure) -> Image:
    for text in figure.findobj(Text):
        text.set_parse_math(False)  # type: ignore[attr-defined]  # a name with two $ in it
        text.set_text(printable(text.get_text()))
    file = io.BytesIO()
    figure.savefig(file, format="jpeg", dpi=100, pil_kwargs={"quality": 85})
    return Image(data=file.getvalue(), format="jpeg", width=int(figure.get_figwidth() * 80))
