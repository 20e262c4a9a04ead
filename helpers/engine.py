"""Running a frozen network fast: ONNX Runtime on a CPU, TensorFlow on a GPU."""

import contextlib
import gc
import hashlib
import json
import os
import pickle
import textwrap
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import filelock
import numpy as np

from helpers import weights
from helpers.errors import ArgumentError, nearest

if TYPE_CHECKING:  # Keras takes seconds to import, and whoever brings an engine needs none
    from helpers.backend import keras

NAMES = ("auto", "tensorflow", "onnx")
TOLERANCE = 1e-3
KEPT = 12
Run = Callable[[np.ndarray], np.ndarray]
Item = TypeVar("Item")


@dataclass(frozen=True)
class Engine:
    """Preprocessed batches → features, by `run`.

    `at_once` is how many threads may call it at the same time to good effect, None: one for each
    core; `note` says why this is not the engine that was hoped for. Those that `choose` gives can
    be pickled, the network with them; ONNX Runtime's needs neither Keras nor any file then.
    """

    name: str
    run: Run
    at_once: int | None = 1
    note: str = ""

    @property
    def threads(self) -> int:
        """`at_once`, on the machine that asks."""
        return self.at_once or cores()


def choose(model: "keras.Model", wanted: str, first: Callable[[], np.ndarray | None]) -> Engine:
    """The engine for a network on this machine, shown to agree with TensorFlow on a first batch.

    In ONNX Runtime every core runs pictures of its own, one by one, from the first layer to the
    last, so that none waits for another; seen on two cores, that is a third more than when they
    share a batch, and a picture's features have the same bits whatever batch it is in.

    Args:
        model: the network, built for one input size.
        wanted: `"onnx"`, `"tensorflow"`, or `"auto"`: TensorFlow where it has a GPU, else ONNX
            Runtime, or TensorFlow again where that cannot be, and `note` says why.
        first: gives a first batch of preprocessed pictures to compare on, if there are any.

    Raises:
        ArgumentError: an unknown name; or `"onnx"` was asked for and cannot be, says why.

    Example:
        >>> from helpers import zoo
        >>> model = zoo.load("EfficientNetLite0").model
        >>> choose(model, "tensorflow", lambda: np.zeros((1, 224, 224, 3), "float32")).name
        'tensorflow'
    """
    if wanted not in NAMES:
        raise ArgumentError(f"No engine {wanted!r}. {nearest(wanted, NAMES)}")
    tensorflow = Engine("tensorflow", _InTensorFlow(model))
    if wanted == "tensorflow" or (wanted == "auto" and _has_gpu()):
        return tensorflow
    try:
        run, batch = _InOnnxRuntime(exported(model)), first()
        if batch is not None:
            _compare(run(batch), np.asarray(model(batch, training=False)))
    except Exception as error:  # the exporter and the runtime raise what they like
        why = textwrap.shorten(str(error) or type(error).__name__, 300)
        reason = f"{model.name} does not run in ONNX Runtime here: {why}"
        if wanted == "onnx":
            raise ArgumentError(f"{reason}. Choose the engine tensorflow.") from error
        return Engine("tensorflow", tensorflow.run, note=f"{reason}. TensorFlow computes instead.")
    return Engine("onnx", run, at_once=None)


def exported(model: "keras.Model") -> Path:
    """The network as an ONNX file, made once, in Keras's cache folder; its name holds its hash.

    The dozen that were used last are kept, for every training of a network makes another.

    Raises:
        ArgumentError: the cache folder cannot be written to; names the variable to set.
    """
    folder = weights.cache().with_name("onnx")
    stem = _identity(model)[:16]
    if path := _kept(folder, stem):
        return path
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Workers that begin together need the same file: one makes it, the others wait for it.
        with filelock.FileLock(folder.with_name("onnx.lock")):
            return _kept(folder, stem) or _make(model, folder, stem)
    except OSError as error:
        raise ArgumentError(
            f"{folder}: cannot be written to ({error.strerror or error}). Set KERAS_HOME to a "
            "folder that can"
        ) from error


def _kept(folder: Path, stem: str) -> Path | None:
    """The file of a network, if it is there and whole."""
    for path in folder.glob(f"{stem}-*.onnx"):
        if _hash(path) == path.stem.removeprefix(f"{stem}-"):
            with contextlib.suppress(OSError):  # the folder may be one that is only read
                os.utime(path)
            return path
    return None


