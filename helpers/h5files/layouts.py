"""List and read weight files in every layout that Keras has written, without trusting them."""

import contextlib
import html
import io
import math
import re
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import h5py
import ml_dtypes
import numpy as np

from helpers.errors import HelpersError, WeightsError, printable
from helpers.h5files import guards

LAYOUTS = {
    "nb_layers": "Keras before 1.0, layers by number",  # layer_K/param_P
    "layer_names": "Keras 1 and 2, weights by the layers' names",  # listed in attributes
    "whole_model": "a whole model as HDF5",  # the same, below model_weights
    "keras3_weights": "Keras 3, weights by the layers' classes",  # layers/CLASS_N/vars/P
    "keras": "Keras 3, a whole model as an archive",  # the same, in a zip archive
    "hdf5": "HDF5, and no layout of Keras",  # arrays by their groups
}
KERAS3 = ("keras3_weights", "keras")
KERAS3_ROOTS = ("/layers", "/_layer_checkpoint_dependencies")  # the second: Keras 2.12 and 2.13


@dataclass(frozen=True)
class Weight:
    """An array of a file, as declared; `name` is its name below the layer."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    data: h5py.Dataset = field(repr=False, compare=False)

    def read(self) -> np.ndarray:
        """Read the array, while the file is open; bfloat16 becomes float32."""
        array = np.asarray(self.data)
        special = self.dtype == "bfloat16"
        return array.view(ml_dtypes.bfloat16).astype("float32") if special else array


@dataclass(frozen=True)
class Layer:
    """A layer of a file; `key` is the name of its group."""

    name: str
    weights: tuple[Weight, ...]
    key: str = field(repr=False)

    @property
    def parameters(self) -> int:
        """Numbers in all its arrays."""
        return sum(math.prod(weight.shape) for weight in self.weights)


@dataclass(frozen=True)
class Tree:
    """A file's layers and attributes, and the links in it, which are never followed."""

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
        lines = self._head()
        for layer in self.layers:
            lines += [f"  {layer.name}"] if layer.weights else []
            lines += [f"    {w.name:32} {w.shape!s:22} {w.dtype}" for w in layer.weights]
        if empty := sum(not layer.weights for layer in self.layers):
            lines.append(f"  and {empty} layer{'s' if empty > 1 else ''} without weights")
        return printable("\n".join(line.replace("\n", "\\n") for line in lines))

    def _repr_html_(self) -> str:
        """Show a row for each layer, with a bar for its parameters; a click shows its arrays."""
        most = max((layer.parameters for layer in self.layers), default=0)
        rows = [f"<div>{html.escape(line)}</div>" for line in self._head()]
        for layer in (layer for layer in self.layers if layer.weights):
            arrays = (f"{w.name} {w.shape} {w.dtype}" for w in layer.weights)
            rows.append(
                f'<details><summary><meter max="{most}" value="{layer.parameters}"></meter> '
                f"<code>{html.escape(layer.name)}</code> {layer.parameters:,}</summary>"
                f"{'<br>'.join(map(html.escape, arrays))}</details>"
            )
        return printable("".join(rows))

    def _head(self) -> list[str]:
        cut = {k: v if len(v) < 73 else f"{v[:72]}…" for k, v in self.attributes.items()}
        return [
            f"{self.file}: {LAYOUTS[self.layout]}, {self.parameters:,} parameters",
            *(f"  {name} = {text}" for name, text in cut.items()),
            *(f"  not followed: {link}" for link in self.links),
        ]


def tree(path: str | Path) -> Tree:
    """List a weight file: its layout, and each layer's arrays as declared. Reads no array.

    Raises:
        WeightsError: no such file, no HDF5 or .keras file, or a damaged one.
    """
    with opened(path) as found:
        return found


