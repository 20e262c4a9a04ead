"""Buses: single-deckers, double-deckers, school buses, camper vans, seen from side and corner."""

from functools import partial

import numpy as np
from matplotlib.path import Path

from .canvas import Canvas
from .colours import INK, WHITE, Paints, hsv, mix
from .curves import box, ellipse, line, polygon, smooth, tube

GLASS = np.array([0.55, 0.72, 0.82])
TYRE = np.array([0.13, 0.13, 0.15])


def draw(canvas: Canvas, rng: np.random.Generator, paints: Paints) -> str:
    """Draws one bus on the ground at y = -0.5; returns its body type."""
    kinds = {
        "single-decker": _single,
        "double-decker": _double,
        "school bus": _school,
        "camper": _camper,
        "corner": _corner,
        "front": _front,
    }
    kind = rng.choice(list(kinds), p=[0.2, 0.22, 0.18, 0.1, 0.22, 0.08])
    kinds[kind](canvas, rng, paints)
    return str(kind)


def _single(canvas: Canvas, rng: np.random.Generator, paints: Paints) -> None:
    long = rng.uniform(0.85, 1.0)
    canvas.shadow(ellipse(0, -0.5, long * 1.05, 0.08), 0.04, 0.6)
    body = box(-long, -0.4, long, 0.42, (0.06, 0.08, 0.2, 0.12))
    if rng.random() < 0.4:
        canvas.paint(box(-0.5, 0.4, 0.1, 0.5, 0.05), paints.far)
    canvas.paint(body, paints.main, pattern=paints.pattern, volume=0.8)
    _stripe(canvas, rng, paints, body, -0.1, long)
    _side_windows(canvas, rng, paints, -long + 0.07, long - 0.4, 0.02, 0.3, int(rng.integers(4, 7)))
    _door(canvas, paints, long - 0.36, -0.36, 0.15, 0.3)
    _cab(canvas, long - 0.15, 0.0, long - 0.015, 0.32)
    _wheels(canvas, paints, (-long * 0.58, long * 0.45), 0.155)
    _lamps(canvas, paints, long, -0.25)


def _double(canvas: Canvas, rng: np.random.Generator, paints: Paints) -> None:
    long, top = rng.uniform(0.72, 0.85), rng.uniform(0.72, 0.82)
    canvas.shadow(ellipse(0, -0.6, long * 1.05, 0.08), 0.04, 0.6)
    with canvas.moved(0, -0.1):
        body = box(-long, -0.4, long, top, (0.06, 0.08, 0.16, 0.12))
        canvas.paint(body, paints.main, pattern=paints.pattern, volume=0.8)
        _stripe(canvas, rng, paints, body, 0.27, long)
        n = int(rng.integers(4, 6))
        _side_windows(canvas, rng, paints, -long + 0.07, long - 0.22, 0.4, 0.64, n)
        _cab(canvas, long - 0.17, 0.38, long - 0.015, 0.66)
        _side_windows(canvas, rng, paints, -long + 0.35, long - 0.4, -0.05, 0.2, n - 1)
        _door(canvas, paints, -long + 0.08, -0.36, 0.2, 0.2)
        _cab(canvas, long - 0.3, -0.08, long - 0.015, 0.2)
        _wheels(canvas, paints, (-long * 0.5, long * 0.52), 0.16)
        _lamps(canvas, paints, long, -0.25)


