"""Picture files as RGB arrays, cropped, resized and scaled as networks want them."""

import math
import re
import threading
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, JpegImagePlugin, PngImagePlugin

from helpers.errors import ArgumentError, PictureError

FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "JPEG2000", "AVIF", "HEIF")
EXPECTED = "expected JPEG, PNG, GIF, BMP, WebP, TIFF, JPEG 2000, AVIF or HEIC."
MAX_PIXELS = 100_000_000
# For WebP, JPEG 2000, AVIF, HEIC and CMYK, whose decoders keep copies of the whole picture.
MAX_PIXELS_COPIED = 60_000_000
# Of formats whose decoders read the whole file, with what is behind the picture, into memory.
MAX_BYTES = 4 * MAX_PIXELS_COPIED
READ_WHOLE = rb"RIFF....WEBP|....ftyp(avi[fs]|he[iv].|m[is]f1)"
FINER = 1.5  # how many times the wanted side a JPEG keeps at least when it is decoded smaller
STRIP = 2_500_000  # pixels that are converted at once, in whole rows
# How files begin that Pillow does not identify, and what they are.
KINDS = {
    rb"\Z": "an empty file",
    rb"(\xef\xbb\xbf)?\s*<(!doctype html|html|head|body)": "a web page",
    rb"(\xef\xbb\xbf)?\s*<(svg|(\?xml|!).*<svg)": "an SVG drawing",
    rb"%PDF": "a PDF",
    rb"\xff\x0a|\0\0\0\x0cJXL ": "a JPEG XL picture",
    rb"....ftypcrx|II\*\0....CR|II....HEAPCCDR|FUJIFILM|II(U\0|R[OS])|FOVb|\0MRM": (
        "a camera's raw file"
    ),
    rb"\xff\xd8|\x89PNG|GIF8|BM|II\*\0|MM\0\*|\0\0\0\x0cjP  |\xff\x4f\xff\x51|"
    + READ_WHOLE: "a picture that is damaged or of a rare kind",
    rb"....ftyp|RIFF....AVI|\x1aE\xdf\xa3": "a video",
    rb"PK\x03\x04": "a ZIP archive",
    rb"[^\0-\x08\x0e-\x1a\x1c-\x1f]*\Z": "a text file",
    rb"": "a file of another kind",
}  # fmt: skip
NOTES = {
    "TIFF": "several pages, of which the first is taken",
    "HEIF": "several pictures, of which the main one is taken",
}
# Python's filters of warnings belong to all threads: one at a time may change them.
WARNINGS = threading.Lock()


def load(path: str | Path, size: int | None = None, notes: list[str] | None = None) -> np.ndarray:
    """Read a picture file as people see it: upright, on white, in RGB with 8 bits.

    Args:
        path: the file. Its content counts, not its name.
        size: the side in pixels of the square that `crop` cuts out; None for the whole picture.
            A large JPEG is then decoded at 1/2, 1/4 or 1/8, with at least 1.5 times the size left:
            a phone's photograph takes half the time and a tenth of the memory. That moves features
            less than another resizing does: on 16 photographs the cosine to the full decode is
            0.998 (median; 0.995 at least), with JPEG quality 90 for 95 it is 0.9995, and with
            bilinear for bicubic resizing 0.989. If you want each pixel to count, use
            `crop(load(path), size)`.
        notes: a list that gets a note if the file holds more pictures than the one that is read.

    Returns:
        Pixels 0 … 255, (rows, columns, 3) or (size, size, 3), uint8.

    Raises:
        PictureError: the file is missing, damaged, no picture, or larger than 100 million pixels
            (60 million as WebP, JPEG 2000, AVIF, HEIC or CMYK).

    Example:
        >>> load("data/five_classes/train/bus/bus_000.jpg").shape
        (224, 224, 3)
    """
    path = Path(path)
    if size is not None:
        _check_size(size)
    try:
        pixels = _read(path, notes, size)
    except Image.UnidentifiedImageError:
        start = _start(path)
        kind = next(what for sign, what in KINDS.items() if re.match(sign, start, re.S | re.I))
        reason = f"{kind}, {EXPECTED}"
    except PictureError as error:
        reason = str(error)
    except Exception as error:  # Pillow raises all kinds for damaged files
        reason = f"cannot be read as a picture ({str(error) or type(error).__name__})."
    else:
        return pixels if size is None else crop(pixels, size)
    raise PictureError(f"{path}: {reason}")


def crop(image: np.ndarray, size: int) -> np.ndarray:
    """Cut out the largest square in the middle, and resize it (bicubic).

    Args:
        image: pixels as `load` gives them.
        size: the side of the result, in pixels.

    Example:
        >>> crop(np.zeros((300, 400, 3), "uint8"), 224).shape
        (224, 224, 3)
    """
    if not isinstance(image, np.ndarray) or image.ndim != 3 or image.shape[2] != 3:
        raise ArgumentError(
            f"Expected one picture, (rows, columns, 3), got {getattr(image, 'shape', repr(image))}."
            " images.load makes such an array of any picture file."
        )
    if image.dtype != np.uint8:
        raise ArgumentError(
            f"Expected pixels 0 ... 255 as uint8, got {image.dtype}. "
            "Preprocessing comes after resizing; for floats 0 ... 1 use (255 * x).astype('uint8')."
        )
    _check_size(size)
    rows, columns = image.shape[:2]
    side = min(rows, columns)
    left, top = (columns - side) // 2, (rows - side) // 2
    box = (left, top, left + side, top + side)
    # In two steps where it is much larger: quicker, and the features stay (cosine above 0.999).
    bicubic = Image.Resampling.BICUBIC
    return np.asarray(Image.fromarray(image).resize((size, size), bicubic, box, reducing_gap=3))


