"""Extraction: from files of pictures to features in HDF5.

Every contender runs in a process of its own, has random weights (they do not change the speed) and
reads the same 224 x 224 JPEG files. The limit is ONNX Runtime on arrays that are in memory already:
as it comes, a batch on all cores; and a picture on each core.

The peers that predict in TensorFlow have it as it comes. One of them is shown with oneDNN as well,
which `helpers.backend` asks for, and which some processors get only if it is asked for. And once
more with the tuner of tf.data off: at the end of its work a data set often waits for it, which
sleeps twice as long each time, so that `predict` takes 1.3, 2.6, 5.1 or 10.2 s.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import frame
import pytest
from frame import Claim, Table, Worker

PICTURES, BATCH = 960, 32
PEER = str(Path(__file__).with_name("peer_torch.py"))


def extract(folder: str, model: str) -> Callable[[], float]:
    from helpers import bottlenecks

    net, count = network(model), _count(folder)
    out = tempfile.mkdtemp()

    def run() -> float:
        path = Path(out) / "features.h5"
        path.unlink(missing_ok=True)
        started = time.perf_counter()
        done = bottlenecks.extract(folder, path, net, BATCH, progress=False)
        assert (done.images, done.engine) == (count, "onnx"), done
        return count / (time.perf_counter() - started)

    run()  # exports the network
    return run


def flow_from_directory(folder: str, model: str) -> Callable[[], float]:
    import h5py
    from keras.src.legacy.preprocessing.image import ImageDataGenerator

    net, count = network(model), _count(folder)
    scaled = ImageDataGenerator(preprocessing_function=net.preprocess_pixels)
    pictures = scaled.flow_from_directory(
        folder, target_size=(224, 224), batch_size=BATCH, class_mode=None, shuffle=False
    )

    def run() -> float:
        pictures.reset()
        started = time.perf_counter()
        features = net.model.predict(pictures, verbose=0)
        with h5py.File(Path(tempfile.gettempdir()) / "flow.h5", "w") as file:
            file["features"] = features
        assert len(features) == count
        return count / (time.perf_counter() - started)

    run()
    return run


def dataset_without_tuner(folder: str, model: str) -> Callable[[], float]:
    import helpers.backend  # noqa: F401 - before TensorFlow

    return dataset_from_directory(folder, model, tuner=False)


def dataset_with_onednn(folder: str, model: str) -> Callable[[], float]:
    import helpers.backend  # noqa: F401 - before TensorFlow

    return dataset_from_directory(folder, model)


def dataset_from_directory(folder: str, model: str, tuner: bool = True) -> Callable[[], float]:
    import h5py
    import keras
    import tensorflow as tf

    net, count = network(model), _count(folder)
    pictures = keras.utils.image_dataset_from_directory(
        folder, labels=None, image_size=(224, 224), batch_size=BATCH, shuffle=False, verbose=False
    )
    pictures = pictures.map(net.preprocess_pixels, tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)
    options = tf.data.Options()
    options.autotune.enabled = tuner
    pictures = pictures.with_options(options)

    def run() -> float:
        started = time.perf_counter()
        features = net.model.predict(pictures, verbose=0)
        with h5py.File(Path(tempfile.gettempdir()) / "dataset.h5", "w") as file:
            file["features"] = features
        assert len(features) == count
        return count / (time.perf_counter() - started)

    run()
    return run


def in_memory(folder: str, model: str, threads: str) -> Callable[[], float]:
    """ONNX Runtime as it comes (0), or as many threads that each run pictures one by one."""
    from concurrent.futures import ThreadPoolExecutor

    import numpy as np
    import onnxruntime

    from helpers import engine

    net = network(model)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 0 if threads == "0" else 1
    session = onnxruntime.InferenceSession(engine.exported(net.model), options)
    (name,) = (tensor.name for tensor in session.get_inputs())
    arrays = np.random.default_rng(0).uniform(-1, 1, (PICTURES, 224, 224, 3)).astype("float32")
    size = BATCH if threads == "0" else 1
    batches = [{name: arrays[i : i + size]} for i in range(0, PICTURES, size)]
    pool = ThreadPoolExecutor(max(1, int(threads)))

    def run() -> float:
        started = time.perf_counter()
        found = list(pool.map(lambda batch: session.run(None, batch)[0], batches))
        assert sum(map(len, found)) == PICTURES
        return PICTURES / (time.perf_counter() - started)

    run()
    return run


def _count(folder: str) -> int:
    return sum(path.is_file() for path in Path(folder).glob("*/*"))


def network(model: str):  # type: ignore[no-untyped-def]
    from helpers import zoo

    class Network(zoo.Network):
        def preprocess_pixels(self, pixels):  # type: ignore[no-untyped-def]
            if self.entry.preprocessing == "lite":
                return (pixels - 127.0) / 128.0
            return pixels / 127.5 - 1.0

    entry = zoo.find(model)
    built = zoo.build(model, include_top=False, pooling="avg", input_shape=(224, 224, 3))
    return Network(model, built, entry, 224)


MAKERS = {
    function.__name__: function
    for function in (
        extract,
        flow_from_directory,
        dataset_from_directory,
        dataset_with_onednn,
        dataset_without_tuner,
        in_memory,
    )
}


def pictures(folder: Path, count: int) -> str:
    """Smooth random pictures of 224 x 224, about as large as photographs' files: 2 classes."""
    import numpy as np
    from PIL import Image

    random = np.random.default_rng(0)
    for number in range(count):
        path = folder / "ab"[number % 2] / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse = Image.fromarray(random.integers(0, 256, (28, 28, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((224, 224), Image.Resampling.BICUBIC), "int16")
        noisy = smooth + random.integers(-8, 9, smooth.shape)
        Image.fromarray(noisy.clip(0, 255).astype("uint8")).save(path, quality=90)
    return str(folder)


def where_the_time_goes(folder: str, model: str, runs: int) -> Table:
    """The processor time of each part of `extract`, in all threads."""
    import dataclasses
    import threading

    from helpers import bottlenecks, datasets, engine, features, images

    spent: dict[str, float] = {}
    adding = threading.Lock()

    def timed(part: str, function: Callable[..., object]) -> Callable[..., object]:
        def wrapped(*arguments: object, **more: object) -> object:
            started = time.thread_time()
            try:
                return function(*arguments, **more)
            finally:
                with adding:
                    spent[part] = spent.get(part, 0) + time.thread_time() - started

        return wrapped

    def choose(*arguments: Any) -> engine.Engine:
        found = real_choose(*arguments)
        return dataclasses.replace(found, run=timed(NETWORK, found.run))  # type: ignore[arg-type]

    real_choose = engine.choose
    parts = {
        "reading, decoding, cropping": (images, "load"),
        "scaling": (images, "scale"),
        "choosing the engine: its first batch, both ways": (engine, "choose"),
        "writing and flushing": (features.Part, "write"),
        "listing the folder": (datasets, "class_folders"),
        "hashing the weights": (bottlenecks, "facts"),
    }
    net = network(model)
    values: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as out, pytest.MonkeyPatch.context() as patch:
        bottlenecks.extract(folder, Path(out) / "warm.h5", net, BATCH, progress=False)
        patch.setattr(engine, "choose", choose)
        for part, (owner, name) in parts.items():
            patch.setattr(owner, name, timed(part, getattr(owner, name)))
        for turn in range(runs):
            spent.clear()
            wall, processor = time.perf_counter(), time.process_time()
            bottlenecks.extract(folder, Path(out) / f"{turn}.h5", net, BATCH, progress=False)
            used = time.process_time() - processor
            waited = engine.cores() * (time.perf_counter() - wall) - used
            spent |= {"the rest": used - sum(spent.values()), ALL: used, IDLE: waited}
            for part in (ALL, NETWORK, *parts, "the rest", IDLE):
                values.setdefault(part, []).append(spent.get(part, 0.0))
    title = f"Where the time of extract goes: {model}, {_count(folder)} pictures"
    return Table(title, "seconds of processor time", values, ALL)


ALL, NETWORK, IDLE = "all threads", "the network, in ONNX Runtime", "cores that waited"
OURS, LIMIT = "bottlenecks.extract", "limit: ONNX Runtime, arrays in memory"
FLOW, DATASET = "ImageDataGenerator + predict", "image_dataset_from_directory + predict"
DATASET_ONEDNN = f"{DATASET}, with oneDNN"
DATASET_UNTUNED = f"{DATASET}, with oneDNN, tuner off"
ONE_BY_ONE = "limit: ONNX Runtime, arrays in memory, a picture a core"
TIMM = "PyTorch, timm (channels_last), DataLoader"
AIMS = {
    "MobileNet": {DATASET: 2.5, DATASET_ONEDNN: 2.5, FLOW: 2.5, TIMM: 2.0, LIMIT: 0.85},
    "EfficientNetLite0": {DATASET: 3.5, DATASET_ONEDNN: 3.5, FLOW: 3.5, LIMIT: 0.85},
}


def measure(runs: int) -> list[Table]:
    from helpers import engine

    tables = []
    with tempfile.TemporaryDirectory() as folder:
        files = pictures(Path(folder), PICTURES)
        for model, aims in AIMS.items():
            workers = {
                OURS: Worker(__file__, "extract", files, model),
                DATASET: Worker(__file__, "dataset_from_directory", files, model),
                DATASET_ONEDNN: Worker(__file__, "dataset_with_onednn", files, model),
                DATASET_UNTUNED: Worker(__file__, "dataset_without_tuner", files, model),
                FLOW: Worker(__file__, "flow_from_directory", files, model),
                LIMIT: Worker(__file__, "in_memory", files, model, "0"),
                ONE_BY_ONE: Worker(__file__, "in_memory", files, model, str(engine.cores())),
            }
            note = ""
            if TIMM in aims:
                workers[TIMM] = Worker(PEER, "extract", files, python=frame.PEERS)
                found = workers[TIMM].versions
                note = f"torch {found['torch']}, timm {found['timm']}."
            values = frame.take_turns(workers, runs, warm_up=0)  # they have warmed up themselves
            for worker in workers.values():
                worker.close()
            claims = [
                Claim(f"against {name}", frame.ratio(values, OURS, name), least=least)
                for name, least in aims.items()
            ]
            title = f"{model}, 224 x 224, JPEG files to HDF5"
            tables.append(Table(title, "pictures/s", values, OURS, claims, note))
            tables.append(where_the_time_goes(files, model, runs))
    return tables


if __name__ == "__main__" and not frame.serve(MAKERS):
    frame.main(measure)
