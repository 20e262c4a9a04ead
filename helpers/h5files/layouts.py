"""The layouts in which Keras has kept weights, from Keras 1 to 3, opened without trust.

- `nb_layers`: Keras before 1.0; `layer_K/param_P`, named by numbers.
- `layer_names`: Keras 1 and 2, and `keras.applications`; lists of names in attributes.
- `whole_model`: `model.save("x.h5")`; the same, below `model_weights`.
- `keras3_weights`: Keras 3's `model.save_weights("x.weights.h5")`; `layers/TYPE_N/vars/P`.
- `keras`: Keras 3's `model.save("x.keras")`; the same, in a zip archive.
- `hdf5`: anything else; its data sets are listed by their group.
"""

import contextlib
import io
import itertools
import math
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from helpers.errors import HelpersError, WeightsError

HDF5_START = b"\x89HDF\r\n\x1a\n"
ZIP_START = b"PK\x03\x04"
ARCHIVED = "model.weights.h5"

# Trained weights hardly compress; zeros and lies about sizes do.
MOST_COMPRESSION = 20
SMALL = 16 << 20
MOST_DEPTH = 32
MOST_NOTES = 1 << 16

# What h5py raises on files that are damaged, or made to do damage.
DAMAGE = (
    OSError, RuntimeError, KeyError, ValueError, TypeError, IndexError, OverflowError, MemoryError,
    AttributeError, EOFError, zlib.error, zipfile.BadZipFile, NotImplementedError,
)  # fmt: skip


@dataclass(frozen=True)
class StoredWeight:
    """One array of a file; `name` as the file has it, below its layer."""

    name: str
    dataset: h5py.Dataset

    @property
    def shape(self) -> tuple[int, ...]:
        """As declared."""
        return tuple(self.dataset.shape)

    def read(self) -> np.ndarray:
        """The array.

        Raises:
            WeightsError: no numbers, or far more of them declared than are stored.
        """
        if problem := _unlikely(self.dataset):
            raise WeightsError(f"{self.dataset.name}: {problem}. Nothing was loaded.")
        return np.asarray(self.dataset)


@dataclass(frozen=True)
class StoredLayer:
    """A layer of a file: its name, the key under which the file has it, and its arrays in order."""

    name: str
    key: str
    weights: list[StoredWeight]


@dataclass
class Contents:
    """An open file: `links` lists what was not followed."""

    path: Path
    layout: str
    attributes: dict[str, str]
    layers: list[StoredLayer]
    links: list[str] = field(default_factory=list)

    @property
    def is_keras3(self) -> bool:
        """Whether Keras 3 wrote it, whose layers are found by their class and its count."""
        return self.layout in ("keras3_weights", "keras")


@contextlib.contextmanager
def opened(path: str | Path) -> Iterator[Contents]:
    """Opens a weight file of any layout for reading.

    Raises:
        WeightsError: no such file.
        WeightsError: no HDF5 file, a damaged one, or one whose layers stand behind links.
    """
    path = Path(path)
    if not path.is_file():
        what = "a folder, expected a weight file" if path.is_dir() else "no such file"
        raise WeightsError(f"{path}: {what}.")
    try:
        with contextlib.ExitStack() as stack:
            source, attributes = _source(path)
            file = stack.enter_context(h5py.File(source, "r"))
            contents = _contents(path, file, zipped=source is not path)
            contents.attributes.update(attributes)
            yield contents
    except WeightsError as error:
        text = str(error)
        raise WeightsError(text if path.name in text else f"{path.name}: {text}") from None
    except HelpersError:
        raise
    except DAMAGE as error:
        reason = str(error) or type(error).__name__
        raise WeightsError(
            f"{path.name}: damaged, or no weight file ({reason}). Fetch or write it again."
        ) from error


def read(path: str | Path) -> dict[str, dict[str, np.ndarray]]:
    """All arrays of a weight file: layer → weight → array, in the file's order.

    Args:
        path: a file in any of the layouts of this module.

    Raises:
        WeightsError: no such file.
        WeightsError: not readable, or not safe to read.
    """
    with opened(path) as contents:
        refuse_links(contents)
        return {
            layer.name: {weight.name: weight.read() for weight in layer.weights}
            for layer in contents.layers
        }


def refuse_links(contents: Contents) -> None:
    """Raises WeightsError where a file has links, which could lead to any other file."""
    if contents.links:
        raise WeightsError(
            f"{contents.path.name}: it has links ({'; '.join(contents.links[:3])}), and a weight "
            "file has none. Nothing was loaded."
        )