def _make(model: "keras.Model", folder: Path, stem: str) -> Path:
    for damaged in folder.glob(f"{stem}-*.onnx"):
        damaged.unlink()
    new = folder / f"{stem}.new"
    try:
        new.touch()
        _export(model, new)
        path = folder / f"{stem}-{_hash(new)}.onnx"
        os.replace(new, path)
    finally:
        new.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # Windows keeps a file that somebody has open
        for old in sorted(folder.iterdir(), key=lambda file: file.stat().st_mtime)[:-KEPT]:
            old.unlink()
    return path


def in_threads(work: Callable[[Item], object], items: Iterator[Item], threads: int) -> None:
    """Calls `work` with every item, each thread taking the next one when it is done with one.

    The first error, or Ctrl-C, ends it: no thread begins another item, and each finishes its own.
    """
    taking, stopped = threading.Lock(), threading.Event()

    def loop() -> None:
        while not stopped.is_set():
            with taking:
                item = next(items, None)
            if item is None:
                return
            work(item)

    with ThreadPoolExecutor(threads) as pool:
        try:
            for finished in as_completed([pool.submit(loop) for _ in range(threads)]):
                finished.result()
        finally:
            stopped.set()


def cores() -> int:
    """How many of the machine's cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _export(model: "keras.Model", path: Path) -> None:
    from helpers.backend import error_stream_held_back, keras

    pixels = keras.InputSpec(dtype="float32", shape=model.input_shape)
    # tf2onnx says what it does, and asks NumPy for names that NumPy no longer has.
    with error_stream_held_back(), warnings.catch_warnings(action="ignore"), _tidied_often():
        model.export(path, format="onnx", verbose=False, input_signature=[pixels])


@contextlib.contextmanager
def _tidied_often() -> Iterator[None]:
    """Has Python look for unreachable objects often, and among new ones only, which is quick.

    tf2onnx copies the network before each of its passes, weights included, and the copies refer to
    themselves. They are few objects, so that Python sees no reason to look for them: exporting
    EfficientNet-Lite0 took 910 MB, VGG16 3,010; so they take 340 and 1,780, and no longer.
    """
    usual = gc.get_threshold()
    gc.freeze()
    gc.collect()
    gc.set_threshold(100, 1, 1)
    try:
        yield
    finally:
        gc.set_threshold(*usual)
        gc.unfreeze()


class _InTensorFlow:
    """A network, a batch at a time."""

    def __init__(self, model: "keras.Model") -> None:
        self.model = model

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        return self.model.predict_on_batch(batch)

    def __reduce__(self) -> tuple[Any, ...]:
        # The layers' classes first: with them their modules are imported, so that Keras knows them.
        kinds = {type(layer) for layer in self.model.layers}
        return _in_tensorflow, (pickle.dumps((kinds, self.model)),)


def _in_tensorflow(pickled: bytes) -> _InTensorFlow:
    import helpers.backend  # noqa: F401 - before anything else imports TensorFlow

    _, model = pickle.loads(pickled)  # part of what is being unpickled, and no safer or less safe
    return _InTensorFlow(model)


class _InOnnxRuntime:
    """An exported network on the core that asks; from a file, or from what was in one."""

    def __init__(self, network: Path | bytes) -> None:
        import onnxruntime  # here: it is not needed where TensorFlow computes

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3  # errors; it warns of GPUs that it cannot see
        providers = ["CPUExecutionProvider"]
        self.network = network
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
    apart = np.abs(found - expected).max()
    scale = np.sqrt(np.mean(np.square(expected)))
    if not apart <= TOLERANCE * scale:  # NaN is refused too
        raise ArgumentError(
            f"its features are {apart:.2g} from TensorFlow's, whose scale is {scale:.2g}; "
            f"expected {TOLERANCE:g} of that at most"
        )


def _has_gpu() -> bool:
    import tensorflow

    return bool(tensorflow.config.list_physical_devices("GPU"))


def _identity(model: "keras.Model") -> str:
    """A hash of the layers and the weights; not of names, for Keras numbers them as it goes."""
    layers = [[type(layer).__name__, {**layer.get_config(), "name": ""}] for layer in model.layers]
    found = hashlib.sha256(json.dumps([layers, model.output_shape], default=str).encode())
    for variable in model.weights:
        found.update(variable.numpy().tobytes())
    return found.hexdigest()


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
