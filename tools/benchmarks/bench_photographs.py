"""Photographs of a phone: from files of 12 megapixels to features in HDF5, and what it costs.

The files are mosaics of photographs that come with scikit-image and scikit-learn, 4032 x 3024
pixels in JPEG's quality 93, about 4 MB each; each is listed four times. The contenders are those of
bench_extract.py, with random weights. There are two limits, on all cores: decoding alone, as
`images.load` does it; and decoding, then the network, picture by picture and nothing else, which
no order of the work can beat.

How far features move is measured on photographs as they are: the cosine between a picture's
features when it is decoded at 1/2 and those of the full decode, beside changes that nobody minds.
"""

import io
import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import bench_extract as small
import frame
import numpy as np
from frame import Claim, Table, Worker

if TYPE_CHECKING:
    from PIL import Image

PHOTOGRAPHS, TIMES, SIZE = 96, 4, (4032, 3024)
LARGEST, MANY = (6000, 4000), 40
SIDE = 112  # of what the network sees: half of the usual, for few free photographs are larger
COLOURED = "astronaut.png coffee.png hubble_deep_field.jpg ihc.png motorcycle_left.png retina.jpg "
GREY = "brick.png camera.png grass.png gravel.png moon.png"
OURS, LIMIT = "bottlenecks.extract", "limit: decoding alone, all cores"
BOTH = "limit: decoding and the network, a picture a core"
TIMM = "PyTorch, timm (channels_last), DataLoader with two workers"
AIMS = {small.DATASET: 2, small.DATASET_UNTUNED: 2, TIMM: 2, BOTH: 0.9, LIMIT: 0.8}
NAMES_IN_TIMM = {"MobileNet": "mobilenetv1_100", "EfficientNetLite0": "tf_efficientnet_lite0"}


def decoding(folder: str, model: str, network: bool = False) -> Callable[[], float]:
    from helpers import engine, images

    paths = sorted(Path(folder).glob("*/*.jpg"))
    pool = ThreadPoolExecutor(engine.cores())
    compute = engine.choose(small.network(model).model, "onnx").run if network else len

    def one(path: Path) -> object:
        return compute(images.scale(images.load(path, 224)[None], "tf"))

    def run() -> float:
        started = time.perf_counter()
        list(pool.map(one, paths))
        return len(paths) / (time.perf_counter() - started)

    return run


def decoding_and_network(folder: str, model: str) -> Callable[[], float]:
    return decoding(folder, model, network=True)


def memory(folder: str, cores: str) -> Callable[[], float]:
    from helpers import engine

    engine.cores = lambda: int(cores)
    run = small.extract(folder, "EfficientNetLite0")

    def peak() -> float:
        run()
        return frame.peak_memory_mb()

    return peak


MAKERS = small.MAKERS | {
    function.__name__: function for function in (decoding, decoding_and_network, memory)
}


def originals(names: str) -> "list[Image.Image]":
    import skimage
    import sklearn
    from PIL import Image

    folder = Path(skimage.__file__).parent / "data"
    paths = [folder / name for name in names.split()]
    paths += sorted((Path(sklearn.__file__).parent / "datasets" / "images").glob("*.jpg"))
    return [Image.open(path).convert("RGB") for path in paths]


def photographs(folder: Path, count: int, size: tuple[int, int], times: int = 1) -> str:
    from PIL import Image

    pieces, random = originals(COLOURED), np.random.default_rng(0)
    for number in range(count):
        path = folder / "ab"[number % 2] / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        canvas = Image.new("RGB", size)
        for top in range(0, size[1], 400):
            for left in range(0, size[0], 500):
                canvas.paste(pieces[random.integers(len(pieces))], (left, top))
        canvas.save(path, quality=93)
        for more in range(1, times):
            os.link(path, path.with_name(f"{number}-{more}.jpg"))
    return str(folder)


