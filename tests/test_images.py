import io
import os
import struct
import subprocess
import sys
import threading
import tracemalloc
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pillow_heif
import pytest
from conftest import ROOT, picture
from PIL import Image, ImageFile, ImageOps, PngImagePlugin, TiffImagePlugin

from helpers import datasets, images
from helpers.errors import ArgumentError, PictureError

SMALL = picture(1, 24, 32)
pillow_heif.register_heif_opener()  # to write such files


def encoded(image: Image.Image | np.ndarray, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(file, kind, **options)
    return file.getvalue()


def saved(path: Path, image: Image.Image | np.ndarray, kind: str = "PNG", **options: Any) -> Path:
    path.write_bytes(encoded(image, kind, **options))
    return path


def frames(count: int) -> list[Image.Image]:
    return [Image.new("RGB", (8, 6), colour) for colour in ("red", "blue", "green")[:count]]


def oriented(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif.tobytes()


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


def camera_raw() -> bytes:
    """A TIFF file whose first picture is a preview, as raw files of several makers are built."""
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[254] = 1
    return encoded(SMALL, "TIFF", tiffinfo=tags)


# --- what can be read ----------------------------------------------------------------------------


LOSSLESS = [
    (kind, mode) for kind in ("PNG", "BMP", "TIFF", "WEBP") for mode in ("RGB", "L", "1", "P")
]


@pytest.mark.parametrize(("kind", "mode"), [*LOSSLESS, ("JPEG2000", "RGB"), ("JPEG2000", "L")])
def test_a_lossless_picture_is_read_exactly(tmp_path: Path, kind: str, mode: str) -> None:
    image = Image.fromarray(SMALL).convert(mode)
    read = images.load(saved(tmp_path / "x", image, kind, lossless=True))
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "AVIF", "HEIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_cameras_rotation_is_applied(tmp_path: Path, kind: str, orientation: int) -> None:
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
    }[orientation](picture(1, 120, 160))
    path = saved(tmp_path / "x", picture(1, 120, 160), kind, exif=oriented(orientation), quality=95)
    read = images.load(path)
    assert read.shape == upright.shape
    assert np.abs(read.astype(int) - upright).mean() < 3


@pytest.mark.parametrize(
    ("kind", "note"),
    [
        ("GIF", "an animation, of which the first frame is taken"),
        ("PNG", "an animation, of which the first frame is taken"),
        ("WEBP", "an animation, of which the first frame is taken"),
        ("AVIF", "an animation, of which the first frame is taken"),
        ("TIFF", "several pages, of which the first is taken"),
        ("HEIF", "several pictures, of which the main one is taken"),
        ("MPO", ""),  # behind a phone's photograph there are depth maps and the like
    ],
)
def test_of_several_pictures_one_is_taken_and_noted(tmp_path: Path, kind: str, note: str) -> None:
    one, *more = frames(3)
    notes: list[str] = []
    path = saved(tmp_path / "x", one, kind, save_all=True, append_images=more)
    read = images.load(path, notes=notes)
    assert read.shape == (6, 8, 3)
    assert np.abs(read.astype(int) - (255, 0, 0)).max() <= 4
    assert notes == ([note] if note else [])


@pytest.mark.parametrize("kind", images.FORMATS)
def test_of_a_single_picture_nothing_is_noted(tmp_path: Path, kind: str) -> None:
    notes: list[str] = []
    images.load(saved(tmp_path / "still", SMALL, kind), notes=notes)
    assert notes == []


def test_damage_behind_the_first_frame_does_not_matter(tmp_path: Path) -> None:
    one, two = frames(2)
    whole = encoded(one, "GIF", save_all=True, append_images=[two])
    (tmp_path / "x.gif").write_bytes(whole[:-18])  # in the head of the second frame
    notes: list[str] = []
    assert images.load(tmp_path / "x.gif", notes=notes)[0, 0].tolist() == [255, 0, 0]
    assert "first frame" in notes[0]


def test_what_phones_put_behind_a_photograph_does_not_matter(tmp_path: Path) -> None:
    photograph = encoded(SMALL, "JPEG", progressive=True)
    video = b"\0\0\0\x18ftypmp42" + b"\xff\xda" * 1000
    (tmp_path / "motion.jpg").write_bytes(photograph + video)
    (tmp_path / "still.jpg").write_bytes(photograph)
    np.testing.assert_array_equal(
        images.load(tmp_path / "motion.jpg"), images.load(tmp_path / "still.jpg")
    )


@pytest.mark.parametrize("kind", ["JPEG", "MPO", "PNG", "GIF", "BMP", "TIFF"])
def test_three_gigabytes_behind_a_picture_are_not_read(tmp_path: Path, kind: str) -> None:
    path = saved(tmp_path / "x", SMALL, kind)
    expected = images.load(path)
    os.truncate(path, 3 * 2**30)  # takes no space on the disk
    tracemalloc.start()
    try:
        np.testing.assert_array_equal(images.load(path, notes=[]), expected)
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", ["WEBP", "AVIF", "HEIF"])
def test_a_file_that_would_be_read_whole_is_limited(tmp_path: Path, kind: str) -> None:
    path = saved(tmp_path / "x", SMALL, kind)
    os.truncate(path, 2_000_000)
    assert images.load(path).shape == SMALL.shape
    os.truncate(path, 3 * 2**30)
    with pytest.raises(PictureError, match="3,221,225,472 bytes, expected 240,000,000 at most"):
        images.load(path)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("damaged", [2, 7])
def test_a_damaged_tag_does_not_matter(tmp_path: Path, kind: str, damaged: int) -> None:
    """Of many that a camera writes; how the picture is to be turned is in another."""
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x011A] = 72.0
    content = bytearray(exif.tobytes())
    content[content.index(b"\x01\x1a") + 3] = damaged  # its type: a text, or bytes
    path = saved(tmp_path / "x", SMALL, kind, exif=bytes(content))
    assert images.load(path).shape == (32, 24, 3)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "HEIF"])
