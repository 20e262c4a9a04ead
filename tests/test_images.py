import io
import os
import struct
import subprocess
import sys
import threading
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT, picture
from PIL import Image, ImageFile, ImageOps

from helpers import images
from helpers.errors import ArgumentError, HelpersError, PictureError
from helpers.zoo import Pretrained

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


def png(width: int, height: int, bits: int = 8, colour: int = 2, data: bytes = b"") -> bytes:
    """A PNG file that says it is so large, and has no pixels but what is given."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def webp(side: int) -> bytes:
    """All pixels of one colour: a file of 38 bytes, whatever its size."""
    data = bytearray(encoded(Image.new("RGB", (4, 4), (200, 30, 40)), "WEBP", lossless=True))
    bits = struct.unpack_from("<I", data, 21)[0]
    struct.pack_into("<I", data, 21, bits & 0xF0000000 | (side - 1) << 14 | (side - 1))
    return bytes(data)


def jpeg(side: int, mode: str) -> bytes:
    """A JPEG whose header says it is so large; its pixels end early."""
    data = bytearray(encoded(Image.new(mode, (8, 8)), "JPEG"))
    struct.pack_into(">HH", data, data.index(b"\xff\xc0") + 5, side, side)
    return bytes(data)


def jpeg_of_many_scans(count: int) -> bytes:
    """A progressive JPEG, whose last scan is there again and again."""
    data = encoded(SMALL, "JPEG", progressive=True)
    scan = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + scan * (count - data.count(b"\xff\xda")) + data[-2:]


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


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "MPO"])
def test_an_animation_is_noted(tmp_path: Path, kind: str) -> None:
    one, *more = (Image.new("RGB", (8, 6), colour) for colour in ("red", "blue", "green"))
    path = saved(tmp_path / "moves", one, kind, save_all=True, append_images=more)
    assert seen_by_pillow(path, "n_frames") == 3
    notes: list[str] = []
    np.testing.assert_array_equal(images.read(path, notes), images.read(path))
    assert notes == [] if kind == "MPO" else ["an animation, of which the first frame is taken"]


@pytest.mark.parametrize("kind", images.FORMATS)
def test_of_a_still_picture_nothing_is_noted(tmp_path: Path, kind: str) -> None:
    notes: list[str] = []
    images.read(saved(tmp_path / "still", SMALL, kind), notes)
    assert notes == []


def test_damage_behind_the_first_frame_does_not_matter(tmp_path: Path) -> None:
    one, two = (Image.new("RGB", (8, 6), colour) for colour in ("red", "blue"))
    whole = encoded(one, "GIF", save_all=True, append_images=[two])
    (tmp_path / "x.gif").write_bytes(whole[:-18])  # in the head of the second frame
    with pytest.raises(IndexError):
        seen_by_pillow(tmp_path / "x.gif", "is_animated")
    notes: list[str] = []
    assert images.read(tmp_path / "x.gif", notes)[0, 0].tolist() == [255, 0, 0]
    assert notes == ["an animation, of which the first frame is taken"]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16", "rotated"])
def test_strips_join_without_a_seam(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    image = Image.fromarray(SMALL)
    options: dict[str, Any] = {}
    if mode == "I;16":
        image = Image.fromarray(SMALL[..., 0].astype(np.uint16) * 256 + SMALL[..., 1])
    elif mode == "rotated":
        options["exif"] = oriented(6)
    elif mode == "P":
        image, options["transparency"] = image.quantize(50), bytes(range(0, 250, 5))
    else:
        image = image.convert(mode)
    if image.mode in ("LA", "RGBA"):
        image.putalpha(Image.fromarray(SMALL[..., 2]))
    path = saved(tmp_path / "x.png", image, **options)
    whole = images.read(path)
    for rows in (0.5, 1, 7, len(whole) - 1):
        monkeypatch.setattr(images, "STRIP", int(rows * whole.shape[1]))
        np.testing.assert_array_equal(images.read(path), whole)


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


def test_a_palette_with_alpha_is_mixed_with_white(tmp_path: Path) -> None:
    image = Image.new("P", (3, 1))
    image.putpalette([255, 0, 0] * 3)
    image.putdata([0, 1, 2])
    path = saved(tmp_path / "x.png", image, transparency=bytes([0, 128, 255]))
    assert seen_by_pillow(path, "mode") == "P"
    read = images.read(path)[0].astype(int)
    assert np.abs(read - [[255, 255, 255], [255, 127, 127], [255, 0, 0]]).max() <= 1


def test_a_transparent_colour_is_white(tmp_path: Path) -> None:
    image = Image.new("RGB", (2, 1), (1, 2, 3))
    image.putpixel((1, 0), (4, 5, 6))
    read = images.read(saved(tmp_path / "x.png", image, transparency=(1, 2, 3)))
    assert read[0].tolist() == [[255, 255, 255], [4, 5, 6]]


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


def test_one_pixel_gets_an_answer(tmp_path: Path, network: Pretrained) -> None:
    read = images.read(saved(tmp_path / "x.png", SMALL[:1, :1]))
    answer = network.model.predict_on_batch(network.preprocess(read))
    assert answer.shape == (1, 1000)
    assert np.isfinite(answer).all()
    assert answer.sum() == pytest.approx(1, abs=1e-4)


# --- what cannot ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "an empty file"),
        (b"just notes", "no picture; expected JPEG, PNG"),
        (b"\n<!DOCTYPE html><html>", "a web page"),
        (b"<HTML><body>", "a web page"),
        (encoded(SMALL, "TIFF"), "a TIFF file; expected JPEG, PNG"),
        (b"%PDF-1.7", "a PDF; expected"),
        (b"\0\0\0\x18ftypheic", "a HEIC, AVIF or MP4 file; expected"),
        (encoded(SMALL, "PPM"), "no picture; expected JPEG, PNG"),  # Pillow would read it
        (encoded(SMALL, "JPEG")[:-60], "truncated"),
        (encoded(SMALL, "PNG")[:-200], "truncated"),
        (encoded(SMALL, "PNG")[:30], ""),
    ],
    ids=[
        "empty",
        "text",
        "page",
        "PAGE",
        "TIFF",
        "PDF",
        "HEIC",
        "PPM",
        "cut JPEG",
        "cut PNG",
        "only a header",
    ],
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


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no such files on Windows")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.jpg")
    reasons: list[str] = []

    def read() -> None:
        try:
            images.read(tmp_path / "x.jpg")
        except PictureError as error:
            reasons.append(str(error))

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    reader.join(5)
    assert [reason for reason in reasons if "no ordinary file" in reason]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (png(10_001, 10_001), "10001 x 10001 pixels, expected 100,000,000 at most"),
        (png(12_000, 12_000), "12000 x 12000 pixels, expected 100,000,000 at most"),
        (png(30_000, 30_000), "expected 100,000,000 pixels at most, got far more"),
        (webp(8_000), "8000 x 8000 pixels, expected 60,000,000 at most"),
        (jpeg(8_000, "CMYK"), "8000 x 8000 pixels, expected 60,000,000 at most"),
        (jpeg(10_001, "RGB"), "10001 x 10001 pixels, expected 100,000,000 at most"),
        (jpeg_of_many_scans(101), "expected 100 scans in a JPEG at most"),
    ],
    ids=["10001", "12000", "30000", "WebP", "CMYK", "JPEG", "scans"],
)
def test_too_much_is_refused_before_a_pixel_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, reason: str
) -> None:
    path = tmp_path / "huge.png"
    path.write_bytes(content)
    monkeypatch.setattr(ImageFile.ImageFile, "load", None)
    with pytest.raises(PictureError, match=rf"huge\.png: {reason}"):
        images.read(path)


@pytest.mark.parametrize("content", [jpeg_of_many_scans(100), webp(10)], ids=["scans", "WebP"])
def test_what_is_within_the_limits_is_read(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    assert images.read(tmp_path / "x").size


def test_a_machine_without_the_memory_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: Any) -> None:
        raise MemoryError

    path = saved(tmp_path / "x.png", SMALL)
    monkeypatch.setattr(ImageFile.ImageFile, "load", full)
    with pytest.raises(PictureError, match=r"x\.png: cannot be read .*MemoryError"):
        images.read(path)


@pytest.mark.skipif(sys.platform != "linux", reason="measures memory as Linux does it")
@pytest.mark.parametrize(
    ("columns", "rows", "bits", "colour"),
    [(9_990, 9_990, 16, 0), (2_000_000, 49, 8, 4)],
    ids=["sixteen bits", "wide, with transparency"],
)
def test_the_largest_picture_takes_less_than_a_gigabyte(
    tmp_path: Path, columns: int, rows: int, bits: int, colour: int
) -> None:
    compress, row = zlib.compressobj(1), bytes(1 + 2 * columns)
    data = b"".join(compress.compress(row) for _ in range(rows)) + compress.flush()
    (tmp_path / "x.png").write_bytes(png(columns, rows, bits, colour, data))
    program = (
        "import sys; from helpers import images; print(*images.read(sys.argv[1]).shape); "
        "print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0] + '000')"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "x.png")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    *shape, peak = map(int, done.stdout.split())
    assert shape == [rows, columns, 3]
    assert peak < 1_000_000_000


def test_the_limit_is_on_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path / "x.png", SMALL)
    monkeypatch.setattr(images, "MAX_PIXELS", SMALL[..., 0].size)
    images.read(path)
    monkeypatch.setattr(images, "MAX_PIXELS", SMALL[..., 0].size - 1)
    with pytest.raises(PictureError, match="32 x 24 pixels, expected 767 at most"):
        images.read(path)


@pytest.mark.parametrize("kind", images.FORMATS)
def test_wherever_a_file_ends_it_is_a_picture_or_a_picture_error(tmp_path: Path, kind: str) -> None:
    frames = [picture(seed, 6, 8) for seed in (1, 2)]
    more = {"save_all": True, "append_images": [Image.fromarray(frames[1])]}
    whole = encoded(frames[0], kind, **(more if kind in ("GIF", "PNG", "WEBP") else {}))
    refused = 0
    for end in range(len(whole)):
        (tmp_path / "x").write_bytes(whole[:end])
        try:
            assert images.read(tmp_path / "x", []).shape == (6, 8, 3)
        except PictureError:
            refused += 1
    assert refused >= len(whole) / 4


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


def test_pictures_that_are_read_at_the_same_time_leave_warnings_as_they_were(
    tmp_path: Path,
) -> None:
    before = list(warnings.filters)
    first, second = (images._opened(saved(tmp_path / name, SMALL)) for name in ("1.png", "2.png"))
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    warnings.warn("the second one is not done yet", stacklevel=1)  # else an error in these tests
    second.__exit__(None, None, None)
    assert list(warnings.filters) == before
    with pytest.warns(UserWarning, match="again"):
        warnings.warn("again", stacklevel=1)


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
        ("a.jpg", r"got 'a\.jpg'\. images\.read makes"),
    ],
)
def test_fit_refuses_what_is_no_picture(given: Any, reason: str) -> None:
    with pytest.raises(ArgumentError, match=reason) as caught:
        images.fit(given, 2)
    assert isinstance(caught.value, HelpersError)


# --- as a network wants them ---------------------------------------------------------------------


def test_every_mode_is_its_formula() -> None:
    pixels = np.array([[10, 20, 30]], "uint8")
    rgb, bgr = np.array([10.0, 20, 30]), np.array([30.0, 20, 10])
    expected_by_mode: dict[str, np.ndarray] = {
        "caffe": bgr - [103.939, 116.779, 123.68],
        "tf": rgb / 127.5 - 1,
        "torch": (rgb / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225],
        "lite": (rgb - 127) / 128,
        "none": rgb,
    }
    for mode, expected in expected_by_mode.items():
        scaled = images.scale(pixels, mode)
        assert scaled.dtype == np.float32
        np.testing.assert_allclose(scaled[0], expected, rtol=1e-5, err_msg=mode)


@pytest.mark.parametrize("mode", ["caffe", "tf", "torch", "lite", "none"])
def test_scaling_changes_nothing_in_place(mode: str) -> None:
    pixels = picture(2).astype("float32")
    scaled = images.scale(pixels, mode)
    np.testing.assert_array_equal(pixels, picture(2))
    assert not np.shares_memory(scaled, pixels)


def test_an_unknown_mode_is_an_error() -> None:
    with pytest.raises(ArgumentError, match="'keras'; known: caffe"):
        images.scale(picture(0), "keras")
