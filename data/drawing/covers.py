"""Covers: grass, leaves, fences, trunks, lights and bubbles that stand before a subject."""

import numpy as np
from matplotlib.transforms import Affine2D
from scipy.ndimage import gaussian_filter

from .canvas import SIZE, Canvas, Style
from .colours import INK, RGB, WHITE, hsv, mix
from .curves import box, ellipse, petal, placed, tube

LEAST_SEEN = 0.7  # of the subject's area; with less, flowers vanished behind fences


def hidden(rng: np.random.Generator, subject: Canvas) -> Canvas:
    """Returns a layer in front of the subject that leaves at least `LEAST_SEEN` of it visible."""
    while True:
        layer = _cover(rng, subject)
        seen = (subject.alpha * (1 - layer.alpha)).sum() / (subject.alpha.sum() + 1e-6)
        if seen >= LEAST_SEEN:
            return layer


def _cover(rng: np.random.Generator, subject: Canvas) -> Canvas:
    frame = Affine2D().scale(SIZE / 2).translate(SIZE / 2, SIZE / 2)
    layer = Canvas(frame, subject.light, Style())
    kinds = {
        "nothing": lambda *_: None,
        "grass": _grass,
        "leaves": _leaves,
        "fence": _fence,
        "trunk": _trunk,
        "lights": _lights,
        "bubbles": _bubbles,
    }
    kind = rng.choice(list(kinds), p=[0.4, 0.14, 0.14, 0.1, 0.06, 0.08, 0.08])
    colour = hsv(rng.random(), rng.uniform(0.2, 0.7), rng.uniform(0.25, 0.8))
    kinds[kind](layer, rng, colour)
    return layer


def _shade(rng: np.random.Generator, colour: RGB, most: float) -> RGB:
    return mix(colour, WHITE if rng.random() < 0.5 else INK, rng.uniform(0, most))


def _grass(layer: Canvas, rng: np.random.Generator, colour: RGB) -> None:
    for _ in range(40):
        x, lean = rng.uniform(-1.1, 1.1), rng.normal(0, 0.15)
        tall = rng.uniform(0.2, 0.65)
        spine = [(x, -1.05), (x + 0.3 * lean, -1 + tall / 2), (x + lean, -1 + tall)]
        layer.paint(tube(spine, [0.05, 0.045, 0.008], 12), _shade(rng, colour, 0.3))


def _leaves(layer: Canvas, rng: np.random.Generator, colour: RGB) -> None:
    corner = np.array([rng.choice([-1, 1]), rng.choice([-1, 1])])
    for _ in range(14):
        x, y = corner * (1.05 - np.abs(rng.normal(0, 0.35, 2)))
        shape = petal(rng.uniform(0.3, 0.5), rng.uniform(0.14, 0.24))
        layer.paint(placed(shape, x, y, rng.uniform(0, 360)), _shade(rng, colour, 0.35))


def _fence(layer: Canvas, rng: np.random.Generator, colour: RGB) -> None:
    top, step = rng.uniform(-0.5, 0.0), rng.uniform(0.3, 0.5)
    for y in (top - 0.12, -0.85):
        layer.paint(box(-1.2, y - 0.05, 1.2, y + 0.05), mix(colour, INK, 0.2))
    for x in np.arange(-1.1 + rng.uniform(0, step), 1.1, step):
        layer.paint(box(x - 0.07, -1.2, x + 0.07, top, (0, 0, 0.06, 0.06)), colour)


def _trunk(layer: Canvas, rng: np.random.Generator, colour: RGB) -> None:
    x = rng.uniform(-0.6, 0.6)
    bark = tube([(x, -1.2), (x + 0.04, 0), (x - 0.05, 1.2)], [0.34, 0.18, 0.24])
    layer.paint(bark, mix(colour, INK, 0.4))


def _lights(layer: Canvas, rng: np.random.Generator, colour: RGB) -> None:
    for _ in range(rng.integers(5, 11)):
        x, y, r = *rng.uniform(-1, 1, 2), rng.uniform(0.1, 0.3)
        glow = mix(colour, hsv(rng.random(), 0.5, 1), 0.5)
        layer.paint(ellipse(x, y, r), glow, volume=0, opacity=rng.uniform(0.35, 0.7))
    for plane in (layer.alpha, *np.moveaxis(layer.rgb, -1, 0)):
        gaussian_filter(plane, 2.5, output=plane)


def _bubbles(layer: Canvas, rng: np.random.Generator, colour: RGB) -> None:
    for _ in range(rng.integers(5, 12)):
        x, y = rng.uniform(-1, 1, 2)
        r = rng.uniform(0.06, 0.22)
        layer.paint(ellipse(x, y, r), mix(colour, WHITE, 0.5), opacity=0.55)
        layer.paint(ellipse(x - 0.3 * r, y + 0.35 * r, 0.25 * r, 0.15 * r, 40), WHITE, volume=0)
