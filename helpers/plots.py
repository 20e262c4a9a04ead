"""Figures of pictures, predictions and training; each returns an image that a notebook shows.

The images are JPEG: a figure full of photographs is ten times as large as PNG, and notebooks are
kept with their outputs.
"""

import io
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import Image
from matplotlib.figure import Figure

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
    figure, axes = plt.subplots(
        1,
        1 + len(answers),
        figsize=(4 + 4.2 * len(answers), 3.2),
        layout="constrained",
        width_ratios=[1] + [1.1] * len(answers),
    )
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
    figure, axes = plt.subplots(
        rows,
        columns,
        figsize=(2.0 * columns, 2.25 * rows + 0.4),
        layout="constrained",
        squeeze=False,
    )
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
        histories: a name → `model.fit(…).history`.
        title: over it all.
    """
    figure, axes = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    figure.suptitle(title)
    palette = (BLUE, ORANGE, GREEN, RED, GREY)
    for axis, measure in zip(axes, ("loss", "accuracy"), strict=True):
        for (name, history), colour in zip(histories.items(), palette, strict=False):
            epochs = np.arange(1, len(history[measure]) + 1)
            axis.plot(epochs, history[measure], color=colour, label=f"{name}, training")
            if f"val_{measure}" in history:
                axis.plot(
                    epochs,
                    history[f"val_{measure}"],
                    "--",
                    color=colour,
                    label=f"{name}, validation",
                )
        axis.set(xlabel="epoch", ylabel=measure, title=f"{measure} by epoch")
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylim(bottom=0)
    axes[1].set_ylim(0, 1.02)
    axes[1].legend(frameon=False, fontsize=8)
    return _image(figure)


def _image(figure: Figure) -> Image:
    file = io.BytesIO()
    figure.savefig(file, format="jpeg", dpi=100, pil_kwargs={"quality": 85})
    plt.close(figure)
    return Image(data=file.getvalue(), format="jpeg", width=int(figure.get_figwidth() * 80))
