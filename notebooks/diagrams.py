"""Diagrams of a network's blocks: written as lists, read from a Keras model, and drawn.

A block is a list: the channels that come in, then the layers from top to bottom. `"conv 3×3, 64"`
is a convolution with 64 filters; `"depthwise 3×3"`, `"BN"` and `"ReLU"` leave the number of
channels as it is. Where the data take several ways, a tuple says how these are joined (`"add"`,
`"multiply"` or `"concat"`) and has a list for each; an empty list is a skip connection.

    [256, ("add", ["conv 1×1, 64", "BN", "ReLU", "conv 3×3, 256", "BN"], []), "ReLU"]

A branch may start with `"from h, 44"`: it takes an input of its own, with 44 channels.
"""

import io
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib.style
from IPython.display import Image
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Patch, PathPatch, Polygon, Rectangle
from matplotlib.path import Path

from helpers.errors import ArgumentError, nearest

if TYPE_CHECKING:
    import keras

Block = list[Any]

KINDS = {  # the first word of a step, what it is called in the legend, its colour, its stripes'
    "conv": ("convolution", "#92C5EA", ""),
    "grouped": ("grouped convolution", "#92C5EA", "#BFDDF3"),
    "depthwise": ("depthwise convolution", "#F5C767", ""),
    "separable": ("separable convolution", "#F5C767", "#92C5EA"),
    "dense": ("dense", "#E5B3D0", ""),
    "pool": ("pooling", "#8AD0B9", ""),
    "norm": ("normalisation, scaling", "#E3E3E3", ""),
    "activation": ("activation", "#FAF3B4", ""),
}
FIRST_WORDS = {"max": "pool", "avg": "pool", "global": "pool", "BN": "norm", "LN": "norm"}
FIRST_WORDS |= {"LayerScale": "norm", "×": "norm"} | {word: word for word in list(KINDS)[:5]}
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
FLOW, SKIP, INK = "#CBD4DD", "#EFB08C", "#333333"
# In units of the drawing: a layer's box, the strip of an activation, the room between layers, where
# ways part or join, between branches; and the widest ribbon.
WIDE, HIGH, STRIP, GAP, FORK, BETWEEN, RIBBON = 1.6, 0.5, 0.27, 0.5, 0.75, 0.32, 0.55
INCHES = 0.62  # of one unit


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


