"""Picture files, which nobody has checked; pictures as RGB arrays, and as networks want them."""

import contextlib
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from helpers.errors import ArgumentError, PictureError

FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP")
MAX_PIXELS = 100_000_000
# Read at 100 million pixels, WebP took 1.6 GB and CMYK in a progressive JPEG 1.2 GB, for their
# decoders keep whole copies; everything else took 0.8 GB at most.
MAX_PIXELS_COPIED = 60_000_000
# A progressive JPEG has about 10 scans. Each one costs a pass over all its pixels, however few
# bytes it has: 500 scans of 15 bytes took 7 seconds more at 100 million pixels.
MAX_SCANS = 100
BACKGROUND = (255, 255, 255)
# What Pillow raises for damaged files, seen in some hundred thousand of them, and their like.
DAMAGE = (
    OSError, EOFError, SyntaxError, ValueError, LookupError, ArithmeticError, MemoryError,
    TypeError, struct.error, zlib.error,
)  # fmt: skip
STRIP = 2_500_000  # pixels that are converted at once, in whole rows
NOT_PICTURES = {
    b"<!doctype": "a web page",
    b"<html": "a web page",
    b"%pdf": "a PDF",
    b"ii*\0": "a TIFF file",
    b"mm\0*": "a TIFF file",
}


def read(path: str | Path, notes: list[str] | None = None) -> np.ndarray:
    """A picture file → its pixels as people see them: (rows, columns, 3), uint8, RGB.

    The camera's rotation (EXIF) is applied, transparency is laid on white, sixteen bits are
    scaled to eight, and of an animation the first frame is taken.

    Args:
        path: the file; its name does not matter, its content does.
        notes: what the file has beyond that is added here, in words for people.

    Raises:
        PictureError: not there, not a picture, cut off, or larger than 100 million pixels (60
            million as WebP or in CMYK); says which file and why.

    Example:
        >>> read("data/five_classes/train/bus/bus_000.jpg").shape
        (224, 224, 3)
    """
    path = Path(path)
    with _opened(path) as image:
        copied = image.format == "WEBP" or image.mode == "CMYK"
        most = min(MAX_PIXELS, MAX_PIXELS_COPIED) if copied else MAX_PIXELS
        if image.width * image.height > most:
            raise PictureError(
                f"{path}: {image.width} x {image.height} pixels, expected {most:,} at most. "
                "Make it smaller first."
            )
        if image.format in ("JPEG", "MPO") and path.read_bytes().count(b"\xff\xda") > MAX_SCANS:
            raise PictureError(
                f"{path}: expected {MAX_SCANS} scans in a JPEG at most, got more. Save it anew."
            )
        image.load()  # only now is the whole file read; `verify` passes files that are cut off
        ImageOps.exif_transpose(image, in_place=True)
        pixels = np.empty((image.height, image.width, 3), np.uint8)
        # In strips, for whole copies in each form took 2.7 GB at 100 million pixels.
        rows = max(1, STRIP // image.width)
        for top in range(0, image.height, rows):
            bottom = min(top + rows, image.height)
            pixels[top:bottom] = np.asarray(_rgb(image.crop((0, top, image.width, bottom))))
        if notes is not None and _is_animated(image):
            notes.append("an animation, of which the first frame is taken")
        return pixels


def fit(image: np.ndarray, size: int) -> np.ndarray:
    """The largest square in the middle, resized (bicubic): (size, size, 3), uint8.

    Raises:
        ArgumentError: not (rows, columns, 3) uint8.

    >>> fit(np.zeros((300, 400, 3), "uint8"), 224).shape
    (224, 224, 3)
    """
    if not isinstance(image, np.ndarray) or image.ndim != 3 or image.shape[2] != 3:
        found = getattr(image, "shape", repr(image))
        raise ArgumentError(
            f"Expected one picture, (rows, columns, 3), got {found}. images.read makes such an "
            "array of any picture file, grey ones and those with transparency too."
        )
    if image.dtype != np.uint8:
        raise ArgumentError(
            f"Expected pixels 0 ... 255 as uint8, got {image.dtype}. "
            "Preprocessing comes after resizing; for floats 0 ... 1 use (255 * x).astype('uint8')."
        )
    rows, columns = image.shape[:2]
    side = min(rows, columns)
    if (rows, columns) == (size, size):
        return image
    left, top = (columns - side) // 2, (rows - side) // 2
    box = (left, top, left + side, top + side)
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC, box))


