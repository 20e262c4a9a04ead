"""Refuse HDF5 files that would crash or hang HDF5, or fill the memory."""

import io
import math
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, BinaryIO

import h5py
import numpy as np

if TYPE_CHECKING:
    from helpers.h5files.layouts import Tree


def refuse_unsafe(found: "Tree", most: int) -> None:
    """Refuse links, what is no number, and more bytes than `most` or than are stored."""
    if found.links:
        raise ValueError(f"it has links ({'; '.join(found.links[:3])}), and a weight file has none")
    for weight in (weight for layer in found.layers for weight in layer.weights):
        data, size, missing = weight.data, math.prod(weight.shape), 0
        if data.chunks:  # HDF5 takes memory for each, whole, and stored or not
            count = math.prod(-(-n // k) for n, k in zip(weight.shape, data.chunks, strict=True))
            size, missing = count * math.prod(data.chunks), count - data.id.get_num_chunks()
        size *= data.dtype.itemsize
        most -= size
        if weight.dtype != "bfloat16" and (
            data.dtype.kind not in "fiub" or data.dtype.itemsize > 8
        ):
            raise ValueError(f"{data.name} has {data.dtype}, expected numbers")
        if most < 0 or missing or (size and not data.id.get_storage_size()):
            what = f"{size:,} bytes in shape {weight.shape}"
            raise ValueError(f"{data.name} declares {what}, more than are stored")


def check_texts(raw: BinaryIO, arrays: list[h5py.Dataset], first: int, most: int) -> None:
    """Refuse damaged heaps of texts, in which HDF5 (up to 2.0, at least) can loop for ever.

    A heap is "GCOL", its size, and entries with 16 bytes ahead: an index, 0 for the rest that is
    free, and a size. HDF5 steps from entry to entry, and one of size 0 leads back to itself. What
    refers to a text has its length, the heap's address and its index. HDF5 takes memory for that
    length before it looks, and many may refer to one text.
    """
    parts = [*_between(raw, arrays)]
    heaps = {at - first: indices for here, data in parts for at, indices in _heaps(here, data)}
    declared = sum(length for _, data in parts for length in _texts(data, heaps))
    if declared > most:
        raise ValueError("its texts declare more bytes than are stored")


def _heaps(here: int, data: bytes) -> Iterator[tuple[int, set[bytes]]]:
    """Find the heaps in a part of a file: the place of each, and the indices of its entries."""
    start = data.find(b"GCOL\x01")
    while start >= 0:
        indices = set[bytes]()
        at, end = start + 16, start + int.from_bytes(data[start + 8 : start + 16], "little")
        while at + 16 <= end:
            index, size = data[at : at + 2], int.from_bytes(data[at + 8 : at + 16], "little")
            free = index == b"\0\0"
            if not free:
                indices.add(index + b"\0\0")
            at += size if free else 16 + (size + 7) // 8 * 8
            if at > end or end > len(data) or (free and size < 16):
                raise ValueError("it is damaged where its texts are")
        yield here + start, indices
        start = data.find(b"GCOL\x01", at)


def _texts(data: bytes, heaps: dict[int, set[bytes]]) -> Iterator[int]:
    """Find the lengths that references to the heaps declare."""
    for k in range(8):  # a reference may stand anywhere
        words = np.frombuffer(data[k : k + (len(data) - k) // 8 * 8], "<u8")
        for word in np.flatnonzero(np.isin(words, [*heaps])):
            at = k + 8 * int(word)
            length, index = data[at - 4 : at], data[at + 8 : at + 12]
            # A virtual array refers to a heap, too: its version 4 and class 3 stand ahead.
            if index in heaps[int(words[word])] and length[2:] != b"\4\3":
                yield int.from_bytes(length, "little")


def _between(raw: BinaryIO, arrays: Iterable[h5py.Dataset]) -> Iterator[tuple[int, bytes]]:
    """Read what is between the arrays' numbers, each part with its place."""
    here, places = 0, [(raw.seek(0, io.SEEK_END), 0)]
    for array in arrays:
        if array.chunks:
            array.id.chunk_iter(lambda chunk: places.append((chunk.byte_offset, chunk.size)))
        elif offset := array.id.get_offset():
            places.append((offset, array.id.get_storage_size()))
    for place, length in sorted(places):
        raw.seek(here)
        yield here, raw.read(max(place - here, 0))
        here = max(here, place + length)
