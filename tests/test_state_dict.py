"""The reader of PyTorch state dicts: exact, and closed to everything that is no tensor."""

import builtins
import collections
import hashlib
import os
import pickle
import struct
import sys
import types
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from helpers.applications import state_dict
from helpers.applications.efficientnet_lite import SHA256, bundled_file
from helpers.applications.state_dict import read_state_dict
from helpers.errors import WeightsError


class Tensor(NamedTuple):
    """A view of a storage, which is given by its key."""

    storage: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def write_legacy(path: Path, state: dict[str, Any], storages: dict[str, np.ndarray]) -> str:
    """Writes a state dict as PyTorch did before 1.6, without PyTorch; gives its sha256."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    kinds = {"f": "FloatStorage", "i": "LongStorage"}
    for kind in kinds.values():
        setattr(torch, kind, type(kind, (), {"__module__": "torch"}))

    def _rebuild_tensor_v2() -> None: ...

    _rebuild_tensor_v2.__module__ = "torch._utils"
    _rebuild_tensor_v2.__qualname__ = "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = _rebuild_tensor_v2  # type: ignore[attr-defined]

    class Pickler(pickle.Pickler):
        def persistent_id(self, value: Any) -> Any:
            if not (isinstance(value, str) and value in storages and value.startswith("storage")):
                return None
            values = storages[value]
            kind = getattr(torch, kinds[values.dtype.kind])
            return ("storage", kind, value.removeprefix("storage"), "cpu", len(values), None)

        def reducer_override(self, value: Any) -> Any:
            if isinstance(value, Tensor):
                return _rebuild_tensor_v2, (*value, False, collections.OrderedDict())
            return NotImplemented

    keys = [key.removeprefix("storage") for key in storages]
    with pytest.MonkeyPatch.context() as patch, path.open("wb") as file:
        patch.setitem(sys.modules, "torch", torch)
        patch.setitem(sys.modules, "torch._utils", utils)
        machine = {"protocol_version": 1001, "little_endian": True}
        for value in (0x1950A86A20F9469CFC6C, 1001, machine, collections.OrderedDict(state), keys):
            Pickler(file, protocol=2).dump(value)
        for values in storages.values():
            file.write(struct.pack("<q", len(values)) + values.tobytes())
    return sha256(path)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


FLOATS = {"storage0": np.arange(12, dtype="<f4")}


def test_a_state_dict_is_read_back_exactly(tmp_path: Path) -> None:
    storages = {**FLOATS, "storage1": np.array([7, -8], "<i8")}
    written = {
        "whole": Tensor("storage0", 0, (3, 4), (4, 1)),
        "transposed": Tensor("storage0", 0, (4, 3), (1, 4)),
        "part": Tensor("storage0", 5, (2, 3), (4, 1)),
        "every other": Tensor("storage0", 1, (6,), (2,)),
        "scalar": Tensor("storage1", 1, (), ()),
        "integers": Tensor("storage1", 0, (2,), (1,)),
    }
    hash_ = write_legacy(tmp_path / "x.pth", written, storages)
    read = read_state_dict(tmp_path / "x.pth", hash_)
    whole = np.arange(12, dtype="float32").reshape(3, 4)
    expected = {
        "whole": whole,
        "transposed": whole.T,
        "part": whole[1:3, 1:4],
        "every other": whole.ravel()[1::2],
        "scalar": np.array(-8),
        "integers": np.array([7, -8]),
    }
    assert list(read) == list(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(read[name], array, strict=name in ("whole", "part"))
        assert read[name].flags.owndata


class Payload:
    """Pickles as a call, as an attacker would write it."""

    def __init__(self, function: Any, argument: str) -> None:
        self.call = function, (argument,)

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("function", [os.system, builtins.eval, builtins.exec], ids=str)
def test_a_pickle_that_calls_anything_else_is_refused(tmp_path: Path, function: Any) -> None:
    trace = tmp_path / "it-ran"
    argument = f"touch {trace}" if function is os.system else f"open({str(trace)!r}, 'w').close()"
    path = tmp_path / "x.pth"
    hash_ = write_legacy(path, {"x": Payload(function, argument)}, {})
    with pytest.raises(WeightsError, match=f"{function.__name__}.*only tensors are admitted"):
        read_state_dict(path, hash_)
    assert not trace.exists()


def test_the_payload_of_that_test_would_run(tmp_path: Path) -> None:
    trace = tmp_path / "it-ran"
    pickle.loads(pickle.dumps(Payload(builtins.exec, f"open({str(trace)!r}, 'w').close()")))
    assert trace.exists()


def test_a_wrong_hash_is_refused_before_anything_is_unpickled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.pth"
    hash_ = write_legacy(path, {"x": Tensor("storage0", 0, (12,), (1,))}, FLOATS)
    monkeypatch.setattr(state_dict, "_StateDictUnpickler", None)  # to call it is an error
    with pytest.raises(WeightsError) as caught:
        read_state_dict(path, SHA256)
    assert SHA256 in str(caught.value)
    assert hash_ in str(caught.value)


def test_one_flipped_bit_is_found(tmp_path: Path) -> None:
    content = bytearray(bundled_file().read_bytes())
    content[len(content) // 2] ^= 1
    path = tmp_path / "x.pth"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="expected sha256 5793"):
        read_state_dict(path, SHA256)


@pytest.mark.parametrize("missing", [1, 4, 48, 52, 56])  # of the values, of their number, and all
def test_a_truncated_storage_is_refused(tmp_path: Path, missing: int) -> None:
    path = tmp_path / "x.pth"
    write_legacy(path, {"x": Tensor("storage0", 0, (2,), (1,))}, FLOATS)
    path.write_bytes(path.read_bytes()[:-missing])
    with pytest.raises(WeightsError, match="expected 12 values"):
        read_state_dict(path, sha256(path))


@pytest.mark.parametrize(
    "tensor",
    [
        Tensor("storage0", 0, (13,), (1,)),
        Tensor("storage0", 12, (1,), (1,)),
        Tensor("storage0", 0, (3, 4), (5, 1)),
        Tensor("storage0", -1, (2,), (1,)),
        Tensor("storage0", 11, (2, 2), (-1000, 1000)),
        Tensor("storage0", 0, (2, -2), (1, 1)),
    ],
)
def test_a_tensor_stays_within_its_storage(tmp_path: Path, tensor: Tensor) -> None:
    hash_ = write_legacy(tmp_path / "x.pth", {"x": tensor}, FLOATS)
    with pytest.raises(WeightsError, match="beyond its storage"):
        read_state_dict(tmp_path / "x.pth", hash_)


@pytest.mark.parametrize("content", [b"", b"<html>", pickle.dumps(1) * 5, pickle.dumps(1) * 3])
def test_what_is_no_state_dict_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.pth"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"x\.pth"):
        read_state_dict(path, sha256(path))