def read(path: str | Path) -> dict[str, dict[str, np.ndarray]]:
    """Read all arrays of a weight file: layer → weight → array, in the file's order.

    Raises:
        WeightsError: as for `tree`; or the file has links, or declares far more than is in it.
    """
    with opened(path, to_read=True) as found:
        return {layer.name: {w.name: w.read() for w in layer.weights} for layer in found.layers}


@contextlib.contextmanager
def opened(path: str | Path, to_read: bool = False) -> Iterator[Tree]:
    """List a weight file, and keep it open; all that goes wrong with it is a WeightsError."""
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"{path}: no such file.")
    try:
        # Trained weights hardly compress: what unpacks to more is made to fill the memory.
        most = 20 * path.stat().st_size + (16 << 20)
        with path.open("rb") as plain:
            raw = plain if h5py.is_hdf5(path) else _unpacked(plain, most)
            with h5py.File(path if raw is plain else raw, "r") as file:
                found = _tree(path, file, raw, most)
                if to_read:
                    guards.refuse_unsafe(found, most)
                yield found
    except HelpersError:
        raise
    except Exception as error:  # h5py raises nearly every kind there is
        reason = str(error) or type(error).__name__
        reason = reason if len(reason) < 400 else f"{reason[:400]}…"  # names may be very long
        text = f"{path.name}: {reason}. Nothing was loaded. Fetch the file again, or write it anew."
        raise WeightsError(text) from error


def _unpacked(file: BinaryIO, most: int) -> io.BytesIO:
    start = file.read(16)
    if not zipfile.is_zipfile(file):
        what = f"a file that starts with {start[:8]!r}"
        if start.lower().startswith((b"<!doctype", b"<html")):
            what = "a web page"
        elif file.name.endswith(".weights.json"):
            what = "the list of a network's shards, which Keras's own load_weights reads"
        raise ValueError(f"expected an HDF5 or .keras file, got {what}")
    with zipfile.ZipFile(file) as archive:
        info = archive.getinfo("model.weights.h5")
        if info.file_size > most:
            raise ValueError(f"its weights declare {info.file_size:,} bytes, more than are stored")
        return io.BytesIO(archive.read(info))


def _tree(path: Path, file: h5py.File, raw: BinaryIO, most: int) -> Tree:
    items, links = _walk(file)
    arrays = [item for item in items.values() if isinstance(item, h5py.Dataset)]
    guards.check_texts(raw, arrays, file.userblock_size, most)
    below = "/model_weights" if "/model_weights" in items else ""
    names = _names(items[below], "layer_names")
    keras3 = [root for root in KERAS3_ROOTS if root in items]
    layout, layers = "hdf5", _by_group(items)
    if "nb_layers" in file.attrs:
        numbers = range(int(_attribute(file, "nb_layers")))
        layout, layers = "nb_layers", _by_name(items, "", map("layer_{}".format, numbers))
    elif names is not None:
        layout = "whole_model" if below else "layer_names"
        layers = _by_name(items, below, names)
    elif keras3:
        layout = "keras" if isinstance(raw, io.BytesIO) else "keras3_weights"
        layers = _by_class(items, keras3[0])
    attributes = {
        name: _text(_attribute(group, name))
        for group in (file, items[below])
        for name in group.attrs
        if not name.startswith("layer_names")
    }
    layers = _by_group(items) if links else layers  # what is listed may be behind a link
    return Tree(path.name, layout, attributes, tuple(layers), tuple(links))


def _walk(file: h5py.File) -> tuple[dict[str, Any], list[str]]:
    """Visit every group and array once; a second link to one is listed like a soft link."""
    items: dict[str, Any] = {"": file}
    links, todo, seen = list[str](), [""], {h5py.h5o.get_info(file.id).addr: "/"}
    while todo:
        where = todo.pop()
        for name in items[where]:
            path, link = f"{where}/{name}", items[where].get(name, getlink=True)
            if not isinstance(link, h5py.HardLink):
                links.append(f"{path} → {getattr(link, 'filename', 'here')}, {link.path}")
                continue
            item = items[where][name]
            first = seen.setdefault(h5py.h5o.get_info(item.id).addr, path)
            if first != path:
                links.append(f"{path} → here, {first}")
                continue
            items[path] = item
            if isinstance(item, h5py.Group):
                todo.append(path)
                if path.count("/") > 32:
                    raise ValueError("its groups are more than 32 deep")
            elif isinstance(item, h5py.Dataset) and (item.is_virtual or item.external):
                other = item.external[0][0] if item.external else item.virtual_sources()[0][1]
                links.append(f"{path} → {other}, its numbers")
    return items, links


