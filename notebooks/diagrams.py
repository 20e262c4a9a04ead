"""Diagrams of a network's blocks: written as lists, read from a Keras model, and drawn.

A block is a list: the channels that come in, then the layers from top to bottom. `"conv 3×3, 64"`
is a convolution with 64 filters; `"depthwise 3×3"`, `"BN"` and `"ReLU"` leave the number of
channels as it is. Where the data take several ways, a tuple says how these are joined (`"add"`,
`"multiply"` or `"concat"`) and has a list for each; an empty list is a skip connection.

    [256, ("add", ["conv 1×1, 64", "BN", "ReLU", "conv 3×3, 256", "BN"], []), "ReLU"]
"""

import io
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib.style
from IPython.display import Image
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, PathPatch, Polygon, Rectangle
from matplotlib.path import Path

from helpers.errors import ArgumentError, nearest

if TYPE_CHECKING:
    import keras

Block = list[Any]

COLOURS = {
    "convolution": "#86BDE6",
    "depthwise or grouped": "#F3BE52",
    "pooling": "#85CDB4",
    "normalisation, scaling": "#C6B3DE",
    "activation": "#F6EB9A",
}
KINDS = {  # by the first word of a step; any other is an activation
    "conv": "convolution",
    "dense": "convolution",
    "depthwise": "depthwise or grouped",
    "grouped": "depthwise or grouped",
    "max": "pooling",
    "avg": "pooling",
    "global": "pooling",
    "BN": "normalisation, scaling",
    "LN": "normalisation, scaling",
    "LayerScale": "normalisation, scaling",
    "×": "normalisation, scaling",
}
WORDS = {  # of layers; empty if nothing changes in prediction
    "BatchNormalization": "BN",
    "LayerNormalization": "LN",
    "LayerScale": "LayerScale",
    "GlobalAveragePooling2D": "global average",
    "Add": "plus",
    "Multiply": "times",
    "ZeroPadding2D": "",
    "Dropout": "",
    "StochasticDepth": "",
    "Reshape": "",
}
FLOW, LINE, SKIP, INK = "#E9EDF1", "#9AA5B1", "#D55E00", "#333333"
# In inches: the widest layer; the height of a layer, of a thin one (BN, activation), of a place
# where ways part or join; the room for a label, and between columns.
WIDEST, LAYER, THIN, FORK, LABEL, BETWEEN, GAP = 1.0, 0.34, 0.16, 0.4, 1.02, 0.1, 0.25


def channels(block: Block) -> list[int]:
    """List the channels before the first step and after each one; refuse ways that can't be joined.

    Example:
        >>> channels([256, ("concat", ["conv 3×3, 32", "BN"], [])])
        [256, 288]
    """
    counts = [block[0]]
    for step in block[1:]:
        if isinstance(step, str):
            number = step.partition(",")[2]
            counts.append(int(number) if number else counts[-1])
            continue
        join, *branches = step
        ends = [channels([counts[-1], *branch])[-1] for branch in branches]
        if join == "add" and len(set(ends)) > 1:
            raise ArgumentError(f"add: expected branches with equally many channels, got {ends}.")
        counts.append(sum(ends) if join == "concat" else ends[0])
    return counts


def read(model: "keras.Model", first: str, last: str) -> Block:
    """Read from a Keras model the block that follows the layer `first` and ends with `last`.

    What changes neither numbers nor channels in prediction (padding, dropout, reshaping) is left
    out. All that flows into `last` must come from `first`.

    Example:
        >>> from helpers.backend import keras
        >>> model = keras.applications.MobileNet(weights=None)
        >>> read(model, "conv_pw_5_relu", "conv_pw_6_relu")[:4]
        [256, 'depthwise 3×3 /2', 'BN', 'ReLU6']
    """
    operations = {operation.name: operation for operation in model.operations}
    for name in (first, last):
        if name not in operations:
            raise ArgumentError(f"{model.name}: no layer {name!r}. {nearest(name, operations)}")
    start = operations[first].output
    # The way to each tensor: the tensors on it, each with the steps that make it of the one before.
    ways: dict[int, list[tuple[int, Block]]] = {id(start): []}
    for operation in model.operations[: model.operations.index(operations[last]) + 1]:
        inputs = operation.input if isinstance(operation.input, list) else [operation.input]
        if not inputs or not all(id(tensor) in ways for tensor in inputs):
            continue
        before = [ways[id(tensor)] for tensor in inputs]
        shared = _shared(before)
        steps: Block = []
        if len(before) == 1:
            steps += describe(operation)
        else:
            rest = [[step for _, steps in way[len(shared) :] for step in steps] for way in before]
            steps.append(_joined(operation, rest))
        ways[id(operation.output)] = [*shared, (id(operation.output), steps)]
    end = id(operations[last].output)
    if end not in ways:
        raise ArgumentError(f"{model.name}: {last!r} takes more than what comes from {first!r}.")
    return [start.shape[-1], *(step for _, steps in ways[end] for step in steps)]