def scale(pixels: np.ndarray, mode: str) -> np.ndarray:
    """Scale RGB pixels to the values that a network was trained on.

    They are, to the bit, those of `keras.applications.imagenet_utils`, which loads TensorFlow.

    Args:
        pixels: 0 … 255, (…, 3).
        mode: `"caffe"`: BGR, ImageNet's mean subtracted; `"tf"`: -1 … 1; `"torch"`: 0 … 1, then
            standardised by channel; `"lite"`: (x - 127) / 128; `"none"`: unchanged.

    Example:
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
    """Crop and scale one picture, or a sequence of them, to a batch (N, size, size, 3), float32.

    The arguments are those of `crop` and `scale`.
    """
    # Of a path, `crop` says how it is read.
    one = isinstance(pictures, str | Path) or getattr(pictures, "ndim", 0) == 3
    several: Sequence[Any] = [pictures] if one else list(pictures)
    if not several:
        raise ArgumentError("Expected one picture or more, got none.")
    return scale(np.stack([crop(picture, size) for picture in several]), mode)


def _check_size(size: int) -> None:
    if not isinstance(size, int | np.integer) or size < 1:
        raise ArgumentError(f"Expected the size as a number of pixels, such as 224, got {size!r}.")


def _start(path: Path) -> bytes:
    if path.is_dir():
        raise PictureError("a folder, expected a picture. See datasets.class_folders for folders.")
    if not path.is_file():
        raise PictureError("no ordinary file." if path.exists() else "no such file.")
    with path.open("rb") as file:
        return file.read(1024)


def _read(path: Path, notes: list[str] | None, size: int | None) -> np.ndarray:
    """Read the picture, not much larger than a size if one is given.

    The reasons of its PictureErrors do not name the file.
    """
    formats: tuple[str, ...] = FORMATS[:-1]  # Pillow knows HEIF only once it is registered
    start = _start(path)
    if (length := path.stat().st_size) > MAX_BYTES and re.match(READ_WHOLE, start, re.S):
        raise PictureError(f"{length:,} bytes, expected {MAX_BYTES:,} at most in this format.")
    if start[4:8] == b"ftyp":
        import pillow_heif

        pillow_heif.register_heif_opener()
        formats = FORMATS
    # A single text of a PNG may be as long as all of them may be together, 64 MB, instead of 1 MB.
    PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY
    # Pillow warns of sizes, which are checked here, and of damaged tags, which are left out.
    with WARNINGS, warnings.catch_warnings(action="ignore"):
        image = Image.open(path, formats=formats)
    with image:
        copied = image.format in ("WEBP", "JPEG2000", "AVIF", "HEIF") or image.mode == "CMYK"
        most = MAX_PIXELS_COPIED if copied else MAX_PIXELS
        if image.width * image.height > most:
            large = f"{image.width} x {image.height}"
            raise PictureError(f"{large} pixels, expected {most:,} at most. Make it smaller first.")
        if image.mode in ("I", "F"):
            raise PictureError("32 bits per channel, expected 8 or 16. Save it with 8.")
        if size is not None and isinstance(image, JpegImagePlugin.JpegImageFile):
            side = math.ceil(FINER * size)
            image.draft(None, (side, side))
        is_tiff = image.format == "TIFF"
        if not is_tiff:
            image.load()  # the whole file; `verify` passes files that are cut off
        with WARNINGS, warnings.catch_warnings(action="ignore"):
            image.load()  # a TIFF, whose tags are read meanwhile
            _turn(image)
        if is_tiff and image.getexif().get(254) == 1:  # only a preview
            raise PictureError(f"a camera's raw file, {EXPECTED}")
        pixels = np.empty((image.height, image.width, 3), np.uint8)
        # In strips, because whole copies in each form took 2.7 GB at 100 million pixels.
        rows = max(1, STRIP // image.width)
        for top in range(0, image.height, rows):
            bottom = min(top + rows, image.height)
            pixels[top:bottom] = np.asarray(_rgb(image.crop((0, top, image.width, bottom))))
        if notes is not None and _has_several(image):
            animation = "an animation, of which the first frame is taken"
            notes.append(NOTES.get(str(image.format), animation))
        return pixels


def _turn(image: Image.Image) -> None:
    try:
        ImageOps.exif_transpose(image, in_place=True)
    except MemoryError:
        raise
    except Exception:
        return  # damaged tags: none says how to turn it; or it is turned, and they are not copied


def _has_several(image: Image.Image) -> bool:
    # Behind a phone's photograph (MPO) there are depth maps and the like: no animation.
    try:
        return image.format != "MPO" and getattr(image, "is_animated", False)
    except Exception:  # of a GIF's second frame, which is damaged
        return True


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):  # Pillow's own conversion clips 16 bits instead of scaling
        image = Image.fromarray((np.asarray(image) / 257.0 + 0.5).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")
