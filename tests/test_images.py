import io
import random
import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import picture
from PIL import Image, ImageOps

from helpers import images
from helpers.errors import ArgumentError, HelpersError, PictureError

SMALL = picture(1, 24, 32)


def encoded(image: Image.Image | np.ndarray, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(file, kind, **options)
    return file.getvalue()


def saved(path: Path, image: Image.Image | np.ndarray, kind: str = "PNG", **options: Any) -> Path:
    path.write_bytes(encoded(image, kind, **options))
    return path


def seen_by_pillow(path: Path, attribute: str) -> Any:
    with Image.open(path) as image:
        return getattr(image, attribute)


def oriented(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def png(width: int, height: int) -> bytes:
    """A PNG file that says it is so large, and has no pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


# --- what can be read ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "options"),
    [("PNG", {}), ("BMP", {}), ("WEBP", {"lossless": True})],
)
def test_a_lossless_picture_is_read_exactly(tmp_path: Path, kind: str, options: dict) -> None:
    read = images.read(saved(tmp_path / "x", SMALL, kind, **options))
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, SMALL)


def test_a_jpeg_is_read_closely(tmp_path: Path) -> None:
    read = images.read(saved(tmp_path / "x.jpg", SMALL, "JPEG", quality=95, subsampling=0))
    assert read.shape == SMALL.shape
    assert np.abs(read.astype(int) - SMALL).mean() < 3


def test_of_an_animation_the_first_frame_is_taken(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 6), colour) for colour in ("red", "blue")]
    path = saved(tmp_path / "x.gif", frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert seen_by_pillow(path, "n_frames") == 2
    np.testing.assert_array_equal(images.read(path), np.full((6, 8, 3), (255, 0, 0)))


@pytest.mark.parametrize("mode", ["1", "L", "P"])
def test_grey_and_palette_become_rgb(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(SMALL).convert(mode)
    read = images.read(saved(tmp_path / "x.png", image))
    np.testing.assert_array_equal(read, np.asarray(image.convert("RGB")))
    assert read.shape == (24, 32, 3)


@pytest.mark.parametrize(
    ("mode", "clear", "solid", "half"),
    [
        ("RGBA", (255, 0, 0, 0), (255, 0, 0, 255), (0, 0, 0, 128)),
        ("LA", (0, 0), (76, 255), (0, 128)),
    ],
)
def test_transparency_is_laid_on_white(
    tmp_path: Path, mode: str, clear: Any, solid: Any, half: Any
) -> None:
    image = Image.new(mode, (3, 1), clear)
    image.putpixel((1, 0), solid)
    image.putpixel((2, 0), half)
    hidden, shown, mixed = images.read(saved(tmp_path / "x.png", image))[0].astype(int)
    np.testing.assert_array_equal(hidden, (255, 255, 255))
    np.testing.assert_array_equal(shown, solid[:3] if mode == "RGBA" else [76] * 3)
    assert np.abs(mixed - 127).max() <= 1


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_a_transparent_palette_colour_is_white(tmp_path: Path, kind: str) -> None:
    image = Image.new("P", (2, 1), 0)
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putpixel((1, 0), 1)
    read = images.read(saved(tmp_path / "x", image, kind, transparency=0))
    assert read[0].tolist() == [[255, 255, 255], [0, 0, 255]]


def test_cmyk_has_its_colours(tmp_path: Path) -> None:
    colours = [(255, 0, 0), (0, 160, 0), (20, 40, 220), (250, 250, 250), (90, 90, 90)]
    blocks = np.repeat(np.repeat(np.array([colours], "uint8"), 16, 0), 16, 1)
    path = saved(tmp_path / "x.jpg", Image.fromarray(blocks).convert("CMYK"), "JPEG", quality=98)
    assert seen_by_pillow(path, "mode") == "CMYK"
    read = images.read(path)
    assert np.abs(read[8, 8::16].astype(int) - colours).max() <= 6


def test_sixteen_bits_are_scaled_and_not_clipped(tmp_path: Path) -> None:
    sixteen = (np.arange(256, dtype=np.uint16) * 257).reshape(16, 16)
    path = saved(tmp_path / "x.png", sixteen)
    assert seen_by_pillow(path, "mode") == "I;16"
    read = images.read(path)
    np.testing.assert_array_equal(read, np.arange(256).reshape(16, 16, 1).repeat(3, 2))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_cameras_rotation_is_applied(tmp_path: Path, orientation: int) -> None:
    # How to get from the stored pixels to the upright ones, by the EXIF standard's table.
    upright = {
        1: lambda a: a,
        2: np.fliplr,
        3: lambda a: np.rot90(a, 2),
        4: np.flipud,
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, -1),
        7: lambda a: np.rot90(a, 2).transpose(1, 0, 2),
        8: lambda a: np.rot90(a, 1),
    }[orientation](SMALL)
    path = saved(tmp_path / "x.png", SMALL, exif=oriented(orientation))
    np.testing.assert_array_equal(images.read(path), upright)


def test_a_rotated_jpeg_stands_upright(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.jpg", SMALL, "JPEG", quality=95, subsampling=0, exif=oriented(6))
    assert images.read(path).shape == (32, 24, 3)
    assert np.abs(images.read(path).astype(int) - np.rot90(SMALL, -1)).mean() < 3


def test_one_pixel_is_a_picture(tmp_path: Path) -> None:
    assert images.read(saved(tmp_path / "x.png", SMALL[:1, :1])).shape == (1, 1, 3)


# --- what cannot ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "an empty file"),
        (b"just notes", "no picture; expected JPEG, PNG"),
        (b"\n<!DOCTYPE html><html>", "a web page"),
        (b"<HTML><body>", "a web page"),
        (encoded(SMALL, "TIFF"), "no picture"),  # a format that is not on the list
        (encoded(SMALL, "JPEG")[:-60], "truncated"),
        (encoded(SMALL, "PNG")[:-200], "truncated"),
        (encoded(SMALL, "PNG")[:30], ""),
    ],
    ids=["empty", "text", "page", "PAGE", "TIFF", "cut JPEG", "cut PNG", "only a header"],
)
def test_the_error_names_the_file_and_the_reason(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    path = tmp_path / "holiday.jpg"
    path.write_bytes(content)
    with pytest.raises(PictureError) as caught:
        images.read(path)
    assert str(path) in str(caught.value)
    assert reason in str(caught.value)


def test_nothing_and_a_folder_are_no_pictures(tmp_path: Path) -> None:
    with pytest.raises(PictureError, match=r"x\.jpg: no such file"):
        images.read(tmp_path / "x.jpg")
    with pytest.raises(PictureError, match="a folder"):
        images.read(tmp_path)


@pytest.mark.parametrize("side", [10_001, 12_000, 30_000])
def test_too_many_pixels_are_refused_from_the_header(tmp_path: Path, side: int) -> None:
    path = tmp_path / "huge.png"
    path.write_bytes(png(side, side))
    with pytest.raises(PictureError, match=r"huge\.png.*pixels"):
        images.read(path)


def test_the_limit_is_on_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path / "x.png", SMALL)
    monkeypatch.setattr(images, "MAX_PIXELS", SMALL[..., 0].size)
    images.read(path)
    monkeypatch.setattr(images, "MAX_PIXELS", SMALL[..., 0].size - 1)
    with pytest.raises(PictureError, match="32 x 24 pixels, expected 767 at most"):
        images.read(path)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "BMP"])
def test_a_damaged_file_is_a_picture_or_a_picture_error(tmp_path: Path, kind: str) -> None:
    options = {} if kind in ("GIF", "BMP") else {"exif": oriented(6)}
    whole = encoded(SMALL, kind, **options)
    random_ = random.Random(kind)
    path = tmp_path / "x"
    refused = 0
    for _ in range(150):
        damaged = bytearray(whole)
        for _ in range(random_.choice([1, 2, 8])):
            at = random_.randrange(min(len(damaged), random_.choice([40, 200, 10_000])))
            damaged[at] = random_.choice([0, 255, random_.randrange(256)])
        if random_.random() < 0.3:
            del damaged[random_.randrange(8, len(damaged)) :]
        path.write_bytes(damaged)
        try:
            read = images.read(path)
        except PictureError:
            refused += 1
        else:
            assert (read.dtype, read.ndim, read.shape[2]) == (np.uint8, 3, 3)
    assert refused > 0


def test_pillows_warnings_are_not_the_learners(tmp_path: Path) -> None:
    broken = encoded(SMALL, "JPEG", exif=b"Exif\x00\x00II*\x00\x08\x00\x00\x00\x02\x00\x12\x01")
    path = tmp_path / "x.jpg"
    path.write_bytes(broken)
    with pytest.warns(UserWarning, match="EXIF"), Image.open(path) as image:
        ImageOps.exif_transpose(image)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        images.read(path)
    assert not caught


# --- fit -----------------------------------------------------------------------------------------


def test_fit_takes_the_square_in_the_middle() -> None:
    wide = np.zeros((20, 40, 3), "uint8")
    wide[:, 10:30] = 200  # the middle, and nothing of the sides
    np.testing.assert_array_equal(images.fit(wide, 20), np.full((20, 20, 3), 200))
    np.testing.assert_array_equal(images.fit(wide.transpose(1, 0, 2), 20), images.fit(wide, 20))


def test_fit_crops_exactly_where_nothing_is_resized() -> None:
    np.testing.assert_array_equal(images.fit(picture(2, 30, 50), 30), picture(2, 30, 50)[:, 10:40])
    np.testing.assert_array_equal(images.fit(picture(2, 31, 24), 24), picture(2, 31, 24)[3:27])


def test_fit_resizes_as_pillow_does() -> None:
    square = picture(3, 50, 50)
    expected = Image.fromarray(square).resize((20, 20), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(images.fit(square, 20), np.asarray(expected))
    assert images.fit(square[:1, :1], 32).shape == (32, 32, 3)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (np.zeros((4, 4), "uint8"), r"\(4, 4\)"),
        (np.zeros((4, 4, 4), "uint8"), r"\(4, 4, 4\)"),
        (np.zeros((1, 4, 4, 3), "uint8"), r"\(1, 4, 4, 3\)"),
        (np.zeros((4, 4, 3), "float32"), "uint8, got float32"),
        ("a.jpg", "got str"),
    ],
)
def test_fit_refuses_what_is_no_picture(given: Any, reason: str) -> None:
    with pytest.raises(ArgumentError, match=reason) as caught:
        images.fit(given, 2)
    assert isinstance(caught.value, HelpersError)
