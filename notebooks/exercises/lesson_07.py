"""The exercises of lesson 07."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from helpers import datasets, images
from helpers.checks import Exercise

MEAN = np.array([0.485, 0.456, 0.406], "float32")
DEVIATION = np.array([0.229, 0.224, 0.225], "float32")


def judge_front(densenet_front: Any) -> str | None:
    """Right: DenseNet's preprocessing of the square in the middle, in a model that can be shipped."""
    import keras

    if not isinstance(densenet_front, keras.Model):
        return f"Expected a keras.Model, such as keras.Model(raw, x), got {type(densenet_front).__name__}."
    with tempfile.TemporaryDirectory() as folder:
        densenet_front.save(Path(folder) / "front.keras")
        try:
            front = keras.models.load_model(Path(folder) / "front.keras")
        except Exception:
            return "It can be saved, but not loaded: use Rescaling and Normalization, and no Lambda."
    random = np.random.default_rng(0)
    square = random.integers(0, 256, (1, 224, 224, 3), "uint8")
    unit = square / np.float32(255)
    try:
        found = front.predict(square, verbose=0)
    except Exception:
        return "It doesn't take a uint8 picture of 224 x 224 pixels, in colour."
    if found.shape != square.shape:
        return f"For a picture of 224 x 224 pixels it gave an array of {found.shape}."

    def close(expected: np.ndarray) -> bool:
        return bool(np.abs(found - expected).max() < 1e-3)

    if close((unit - MEAN) / np.sqrt(DEVIATION)):
        return "Normalization takes the variance, which is the square of the standard deviation."
    if close((square - MEAN) / DEVIATION):
        return "The mean is of pixels from 0 to 1. Divide by 255 first: Rescaling(1 / 255)."
    if close((square - MEAN) / DEVIATION / 255):
        return "Rescale first, then normalise: the mean is of pixels from 0 to 1."
    if close((unit[..., ::-1] - MEAN) / DEVIATION):
        return "You've exchanged red and blue. DenseNet wants RGB, as files have it."
    if not close((unit - MEAN) / DEVIATION):
        return "For a picture that has 224 x 224 already, the pixels aren't scaled as DenseNet wants."
    photograph = images.load(datasets.photograph("rocket"))[np.newaxis]
    try:
        found = front.predict(photograph, verbose=0)
    except Exception:
        found = None
    if found is None or found.shape != (1, 224, 224, 3):
        return "It takes 224 x 224 only. Give the input None for rows and columns, and resize."
    pixels = photograph.astype("float32")

    def resized(crop: bool, antialias: bool) -> np.ndarray:
        small = keras.ops.image.resize(pixels, (224, 224), crop_to_aspect_ratio=crop, antialias=antialias)
        return (np.asarray(small) / 255 - MEAN) / DEVIATION

    def near(expected: np.ndarray) -> bool:  # resized before or after the cast
        return found.shape == expected.shape and bool(np.abs(found - expected).max() < 0.02)

    if near(resized(crop=True, antialias=False)):
        return "The resize isn't antialiased."
    if near(resized(crop=False, antialias=True)) or near(resized(crop=False, antialias=False)):
        return "The rocket is squeezed. Crop to the aspect ratio."
    if not near(resized(crop=True, antialias=True)):
        return "A photograph of another size doesn't become its middle, resized to 224 x 224."
    return None


