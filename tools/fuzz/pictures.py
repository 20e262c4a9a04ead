"""Picture files for the fuzzer: sound ones of every kind, and what it does with damaged ones."""

import io
import random
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pillow_heif
from PIL import Image, PngImagePlugin

from helpers import images

PNG = b"\x89PNG\r\n\x1a\n"


def read(path: Path) -> None:
    """The target: a picture is an RGB array of bytes, or a PictureError."""
    pixels = images.load(path, notes=[])
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise TypeError(f"no RGB picture: {pixels.shape} {pixels.dtype}")


def sound() -> list[bytes]:
    """Small pictures of every format that is read, in their modes and with their extras."""
    pillow_heif.register_heif_opener()
    noise = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    rgb = Image.fromarray(noise).resize((61, 47), Image.Resampling.BICUBIC)
    rgba, grey, palette = rgb.copy(), rgb.convert("L"), rgb.quantize(32)
    rgba.putalpha(grey)
    sixteen = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    frames = {"save_all": True, "append_images": [palette.rotate(90), palette.rotate(180)]}
    exif = Image.Exif()
    exif[0x0112] = 6
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "words " * 20, zip=True)
    text.add_itxt("Title", "more words", zip=True)
    return [
        _file(rgb, "JPEG", quality=90, exif=exif),
        _file(rgb, "JPEG", progressive=True, icc_profile=b"profile" * 30),
        _file(rgb, "JPEG", subsampling=0, restart_marker_blocks=2),
        _file(grey, "JPEG"),
        _file(rgb.convert("CMYK"), "JPEG", progressive=True),
        _file(rgb, "MPO", save_all=True, append_images=[rgb.rotate(90)]),
        _file(rgb, "PNG", pnginfo=text, exif=exif, icc_profile=b"profile" * 30),
        _file(rgb, "PNG", transparency=(1, 2, 3)),
        _file(rgba, "PNG"),
        _file(rgba.convert("LA"), "PNG"),
        _file(palette, "PNG", transparency=bytes(range(32))),
        _file(sixteen, "PNG"),
        _file(rgb.convert("1"), "PNG"),
        _file(palette, "PNG", **frames),
        _file(palette, "GIF", transparency=3, interlace=1, comment=b"words"),
        _file(palette, "GIF", **frames),
        _file(rgb, "WEBP", quality=80, exif=exif),
        _file(rgba, "WEBP", quality=80),
        _file(rgba, "WEBP", lossless=True, icc_profile=b"profile" * 30),
        _file(rgba, "WEBP", **frames),
        _file(rgb, "TIFF", exif=exif),
        _file(rgba, "TIFF", compression="tiff_lzw"),
        _file(sixteen, "TIFF", compression="tiff_adobe_deflate"),
        _file(rgb, "TIFF", compression="jpeg"),
        _file(palette, "TIFF", **frames),
        _file(rgb, "JPEG2000"),
        _file(rgba, "JPEG2000", irreversible=True),
        _file(rgb, "AVIF", quality=80, exif=exif),
        _file(rgba, "AVIF", quality=80),
        _file(rgb, "HEIF", quality=80, exif=exif),
        _file(rgba, "HEIF", save_all=True, append_images=[rgba.rotate(90)]),
        _file(rgb, "BMP"),
        _file(rgba, "BMP"),
        _file(palette, "BMP"),
        _file(rgb.convert("1"), "BMP"),
    ]


def repair(data: bytes, chance: random.Random) -> bytes:
    """Mostly set a PNG's checksums right, for else nothing behind a wrong one is ever read."""
    if not data.startswith(PNG) or chance.random() < 0.1:
        return data
    parts, at = [PNG], len(PNG)
    while at + 12 <= len(data):
        size = struct.unpack_from(">I", data, at)[0]
        chunk = data[at + 4 : at + 8 + size]
        if len(chunk) < 4 + size:
            break
        parts.append(struct.pack(">I", size) + chunk + struct.pack(">I", zlib.crc32(chunk)))
        at += 12 + size
    return b"".join(parts) + data[at:]


def _file(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()