def _outside(dataset: h5py.Dataset) -> str | None:
    """Says where a data set's numbers are, if not in its own file."""
    if dataset.is_virtual:
        return f"a virtual data set, made of {dataset.virtual_sources()[0].file_name}"
    if dataset.external:
        return f"kept in another file, {dataset.external[0][0]}"
    return None


def _unlikely(dataset: h5py.Dataset) -> str | None:
    """Judges a data set by what it declares, before a byte of it is read."""
    if dataset.dtype.kind not in "fiub" or dataset.dtype.itemsize > 8:
        return f"expected numbers, got {dataset.dtype}"
    declared = math.prod(dataset.shape) * dataset.dtype.itemsize
    stored = dataset.id.get_storage_size()
    most = max(MOST_COMPRESSION * stored, SMALL if stored else 0) if dataset.chunks else stored
    if declared > most:
        return f"declares {declared:,} bytes in shape {dataset.shape}, and {stored:,} are stored"
    return None


def _source(path: Path) -> tuple[Path | io.BytesIO, dict[str, str]]:
    """What h5py is to open; the weights of an archive are unpacked in memory."""
    with path.open("rb") as file:
        start = file.read(512)
    if not start.startswith(ZIP_START):
        if not h5py.is_hdf5(path):
            what = _what_it_is(start)
            raise WeightsError(f"{path.name}: expected an HDF5 or .keras file, got {what}.")
        return path, {}
    with zipfile.ZipFile(path) as archive:
        if ARCHIVED not in archive.namelist():
            raise WeightsError(f"{path.name}: a zip archive without {ARCHIVED}, so no .keras file.")
        info = archive.getinfo(ARCHIVED)
        stored = min(info.compress_size, path.stat().st_size)
        if info.file_size > max(SMALL, MOST_COMPRESSION * stored):
            raise WeightsError(
                f"{path.name}: {ARCHIVED} declares {info.file_size:,} bytes, and "
                f"{stored:,} are stored. Nothing was loaded."
            )
        attributes = {}
        if "metadata.json" in archive.namelist():
            with archive.open("metadata.json") as member:
                text = member.read(MOST_NOTES).decode("utf-8", "replace")
            if match := re.search(r'"keras_version": "([\w.]+)"', text):
                attributes["keras_version"] = match[1]
        with archive.open(info) as member:
            return io.BytesIO(member.read(info.file_size)), attributes


def _what_it_is(start: bytes) -> str:
    if not start:
        return "an empty file"
    if start.lstrip().lower().startswith((b"<!doctype", b"<html")):
        return "a web page"
    if start.startswith(HDF5_START):
        return "a damaged HDF5 file"
    return f"a file that starts with {start[:8]!r}"


def _contents(path: Path, file: h5py.File, zipped: bool) -> Contents:
    links = _links(file)
    attributes = {str(name): _text(value) for name, value in file.attrs.items()}
    root, layout = file, "hdf5"
    if _has(file, "model_weights") and _names(file["model_weights"], "layer_names") is not None:
        root, layout = file["model_weights"], "whole_model"
        attributes.update({str(k): _text(v) for k, v in root.attrs.items() if k != "layer_names"})
    elif "nb_layers" in file.attrs:
        layout = "nb_layers"
    elif _names(file, "layer_names") is not None:
        layout = "layer_names"
    elif _has(file, "layers") or _has(file, "_layer_checkpoint_dependencies"):
        layout = "keras" if zipped else "keras3_weights"
    attributes.pop("layer_names", None)
    layers = {
        "nb_layers": _numbered, "layer_names": _named, "whole_model": _named,
        "keras3_weights": _by_type, "keras": _by_type, "hdf5": _any,
    }[layout](root)  # fmt: skip
    return Contents(path, layout, attributes, list(layers), links)


def _numbered(root: h5py.Group) -> Iterator[StoredLayer]:
    for k in range(int(root.attrs["nb_layers"])):
        group = _member(root, f"layer_{k}")
        names = (f"param_{p}" for p in range(int(group.attrs.get("nb_params", 0))))
        yield _layer(f"layer_{k}", group, names)


def _named(root: h5py.Group) -> Iterator[StoredLayer]:
    for name in _names(root, "layer_names") or []:
        group = _member(root, name)
        yield _layer(name, group, _names(group, "weight_names") or [])