q1 = Exercise(
    judge_front,
    hint="Copy the cell that builds front. Instead of preprocess_input: Rescaling(1 / 255), then Normalization.",
    solution="""
        raw = keras.Input((None, None, 3), dtype="uint8")
        x = keras.ops.cast(raw, "float32")
        x = keras.ops.image.resize(x, (224, 224), crop_to_aspect_ratio=True, antialias=True)
        x = keras.layers.Rescaling(1 / 255)(x)
        mean = [0.485, 0.456, 0.406]
        variance = [0.229**2, 0.224**2, 0.225**2]
        x = keras.layers.Normalization(mean=mean, variance=variance)(x)
        densenet_front = keras.Model(raw, x)
    """,
    right="It's what keras.applications.densenet.preprocess_input does, and it travels with the model.",
    wrong={
        "densenet_front = front": "aren't scaled",
        "densenet_front = keras.layers.Rescaling(1 / 255)": "keras.Model",
        """
        raw = keras.Input((None, None, 3), dtype="uint8")
        x = keras.layers.Resizing(224, 224, crop_to_aspect_ratio=True, antialias=True)(keras.ops.cast(raw, "float32"))
        x = keras.layers.Rescaling(1 / 255)(x)
        x = keras.layers.Normalization(mean=[0.485, 0.456, 0.406], variance=[0.229, 0.224, 0.225])(x)
        densenet_front = keras.Model(raw, x)
        """: "variance",
        """
        raw = keras.Input((None, None, 3), dtype="uint8")
        x = keras.layers.Resizing(224, 224, crop_to_aspect_ratio=True, antialias=True)(keras.ops.cast(raw, "float32"))
        x = keras.layers.Normalization(mean=[0.485, 0.456, 0.406], variance=[0.229**2, 0.224**2, 0.225**2])(x)
        densenet_front = keras.Model(raw, x)
        """: "Divide by 255 first",
        """
        raw = keras.Input((None, None, 3), dtype="uint8")
        x = keras.layers.Resizing(224, 224, crop_to_aspect_ratio=True, antialias=True)(keras.ops.cast(raw, "float32"))
        x = keras.layers.Normalization(mean=[0.485, 0.456, 0.406], variance=[0.229**2, 0.224**2, 0.225**2])(x)
        densenet_front = keras.Model(raw, keras.layers.Rescaling(1 / 255)(x))
        """: "Rescale first",
        """
        raw = keras.Input((None, None, 3), dtype="uint8")
        x = keras.layers.Resizing(224, 224, antialias=True)(keras.ops.cast(raw, "float32"))
        x = keras.layers.Rescaling(1 / 255)(x)
        x = keras.layers.Normalization(mean=[0.485, 0.456, 0.406], variance=[0.229**2, 0.224**2, 0.225**2])(x)
        densenet_front = keras.Model(raw, x)
        """: "squeezed",
        """
        raw = keras.Input((None, None, 3), dtype="uint8")
        x = keras.layers.Resizing(224, 224, crop_to_aspect_ratio=True)(keras.ops.cast(raw, "float32"))
        x = keras.layers.Rescaling(1 / 255)(x)
        x = keras.layers.Normalization(mean=[0.485, 0.456, 0.406], variance=[0.229**2, 0.224**2, 0.225**2])(x)
        densenet_front = keras.Model(raw, x)
        """: "antialiased",
        """
        raw = keras.Input((224, 224, 3), dtype="uint8")
        x = keras.layers.Rescaling(1 / 255)(raw)
        x = keras.layers.Normalization(mean=[0.485, 0.456, 0.406], variance=[0.229**2, 0.224**2, 0.225**2])(x)
        densenet_front = keras.Model(raw, x)
        """: "only",
        """
        raw = keras.Input((224, 224, 3), dtype="uint8")
        densenet_front = keras.Model(raw, keras.layers.Lambda(lambda pixels: pixels / 255)(raw))
        """: "no Lambda",
    },
)