def _shared(ways: Sequence[Block]) -> Block:
    """List what all ways begin with."""
    shared: Block = []
    for places in zip(*ways, strict=False):
        if places.count(places[0]) < len(places):
            break
        shared.append(places[0])
    return shared


def _joined(operation: Any, branches: list[Block]) -> tuple[Any, ...]:
    kind = {"Multiply": "multiply", "Concatenate": "concat"}.get(type(operation).__name__, "add")
    if kind == "add":  # the shortcut comes last
        branches.sort(key=lambda branch: -len(str(branch)))
    if hasattr(operation, "scale"):  # InceptionResNetV2's layer, which scales and adds
        branches[0].append(f"× {operation.scale:g}")
    return (kind, *branches)


def describe(operation: Any) -> list[str]:
    """Say what a layer does, and what its activation; nothing, if it changes nothing.

    Example:
        >>> from helpers.backend import keras
        >>> layer = keras.layers.Dense(10, activation="relu")
        >>> describe(layer)
        ['dense, 10', 'ReLU']
    """
    kind = type(operation).__name__
    if kind in WORDS:
        return [WORDS[kind]] if WORDS[kind] else []
    if kind == "Activation":
        return _function(operation.activation)
    if kind == "ReLU":
        return ["ReLU" if operation.max_value is None else f"ReLU{operation.max_value:g}"]
    if kind == "Dense":
        return [f"dense, {operation.units}", *_function(operation.activation)]
    pooling = "Pooling" in kind
    words = "×".join(map(str, operation.pool_size if pooling else operation.kernel_size))
    if operation.strides[0] > 1 and not (pooling and operation.strides == operation.pool_size):
        words += f" /{operation.strides[0]}"
    if pooling:
        return [f"{'max' if kind.startswith('Max') else 'avg'} pool {words}"]
    before, after = operation.input.shape[-1], operation.output.shape[-1]
    if kind == "SeparableConv2D":
        return [f"depthwise {words}", f"conv 1×1, {after}", *_function(operation.activation)]
    groups = before if kind == "DepthwiseConv2D" else getattr(operation, "groups", 1)
    name = "depthwise" if groups == before > 1 else "grouped" if groups > 1 else "conv"
    if name != "depthwise" or before != after:
        words += f", {after}"
    return [f"{name} {words}", *_function(operation.activation)]


def _function(activation: Any) -> list[str]:
    names = {"linear": [], "relu": ["ReLU"], "gelu": ["GELU"], "silu": ["swish"]}
    name = activation.__name__
    return names.get(name, [name.replace("_", " ").replace("silu", "swish")])


def draw(blocks: Mapping[str, Block]) -> Image:
    """Draw blocks side by side, each under its name. A layer is as wide as it has channels."""
    scale = WIDEST / max(count for block in blocks.values() for count in _counts(block))
    sizes = [_size(block, scale) for block in blocks.values()]
    handles = _legend(blocks.values())
    columns = math.ceil(len(handles) / 2)
    wide = max(sum(left + right + GAP for left, right, _ in sizes), 1.75 * columns)
    high = max(height for _, _, height in sizes) + 1.45
    with matplotlib.style.context("helpers.lessons"):
        figure = Figure(figsize=(wide, high))
        figure.set_layout_engine("none")
        axis = figure.add_axes((0, 0, 1, 1), xlim=(0, wide), ylim=(high, 0))
        axis.set_axis_off()
        x = (wide - sum(left + right + GAP for left, right, _ in sizes) + GAP) / 2
        for (name, block), (left, right, height) in zip(blocks.items(), sizes, strict=True):
            x += left
            count = channels(block)[-1]
            axis.text(x, 0.15, name, ha="center", va="center", fontsize=9.5, fontweight="bold")
            _band(axis, x, 0.3, 0.55, block[0] * scale)
            _label(axis, x + block[0] * scale / 2, 0.42, str(block[0]))
            _draw(axis, x, 0.55, block, scale)
            _band(axis, x, 0.55 + height, 0.73 + height, count * scale)
            if block[-1][0] != "concat":
                _label(axis, x + count * scale / 2, 0.65 + height, str(count))
            axis.fill([x - 0.09, x + 0.09, x], [*[0.73 + height] * 2, 0.82 + height], LINE)
            x += right + GAP
        figure.legend(handles=handles, loc="lower center", ncols=columns, handlelength=1.4)
        file = io.BytesIO()
        figure.savefig(file, format="png", dpi=150)
    return Image(file.getvalue(), width=int(100 * wide))