def _layer(name: str, group: h5py.Group, names: Iterable[str]) -> StoredLayer:
    return StoredLayer(name, name, [StoredWeight(n, _data(group, n)) for n in names])


def _by_type(root: h5py.Group) -> Iterator[StoredLayer]:
    """Keras 3 names a group by the layer's class, and keeps the layer's name as an attribute."""
    layers = _member(root, "layers" if _has(root, "layers") else "_layer_checkpoint_dependencies")
    for key in sorted(layers, key=_natural):
        group = _member(layers, key)
        own = group["vars"].attrs.get("name", key) if _has(group, "vars") else key
        yield StoredLayer(_text(own), key, list(_variables(group, "")))


def _variables(group: h5py.Group, prefix: str, depth: int = 0) -> Iterator[StoredWeight]:
    if depth > MOST_DEPTH:
        raise WeightsError(f"{group.name}: groups stand {MOST_DEPTH} deep in one another.")
    names = sorted((n for n in group if _hard(group, n)), key=_natural)
    if "vars" in names:
        numbers = _member(group, "vars")
        for name in sorted(numbers, key=_natural):
            yield StoredWeight(f"{prefix}{name}", _data(numbers, name))
    for name in names:
        # The state of a layer's random numbers is no weight of the model.
        if name not in ("vars", "seed_generator") and isinstance(group[name], h5py.Group):
            yield from _variables(group[name], f"{prefix}{name}/", depth + 1)


def _any(root: h5py.Group) -> Iterator[StoredLayer]:
    found: dict[str, list[StoredWeight]] = {}
    for group in _groups(root):
        for name in group:
            if _hard(group, name) and isinstance(group[name], h5py.Dataset):
                found.setdefault(str(group.name), []).append(StoredWeight(name, group[name]))
    yield from (StoredLayer(name, name, weights) for name, weights in found.items())


def _groups(root: h5py.Group) -> Iterator[h5py.Group]:
    """A group and those below it, each once, although a hard link may lead back up."""
    seen, todo = set(), [root]
    while todo:
        group = todo.pop()
        address = h5py.h5o.get_info(group.id).addr
        if address not in seen:
            seen.add(address)
            yield group
            inner = [group[name] for name in group if _hard(group, name)]
            todo += [item for item in reversed(inner) if isinstance(item, h5py.Group)]


def _links(root: h5py.Group) -> list[str]:
    found = []
    for group in _groups(root):
        for name in group:
            where = f"{str(group.name).rstrip('/')}/{name}"
            link = group.get(name, getlink=True)
            if isinstance(link, h5py.ExternalLink):
                found.append(f"{where} → {link.filename}, {link.path}")
            elif isinstance(link, h5py.SoftLink):
                found.append(f"{where} → {link.path}")
            elif isinstance(group[name], h5py.Dataset) and (place := _outside(group[name])):
                found.append(f"{where}: {place}")
    return found


def _hard(group: h5py.Group, name: str) -> bool:
    return isinstance(group.get(name, getlink=True), h5py.HardLink)


def _has(group: h5py.Group, name: str) -> bool:
    return name in group and _hard(group, name) and isinstance(group[name], h5py.Group)


def _member(group: h5py.Group, path: str) -> Any:
    """What stands at a path, reached without a link."""
    for part in path.split("/"):
        if part:
            if not isinstance(group, h5py.Group) or group.get(part, getlink=True) is None:
                raise WeightsError(f"{path!r} is listed in the file, and is not there.")
            if not _hard(group, part):
                raise WeightsError(f"{path!r} is a link, and a weight file has none.")
            group = group[part]
    return group


def _data(group: h5py.Group, path: str) -> h5py.Dataset:
    found = _member(group, path)
    if not isinstance(found, h5py.Dataset) or found.shape is None:
        raise WeightsError(f"{path!r} in {group.name} is no array.")
    return found


def _names(group: h5py.Group, attribute: str) -> list[str] | None:
    """A list of names in an attribute, or in several: one holds no more than 64 kB."""
    if attribute in group.attrs:
        return [_text(name) for name in np.ravel(group.attrs[attribute])]
    parts: list[str] = []
    for k in itertools.count():
        if f"{attribute}{k}" not in group.attrs:
            return parts or None
        parts += [_text(name) for name in np.ravel(group.attrs[f"{attribute}{k}"])]
    return None


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _natural(name: str) -> list[tuple[str, int]]:
    """Sorts conv2d_2 before conv2d_10."""
    return [(text, int(number or 0)) for text, number in re.findall(r"(\D*)(\d*)", name)]
