"""Picture files, which nobody has checked, and pictures as RGB arrays."""

import struct
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from helpers.errors import ArgumentError, PictureError

FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP")
MAX_PIXELS = 100_000_000
BACKGROUND = (255, 255, 255)


def read(path: str | Path) -> np.ndarray:
    """A picture file → its pixels as people see them: (rows, columns, 3), uint8, RGB.

    The camera's rotation (EXIF) is applied, transparency is laid on white, sixteen bits are
    scaled to eight, and of an animation the first frame is taken.

    Raises:
        PictureError: not there, not a picture, cut off, or larger than 100 million pixels; says
            which file and why.

    Example:
        >>> read("data/five_classes/train/bus/bus_000.jpg").shape
        (224, 224, 3)
    """
    path = Path(path)
    try:
        # Pillow warns of sizes, which are refused here, and of broken EXIF, which is left out.
        with warnings.catch_warnings(action="ignore"), Image.open(path, formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise PictureError(
                    f"{path}: {image.width} x {image.height} pixels, expected {MAX_PIXELS:,} at "
                    "most. Make it smaller first."
                )
            image.load()  # only now is the whole file read; `verify` passes files that are cut off
            return np.asarray(_rgb(ImageOps.exif_transpose(image)))
    except PictureError:
        raise
    except FileNotFoundError:
        raise PictureError(f"{path}: no such file.") from None
    except IsADirectoryError:
        raise PictureError(f"{path}: a folder, expected a picture file.") from None
    except Image.UnidentifiedImageError:
        raise PictureError(f"{path}: {_what_it_is(path)}; expected {', '.join(FORMATS)}.") from None
    except (OSError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError) as error:
        raise PictureError(f"{path}: cannot be read as a picture ({error}).") from error


def fit(image: np.ndarray, size: int) -> np.ndarray:
    """The largest square in the middle, resized (bicubic): (size, size, 3), uint8.

    Raises:
        ArgumentError: not (rows, columns, 3) uint8.

    >>> fit(np.zeros((300, 400, 3), "uint8"), 224).shape
    (224, 224, 3)
    """
    if not isinstance(image, np.ndarray) or image.ndim != 3 or image.shape[2] != 3:
        found = getattr(image, "shape", type(image).__name__)
        raise ArgumentError(f"Expected one picture, (rows, columns, 3), got {found}.")
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


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # Pillow's own conversion clips 16 bits instead of scaling
        values = np.asarray(image).astype(np.float64)
        image = Image.fromarray(np.clip(values / 257.0 + 0.5, 0, 255).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        background = Image.new("RGBA", image.size, (*BACKGROUND, 255))
        image = Image.alpha_composite(background, image)
    return image.convert("RGB")


def _what_it_is(path: Path) -> str:
    with path.open("rb") as file:
        start = file.read(64)
    if not start:
        return "an empty file"
    return (
        "a web page"
        if start.lstrip().lower().startswith((b"<!doctype", b"<html"))
        else "no picture"
    )