def _legend(blocks: Iterable[Block]) -> list[Patch | Line2D]:
    """Name what is drawn: the kinds of layers, the data, and the ways in which branches join."""
    steps = [step for block in blocks for step in _steps(block[1:])]
    kinds = {_kind(step) for step in steps if isinstance(step, str)}
    forks = [step for step in steps if isinstance(step, tuple)]
    joins = {fork[0] for fork in forks}
    handles: list[Patch | Line2D] = [Patch(color=FLOW, label="data: as wide as its channels")]
    handles += [Patch(color=COLOURS[kind], label=kind) for kind in COLOURS if kind in kinds]
    if any(fork[0] != "multiply" and [] in fork for fork in forks):
        handles.append(Line2D([], [], color=SKIP, linewidth=2.5, label="skip connection"))
    signs = {"add": (r"$\oplus$", "added"), "multiply": (r"$\otimes$", "multiplied")}
    for join, (sign, label) in signs.items():
        if join in joins:
            style = {"marker": sign, "markersize": 9, "markeredgewidth": 0.3, "linestyle": ""}
            handles.append(Line2D([], [], color=INK, label=label, **style))
    if "concat" in joins:
        handles.append(Line2D([], [], color=INK, linewidth=4, label="concatenated"))
    return handles


def _draw(axis: Axes, x: float, y: float, block: Block, scale: float) -> float:
    """Draw the steps of a block from a point down; return where they end."""
    counts = channels(block)
    side = x + max(counts) * scale / 2
    for step, count, after in zip(block[1:], counts, counts[1:], strict=False):
        if isinstance(step, tuple):
            y = _draw_fork(axis, x, y, count, step, scale)
            continue
        height = _height(step)
        top, bottom = (max(number * scale / 2, 0.03) for number in (count, after))
        corners = [(x - top, y), (x + top, y), (x + bottom, y + height), (x - bottom, y + height)]
        axis.add_patch(Polygon(corners, facecolor=COLOURS[_kind(step)], edgecolor="white", zorder=3))
        _label(axis, side, y + height / 2, step, thin=height == THIN)
        y += height
    return y


def _draw_fork(axis: Axes, x: float, y: float, count: int, step: Any, scale: float) -> float:
    join, *branches = step
    places, height = _columns(count, step, scale)
    top, low, bottom = y + FORK, y + height - FORK, y + height
    ends = [channels([count, *branch])[-1] for branch in branches]
    total = channels([count, step])[-1]
    sign, arrives = bottom - 0.12, x - total * scale / 2
    straight = join != "concat" or not branches[0]  # the first branch goes on, others leave it
    for number, (place, branch, end) in enumerate(zip(places, branches, ends, strict=True)):
        column = x + place
        colour = LINE if branch or join == "multiply" else SKIP
        stops = _draw(axis, column, top, [count, *branch], scale)
        arrives += end * scale
        to = (arrives - end * scale / 2, bottom)
        if straight and number == 0:
            _band(axis, x, y, top, count * scale)
            _band(axis, x, stops, bottom, end * scale)
            if colour == SKIP:
                _line(axis, (x, y), colour, ("to", (x, bottom - 0.03)))
            continue
        edge = (x + math.copysign(count * scale / 2, place), y + 0.14)
        leave = ("turn", (column, edge[1]), (column, top)) if straight else ("swing", (column, top))
        arrive = ("swing", to) if join == "concat" else ("turn", (column, sign), (x, sign))
        _line(axis, edge if straight else (x, y), colour, leave, ("to", (column, low)), arrive)
    if join == "concat":
        _band(axis, x, bottom - 0.06, bottom, max(total * scale, 0.2), INK)
        _label(axis, x + total * scale / 2, bottom - 0.03, f"concat, {total}")
    else:
        circle = {"boxstyle": "circle,pad=0.15", "facecolor": INK, "edgecolor": "none"}
        word = {"add": "+", "multiply": "×"}[join]
        axis.text(x, sign, word, color="w", fontsize=9, ha="center", va="center", bbox=circle, zorder=5)
    return bottom