def test_a_picture_whose_tags_cannot_be_read_is_read(tmp_path: Path, kind: str) -> None:
    exif = oriented(6).replace(b"MM\0*", b"none")
    path = saved(tmp_path / "x", SMALL, kind, exif=exif)
    assert images.load(path).size == SMALL.size


def test_a_png_may_have_megabytes_of_text(tmp_path: Path) -> None:
    text = PngImagePlugin.PngInfo()
    for name in ("edits", "history", "more"):
        text.add_text(name, name * 500_000, zip=True)
    path = saved(tmp_path / "x.png", SMALL, pnginfo=text, icc_profile=bytes(3_000_000))
    np.testing.assert_array_equal(images.load(path), SMALL)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "I;16"])
def test_strips_join_without_a_seam(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    image = Image.fromarray(SMALL).convert(mode.replace("I;16", "L"))
    if mode == "RGBA":
        image.putalpha(Image.fromarray(SMALL[..., 2]))
    elif mode == "I;16":
        image = Image.fromarray(SMALL[..., 0].astype(np.uint16) * 256 + SMALL[..., 1])
    path = saved(tmp_path / "x.png", image, exif=oriented(6))
    whole = images.load(path)
    for rows in (0.5, 7):
        monkeypatch.setattr(images, "STRIP", int(rows * whole.shape[1]))
        np.testing.assert_array_equal(images.load(path), whole)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "AVIF", "HEIF"])
def test_transparency_is_laid_on_white(tmp_path: Path, kind: str) -> None:
    image = Image.new("RGBA", (48, 16), (255, 0, 0, 0))
    image.paste((255, 0, 0, 255), (16, 0, 32, 16))
    image.paste((0, 0, 0, 128), (32, 0, 48, 16))
    hidden, shown, mixed = images.load(saved(tmp_path / "x", image, kind))[8, 8::16].astype(int)
    assert np.abs(hidden - 255).max() <= 4
    assert np.abs(shown - (255, 0, 0)).max() <= 4
    assert np.abs(mixed - 127).max() <= 4