def features_moved() -> Table:
    """Cosines between the features of one picture, read in two ways."""
    import tensorflow as tf
    from PIL import Image

    from helpers.applications.efficientnet_lite import EfficientNetLite0, preprocess_input

    model = EfficientNetLite0(
        weights="imagenet", include_top=False, pooling="avg", input_shape=(SIDE, SIDE, 3)
    )

    def jpeg(image: Image.Image, quality: int = 95) -> Image.Image:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=quality)
        return Image.open(file)

    def shrunk(image: Image.Image, how: Image.Resampling = Image.Resampling.BICUBIC) -> np.ndarray:
        return np.asarray(image.resize((SIDE, SIDE), how), "float32")

    def draft(image: Image.Image, times: float) -> np.ndarray:
        file = jpeg(image)
        file.draft(None, (int(SIDE * times), int(SIDE * times)))
        return shrunk(file)

    def cosines(one: list[np.ndarray], other: list[np.ndarray]) -> list[float]:
        a, b = (model.predict(preprocess_input(np.stack(x)), verbose=0) for x in (one, other))
        lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
        return list((a * b).sum(axis=1) / lengths)

    squares = []
    for image in originals(COLOURED + GREY):
        side = min(image.size)
        squares.append(image.crop((0, 0, side, side)))
    values = {}
    for times in (1.0, 1.25, 1.5, 2.0):
        side = int(2 * SIDE * times)
        sharp = [
            i.resize((side, side), Image.Resampling.LANCZOS) for i in squares if i.width >= side
        ]
        name = f"decoded at 1/2, {times:g} times the side left"
        values[name] = cosines([shrunk(jpeg(i)) for i in sharp], [draft(i, times) for i in sharp])
    whole = [shrunk(i) for i in squares]
    coded = [shrunk(jpeg(i)) for i in squares]
    values["JPEG quality 90 for 95"] = cosines(coded, [shrunk(jpeg(i, 90)) for i in squares])
    bilinear = [shrunk(i, Image.Resampling.BILINEAR) for i in squares]
    values["bilinear for bicubic"] = cosines(whole, bilinear)
    plain = [tf.image.resize(np.asarray(i), (SIDE, SIDE)).numpy() for i in squares]
    values["as image_dataset_from_directory resizes"] = cosines(whole, plain)
    least = float(np.median(values["decoded at 1/2, 1.5 times the side left"]))
    claim = Claim("median cosine with 1.5 times the side left", least, least=0.995)
    return Table("How far features move", "cosine to the full decode", values, "", [claim])


def measure(runs: int) -> list[Table]:
    tables = [features_moved()]
    with tempfile.TemporaryDirectory() as folder:
        files = photographs(Path(folder), PHOTOGRAPHS, SIZE, TIMES)
        for model in ("MobileNet", "EfficientNetLite0"):
            names = {
                OURS: "extract",
                small.DATASET: "dataset_from_directory",
                small.DATASET_UNTUNED: "dataset_without_tuner",
                BOTH: "decoding_and_network",
                LIMIT: "decoding",
            }
            workers = {name: Worker(__file__, maker, files, model) for name, maker in names.items()}
            in_timm = NAMES_IN_TIMM[model]
            workers[TIMM] = Worker(small.PEER, "photographs", files, in_timm, python=frame.PEERS)
            values = frame.take_turns(workers, runs)
            for worker in workers.values():
                worker.close()
            claims = [
                Claim(f"against {name}", frame.ratio(values, OURS, name), least=least)
                for name, least in AIMS.items()
            ]
            title = f"{model}, {PHOTOGRAPHS * TIMES} photographs of 12 MP"
            tables.append(Table(title, "pictures/s", values, OURS, claims))
            tables.append(small.where_the_time_goes(files, model, runs))
    with tempfile.TemporaryDirectory() as folder:
        folders = {
            f"{MANY} photographs of 24 MP": photographs(Path(folder, "large"), MANY, LARGEST),
            f"{MANY} of 224 x 224": small.pictures(Path(folder, "small"), MANY),
        }

        contenders = {
            f"{name}, {cores} threads": lambda files=files, cores=cores: frame.once(
                __file__, "memory", files, cores
            )
            for cores in ("2", "8")
            for name, files in folders.items()
        }
        values = frame.take_turns(contenders, runs, warm_up=0)
    found = list(values.values())
    growths = [
        Claim(f"growth in MB, {cores} threads", float(np.median(np.subtract(*pair))), most=300)
        for cores, pair in ((2, found[:2]), (8, found[2:]))
    ]
    tables.append(Table("Memory of extract", "MB at most", values, "", growths))
    return tables


if __name__ == "__main__" and not frame.serve(MAKERS):
    frame.main(measure)