def _school(canvas: Canvas, rng: np.random.Generator, paints: Paints) -> None:
    canvas.shadow(ellipse(0, -0.5, 1.05, 0.08), 0.04, 0.6)
    hood = smooth([(0.5, -0.38), (0.97, -0.38), (1.0, -0.2), (0.95, -0.02), (0.6, 0.06), (0.5, 0)])
    body = box(-0.98, -0.4, 0.62, 0.46, (0.06, 0.02, 0.14, 0.14))
    canvas.paint(hood, paints.main, pattern=paints.pattern)
    canvas.paint(body, paints.main, pattern=paints.pattern, volume=0.8)
    for y in (-0.08, -0.2):
        canvas.paint(box(-0.96, y - 0.018, 0.6, y + 0.018), INK, volume=0.2, relief=0)
    _side_windows(canvas, rng, paints, -0.9, 0.28, 0.08, 0.34, int(rng.integers(5, 8)))
    _door(canvas, paints, 0.31, -0.36, 0.13, 0.34)
    _cab(canvas, 0.47, 0.06, 0.6, 0.34)
    canvas.paint(box(0.84, -0.42, 1.04, -0.33, 0.03), paints.far)
    if rng.random() < 0.6:
        canvas.paint(polygon(_octagon(-0.3, -0.13, 0.1)), hsv(0, 0.8, 0.85), volume=0.3)
    canvas.paint([ellipse(-0.86, 0.43, 0.05, 0.04), ellipse(0.5, 0.43, 0.05, 0.04)], paints.accent)
    _wheels(canvas, paints, (-0.55, 0.68), 0.17)
    _lamps(canvas, paints, 1.0, -0.2, mirror=False)


def _camper(canvas: Canvas, rng: np.random.Generator, paints: Paints) -> None:
    canvas.shadow(ellipse(0, -0.5, 0.85, 0.08), 0.04, 0.6)
    if rng.random() < 0.6:
        for i, hue in enumerate(rng.random(3)):
            canvas.paint(
                box(-0.5 + 0.27 * i, 0.5, -0.27 + 0.27 * i, 0.66, 0.03), hsv(hue, 0.5, 0.8)
            )
        canvas.stroke(line([(-0.6, 0.51), (0.4, 0.51)]), INK, 0.025)
    body = smooth(
        [(-0.8, -0.36), (0.0, -0.4), (0.76, -0.36), (0.84, -0.1), (0.76, 0.15), (0.66, 0.4)],
        [(0.45, 0.48), (0, 0.5), (-0.6, 0.48), (-0.78, 0.36), (-0.82, 0)],
    )
    canvas.paint(body, paints.main, pattern=paints.pattern)
    roof = smooth([(-1, 0.1), (0.2, 0.08), (0.66, 0.1), (1, 0.3), (1, 0.8), (-1, 0.8)])
    canvas.paint(roof, WHITE, clip=body, volume=0.6)
    _side_windows(canvas, rng, paints, -0.72, 0.4, 0.16, 0.38, 4)
    canvas.paint(polygon([(0.46, 0.16), (0.7, 0.16), (0.6, 0.38), (0.46, 0.38)]), GLASS, volume=0.3)
    canvas.stroke(line([(0.42, -0.33), (0.42, 0.1)]), paints.far, 0.015)
    _wheels(canvas, paints, (-0.46, 0.5), 0.16)
    _lamps(canvas, paints, 0.82, -0.12, mirror=False)


def _corner(canvas: Canvas, rng: np.random.Generator, paints: Paints) -> None:
    """A bus in three-quarter view: the side in one skewed frame, the front in another."""
    tall = rng.random() < 0.4
    top, skew = (0.85 if tall else 0.5), rng.uniform(7, 12)
    share = rng.uniform(0.3, 0.42)
    canvas.shadow(polygon([(-1, -0.42), (0.25, -0.62), (0.95, -0.5), (0.9, -0.35)]), 0.05, 0.7)
    back = np.array([-1.85 * (1 - share), 1.85 * (1 - share) * np.tan(np.deg2rad(skew))])
    wide = 0.9 * 1.9 * share
    across = np.array([wide, wide * np.tan(np.deg2rad(1.3 * skew))])
    near = np.array([0.25, top - 0.14])
    roof = [near + 0.03 * across, near + 0.97 * back, near + 0.94 * back + across]
    canvas.paint(polygon([*roof, near + across]), mix(paints.main, WHITE, 0.3), volume=0.3)
    with canvas.moved(0.25, -0.12, sx=1 - share, skew=-skew):
        body = box(-1.85, -0.4, 0, top, (0.05, 0.0, 0.0, 0.14))
        canvas.paint(body, paints.main, pattern=paints.pattern, volume=0.4)
        _stripe(canvas, rng, paints, body, -0.12, 1.85)
        if tall:
            _side_windows(canvas, rng, paints, -1.75, -0.06, 0.44, 0.7, 5)
        _side_windows(canvas, rng, paints, -1.75, -0.42, 0.02, 0.28, 4)
        _door(canvas, paints, -0.36, -0.34, 0.28, 0.28)
        _wheels(canvas, paints, (-1.45, -0.55), 0.17, stretch=0.9)
    with canvas.moved(0.25, -0.12, sx=share * 1.9, skew=skew * 1.3):
        _face(canvas, rng, paints, 0.9, top)


