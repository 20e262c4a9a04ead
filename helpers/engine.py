"""Running a frozen network fast: ONNX Runtime on a CPU, TensorFlow on a GPU."""

import contextlib
import gc
import hashlib
import json
import os
import pickle
import re
import textwrap
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import filelock
import numpy as np
import pooch

from helpers import weights
from helpers.errors import ArgumentError, nearest

if TYPE_CHECKING:
    from helpers.backend import keras

NAMES = ("auto", "tensorflow", "onnx")
TOLERANCE = 1e-3  # of the features' root mean square
KEPT = 12  # exported networks
MADE = re.compile(r"[0-9a-f]{16}(-[0-9a-f]{64}\.onnx|\.new)")
REMEMBERED = "remembered.json"  # what a caller calls a network → its file


@dataclass(frozen=True)
class Engine:
    """A frozen network: `run` makes features (N, …) of preprocessed pictures (N, rows, columns, 3).

    `at_once` is how many threads may call it at the same time, None: one for each core. `note` says
    why this is not the engine that was hoped for. Those of `choose` can be pickled.
    """

    name: str
    run: Callable[[np.ndarray], np.ndarray]
    at_once: int | None = 1
    note: str = ""

    @property
    def threads(self) -> int:
        """`at_once`, on the machine that asks."""
        return self.at_once or cores()


def choose(model: "keras.Model", wanted: str = "auto", sample: np.ndarray | None = None) -> Engine:
    """Choose what computes a network on this machine.

    ONNX Runtime is compared with TensorFlow first. In it every core runs pictures one by one, so a
    picture's features have the same bits in every batch.

    Args:
        model: of one input size.
        wanted: `"onnx"`, `"tensorflow"`, or `"auto"`: TensorFlow where it has a GPU, else ONNX
            Runtime, or TensorFlow again where that fails; the engine's `note` then says why.
        sample: preprocessed pictures to compare on; default: `sample_pictures`, from -1 to 1.

    Raises:
        ArgumentError: `"onnx"` was asked for and fails, or the precision is not float32.
    """
    if wanted not in NAMES:
        raise ArgumentError(f"No engine {wanted!r}. {nearest(wanted, NAMES)}")
    for layer in (model, *model.layers):
        if layer.compute_dtype != "float32":
            raise ArgumentError(
                f"{model.name} computes in {layer.compute_dtype}, expected float32. Before you "
                "build it, call keras.config.set_dtype_policy('float32')."
            )
    tensorflow = Engine("tensorflow", _InTensorFlow(model))
    if wanted == "tensorflow" or (wanted == "auto" and _has_gpu()):
        return tensorflow
    try:
        onnx = Engine("onnx", _InOnnxRuntime(exported(model)), at_once=None)
        if sample is None:
            sample = sample_pictures(*model.input_shape[1:]).astype("float32") / 127.5 - 1
        _compare(onnx.run(sample), np.asarray(model(sample, training=False)))
        return onnx
    except Exception as error:  # the exporter and the runtime raise what they like
        why = textwrap.shorten(str(error) or type(error).__name__, 300)
        reason = f"{model.name} does not run in ONNX Runtime here: {why}"
        if wanted == "onnx":
            raise ArgumentError(f"{reason}. Choose the engine tensorflow.") from error
        return Engine("tensorflow", tensorflow.run, note=f"{reason}. TensorFlow computes instead.")


class Prepared(NamedTuple):
    """A network that can be used without TensorFlow: what computes it, and facts about it."""

    engine: Engine
    facts: dict[str, Any]


def remember(name: str, prepared: Prepared) -> None:
    """Note an engine of `choose` and facts (for JSON) under a name; TensorFlow's can't be."""
    engine, facts = prepared
    if not isinstance(engine.run, _InOnnxRuntime) or not isinstance(engine.run.network, Path):
        return
    path = engine.run.network
    noted = path.with_name(REMEMBERED)
    with contextlib.suppress(OSError), filelock.FileLock(path.parent.with_name("onnx.lock")):
        here = {n: row for n, row in _noted(noted).items() if path.with_name(row[0]).exists()}
        new = noted.with_suffix(".new")
        new.write_text(json.dumps(here | {name: (path.name, facts)}), encoding="utf-8")
        os.replace(new, noted)


def remembered(name: str) -> Prepared | None:
    """Find what was noted under a name: in a moment, and without TensorFlow.

    Its file must have the hash that it had; see `exported` for what is trusted.
    """
    folder = weights.cache().with_name("onnx")
    file, facts = _noted(folder / REMEMBERED).get(name, ("", {}))
    path = _whole(folder, file.partition("-")[0]) if file else None
    return Prepared(Engine("onnx", _InOnnxRuntime(path), at_once=None), facts) if path else None


def _noted(path: Path) -> dict[str, tuple[str, dict[str, Any]]]:
    try:
        found = json.loads(path.read_bytes())
        return {
            n: (file, dict(facts)) for n, (file, facts) in found.items() if MADE.fullmatch(file)
        }
    except (OSError, ValueError, TypeError, AttributeError):  # there is none, or none of ours
        return {}