def judge_to_batch(to_batch: Callable[..., Any]) -> str | None:
    """Right: (1, rows, columns, 1 or 3), uint8, with the same pixels; other types are refused."""
    colour = np.random.default_rng(0).integers(0, 256, (5, 7, 4), "uint8")
    shapes = {
        "colour": (colour[..., :3], ((1, 5, 7, 3),)),
        "grey, with a channel axis": (colour[..., :1], ((1, 5, 7, 1), (1, 5, 7, 3))),
        "grey, without a channel axis": (colour[..., 0], ((1, 5, 7, 1), (1, 5, 7, 3))),
        "with four channels": (colour, ((1, 5, 7, 3),)),
    }
    for kind, (picture, expected) in shapes.items():
        batch = np.asarray(to_batch(picture.copy()))
        if batch.shape not in expected:
            return f"A picture {kind}, {picture.shape}, became {batch.shape}, expected {expected[0]}."
        if batch.dtype != np.uint8:
            return f"The batch is {batch.dtype}. The model's input is uint8."
        channels = picture if picture.ndim == 3 else picture[..., np.newaxis]
        if not np.array_equal(batch[0], np.broadcast_to(channels[..., :3], batch.shape[1:])):
            return f"A picture {kind} has other pixels than before."
    for wrong in (colour[..., :3] / np.float32(255), colour[..., 0].astype("float64")):
        try:
            to_batch(wrong)
        except ValueError as error:
            if "uint8" not in str(error):
                return f"The error should say what you expected: uint8. It says {str(error)!r}."
        except Exception as error:
            return f"For {wrong.dtype} pixels it raises {type(error).__name__}, expected ValueError."
        else:
            return f"It accepts pixels of type {wrong.dtype}, which may be preprocessed already. Refuse them."
    return None


q2 = Exercise(
    judge_to_batch,
    hint="Look at picture.dtype first, then at picture.ndim, then at picture.shape[-1].",
    solution="""
        def to_batch(picture):
            if picture.dtype != np.uint8:
                raise ValueError(f"Expected raw pixels, 0 to 255 as uint8, got {picture.dtype}.")
            if picture.ndim == 2:
                picture = picture[..., np.newaxis]
            return picture[np.newaxis, ..., :3]
    """,
    right="Now the model can't be fed anything else by mistake.",
    wrong={
        "def to_batch(picture): return picture[np.newaxis, ..., :3]": "without a channel axis",
        """
        def to_batch(picture):
            if picture.ndim == 2:
                picture = picture[..., np.newaxis]
            return picture[np.newaxis]
        """: "four channels",
        """
        def to_batch(picture):
            if picture.ndim == 2:
                picture = picture[..., np.newaxis]
            return picture[np.newaxis, ..., :3]
        """: "accepts",
        """
        def to_batch(picture):
            if picture.ndim == 2:
                picture = picture[..., np.newaxis]
            return picture[np.newaxis, ..., :3].astype("uint8")
        """: "accepts",
        """
        def to_batch(picture):
            if picture.ndim == 2:
                picture = picture[..., np.newaxis]
            return picture[np.newaxis, ..., :3].astype("float32")
        """: "is float32",
        """
        def to_batch(picture):
            if picture.dtype != np.uint8:
                raise ValueError("Wrong type.")
            if picture.ndim == 2:
                picture = picture[..., np.newaxis]
            return picture[np.newaxis, ..., :3]
        """: "should say",
    },
)