def _front(canvas: Canvas, rng: np.random.Generator, paints: Paints) -> None:
    top = rng.uniform(0.55, 0.85)
    canvas.shadow(ellipse(0, -0.52, 0.6, 0.07), 0.04, 0.7)
    for x in (-0.42, 0.22):
        canvas.paint(box(x, -0.56, x + 0.2, -0.3, 0.04), TYRE)
    for side in (-1, 1):
        canvas.stroke(line([(side * 0.5, 0.32), (side * 0.62, 0.3)]), INK, 0.03)
        canvas.paint(box(side * 0.63 - 0.05, 0.08, side * 0.63 + 0.05, 0.32, 0.03), paints.far)
    with canvas.moved(-0.52, -0.05):
        _face(canvas, rng, paints, 1.04, top)


def _face(
    canvas: Canvas, rng: np.random.Generator, paints: Paints, wide: float, top: float
) -> None:
    """The front of a bus, from x = 0 to `wide`."""
    shell = box(0, -0.4, wide, top, (0.04, 0.06, 0.14, 0.08))
    canvas.paint(shell, mix(paints.main, WHITE, 0.12), pattern=paints.pattern, volume=0.8)
    mid = wide / 2
    if top > 0.7:
        canvas.paint(box(0.07, 0.46, wide - 0.07, 0.72, 0.05), GLASS, volume=0.3)
        _glint(canvas, 0.07, 0.46, wide - 0.07, 0.72)
    sign = min(top - 0.17, 0.36)
    canvas.paint(box(0.07, -0.08, wide - 0.07, sign - 0.03, 0.06), GLASS, volume=0.3)
    _glint(canvas, 0.07, -0.08, wide - 0.07, sign - 0.03)
    _driver(canvas, rng, mid * 1.4, -0.04)
    canvas.paint(box(mid * 0.5, sign, mid * 1.5, sign + 0.09, 0.02), INK, volume=0)
    canvas.paint(
        box(mid * 0.6, sign + 0.025, mid * 1.3, sign + 0.06, 0.01), paints.accent, volume=0
    )
    for x in (0.14 * wide, 0.86 * wide):
        canvas.paint(ellipse(x, -0.22, 0.07 * wide, 0.06), WHITE, volume=0.6)
        canvas.paint(ellipse(x, -0.22, 0.045 * wide, 0.038), hsv(0.14, 0.4, 1), volume=0.5)
    for y in (-0.25, -0.21, -0.17):
        canvas.stroke(line([(0.32 * wide, y), (0.68 * wide, y)]), paints.far, 0.018)
    canvas.paint(box(0.02, -0.42, wide - 0.02, -0.34, 0.03), paints.far)


def _side_windows(
    canvas: Canvas,
    rng: np.random.Generator,
    paints: Paints,
    x0: float,
    x1: float,
    y0: float,
    y1: float,
    n: int,
) -> None:
    pitch = (x1 - x0) / n
    night = rng.random() < 0.15
    glass = hsv(0.13, 0.45, 1) if night else mix(GLASS, hsv(rng.random(), 0.3, 0.8), 0.25)
    for i in range(n):
        left, right = x0 + i * pitch, x0 + (i + 0.88) * pitch
        canvas.paint(box(left, y0, right, y1, 0.03), glass, volume=0.3, relief=0.4)
        if rng.random() < 0.45:
            _driver(canvas, rng, (left + right) / 2, y0, box(left, y0, right, y1, 0.03))
        _glint(canvas, left, y0, right, y1)