def _by_name(items: dict[str, Any], root: str, names: Iterable[str]) -> Iterator[Layer]:
    for name in names:
        group = _listed(items, f"{root}/{name}")
        weights: Iterable[str] | None = _names(group, "weight_names")
        if weights is None:
            weights = map("param_{}".format, range(int(_attribute(group, "nb_params", 0))))
        yield Layer(name, tuple(_weight(items, f"{root}/{name}/{w}", w) for w in weights), name)


def _by_class(items: dict[str, Any], root: str) -> Iterator[Layer]:
    found: dict[str, list[Weight]] = {}
    for path in sorted(items, key=lambda path: _natural(path.replace("/vars/", "/"))):
        if match := re.fullmatch(rf"{root}/([^/]+)(?:/(|.+/)vars/([^/]+))?", path):
            key, inside, number = match.groups()
            weights = found.setdefault(key, [])
            # The state of a layer's random numbers is no weight of the model.
            if number and "seed_generator/" not in inside:
                weights.append(_weight(items, path, inside + number))
    for key, weights in found.items():
        name = _text(_attribute(items.get(f"{root}/{key}/vars"), "name", key))
        yield Layer(name, tuple(weights), key)


def _by_group(items: dict[str, Any]) -> Iterator[Layer]:
    found: dict[str, list[Weight]] = {}
    for path, item in items.items():
        if isinstance(item, h5py.Dataset):
            group, _, name = path.rpartition("/")
            found.setdefault(group or "/", []).append(_weight(items, path, name))
    yield from (Layer(name, tuple(weights), name) for name, weights in found.items())


def _listed(items: dict[str, Any], path: str) -> Any:
    if path not in items:
        raise ValueError(f"{path[1:]!r} is listed in it, and is not there")
    return items[path]


def _weight(items: dict[str, Any], path: str, name: str) -> Weight:
    data = _listed(items, path)
    if not isinstance(data, h5py.Dataset) or data.shape is None:
        raise ValueError(f"{path[1:]!r} is no array")
    special = data.dtype.str == "|V2"  # h5py does not know bfloat16, and keeps the two bytes
    return Weight(name, data.shape, "bfloat16" if special else str(data.dtype), data)


def _attribute(item: Any, name: str, default: Any = None) -> Any:
    if item is None or name not in item.attrs:
        return default
    kind = item.attrs.get_id(name).get_type().get_class()
    plain = (h5py.h5t.STRING, h5py.h5t.INTEGER, h5py.h5t.FLOAT, h5py.h5t.ENUM)
    return item.attrs[name] if kind in plain else default  # for some others h5py 3.16 crashes


def _names(group: Any, attribute: str) -> list[str] | None:
    # From several attributes, attribute0 and so on, if the list is longer than 64 kB.
    parts = [k for k in getattr(group, "attrs", ()) if re.fullmatch(rf"{attribute}\d*", k)]
    values = [np.ravel(_attribute(group, part)) for part in sorted(parts, key=_natural)]
    names = [_text(name) for value in values for name in value]
    if len(set(names)) < len(names):
        raise ValueError(f"its {attribute} have a name twice")
    return names if parts else None


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _natural(name: str) -> list[tuple[str, int]]:  # conv2d_2 before conv2d_10
    return [(text, int(number or 0)) for text, number in re.findall(r"(\D*)(\d*)", name)]