def judge_name_pictures(
    name_pictures: Callable[..., Any], model: Any, decode_predictions: Callable[..., Any]
) -> str | None:
    """Right: the model's best label for each picture in a folder, in whichever order."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "more").mkdir()
        pictures = {
            "b.png": Image.open(datasets.photograph("coffee")).convert("RGB"),
            "a.png": Image.open(datasets.photograph("chelsea")).convert("L"),
            "c.png": Image.open(datasets.photograph("rocket")).convert("RGB").resize((80, 60)),
            "more/d.png": Image.open(datasets.photograph("camera")).convert("RGB"),
        }
        expected = {}
        for file, picture in pictures.items():
            picture.save(folder / file)
            batch = images.load(folder / file)[np.newaxis]
            _wnid, label, probability = decode_predictions(model.predict(batch, verbose=0), top=1)[0][0]
            expected[Path(file).name] = (label, probability)
        given = name_pictures(folder)
        (folder / "broken.jpg").write_text("This is no photograph.")
        if given is None:
            return "name_pictures returned None. Does it end with return?"
        if not isinstance(given, list) or any(np.size(row) != 3 for row in given):
            return "Return a list with one (file name, label, probability) for each picture."
        found = {str(row[0]): (row[1], row[2]) for row in given}
        if set(found) == {str(folder / file) for file in pictures}:
            return "Give the file's name, path.name, and not its whole path."
        if "d.png" not in found:
            return "A picture in a folder inside the folder is missing. See rglob."
        if set(found) != set(expected):
            return f"For the files {', '.join(sorted(expected))} you gave {', '.join(sorted(found))}."
        if any(abs(found[file][1] - expected[file][1]) > 0.02 for file in expected):
            if len({round(float(probability), 3) for _label, probability in found.values()}) == 1:
                return (
                    "Every picture gets the same probability: that's preprocessing done twice. The "
                    "model takes raw pixels."
                )
            return "The probabilities aren't the model's for the raw pictures. Does it get them as they are?"
        if any(found[file][0] != expected[file][0] for file in expected):
            return "The labels aren't decode_predictions' best ones."
        try:
            again = name_pictures(folder)
        except Exception:
            return "A file that isn't a picture stops it. Leave it out: except images.PictureError."
        if len(again) != len(given):
            return "A file that only pretends to be a picture changes the number of rows. Leave it out."
    return None


q3 = Exercise(
    judge_name_pictures,
    hint="Copy the loop that reads FOLDER, without [:20], and call "
    "model.predict(picture[np.newaxis], verbose=0) in it.",
    solution="""
        def name_pictures(folder):
            rows = []
            for path in sorted(Path(folder).expanduser().rglob("*")):
                if path.is_file():
                    try:
                        picture = images.load(path)
                    except images.PictureError:
                        continue
                    answer = model.predict(picture[np.newaxis], verbose=0)
                    wnid, label, probability = decode_predictions(answer, top=1)[0][0]
                    rows.append((path.name, label, probability))
            return rows
    """,
    right="Now try it on a folder of yours, with small pictures and grey ones.",
    wrong={
        """
        def name_pictures(folder):
            rows = []
            for path in sorted(Path(folder).rglob("*.*")):
                answer = model.predict(images.load(path)[np.newaxis], verbose=0)
                wnid, label, probability = decode_predictions(answer, top=1)[0][0]
                rows.append((path.name, label, probability))
            return rows
        """: "stops it",
        """
        def name_pictures(folder):
            rows = []
            for path in sorted(Path(folder).glob("*.png")):
                answer = model.predict(images.load(path)[np.newaxis], verbose=0)
                wnid, label, probability = decode_predictions(answer, top=1)[0][0]
                rows.append((path.name, label, probability))
            return rows
        """: "rglob",
        """
        def name_pictures(folder):
            rows = []
            for path in sorted(Path(folder).rglob("*.png")):
                answer = model.predict(preprocess_input(images.load(path)[np.newaxis]), verbose=0)
                wnid, label, probability = decode_predictions(answer, top=1)[0][0]
                rows.append((path.name, label, probability))
            return rows
        """: "twice",
        """
        def name_pictures(folder):
            rows = []
            for path in sorted(Path(folder).rglob("*.png")):
                answer = model.predict(images.load(path)[np.newaxis], verbose=0)
                wnid, label, probability = decode_predictions(answer, top=1)[0][0]
                rows.append((str(path), label, probability))
            return rows
        """: "path.name",
        """
        def name_pictures(folder):
            rows = []
            for path in sorted(Path(folder).rglob("*.png")):
                answer = model.predict(images.load(path)[np.newaxis], verbose=0)
                rows.append((path.name, answer.argmax()))
            return rows
        """: "file name, label",
        """
        def name_pictures(folder):
            rows = []
            for path in sorted(Path(folder).rglob("*.png")):
                answer = model.predict(images.load(path, size=100)[np.newaxis], verbose=0)
                wnid, label, probability = decode_predictions(answer, top=1)[0][0]
                rows.append((path.name, label, probability))
            return rows
        """: "as they are",
    },
)
