"""Scenes: a subject on a photograph's crop, in some light, behind something, through a lens."""

from functools import cache
from pathlib import Path as FilePath

import numpy as np
import skimage
from matplotlib.transforms import Affine2D
from PIL import Image
from scipy.ndimage import gaussian_filter

from . import buses, dinosaurs, elephants, flowers, horses
from .canvas import SIZE, Canvas, Style
from .colours import choose, hsv, mix
from .covers import hidden

NOUNS = {
    "bus": buses.draw,
    "dinosaur": dinosaurs.draw,
    "elephant": elephants.draw,
    "flower": flowers.draw,
    "horse": horses.draw,
}
# Files inside the installed scikit-image whose photographs are CC0, in the public domain or
# without known copyright restrictions, as the docstrings of skimage.data state.
PHOTOGRAPHS = [
    "astronaut.png",
    "brick.png",
    "camera.png",
    "chelsea.png",
    "clock_motion.png",
    "coffee.png",
    "coins.png",
    "grass.png",
    "gravel.png",
    "hubble_deep_field.jpg",
    "retina.jpg",
    "rocket.jpg",
]


def picture(noun: str, split: str, rng: np.random.Generator) -> Image.Image:
    """Returns one 224 x 224 picture of a noun.

    Args:
        noun: A key of `NOUNS`.
        split: "train" takes backgrounds from the left halves of the photographs, "test" from
            the right halves, so that no background tells where a test picture belongs.
        rng: Decides everything else; nothing but the drawing itself depends on the noun.
    """
    scene, subject, cover = planes(noun, split, rng)
    scene = scene * (1 - subject.alpha[..., None]) + subject.rgb
    scene = scene * (1 - cover.alpha[..., None]) + cover.rgb
    return photographed(rng, scene)


def mask(noun: str, split: str, rng: np.random.Generator) -> np.ndarray:
    """Returns where the subject is seen in `picture` of the same arguments, (224, 224) bool.

    A pixel is the subject's if at least half of its light comes from it: not from the background
    or the subject's shadow on it, nor from a cover in front.
    """
    _, subject, cover = planes(noun, split, rng)
    return halved(subject.solid * (1 - cover.alpha)) >= 0.5


def planes(noun: str, split: str, rng: np.random.Generator) -> tuple[np.ndarray, Canvas, Canvas]:
    """Returns the background, (SIZE, SIZE, 3), the subject and the cover, from back to front."""
    scene = background(rng, split)
    light = (rng.uniform(-0.9, 0.9), rng.uniform(0.1, 0.9), rng.uniform(0.7, 1.2))
    scale = SIZE / 2 * rng.uniform(0.45, 0.9)
    room = SIZE / 2 - 0.85 * scale
    pose = Affine2D().scale(rng.choice([-1, 1]) * scale, scale).rotate_deg(rng.normal(0, 11))
    x, y = SIZE / 2 + rng.uniform(-1, 1, 2) * max(room, 15)
    pose = pose.translate(x, y)
    around = scene[_near(SIZE - y, scale / 2), _near(x, scale / 2)]
    paints = choose(rng, around.mean((0, 1)), 0.18)
    canvas = Canvas(pose, light, style(rng, split))
    NOUNS[noun](canvas, rng, paints)
    return scene, canvas, hidden(rng, canvas)


def _near(centre: float, reach: float) -> slice:
    return slice(max(int(centre - reach), 0), int(centre + reach) + 1)


@cache
def _photograph(name: str) -> np.ndarray:
    path = FilePath(skimage.__file__).parent / "data" / name
    with Image.open(path) as image:
        photo = image.convert("RGB")
    photo.thumbnail((1000, 1000))
    return np.asarray(photo)


def half(name: str, split: str) -> np.ndarray:
    """Returns the left ("train") or the right ("test") half of a photograph, RGB uint8."""
    photo = _photograph(name)
    middle = photo.shape[1] // 2
    return photo[:, :middle] if split == "train" else photo[:, middle:]


def crop(rng: np.random.Generator, split: str) -> np.ndarray:
    """Returns a square crop of one half of one photograph, (SIZE, SIZE, 3) in 0..1."""
    region = half(rng.choice(PHOTOGRAPHS), split)
    side = int(min(region.shape[:2]) * rng.uniform(0.5, 1))
    top, left = (int(rng.integers(0, n - side + 1)) for n in region.shape[:2])
    patch = Image.fromarray(region[top : top + side, left : left + side])
    if rng.random() < 0.5:
        patch = patch.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    patch = patch.resize((SIZE, SIZE), Image.Resampling.BICUBIC)
    return np.asarray(patch, np.float32) / 255


def background(rng: np.random.Generator, split: str) -> np.ndarray:
    """Returns a crop, tinted towards a pair of colours and thrown out of focus."""
    photo = crop(rng, split)
    grey = photo.mean(-1, keepdims=True)
    grey = (grey - grey.min()) / (np.ptp(grey) + 1e-6)
    hue = rng.random()
    dark = hsv(hue, rng.uniform(0.2, 0.7), rng.uniform(0.1, 0.4))
    pale = hsv(hue + rng.normal(0.08, 0.1), rng.uniform(0.1, 0.5), rng.uniform(0.75, 1))
    photo = mix(photo, mix(dark, pale, grey), rng.uniform(0.3, 1.0))
    blur = rng.uniform(0.5, 4)
    return gaussian_filter(photo, (blur, blur, 0)).astype(np.float32)


def style(rng: np.random.Generator, split: str) -> Style:
    """Returns one of four hands: painted, inked, cut from paper, cut from a photograph."""
    hand = rng.choice(["painted", "inked", "paper", "collage"], p=[0.35, 0.25, 0.2, 0.2])
    grain = 1 + 0.05 * gaussian_filter(rng.normal(0, 1, (SIZE, SIZE)), 1.2) * 4
    if hand == "painted":
        return Style(volume=rng.uniform(0.8, 1.3), texture=grain)
    if hand == "inked":
        return Style(volume=rng.uniform(0.2, 0.8), outline=rng.uniform(0.01, 0.02), texture=grain)
    if hand == "paper":
        return Style(volume=0.12, relief=0.6, texture=grain)
    grey = crop(rng, split).mean(-1)
    grey = 1 + 0.5 * (grey - grey.mean()) / (grey.std() + 1e-3) * 0.4
    return Style(volume=0.4, relief=0.5, texture=grey.clip(0.4, 1.5))


def halved(pixels: np.ndarray) -> np.ndarray:
    """Returns the means of all squares of 2 x 2 pixels."""
    size = SIZE // 2
    return pixels.reshape(size, 2, size, 2, *pixels.shape[2:]).mean((1, 3))


def photographed(rng: np.random.Generator, scene: np.ndarray) -> Image.Image:
    """Returns the scene exposed, slightly out of focus, with noise, at half the size."""
    size = SIZE // 2
    small = halved(scene)
    blur = max(rng.normal(0.3, 0.5), 0)
    small = gaussian_filter(small, (blur, blur, 0))
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    small = small * (1 - rng.uniform(0, 0.3) * (x**2 + y**2) / 2)[..., None]
    cast = rng.normal(1, 0.06, 3)
    small = (small * cast * np.exp(rng.normal(0.08, 0.18))).clip(0, 1) ** np.exp(
        rng.normal(-0.05, 0.18)
    )
    small = small + rng.normal(0, abs(rng.normal(0, 0.02)), small.shape)
    return Image.fromarray((small.clip(0, 1) * 255).round().astype(np.uint8))
