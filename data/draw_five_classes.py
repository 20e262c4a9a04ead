"""Draws data/five_classes: 120 pictures each of buses, dinosaurs, elephants, flowers, horses.

Beside the folder it writes five_classes_masks.npz, which says where in each picture the subject is.

python data/draw_five_classes.py            # draws all 600 again, a few minutes
python data/draw_five_classes.py --check    # only compares the files with the manifest
"""

import argparse
import csv
import hashlib
import io
import sys
from pathlib import Path

import numpy as np
from drawing.scenes import NOUNS, mask, picture
from PIL import Image
from tqdm import tqdm

FOLDER = Path(__file__).parent / "five_classes"
MANIFEST = "manifest.csv"
COUNTS = {"train": 100, "test": 20}
SEED = 2025
QUALITY = 87


def names() -> list[str]:
    """Returns the paths of all pictures inside the folder, such as "train/bus/bus_000.jpg"."""
    return [
        f"{split}/{noun}/{noun}_{number:03d}.jpg"
        for split, count in COUNTS.items()
        for noun in NOUNS
        for number in range(count)
    ]


def draw(name: str) -> Image.Image:
    """Returns the picture that belongs under `name`; each has a seed of its own.

    Example:
        >>> draw("test/horse/horse_007.jpg").size
        (224, 224)
    """
    return picture(*_arguments(name))


def draw_mask(name: str) -> np.ndarray:
    """Returns where the subject can be seen in the picture of `name`, (224, 224) bool."""
    return mask(*_arguments(name))


def _arguments(name: str) -> tuple[str, str, np.random.Generator]:
    split, noun, file = name.split("/")
    number = int(Path(file).stem.removeprefix(f"{noun}_"))
    seed = [SEED, list(COUNTS).index(split), list(NOUNS).index(noun), number]
    return noun, split, np.random.default_rng(seed)


def as_jpeg(image: Image.Image) -> bytes:
    """Returns the bytes of the file that a picture is stored as."""
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=QUALITY, optimize=True)
    return stream.getvalue()


def draw_all(folder: Path) -> None:
    """Writes every picture, the manifest of their SHA-256 hashes, and the masks."""
    for name in tqdm(names(), desc="drawing", unit="picture"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(as_jpeg(draw(name)))
    with (folder / MANIFEST).open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["path", "sha256"])
        writer.writerows([name, sha256(folder / name)] for name in names())
    write_masks(masks_of(folder))


def masks_of(folder: Path) -> Path:
    """Returns the path of the masks that belong to a folder of drawings."""
    return folder.with_name(f"{folder.name}_masks.npz")


def write_masks(path: Path) -> None:
    """Writes the masks, packed to one bit a pixel, under "train" and "test" in `names`' order."""
    drawn = np.packbits([draw_mask(name) for name in tqdm(names(), "masks")], axis=-1)
    train = sum(name.startswith("train/") for name in names())
    np.savez_compressed(path, train=drawn[:train], test=drawn[train:])


def sha256(path: Path) -> str:
    """Returns the file's SHA-256 in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def problems(folder: Path) -> list[str]:
    """Returns one line for every file that is missing, changed or not in the manifest."""
    with (folder / MANIFEST).open(newline="") as file:
        expected = {row["path"]: row["sha256"] for row in csv.DictReader(file)}
    present = {path.relative_to(folder).as_posix() for path in folder.rglob("*.jpg")}
    found = [
        f"{name}: in the manifest, but there is no such file" for name in expected.keys() - present
    ]
    found += [f"{name}: a file, but not in the manifest" for name in present - expected.keys()]
    for name in sorted(present & expected.keys()):
        if (got := sha256(folder / name)) != expected[name]:
            found.append(f"{name}: expected sha256 {expected[name]}, got {got}")
    return sorted(found)


def sheet(folder: Path, columns: int = 8, side: int = 112) -> Image.Image:
    """Returns a row of training pictures for each noun, side by side: the README's picture."""
    image = Image.new("RGB", (columns * side, len(NOUNS) * side))
    for row, noun in enumerate(NOUNS):
        for column in range(columns):
            with Image.open(folder / f"train/{noun}/{noun}_{column:03d}.jpg") as one:
                image.paste(one.resize((side, side)), (column * side, row * side))
    return image


def main() -> int:
    """Draws or checks, and returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder to draw into")
    parser.add_argument("--check", action="store_true", help="compare files with the manifest")
    options = parser.parse_args()
    if not options.check:
        draw_all(options.out)
        sheet(options.out).save(options.out.with_suffix(".jpg"), quality=QUALITY)
    found = problems(options.out)
    print("\n".join(found) or f"{len(names())} pictures agree with {options.out / MANIFEST}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