def sample_pictures(rows: int, columns: int, channels: int = 3) -> np.ndarray:
    """Make two pictures of coloured squares, always the same: (2, rows, columns, channels) uint8.

    Grey ones will not do to compare engines on: their features can be close to zero.
    """
    squares = np.random.default_rng(0).integers(0, 256, (2, 8, 8, channels), "uint8")
    return squares[:, np.arange(rows) * 8 // rows][:, :, np.arange(columns) * 8 // columns]


def cores() -> int:
    """Count the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def exported(model: "keras.Model") -> Path:
    """Export a network as an ONNX file in Keras's cache folder, which keeps the dozen used last.

    Hashes find damage there, not malice: who can write to that folder is trusted, as with weights.

    Raises:
        ArgumentError: the cache folder cannot be written to; names the variable to set.
    """
    folder, stem = weights.cache().with_name("onnx"), _identity(model)
    if path := _whole(folder, stem):
        return path  # without a lock, for the folder may be read-only
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Processes that begin together need the same file: one makes it, the others wait for it.
        with filelock.FileLock(folder.with_name("onnx.lock")):
            return _whole(folder, stem) or _make(model, folder, stem)
    except OSError as error:
        raise ArgumentError(
            f"{folder}: cannot be written to ({error.strerror or error}). Set KERAS_HOME to a "
            "folder that can"
        ) from error


def _whole(folder: Path, stem: str) -> Path | None:
    """The file of a network, if it is there and undamaged."""
    for path in folder.glob(f"{stem}-*.onnx"):
        if path.is_file() and path.stem == f"{stem}-{pooch.file_hash(str(path))}":
            with contextlib.suppress(OSError):  # the folder may be read-only
                os.utime(path)
            return path
    return None


def _make(model: "keras.Model", folder: Path, stem: str) -> Path:
    new = folder / f"{stem}.new"
    new.unlink(missing_ok=True)  # a link would be followed
    try:
        _export(model, new)
        path = folder / f"{stem}-{pooch.file_hash(str(new))}.onnx"
        os.replace(new, path)
    finally:
        new.unlink(missing_ok=True)
    ours = [file for file in folder.iterdir() if MADE.fullmatch(file.name) and file.is_file()]
    ours.sort(key=lambda file: file.stat().st_mtime, reverse=True)
    for place, file in enumerate(ours):
        spoilt = file.suffix == ".new" or (file.name.startswith(stem) and file != path)
        if spoilt or place >= KEPT:
            with contextlib.suppress(OSError):  # Windows keeps a file that somebody has open
                file.unlink()
    return path


def _export(model: "keras.Model", path: Path) -> None:
    from helpers.backend import error_stream_held_back, keras

    pixels = keras.InputSpec(dtype="float32", shape=model.input_shape)
    # tf2onnx copies the network before each of its passes, in cycles of few objects, which Python
    # frees only if it looks for them often.
    usual = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(100, 1, 1)
    try:
        # It says what it does, and asks NumPy for names that NumPy no longer has.
        with error_stream_held_back(), warnings.catch_warnings(action="ignore"):
            model.export(path, format="onnx", verbose=False, input_signature=[pixels])
    finally:
        gc.set_threshold(*usual)
        gc.unfreeze()


@dataclass
class _InTensorFlow:
    model: "keras.Model"

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        return self.model.predict_on_batch(batch)

    def __reduce__(self) -> tuple[Any, ...]:
        # The layers' classes first: with them their modules are imported, so that Keras knows them.
        kinds = {type(layer) for layer in self.model.layers}
        return _in_tensorflow, (pickle.dumps((kinds, self.model)),)


def _in_tensorflow(pickled: bytes) -> _InTensorFlow:
    import helpers.backend  # noqa: F401 - it imports TensorFlow quietly

    return _InTensorFlow(pickle.loads(pickled)[1])  # part of what is being unpickled already


class _InOnnxRuntime:
    """An exported network on the core that asks; from a file, or from what was in one."""

    def __init__(self, network: Path | bytes) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3  # errors; it warns of GPUs that it cannot see
        self.network, providers = network, ["CPUExecutionProvider"]
        self.session = onnxruntime.InferenceSession(network, options, providers=providers)
        self.input = self.session.get_inputs()[0].name

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        # One by one: then what passes from layer to layer stays in the processor's cache.
        found = [self.session.run(None, {self.input: one})[0] for one in batch[:, None]]
        return np.concatenate(found)

    def __reduce__(self) -> tuple[Any, ...]:
        given = self.network
        return _InOnnxRuntime, (given.read_bytes() if isinstance(given, Path) else given,)


def _compare(found: np.ndarray, expected: np.ndarray) -> None:
    if found.shape != expected.shape:
        raise ArgumentError(f"its features are {found.shape}, expected {expected.shape}")
    apart, scale = np.abs(found - expected).max(), np.sqrt(np.mean(np.square(expected)))
    if not apart <= TOLERANCE * scale:  # NaN is refused too
        raise ArgumentError(
            f"its features are {apart:.2g} from TensorFlow's, whose scale is {scale:.2g}; "
            f"expected {TOLERANCE:g} of that at most"
        )


def _has_gpu() -> bool:
    from helpers.backend import tensorflow

    return bool(tensorflow.config.list_physical_devices("GPU"))


def _identity(model: "keras.Model") -> str:
    """A hash of layers and weights; not of names, for Keras numbers them as it goes."""
    layers = [[type(layer).__name__, {**layer.get_config(), "name": ""}] for layer in model.layers]
    found = hashlib.sha256(json.dumps([layers, model.output_shape], default=str).encode())
    for variable in model.weights:
        found.update(variable.numpy().tobytes())
    return found.hexdigest()[:16]