@pytest.mark.parametrize(
    ("kind", "transparency"), [("PNG", bytes([0, 128, 255])), ("PNG", 0), ("GIF", 0)]
)
def test_a_palette_with_alpha_is_laid_on_white(
    tmp_path: Path, kind: str, transparency: Any
) -> None:
    image = Image.new("P", (3, 1))
    image.putpalette([255, 0, 0, 0, 0, 0, 255, 0, 0])
    image.putdata([0, 1, 2])
    hidden, mixed, shown = images.load(
        saved(tmp_path / "x", image, kind, transparency=transparency)
    )[0]
    assert hidden.tolist() == [255, 255, 255]
    assert shown.tolist() == [255, 0, 0]
    assert mixed.tolist() == ([127, 127, 127] if transparency else [0, 0, 0])


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk_has_its_colours(tmp_path: Path, kind: str) -> None:
    colours = [(255, 0, 0), (0, 160, 0), (20, 40, 220), (250, 250, 250), (90, 90, 90)]
    blocks = np.repeat(np.repeat(np.array([colours], "uint8"), 16, 0), 16, 1)
    image = Image.fromarray(blocks).convert("CMYK")
    read = images.load(saved(tmp_path / "x", image, kind, quality=98))
    assert np.abs(read[8, 8::16].astype(int) - colours).max() <= 6


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_and_not_clipped(tmp_path: Path, kind: str) -> None:
    sixteen = (np.arange(256, dtype=np.uint16) * 257).reshape(16, 16)
    read = images.load(saved(tmp_path / "x", sixteen, kind))
    np.testing.assert_array_equal(read, np.arange(256).reshape(16, 16, 1).repeat(3, 2))


def test_one_pixel_is_a_picture(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.png", SMALL[:1, :1])
    assert images.load(path).shape == (1, 1, 3)
    assert (images.load(path, size=224) == SMALL[0, 0]).all()


# --- what cannot ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "an empty file"),
        (b"just notes", "a text file"),
        (b"\n<!DOCTYPE html><html>", "a web page"),
        (b"\xef\xbb\xbf<HTML><body>", "a web page"),
        (b"<?xml version='1.0'?>\n<svg>", "an SVG"),
        (b"%PDF-1.7\n\xe2\xe3", "a PDF"),
        (b"\xff\x0a\xfa\x1f", "JPEG XL"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
        (b"\0\0\0\x20ftypisom\0\0\2\0", "a video"),
        (b"PK\x03\x04\0", "a ZIP"),
        (b"\0\0\0\x18ftypcrx \0", "raw"),
        (b"II*\0\x10\0\0\0CR\x02\0", "raw"),
        (b"FUJIFILMCCD-RAW 0201", "raw"),
        (b"IIU\0\x18\0\0\0", "raw"),
        (camera_raw(), "raw"),
        (b"\0\0\0\x18ftypheic", "damaged"),
        (encoded(SMALL, "PPM"), "expected JPEG, PNG"),  # Pillow would read it
        (encoded(Image.new("F", (4, 4)), "TIFF"), "32 bits"),
        (encoded(SMALL, "JPEG")[:-60], "truncated"),
        (encoded(SMALL, "PNG")[:-200], "truncated"),
        (encoded(SMALL, "TIFF")[:-200], "truncated"),
        (encoded(SMALL, "JPEG2000")[:-200], "cannot be read"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "cannot be read"),
        (encoded(SMALL, "AVIF")[:-60], "Truncated"),
        (encoded(SMALL, "HEIF")[:-60], "end of file"),
        (encoded(SMALL, "PNG")[:30], "damaged"),
    ],
)
def test_the_error_names_the_file_and_the_reason(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    path = tmp_path / "holiday.jpg"
    path.write_bytes(content)
    with pytest.raises(PictureError) as caught:
        images.load(path)
    assert str(path) in str(caught.value)
    assert reason in str(caught.value)


def test_a_text_file_is_named_before_pillow_knows_heif(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").write_text("just notes")
    program = "import sys; from helpers import images; images.load(sys.argv[1])"
    command = [sys.executable, "-c", program, str(tmp_path / "holiday.jpg")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert "PictureError" in done.stderr
    assert "holiday.jpg: a text file, expected JPEG" in done.stderr


def test_nothing_and_a_folder_are_no_pictures(tmp_path: Path) -> None:
    with pytest.raises(PictureError, match=r"x\.jpg: no such file"):
        images.load(tmp_path / "x.jpg")
    with pytest.raises(PictureError, match="a folder"):
        images.load(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no such files on Windows")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.jpg")
    with pytest.raises(PictureError, match="no ordinary file"):
        images.load(tmp_path / "x.jpg")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (png(10_001, 10_001), "10001 x 10001 pixels, expected 100,000,000"),
        (png(12_000, 12_000), "12000 x 12000 pixels, expected 100,000,000"),
        (png(30_000, 30_000), ".*exceeds limit"),
        (webp(8_000), "8000 x 8000 pixels, expected 60,000,000"),
        (jpeg(8_000, "CMYK"), "8000 x 8000 pixels, expected 60,000,000"),
        (jpeg(10_001, "RGB"), "10001 x 10001 pixels, expected 100,000,000"),
    ],
)
def test_too_much_is_refused_before_a_pixel_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, reason: str
) -> None:
    path = tmp_path / "huge.png"
    path.write_bytes(content)
    monkeypatch.setattr(ImageFile.ImageFile, "load", None)
    with pytest.raises(PictureError, match=rf"huge\.png: {reason}"):
        images.load(path)


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
        "import sys; from helpers import images; print(*images.load(sys.argv[1]).shape); "
        "print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0] + '000')"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "x.png")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    *shape, peak = map(int, done.stdout.split())
    assert shape == [rows, columns, 3]
    assert peak < 1_000_000_000