def _line(axis: Axes, start: tuple[float, float], colour: str, *parts: Any) -> None:
    """Draw a line of parts: straight `"to"` a point, a `"swing"` sideways or a `"turn"` by a corner."""
    vertices, codes = [start], [Path.MOVETO]
    for kind, *points in parts:
        if kind == "swing":
            (x0, y0), (x1, y1) = vertices[-1], points[0]
            points = [(x0, (y0 + y1) / 2), (x1, (y0 + y1) / 2), (x1, y1)]
        vertices += points
        codes += [{1: Path.LINETO, 2: Path.CURVE3, 3: Path.CURVE4}[len(points)]] * len(points)
    wide = 2.5 if colour == SKIP else 1.5
    axis.add_patch(PathPatch(Path(vertices, codes), fill=False, edgecolor=colour, linewidth=wide, zorder=2))


def _band(axis: Axes, x: float, top: float, bottom: float, width: float, colour: str = FLOW) -> None:
    layer = 1 if colour == FLOW else 4
    axis.add_patch(Rectangle((x - width / 2, top), width, bottom - top, color=colour, zorder=layer, lw=0))


def _label(axis: Axes, x: float, y: float, words: str, thin: bool = True) -> None:
    size, colour = (6.5, "#666666") if thin else (8, "black")
    axis.text(x + 0.07, y, words, va="center", fontsize=size, color=colour, zorder=4)


def _size(block: Block, scale: float) -> tuple[float, float, float]:
    """Say how far a block goes to the left and right of its middle, and its height."""
    counts = channels(block)
    left = right = max(counts) * scale / 2
    right += LABEL if len(block) > 1 else 0.1
    height = 0.0
    for step, count in zip(block[1:], counts, strict=False):
        if isinstance(step, str):
            height += _height(step)
            continue
        places, high = _columns(count, step, scale)
        sizes = [_size([count, *branch], scale) for branch in step[1:]]
        left = max(left, *(size[0] - place for place, size in zip(places, sizes, strict=True)))
        right = max(right, *(size[1] + place for place, size in zip(places, sizes, strict=True)))
        height += high
    return left, right, height


def _columns(count: int, step: tuple[Any, ...], scale: float) -> tuple[list[float], float]:
    """Place the branches of a fork beside the middle line; and say how high it is."""
    join, *branches = step
    sizes = [_size([count, *branch], scale) for branch in branches]
    order = list(range(len(branches)))
    if join == "add":  # the shortcut is on the left, where no labels are
        order.reverse()
    places, x = [0.0] * len(branches), 0.0
    for number in order:
        left, right, _ = sizes[number] if branches[number] or join != "add" else (0.05, 0.1, 0)
        places[number] = x + left
        x += left + right + BETWEEN
    middle = places[0] if join != "concat" or not branches[0] else (places[0] + places[-1]) / 2
    return [place - middle for place in places], max(size[2] for size in sizes) + 2 * FORK


def _kind(step: str) -> str:
    return KINDS.get(step.replace(",", " ").split()[0], "activation")


def _height(step: str) -> float:
    return THIN if _kind(step) in ("activation", "normalisation, scaling") else LAYER


def _steps(steps: Sequence[Any]) -> Iterator[Any]:
    for step in steps:
        yield step
        if isinstance(step, tuple):
            for branch in step[1:]:
                yield from _steps(branch)


def _counts(block: Block) -> Iterator[int]:
    counts = channels(block)
    yield from counts
    for step, count in zip(block[1:], counts, strict=False):
        if isinstance(step, tuple):
            for branch in step[1:]:
                yield from _counts([count, *branch])
