"""The drawn pictures in data/five_classes: complete, as listed, and drawn again the same."""

import csv
import io
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from helpers import datasets

DATA = Path(__file__).resolve().parents[1] / "data"
FOLDER = DATA / "five_classes"
NOUNS = ["bus", "dinosaur", "elephant", "flower", "horse"]


@pytest.fixture(scope="module")
def drawer():
    """The script, as a module: it lies beside the data, not in a package."""
    sys.path.insert(0, str(DATA))
    try:
        import draw_five_classes

        yield draw_five_classes
    finally:
        sys.path.remove(str(DATA))


def listed() -> dict[str, str]:
    with (FOLDER / "manifest.csv").open(newline="") as file:
        return {row["path"]: row["sha256"] for row in csv.DictReader(file)}


def test_manifest_agrees_with_files(drawer):
    assert drawer.problems(FOLDER) == []
    assert list(listed()) == drawer.names()


def test_problems_are_named(drawer, tmp_path):
    (tmp_path / "manifest.csv").write_text("path,sha256\nmissing.jpg,00\nchanged.jpg,11\n")
    (tmp_path / "changed.jpg").write_bytes(b"other")
    (tmp_path / "extra.jpg").write_bytes(b"extra")
    found = drawer.problems(tmp_path)
    assert [line.split(":")[0] for line in found] == ["changed.jpg", "extra.jpg", "missing.jpg"]
    assert "expected sha256 11, got d9298a10" in found[0]


@pytest.mark.parametrize(("split", "count"), [("train", 100), ("test", 20)])
def test_every_class_has_its_number_of_pictures(split, count):
    found = Counter(path.parent.name for path in (FOLDER / split).rglob("*.jpg"))
    assert found == {noun: count for noun in NOUNS}


def test_pictures_are_224_rgb_jpegs_of_few_kilobytes():
    for name in listed():
        with Image.open(FOLDER / name) as image:
            assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (224, 224)), name
    assert sum((FOLDER / name).stat().st_size for name in listed()) < 8e6


def test_no_picture_occurs_twice():
    assert len(set(listed().values())) == 600


@pytest.mark.parametrize("noun", NOUNS)
@pytest.mark.parametrize("place", ["train/{0}/{0}_042.jpg", "test/{0}/{0}_007.jpg"])
def test_redrawing_gives_the_same_picture(drawer, noun, place):
    name = place.format(noun)
    with Image.open(FOLDER / name) as image:
        stored = np.asarray(image, float)
    # Through JPEG on both sides, for JPEG itself changes the noise of a picture.
    with Image.open(io.BytesIO(drawer.as_jpeg(drawer.draw(name)))) as image:
        again = np.asarray(image, float)
    assert np.abs(stored - again).mean() < 2, name


@pytest.mark.parametrize(("split", "count"), [("train", 500), ("test", 100)])
def test_every_picture_has_a_mask(split, count):
    masks = datasets.five_classes_masks(split)
    assert (masks.shape, masks.dtype) == ((count, 224, 224), bool)
    assert masks.mean(axis=(1, 2)).min() > 0.01 and masks.mean(axis=(1, 2)).max() < 0.6


@pytest.mark.parametrize("name", ["train/bus/bus_042.jpg", "test/horse/horse_007.jpg"])
def test_the_stored_mask_is_where_the_shipped_picture_shows_the_subject(drawer, name, monkeypatch):
    from drawing import scenes

    split = name.split("/")[0]
    folder = datasets.class_folders(FOLDER / split)
    mask = datasets.five_classes_masks(split)[folder.files.index(name.split("/", 1)[1])]
    # Another version of Matplotlib may draw some pixels at the edges differently.
    assert (mask != drawer.draw_mask(name)).mean() < 0.005
    with Image.open(FOLDER / name) as image:
        shipped = np.asarray(image, float)

    def repainted(noun, split, rng):
        scene, subject, cover = planes(noun, split, rng)
        subject.rgb += (1 - 2 * subject.rgb) * subject.solid[..., None]
        return scene, subject, cover

    planes = scenes.planes
    monkeypatch.setattr(scenes, "planes", repainted)
    with Image.open(io.BytesIO(drawer.as_jpeg(drawer.draw(name)))) as image:
        changed = np.abs(np.asarray(image, float) - shipped).max(axis=-1) > 24
    near = gaussian_filter(mask.astype(float), 3)
    assert not changed[near < 0.01].any()  # nothing changes outside
    assert changed[near > 0.99].mean() > 0.7  # inside all but middle greys change


def test_a_shadow_and_a_cover_are_not_the_subject(drawer):
    from drawing.canvas import SIZE, Canvas, Style
    from drawing.curves import ellipse
    from matplotlib.transforms import Affine2D

    pose = Affine2D().scale(SIZE / 2).translate(SIZE / 2, SIZE / 2)
    canvas = Canvas(pose, (0, 0, 1), Style())
    canvas.shadow(ellipse(0, 0, 0.9, 0.9), 0.01, 0.9)
    assert canvas.alpha.max() > 0.8 and canvas.solid.max() == 0
    canvas.paint(ellipse(0, 0, 0.5, 0.5), (1, 0, 0))
    assert canvas.solid[SIZE // 2, SIZE // 2] == 1 and canvas.solid[10, 10] == 0
    canvas.shadow(ellipse(0, 0, 0.9, 0.9), 0.01, 0.9)
    assert canvas.solid[SIZE // 2, SIZE // 2] == 1


def test_splits_take_backgrounds_from_different_halves(drawer):
    from drawing.scenes import PHOTOGRAPHS, half

    for name in PHOTOGRAPHS:
        left, right = half(name, "train"), half(name, "test")
        assert left.shape[0] == right.shape[0]
        whole = np.concatenate([left, right], axis=1)
        assert whole.shape[1] == left.shape[1] + right.shape[1]
        assert not np.shares_memory(left, right), name


def test_backgrounds_are_those_of_the_drawing_code(drawer):
    import list_backgrounds

    with list_backgrounds.FILE.open(newline="") as file:
        rows = {row["path"]: row["background"] for row in csv.DictReader(file)}
    assert list(rows) == drawer.names()
    assert rows == {name: list_backgrounds.background_of(name) for name in rows}