@pytest.mark.parametrize("kind", images.FORMATS)
def test_wherever_a_file_ends_it_is_a_picture_or_a_picture_error(tmp_path: Path, kind: str) -> None:
    one, two = frames(2)
    more = {} if kind in ("JPEG", "BMP", "JPEG2000") else {"save_all": True, "append_images": [two]}
    whole = encoded(one, kind, **more)
    refused = 0
    for end in range(0, len(whole), 1 + len(whole) // 400):
        (tmp_path / "x").write_bytes(whole[:end])
        try:
            assert images.load(tmp_path / "x", notes=[]).shape == (6, 8, 3)
        except PictureError:
            refused += 1
    assert refused >= 10


# --- warnings ------------------------------------------------------------------------------------


@pytest.fixture
def damaged_exif(tmp_path: Path) -> Path:
    exif = b"Exif\x00\x00II*\x00\x08\x00\x00\x00\x02\x00\x12\x01"
    path = saved(tmp_path / "x.jpg", SMALL, "JPEG", exif=exif)
    with pytest.warns(UserWarning, match="EXIF"), Image.open(path) as image:
        ImageOps.exif_transpose(image)
    return path


def test_pillows_warnings_are_not_the_learners(damaged_exif: Path) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        images.load(damaged_exif)
    assert not caught


def test_threads_leave_the_filters_of_warnings_as_they_were(damaged_exif: Path) -> None:
    before = list(warnings.filters)
    threads = [
        threading.Thread(target=lambda: [images.load(damaged_exif) for _ in range(50)])
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(warnings.filters) == before


# --- crop ----------------------------------------------------------------------------------------


def test_crop_takes_the_square_in_the_middle() -> None:
    wide = np.zeros((20, 40, 3), "uint8")
    wide[:, 10:30] = 200  # the middle, and nothing of the sides
    np.testing.assert_array_equal(images.crop(wide, 20), np.full((20, 20, 3), 200))
    np.testing.assert_array_equal(images.crop(picture(2, 31, 24), 24), picture(2, 31, 24)[3:27])


def test_crop_resizes_as_keras_does() -> None:
    from keras.utils import img_to_array, load_img

    path = datasets.photograph("coffee")
    options = {"keep_aspect_ratio": True, "interpolation": "bicubic"}
    expected = img_to_array(load_img(path, target_size=(224, 224), **options))
    np.testing.assert_array_equal(images.load(path, size=224), expected)


@pytest.mark.parametrize(
    ("given", "size", "reason"),
    [
        (np.zeros((4, 4), "uint8"), 2, r"\(4, 4\)"),
        (np.zeros((4, 4, 4), "uint8"), 2, r"\(4, 4, 4\)"),
        (np.zeros((1, 4, 4, 3), "uint8"), 2, r"\(1, 4, 4, 3\)"),
        (np.zeros((4, 4, 3), "float32"), 2, "uint8, got float32"),
        ("a.jpg", 2, r"got 'a\.jpg'.*images\.load"),
        (SMALL, (224, 224), r"got \(224, 224\)"),
        (SMALL, 0, "got 0"),
    ],
)
def test_crop_refuses_what_is_no_picture_or_size(given: Any, size: Any, reason: str) -> None:
    with pytest.raises(ArgumentError, match=reason):
        images.crop(given, size)


# --- large photographs ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    return Image.fromarray(images.load(datasets.photograph("astronaut"))).resize((1600, 1200))


@pytest.mark.parametrize("kind", ["JPEG", "MPO"])
@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_large_jpeg_is_decoded_smaller_and_looks_the_same(
    tmp_path: Path, photo: Image.Image, kind: str, orientation: int, mode: str
) -> None:
    more = {"save_all": True, "append_images": [photo.convert(mode)]} if kind == "MPO" else {}
    image = photo.convert(mode)
    path = saved(tmp_path / "a.jpg", image, kind, quality=95, exif=oriented(orientation), **more)
    expected = images.crop(images.load(path), 224)
    tracemalloc.start()
    try:
        found = images.load(path, size=224)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert np.abs(found.astype(int) - expected).mean() < 1.5
    assert peak < 1600 * 1200 * 3  # the whole array alone would take this


@pytest.mark.parametrize(("side", "exact"), [(671, True), (672, False)])
def test_one_and_a_half_times_the_size_is_left(
    tmp_path: Path, photo: Image.Image, side: int, exact: bool
) -> None:
    path = saved(tmp_path / "a.jpg", photo.resize((side + 100, side)), "JPEG")
    whole = images.crop(images.load(path), 224)
    assert np.array_equal(images.load(path, size=224), whole) == exact


def test_a_large_jpeg_that_is_cut_off_is_an_error(tmp_path: Path, photo: Image.Image) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(encoded(photo, "JPEG")[:-5000])
    with pytest.raises(PictureError, match="cannot be read as a picture"):
        images.load(path, size=224)


@pytest.mark.parametrize("size", [0, "224"])
def test_load_refuses_what_is_no_size(tmp_path: Path, size: Any) -> None:
    with pytest.raises(ArgumentError, match="number of pixels"):
        images.load(saved(tmp_path / "a.png", SMALL), size=size)


# --- as a network wants them ---------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["caffe", "tf", "torch", "lite", "none"])
def test_every_mode_is_its_formula(mode: str) -> None:
    pixels = np.array([[10, 20, 30]], "float32")
    rgb, bgr = np.array([10.0, 20, 30]), np.array([30.0, 20, 10])
    expected_by_mode: dict[str, np.ndarray] = {
        "caffe": bgr - [103.939, 116.779, 123.68],
        "tf": rgb / 127.5 - 1,
        "torch": (rgb / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225],
        "lite": (rgb - 127) / 128,
        "none": rgb,
    }
    scaled = images.scale(pixels, mode)
    assert scaled.dtype == np.float32
    np.testing.assert_allclose(scaled[0], expected_by_mode[mode], rtol=1e-5)
    assert pixels.tolist() == [[10, 20, 30]]
    assert not np.shares_memory(scaled, pixels)


def test_an_unknown_mode_is_an_error() -> None:
    with pytest.raises(ArgumentError, match="'keras'; known: caffe"):
        images.scale(SMALL, "keras")


def test_preprocess_takes_one_picture_or_several() -> None:
    wide, high = picture(0, 20, 40), picture(1, 40, 20)
    batch = images.preprocess([wide, high], 16, "lite")
    assert batch.shape == (2, 16, 16, 3)
    np.testing.assert_array_equal(batch[1], images.scale(images.crop(high, 16), "lite"))
    np.testing.assert_array_equal(images.preprocess(wide, 16, "lite"), batch[:1])
    np.testing.assert_array_equal(images.preprocess(wide[None], 16, "lite"), batch[:1])
    with pytest.raises(ArgumentError, match="got none"):
        images.preprocess([], 16, "lite")