def draw(blocks: Mapping[str, Block], alt: str = "") -> Image:
    """Draw blocks side by side, each under its name.

    The width of a ribbon is proportional to the channels, within one block.
    """
    with matplotlib.style.context("helpers.lessons"):
        sizes = [_size(block[1:]) for block in blocks.values()]
        wide = sum(left + right for left, right, _ in sizes) + 0.8 * len(sizes)
        high = max(height for _, _, height in sizes) + 1.9
        steps = {_kind(step) for block in blocks.values() for step in _layers(block[1:])}
        patches = [
            _filled(Patch(label=label), colour, stripes)
            for key, (label, colour, stripes) in KINDS.items()
            if key in steps
        ]
        columns = max(2, int(INCHES * wide / 1.75))
        legend = 0.15 + 0.18 * -(-len(patches) // columns)
        figure = Figure(figsize=(INCHES * wide, INCHES * high + legend))
        figure.set_layout_engine("none")
        figure.legend(handles=patches, loc="lower center", ncols=columns, handlelength=1.4)
        bottom = legend / figure.get_figheight()
        axis = figure.add_axes((0, bottom, 1, 1 - bottom))
        axis.set(xlim=(0, wide), ylim=(high, 0))
        axis.set_axis_off()
        x = 0.4
        for (name, block), (left, right, _) in zip(blocks.items(), sizes, strict=True):
            _Pen(axis, RIBBON / max(_all_channels(block))).block(x + left, name, block)
            x += left + right + 0.8
        file = io.BytesIO()
        figure.savefig(file, format="png", dpi=150)
    return Image(file.getvalue(), width=int(100 * figure.get_figwidth()), alt=alt)


def read(model: "keras.Model", first: str, last: str) -> Block:
    """Read from a Keras model the block that follows the layer `first` and ends with `last`.

    What changes neither numbers nor channels in prediction (padding, dropout, reshaping) is left
    out. Of the layers between, each way must begin at one layer and end in one.

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
    start = operations[first]
    graph = _Graph(model.operations, start, operations[last])
    return [start.output.shape[-1], *graph.way(start, None, graph.after[start])]


class _Graph:
    """The operations between two layers; `after` has for each one those that take its output."""

    def __init__(self, operations: Sequence[Any], first: Any, last: Any) -> None:
        self.makers = {id(operation.output): operation for operation in operations}
        self.places = {operation: place for place, operation in enumerate(operations)}
        self.after: dict[Any, list[Any]] = {first: []}
        for operation in operations[self.places[first] + 1 : self.places[last] + 1]:
            sources = [source for source in self.sources(operation) if source in self.after]
            if sources:
                self.after[operation] = []
            for source in sources:
                self.after[source].append(operation)
        self.last = last

    def sources(self, operation: Any) -> list[Any]:
        tensors = operation.input if isinstance(operation.input, list) else [operation.input]
        return [self.makers[id(tensor)] for tensor in tensors]

    def way(self, operation: Any, end: Any, ways: Sequence[Any]) -> Block:
        """List what follows an operation, by some of its ways, and comes before `end`."""
        steps: Block = []
        while True:
            if len(ways) == 1:
                following = ways[0]
                if following is not end:
                    steps += describe(following)
            else:
                following = self.join(ways)
                if following is end:
                    raise ArgumentError(f"{operation.name}: its ways can't be drawn one by one.")
                steps.append(self.fork(operation, ways, following))
            if following in (end, self.last):
                return _tidied(steps)
            operation, ways = following, self.after[following]

    def fork(self, operation: Any, ways: Sequence[Any], join: Any) -> tuple[Any, ...]:
        sources, branches = self.sources(join), {}
        for group in self.groups(ways, join):
            [place] = [
                place
                for place, source in enumerate(sources)
                if source in self.reached(group, join) or (source is operation and group == [join])
            ]
            branches[place] = [] if group == [join] else self.way(operation, join, group)
        ordered = [branches[place] for place in sorted(branches)]
        kind = {"Multiply": "multiply", "Concatenate": "concat"}.get(type(join).__name__, "add")
        if kind == "add":  # the shortcut comes last
            ordered.sort(key=lambda branch: -len(str(branch)))
        if hasattr(join, "scale"):  # InceptionResNetV2's layer, which scales and adds
            ordered[0].append(f"× {join.scale:g}")
        return (kind, *ordered)

    def join(self, ways: Sequence[Any]) -> Any:
        """Find the first operation that all ways come to."""
        return min(set.intersection(*map(self.passed, ways)), key=self.places.__getitem__)

    def passed(self, operation: Any) -> set[Any]:
        """Which operations can't be avoided from here, this one included."""
        later = [self.passed(following) for following in self.after[operation]]
        return {operation} | (set.intersection(*later) if later else set())

    def groups(self, ways: Sequence[Any], join: Any) -> list[list[Any]]:
        """Put ways together that meet before the join."""
        groups: list[list[Any]] = []
        for way in ways:
            met = [g for g in groups if self.reached(g, join) & self.reached([way], join)]
            groups = [group for group in groups if group not in met]
            groups.append([*itertools.chain(*met), way])
        return groups

    def reached(self, ways: Sequence[Any], join: Any) -> set[Any]:
        found = {way for way in ways if way is not join}
        return found.union(*(self.reached(self.after[way], join) for way in found))


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
    if kind == "GroupSum":  # of helpers.applications.resnext
        return [f"grouped, {operation.output.shape[-1]}"]
    if kind == "Dense":
        return [f"dense, {operation.units}", *_function(operation.activation)]
    pooling = "Pooling" in kind
    words = "×".join(map(str, operation.pool_size if pooling else operation.kernel_size))
    if operation.strides[0] > 1 and not (pooling and operation.strides == operation.pool_size):
        words += f" /{operation.strides[0]}"
    if pooling:
        return [f"{'max' if kind.startswith('Max') else 'avg'} pool {words}"]
    before, after = operation.input.shape[-1], operation.output.shape[-1]
    groups = before if kind == "DepthwiseConv2D" else getattr(operation, "groups", 1)
    name = "separable" if kind == "SeparableConv2D" else "grouped" if groups > 1 else "conv"
    if groups == before > 1:
        name = "depthwise"
    if name != "depthwise" or before != after:
        words += f", {after}"
    return [f"{name} {words}", *_function(operation.activation)]


def _function(activation: Any) -> list[str]:
    names = {"linear": [], "relu": ["ReLU"], "gelu": ["GELU"], "silu": ["swish"]}
    name = activation.__name__
    return names.get(name, [name.replace("_", " ").replace("silu", "swish")])


def _tidied(steps: Block) -> Block:
    """Call by one name what Keras or this course builds of several operations."""
    tidied: Block = []
    for step in steps:
        tidied.append(step)
        if tidied[-3:] == ["plus", "ReLU6", "times"]:
            tidied[-3:] = ["hard sigmoid"]
        elif isinstance(step, str) and step.startswith("grouped,"):
            tidied[-2:] = [tidied[-2].replace("depthwise", "grouped").split(",")[0] + step[7:]]
    return tidied


def _kind(step: str) -> str:
    return FIRST_WORDS.get(step.replace(",", " ").split()[0], "activation")


def _is_strip(step: str) -> bool:
    return _kind(step) in ("norm", "activation")


def _layers(steps: Block) -> Iterator[str]:
    for step in steps:
        if isinstance(step, str):
            if not step.startswith("from "):
                yield step
        else:
            for branch in step[1:]:
                yield from _layers(branch)


def _all_channels(block: Block) -> Iterator[int]:
    for count, step in zip(channels(block), [*block[1:], ""], strict=True):
        yield count
        if isinstance(step, tuple):
            for branch in step[1:]:
                yield from _all_channels([count, *branch])


def _groups(steps: Block) -> list[Any]:
    """Put what sticks together into lists: a layer with its BatchNorm and its activation."""
    # Where BatchNorm or an activation comes first, as in ResNetV2, it opens each group.
    own = [step for step in steps if not str(step).startswith("from ")]
    opener = own[0] if own and isinstance(own[0], str) else ""
    groups: list[Any] = []
    for step in steps:
        if not isinstance(step, str) or step.startswith("from "):
            groups.append(step)
            continue
        last = groups[-1] if groups and isinstance(groups[-1], list) else None
        has_box = last is not None and not all(_is_strip(one) for one in last)
        if last is None or step == opener or (has_box and not _is_strip(step)):
            groups.append([step])
        else:
            last.append(step)
    return groups


def _spine(step: tuple[Any, ...]) -> bool:
    """Whether the first branch goes straight on and the others beside it, as with a skip."""
    return step[0] != "concat" or [] in step[1:]


def _fed(branch: Block) -> bool:
    """Whether a branch takes what comes from above."""
    if branch and isinstance(branch[0], tuple):
        return any(_fed(inner) for inner in branch[0][1:])
    return not branch or not branch[0].startswith("from ")


def _size(steps: Block) -> tuple[float, float, float]:
    """Left and right of the middle line, and height."""
    narrow = all(isinstance(step, str) and step.startswith("from ") for step in steps)
    left = right = RIBBON / 2 if narrow else WIDE / 2
    height = 0.0
    for place, group in enumerate(_groups(steps)):
        if place:
            height += GAP
        if isinstance(group, str):
            height += STRIP
        elif isinstance(group, list):
            height += sum(STRIP if _is_strip(step) else HIGH for step in group)
        else:
            offsets, sizes = _columns(group)
            left = max(left, sizes[0][0] - offsets[0])
            right = max(right, offsets[-1] + sizes[-1][1])
            height += max(size[2] for size in sizes) + FORK * (2 if _fed([group]) else 1)
    return left, right, height


def _columns(step: tuple[Any, ...]) -> tuple[list[float], list[tuple[float, float, float]]]:
    """The branches' places, relative to the middle line, and their sizes."""
    sizes = [_size(branch) for branch in step[1:]]
    offsets = [0.0]
    for before, after in itertools.pairwise(sizes):
        offsets.append(offsets[-1] + before[1] + BETWEEN + after[0])
    if not _spine(step):
        middle = (offsets[0] + offsets[-1]) / 2
        offsets = [offset - middle for offset in offsets]
    return offsets, sizes


class _Pen:
    """Draws on an axis whose y goes down; `scale` is a ribbon's width for one channel."""

    def __init__(self, axis: Axes, scale: float) -> None:
        self.axis, self.scale = axis, scale

    def block(self, x: float, name: str, block: Block) -> None:
        self.text(x, 0.3, name, fontsize=9.5, fontweight="bold")
        y = 0.62
        if block[0]:
            self.flow(x, y, block[0], block[1])
            y += GAP
        y = self.steps(x, y, block)
        self.flow(x, y, channels(block)[-1], "the next layer")

    def steps(self, x: float, y: float, block: Block) -> float:
        count = block[0]
        for place, group in enumerate(_groups(block[1:])):
            if place:
                self.flow(x, y, count, group)
                y += GAP
            if isinstance(group, tuple):
                y = self.fork(x, y, count, group)
            elif isinstance(group, str):
                spot = (x, y + STRIP / 2)
                self.axis.add_patch(Circle(spot, 0.19, facecolor="white", edgecolor=INK, zorder=4))
                self.text(*spot, group.split(",")[0].removeprefix("from "), fontsize=8)
                y += STRIP
            else:
                for step in group:
                    y = self.box(x, y, step)
            count = channels([count, *(group if isinstance(group, list) else [group])])[-1]
        return y

    def box(self, x: float, y: float, step: str) -> float:
        height = STRIP if _is_strip(step) else HIGH
        _, colour, stripes = KINDS[_kind(step)]
        place: dict[str, Any] = {"xy": (x - WIDE / 2, y), "width": WIDE, "height": height}
        self.axis.add_patch(_filled(Rectangle(**place), colour, stripes))
        self.axis.add_patch(Rectangle(**place, fill=False, edgecolor="white", zorder=3))
        small = 7 if _is_strip(step) else 8
        self.text(x, y + height / 2, step.split(",")[0], fontsize=small)
        return y + height

    def fork(self, x: float, y: float, count: int, step: tuple[Any, ...]) -> float:
        join, *branches = step
        offsets, sizes = _columns(step)
        bottom = y + _size([step])[2]
        top = y + (FORK if _fed([step]) else 0)
        ends = [channels([count, *branch])[-1] for branch in branches]
        arrives = x - sum(ends) * self.scale / 2
        for offset, (_, _, height), branch, end in zip(offsets, sizes, branches, ends, strict=True):
            column, start, low = x + offset, top, top
            colour = FLOW if branch or join == "multiply" else SKIP
            if branch:  # a short one is in the middle between the fork and the join
                start = top + (bottom - FORK - top - height) / 2
                low = self.steps(column, start, [count, *branch])
                if column != x or join == "concat":
                    beside = 0.14 if isinstance(branch[-1], tuple) else 0  # the sign of a join
                    self.number(column + beside, bottom - FORK + 0.12, end)
            elif join != "multiply":
                self.number(column, (top + bottom) / 2, count)
            if _fed(branch):
                self.ribbon([(x, y), (column, top), (column, start)], count, colour)
                if branch and isinstance(branch[0], str):
                    self.tip(column, start)
            to = x
            if join == "concat":
                to = arrives + end * self.scale / 2
                arrives += end * self.scale
            self.ribbon([(column, low), (column, bottom - FORK), (to, bottom)], end, colour)
        self.join(x, bottom, join, sum(ends))
        return bottom

    def join(self, x: float, y: float, join: str, count: int) -> None:
        if join == "concat":
            half = max(count * self.scale, 0.78) / 2
            self.axis.add_patch(Rectangle((x - half, y - 0.1), 2 * half, 0.2, color=INK, zorder=4))
        else:
            self.axis.add_patch(Circle((x, y), 0.18, color=INK, zorder=4))
        symbol = {"add": "+", "multiply": "×", "concat": "concat"}[join]
        self.text(x, y, symbol, color="white", fontsize=6.5 if join == "concat" else 10)

    def flow(self, x: float, y: float, count: int, to: Any) -> None:
        """Draw what goes straight down to the next layer, or to where the ways part."""
        self.ribbon([(x, y), (x, y + GAP)], count, FLOW)
        self.number(x, y + GAP / 2, count)
        if not isinstance(to, tuple):
            self.tip(x, y + GAP)

    def ribbon(self, points: list[tuple[float, float]], count: int, colour: str) -> None:
        """Draw a ribbon down through the points; it goes sideways halfway between two of them."""
        if not count:
            return
        (first, top), (last, bottom) = points[0], points[-1]
        # A little longer, so that no light shows between two ribbons.
        points = [(first, top - 0.02), *points[1:-1], (last, bottom + 0.02)]
        corners = [points[0]]
        for (x0, y0), (x1, y1) in itertools.pairwise(points):
            corners += [(x0, (y0 + y1) / 2), (x1, (y0 + y1) / 2), (x1, y1)]
        vertices, codes = [corners[0]], [Path.MOVETO]
        for before, corner, after in zip(corners, corners[1:], corners[2:], strict=False):
            radius = min(0.25, math.dist(before, corner) / 2, math.dist(corner, after) / 2)
            vertices += [_towards(corner, before, radius), corner, _towards(corner, after, radius)]
            codes += [Path.LINETO, Path.CURVE3, Path.CURVE3]
        path = Path([*vertices, corners[-1]], [*codes, Path.LINETO])
        width = max(count * self.scale, 0.04) * INCHES * 72
        line = PathPatch(path, fill=False, edgecolor=colour, linewidth=width, capstyle="butt")
        line.set(joinstyle="round", zorder=1 if colour == SKIP else 2)
        self.axis.add_patch(line)

    def tip(self, x: float, y: float) -> None:
        corners = [(x - 0.09, y - 0.14), (x + 0.09, y - 0.14), (x, y)]
        self.axis.add_patch(Polygon(corners, color="#6B7785", zorder=3))

    def number(self, x: float, y: float, count: int) -> None:
        right = x + max(count * self.scale, 0.2) / 2 + 0.06
        self.text(right, y, str(count), ha="left", fontsize=7, color="#555555")

    def text(self, x: float, y: float, words: str, **options: Any) -> None:
        placed: dict[str, Any] = {"ha": "center", "va": "center", "zorder": 5}
        self.axis.text(x, y, words, **placed | options)


def _filled(patch: Patch, colour: str, stripes: str) -> Patch:
    patch.set(facecolor=colour, edgecolor=stripes or colour, linewidth=0, zorder=3)
    patch.set_hatch("///" if stripes else "")
    return patch


def _towards(start: tuple[float, float], end: tuple[float, float], by: float) -> tuple[float, float]:
    share = by / (math.dist(start, end) or 1)
    return start[0] + share * (end[0] - start[0]), start[1] + share * (end[1] - start[1])