def _driver(
    canvas: Canvas, rng: np.random.Generator, x: float, y: float, clip: Path | None = None
) -> None:
    """A head and shoulders behind the glass."""
    skin = hsv(0.07, rng.uniform(0.25, 0.6), rng.uniform(0.35, 0.95))
    shirt, hair = hsv(rng.random(), 0.5, 0.6), hsv(0.07, 0.5, rng.uniform(0.1, 0.6))
    clip = clip or box(x - 0.2, y - 0.02, x + 0.2, y + 0.4)
    flat = partial(canvas.paint, clip=clip, volume=0.4, outline=False, relief=0)
    flat(ellipse(x, y, 0.08, 0.07), shirt)
    flat(ellipse(x, y + 0.125, 0.055, 0.062), hair)
    flat(ellipse(x + 0.008, y + 0.112, 0.045, 0.05), skin)


def _glint(canvas: Canvas, x0: float, y0: float, x1: float, y1: float) -> None:
    wide, tall = x1 - x0, y1 - y0
    left = x0 + 0.15 * wide
    band = [(left, y0), (left + 0.2 * wide, y0), (left + 0.5 * wide, y1), (left + 0.3 * wide, y1)]
    if tall > 0:
        canvas.paint(polygon(band), WHITE, volume=0, outline=False, relief=0, opacity=0.3)


def _cab(canvas: Canvas, x0: float, y0: float, x1: float, y1: float) -> None:
    pane = box(x0, y0, x1, y1, (0.02, 0.02, 0.08, 0.02))
    canvas.paint(pane, GLASS, volume=0.3, relief=0.4)
    _glint(canvas, x0, y0, x1, y1)


def _door(canvas: Canvas, paints: Paints, x: float, y: float, wide: float, top: float) -> None:
    canvas.paint(box(x, y, x + wide, top, 0.02), paints.far, volume=0.2, relief=0.5)
    half = wide / 2
    for left in (x + 0.015, x + half + 0.008):
        canvas.paint(
            box(left, y + 0.05, left + half - 0.023, top - 0.03, 0.02), GLASS, volume=0, relief=0
        )


def _wheels(
    canvas: Canvas, paints: Paints, xs: tuple[float, float], radius: float, stretch: float = 1.0
) -> None:
    for x in xs:
        arch = ellipse(x, -0.37, radius * 1.22 * stretch, radius * 1.22)
        canvas.paint(arch, INK, volume=0, clip=box(x - 0.4, -0.4, x + 0.4, 0.2), relief=0)
        y = -0.5 + radius
        canvas.paint(ellipse(x, y - 0.02, radius * stretch, radius), TYRE, relief=0)
        canvas.paint(
            ellipse(x, y - 0.02, radius * 0.58 * stretch, radius * 0.58), (0.75, 0.76, 0.78)
        )
        canvas.paint(ellipse(x, y - 0.02, radius * 0.26 * stretch, radius * 0.26), paints.accent)


def _lamps(canvas: Canvas, paints: Paints, long: float, y: float, mirror: bool = True) -> None:
    canvas.paint(ellipse(long - 0.04, y, 0.035, 0.05), hsv(0.14, 0.35, 1), volume=0.5)
    canvas.paint(box(-long + 0.01, y, -long + 0.05, y + 0.1, 0.01), hsv(0, 0.8, 0.9), volume=0.4)
    if mirror:
        arm = tube([(long - 0.05, 0.28), (long + 0.06, 0.26), (long + 0.07, 0.14)], [0.02] * 3)
        canvas.paint(arm, INK, volume=0.3)


def _stripe(
    canvas: Canvas, rng: np.random.Generator, paints: Paints, body: Path, y: float, long: float
) -> None:
    style = rng.choice(["none", "band", "wave", "skirt"])
    if style == "band":
        canvas.paint(box(-2, y - 0.05, 2, y + 0.03), paints.second, clip=body, volume=0.4)
    elif style == "wave":
        wave = [(-2, y - 0.4), (-long, y - 0.05), (-0.3 * long, y + 0.02), (0.3, y - 0.2)]
        canvas.paint(smooth([*wave, (2, y), (2, y - 0.5)]), paints.second, clip=body, volume=0.4)
    elif style == "skirt":
        canvas.paint(box(-2, -0.5, 2, -0.24), paints.second, clip=body, volume=0.4)


def _octagon(x: float, y: float, r: float) -> np.ndarray:
    turn = np.deg2rad(22.5 + 45 * np.arange(8))
    return np.stack([x + r * np.cos(turn), y + r * np.sin(turn)], axis=1)