def scale(pixels: np.ndarray, mode: str) -> np.ndarray:
    """RGB pixels 0 … 255, (…, 3) → float32 in a preprocessing mode of the catalogue.

    `caffe`: BGR, ImageNet's mean subtracted; `tf`: -1 … 1; `torch`: 0 … 1, then standardised by
    channel; `lite`: (x - 127) / 128; `none`: as they are. The values are, to the bit, those of
    `keras.applications.imagenet_utils`, which loads TensorFlow.

    Raises:
        ArgumentError: an unknown mode.

    >>> scale(np.array([[0, 127.5, 255]]), "tf").tolist()
    [[-1.0, 0.0, 1.0]]
    """
    pixels = np.array(pixels, "float32")
    if mode == "caffe":
        return pixels[..., ::-1] - np.array([103.939, 116.779, 123.68], "float32")
    if mode == "tf":
        return pixels / 127.5 - 1
    if mode == "torch":
        mean, deviation = np.array([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]], "float32")
        return (pixels / 255 - mean) / deviation
    if mode == "lite":
        return (pixels - 127) / 128
    if mode == "none":
        return pixels
    raise ArgumentError(f"No preprocessing {mode!r}; known: caffe, tf, torch, lite, none.")


def preprocess(pictures: np.ndarray | Sequence[np.ndarray], size: int, mode: str) -> np.ndarray:
    """One picture or several, as `read` gives them → a network's batch (N, size, size, 3), float32.

    The square in the middle of each is resized, and its pixels are scaled in a mode of `scale`.

    Raises:
        ArgumentError: not such pictures; already scaled ones too.
    """
    # Of a path, `fit` says how it is read.
    one = isinstance(pictures, (str, Path)) or getattr(pictures, "ndim", 0) == 3
    several: Sequence[Any] = [pictures] if one else list(pictures)
    if not several:
        raise ArgumentError("Expected one picture or more, got none.")
    return scale(np.stack([fit(picture, size) for picture in several]), mode)


class _Silence:
    """No warnings, for threads: with `warnings.catch_warnings` alone, one that leaves early lets
    the warnings of the others through, and one that leaves late silences the process for good.
    """

    def __init__(self) -> None:
        self.lock, self.inside = threading.Lock(), 0

    def __enter__(self) -> None:
        with self.lock:
            if not self.inside:
                self.filters = warnings.catch_warnings(action="ignore")
                self.filters.__enter__()
            self.inside += 1

    def __exit__(self, *_: object) -> None:
        with self.lock:
            self.inside -= 1
            if not self.inside:
                self.filters.__exit__(None, None, None)


SILENCE = _Silence()


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """An open picture; whatever goes wrong with it becomes a PictureError."""
    try:
        if not path.is_file():
            raise PictureError(f"{path}: {_what_is_there(path)}")
        # Pillow warns of sizes, which are refused here, and of broken EXIF, which is left out.
        with SILENCE, Image.open(path, formats=FORMATS) as image:
            yield image
    except PictureError:
        raise
    except Image.UnidentifiedImageError:
        raise PictureError(
            f"{path}: {_what_it_is(path)}; expected {', '.join(FORMATS)}. Save it as one of them."
        ) from None
    except Image.DecompressionBombError:
        raise PictureError(
            f"{path}: expected {MAX_PIXELS:,} pixels at most, got far more. Make it smaller first."
        ) from None
    except DAMAGE as error:
        reason = str(error) or type(error).__name__
        raise PictureError(f"{path}: cannot be read as a picture ({reason}).") from error


def _is_animated(image: Image.Image) -> bool:
    # Behind a phone's photograph (MPO) there are depth maps and the like: no animation.
    try:
        return image.format != "MPO" and getattr(image, "is_animated", False)
    except DAMAGE:
        return True  # GIF has to look for a second frame; what is there is damaged


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # Pillow's own conversion clips 16 bits instead of scaling
        values = np.asarray(image).astype(np.float64)
        image = Image.fromarray(np.clip(values / 257.0 + 0.5, 0, 255).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        background = Image.new("RGBA", image.size, (*BACKGROUND, 255))
        image = Image.alpha_composite(background, image)
    return image.convert("RGB")


def _what_is_there(path: Path) -> str:
    if path.is_dir():
        return "a folder, expected a picture file. Of class folders see datasets.class_folders."
    return "no such file." if not path.exists() else "no ordinary file, expected a picture file."


def _what_it_is(path: Path) -> str:
    with path.open("rb") as file:
        start = file.read(64)
    if not start:
        return "an empty file"
    if start[4:8] == b"ftyp":
        return "a HEIC, AVIF or MP4 file"
    known = (what for sign, what in NOT_PICTURES.items() if start.lstrip().lower().startswith(sign))
    return next(known, "no picture")


load = read
