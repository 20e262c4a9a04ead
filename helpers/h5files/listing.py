"""What is inside a weight file, for people: as text, and as a picture in a notebook."""

import html
import math
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from helpers.errors import printable
from helpers.h5files import layouts

LAYOUTS = {
    "nb_layers": "Keras before 1.0, layers by number",
    "layer_names": "Keras 1 and 2, weights by the layers' names",
    "whole_model": "a whole model as HDF5",
    "keras3_weights": "Keras 3, weights by the layers' classes",
    "keras": "Keras 3, a whole model as an archive",
    "hdf5": "HDF5, and no layout of Keras",
}


class Weight(NamedTuple):
    """An array of a file, as declared; it was not read."""

    name: str
    shape: tuple[int, ...]
    dtype: str


class Layer(NamedTuple):
    """A layer of a file."""

    name: str
    weights: tuple[Weight, ...]

    @property
    def parameters(self) -> int:
        """Numbers in all its arrays."""
        return sum(math.prod(weight.shape) for weight in self.weights)


@dataclass(frozen=True)
class Tree:
    """A file's layers, its attributes, and the links in it, which were not followed."""

    file: str
    layout: str
    attributes: dict[str, str]
    layers: tuple[Layer, ...]
    links: tuple[str, ...]

    @property
    def parameters(self) -> int:
        """Numbers in all arrays of the file."""
        return sum(layer.parameters for layer in self.layers)

    def __str__(self) -> str:
        lines = [f"{self.file}: {LAYOUTS[self.layout]}, {self.parameters:,} parameters"]
        lines += [f"  {name} = {_cut(text)}" for name, text in self.attributes.items()]
        for layer in self.layers:
            lines += [f"  {layer.name}"] if layer.weights else []
            lines += [f"    {w.name:32} {w.shape!s:22} {w.dtype}" for w in layer.weights]
        empty = sum(not layer.weights for layer in self.layers)
        if empty:
            lines.append(f"  and {empty} layer{'s' if empty > 1 else ''} without weights")
        lines += [f"  not followed: {link}" for link in self.links]
        return printable("\n".join(line.replace("\n", "\\n") for line in lines))

    def _repr_html_(self) -> str:
        """A row for each layer, with a bar for its parameters; a click shows its arrays."""
        most = max((layer.parameters for layer in self.layers), default=0) or 1
        notes = "".join(
            f"<div><code>{_escaped(name)}</code> = {_escaped(_cut(text))}</div>"
            for name, text in self.attributes.items()
        )
        notes += "".join(f"<div><b>not followed:</b> {_escaped(link)}</div>" for link in self.links)
        rows = "".join(_row(layer, most) for layer in self.layers if layer.weights)
        return (
            f"<div><b>{_escaped(self.file)}</b>: {LAYOUTS[self.layout]}, "
            f"{self.parameters:,} parameters{notes}{rows}</div>"
        )


def tree(path: str | Path) -> Tree:
    """Lists a weight file: its layout, and each layer's arrays as declared; reads none of them.

    Raises:
        WeightsError: no such file.
        WeightsError: no HDF5 file, or a damaged one.
    """
    with layouts.opened(path) as contents:
        return Tree(
            contents.path.name,
            contents.layout,
            contents.attributes,
            tuple(
                Layer(
                    layer.name,
                    tuple(Weight(w.name, w.shape, str(w.dataset.dtype)) for w in layer.weights),
                )
                for layer in contents.layers
            ),
            tuple(contents.links),
        )


def _escaped(text: str) -> str:
    return html.escape(printable(text))


def _cut(text: str, length: int = 72) -> str:
    return text if len(text) <= length else f"{text[:length]}… ({len(text):,} characters)"


def _row(layer: Layer, most: int) -> str:
    width = 100 * layer.parameters / most
    weights = "".join(
        f"<div><code>{_escaped(w.name)}</code> {w.shape} {_escaped(w.dtype)}</div>"
        for w in layer.weights
    )
    return (
        '<details style="margin: 1px 0"><summary style="display: grid; align-items: center; '
        'grid-template-columns: 15em 8em 1fr; gap: 1em; cursor: pointer">'
        f'<code style="overflow: hidden; text-overflow: ellipsis">▸ {_escaped(layer.name)}</code>'
        f'<span style="text-align: right">{layer.parameters:,}</span>'
        f'<span style="display: block; height: .8em; width: {width:.2f}%; min-width: 1px; '
        f'background: #4c78a8"></span></summary><div style="padding-left: 2em">{weights}</div>'
        "</details>"
    )
