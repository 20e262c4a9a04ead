"""Elephants: walking, calling, sitting, and face to face."""

import numpy as np
from matplotlib.path import Path

from .canvas import Canvas
from .colours import INK, WHITE, Paints, mix
from .curves import ellipse, line, petal, placed, smooth, tube

TRUNKS = {
    "down": [(0.6, 0.2), (0.78, -0.05), (0.8, -0.32), (0.76, -0.55), (0.86, -0.63)],
    "up": [(0.58, 0.22), (0.82, 0.12), (0.98, 0.34), (0.95, 0.62), (0.82, 0.78)],
    "out": [(0.58, 0.22), (0.82, 0.06), (1.0, 0.1), (1.12, 0.3), (1.2, 0.36)],
    "curl": [(0.6, 0.2), (0.8, -0.05), (0.82, -0.36), (0.68, -0.45), (0.6, -0.3), (0.67, -0.24)],
    "mouth": [(0.6, 0.2), (0.84, 0.0), (0.86, -0.24), (0.7, -0.3), (0.6, -0.12)],
}


def draw(canvas: Canvas, rng: np.random.Generator, paints: Paints) -> str:
    """Draws one elephant on the ground at y = -0.75; returns its pose."""
    kind = rng.choice(["walking", "sitting", "facing"], p=[0.64, 0.12, 0.24])
    {"walking": _walking, "sitting": _sitting, "facing": _facing}[kind](canvas, rng, paints)
    return str(kind)


def _walking(canvas: Canvas, rng: np.random.Generator, paints: Paints) -> None:
    young = rng.random() < 0.3
    canvas.shadow(ellipse(0.0, -0.76, 0.75, 0.08), 0.05, 0.6)
    stride = rng.uniform(-1, 1)
    hips, shoulders = -0.47, 0.2
    for x, swing in ((hips + 0.12, -stride), (shoulders - 0.1, stride)):
        canvas.paint(_limb(x, -0.05, -0.14 * swing, 0.0), paints.far)
    _tail(canvas, rng, paints, -0.66, 0.22)
    back = rng.uniform(0.42, 0.56)
    body = smooth(
        [(-0.68, 0.1), (-0.6, 0.36), (-0.3, back), (0.05, back - 0.07), (0.34, 0.42), (0.5, 0.1)],
        [(0.3, -0.2), (-0.1, -0.26), (-0.5, -0.2)],
    )
    lifted = 0.25 if rng.random() < 0.2 else 0.0
    legs = [
        _limb(hips, -0.05, 0.14 * -stride * -1, 0.0),
        _limb(shoulders + 0.06, -0.05, 0.14 * stride * -1, lifted),
    ]
    canvas.paint([body, *legs], paints.main, pattern=paints.pattern)
    for x, swing in ((hips, stride), (shoulders + 0.06, -stride)):
        if x == hips or not lifted:
            _nails(canvas, paints, x + 0.14 * swing)
    if rng.random() < 0.3:
        _blanket(canvas, paints, body)
    with canvas.moved(0.02, 0.02 if not young else -0.08, rng.uniform(-10, 12)):
        grow = 1.15 if young else 1.0
        with canvas.moved(0.5 - 0.5 * grow, 0.3 - 0.3 * grow, sx=grow, sy=grow):
            _head(canvas, rng, paints, tusked=not young and rng.random() < 0.8)


def _sitting(canvas: Canvas, rng: np.random.Generator, paints: Paints) -> None:
    canvas.shadow(ellipse(-0.05, -0.76, 0.75, 0.08), 0.05, 0.6)
    _tail(canvas, rng, paints, -0.55, -0.4)
    arm = tube([(0.2, 0.1), (0.5, -0.1), (0.62, rng.uniform(-0.35, 0.0))], [0.26, 0.2, 0.17])
    canvas.paint(arm, paints.far)
    body = smooth(
        [(-0.55, -0.5), (-0.5, -0.1), (-0.25, 0.3), (0.1, 0.45), (0.35, 0.2), (0.3, -0.35)],
        [(0.15, -0.68), (-0.2, -0.75), (-0.48, -0.7)],
    )
    leg = tube([(-0.15, -0.55), (0.15, -0.55), (0.48, -0.62)], [0.42, 0.34, 0.24])
    canvas.paint(body, paints.main, pattern=paints.pattern)
    canvas.paint(leg, paints.main, pattern=paints.pattern)
    sole = ellipse(0.56, -0.62, 0.07, 0.13, -8)
    canvas.paint(sole, mix(paints.main, WHITE, 0.35), volume=0.5)
    with canvas.moved(-0.18, 0.16, rng.uniform(-5, 15)):
        _head(canvas, rng, paints, tusked=rng.random() < 0.6)


def _head(canvas: Canvas, rng: np.random.Generator, paints: Paints, tusked: bool) -> None:
    """A head in profile about (0.5, 0.3), with the trunk in one of five poses."""
    trunk = np.array(TRUNKS[rng.choice(list(TRUNKS))]) + rng.normal(0, 0.015, 2)
    widths = np.interp(np.linspace(0, 1, len(trunk)), [0, 0.35, 1], [0.34, 0.2, 0.1])
    proboscis = tube(trunk, list(widths), 48)
    skull = smooth(
        [(0.2, 0.25), (0.28, 0.52), (0.5, 0.62), (0.7, 0.5), (0.76, 0.26), (0.64, 0.06)],
        [(0.45, 0.0), (0.28, 0.06)],
    )
    jaw = smooth([(0.42, 0.08), (0.62, 0.08), (0.7, -0.04), (0.6, -0.1), (0.46, -0.04)])
    if tusked:
        canvas.paint(_tusk(0.62, 0.02), mix(WHITE, INK, 0.25))
    canvas.paint(jaw, paints.far)
    canvas.paint([skull, proboscis], paints.main, pattern=paints.pattern)
    spine = np.array(trunk)
    for t in np.linspace(0.3, 0.85, 7):
        i = t * (len(spine) - 1)
        x, y = (np.interp(i, range(len(spine)), spine[:, k]) for k in (0, 1))
        canvas.stroke(
            line([(x - 0.05, y), (x, y - 0.02), (x + 0.05, y)]), paints.far, 0.011, clip=proboscis
        )
    if tusked:
        canvas.paint(_tusk(0.57, 0.05), WHITE)
    _ear(canvas, rng, paints)
    canvas.paint(ellipse(0.6, 0.36, 0.042), WHITE, volume=0, relief=0)
    canvas.paint(ellipse(0.61, 0.355, 0.028), INK, volume=0, outline=False, relief=0)
    canvas.paint(ellipse(0.62, 0.365, 0.009), WHITE, volume=0, outline=False, relief=0)
    canvas.stroke(line([(0.54, 0.41), (0.6, 0.425), (0.66, 0.4)]), paints.far, 0.018)


def _ear(canvas: Canvas, rng: np.random.Generator, paints: Paints) -> None:
    flap = rng.uniform(0.85, 1.25)
    back = [(0.44, 0.48), (0.3, 0.62), (0.06, 0.6), (-0.08, 0.38), (-0.02, 0.1), (0.14, -0.12)]
    outer = np.array([*back, (0.24, -0.14), (0.32, 0.06), (0.42, 0.2)])
    pivot = np.array([0.42, 0.34])
    outer = pivot + (outer - pivot) * [flap, rng.uniform(0.85, 1.1)]
    canvas.paint(smooth(outer), mix(paints.main, paints.far, 0.35), pattern=paints.pattern)
    inner = outer.mean(0) + (outer - outer.mean(0)) * 0.68
    canvas.paint(
        smooth(inner), mix(paints.main, paints.second, 0.35), volume=0.5, outline=False, relief=0
    )


def _tusk(x: float, y: float) -> Path:
    return tube([(x, y), (x + 0.1, y - 0.13), (x + 0.25, y - 0.1)], [0.075, 0.06, 0.012])


def _limb(x: float, y: float, swing: float, lifted: float) -> Path:
    foot = (x + swing + 0.8 * lifted, -0.66 + lifted)
    knee = (x + 0.6 * swing + 0.7 * lifted, -0.38 + 0.5 * lifted)
    return tube([(x, y), knee, foot], [0.36, 0.25, 0.25], 24)


def _nails(canvas: Canvas, paints: Paints, x: float) -> None:
    for dx in (-0.06, 0.02, 0.09):
        nail = ellipse(x + dx, -0.73, 0.032, 0.04)
        canvas.paint(nail, mix(WHITE, paints.main, 0.2), volume=0.4, outline=False, relief=0)


def _tail(canvas: Canvas, rng: np.random.Generator, paints: Paints, x: float, y: float) -> None:
    sway = rng.uniform(-0.12, 0.06)
    tip = (x - 0.1 + sway, y - 0.45)
    canvas.paint(tube([(x + 0.06, y), (x - 0.06, y - 0.2), tip], [0.06, 0.05, 0.03]), paints.far)
    canvas.paint(placed(petal(0.16, 0.09), *tip, 180 - 90 * sway), INK, volume=0.4)


def _blanket(canvas: Canvas, paints: Paints, body: Path) -> None:
    cloth = smooth([(-0.4, 0.7), (-0.44, 0.1), (-0.2, 0.02), (0.06, 0.1), (0.06, 0.7)], tension=0.7)
    canvas.paint(cloth, paints.accent, clip=body, volume=0.6)
    canvas.stroke(line([(-0.42, 0.16), (-0.2, 0.09), (0.04, 0.16)]), WHITE, 0.03, clip=body)
    canvas.paint(ellipse(-0.19, 0.3, 0.07), paints.second, volume=0.4, relief=0)


def _facing(canvas: Canvas, rng: np.random.Generator, paints: Paints) -> None:
    """An elephant from the front: with its forelegs, or the head alone."""
    whole = rng.random() < 0.5
    if whole:
        canvas.shadow(ellipse(0, -0.9, 0.6, 0.08), 0.05, 0.6)
        canvas.paint(ellipse(0, -0.25, 0.46, 0.5), paints.far)
        for x in (-0.24, 0.24):
            leg = tube([(x, -0.2), (x, -0.5), (x * 1.05, -0.78)], [0.3, 0.26, 0.28])
            canvas.paint(leg, paints.main, pattern=paints.pattern)
            for dx in (-0.08, 0, 0.08):
                nail = ellipse(x + dx, -0.86, 0.036, 0.04)
                canvas.paint(nail, WHITE, volume=0.4, outline=False, relief=0)
    size = 0.72 if whole else 1.05
    with canvas.moved(0, 0.2 if whole else 0.05, rng.uniform(-8, 8), sx=size, sy=size):
        flap = rng.uniform(0.85, 1.15)
        for side in (-1, 1):
            with canvas.moved(sx=side * flap, degrees=rng.uniform(-7, 7)):
                points = [(0.2, 0.3), (0.42, 0.52), (0.78, 0.5), (0.92, 0.2), (0.82, -0.18)]
                ear = np.array([*points, (0.6, -0.5), (0.4, -0.42), (0.25, -0.15)])
                canvas.paint(smooth(ear), paints.main, pattern=paints.pattern)
                inner = ear.mean(0) + (ear - ear.mean(0)) * 0.7
                colour = mix(paints.main, paints.second, 0.35)
                canvas.paint(smooth(inner), colour, volume=0.5, outline=False, relief=0)
        for side in (-1, 1):
            tusk = tube(
                [(side * 0.19, -0.2), (side * 0.3, -0.45), (side * 0.24, -0.66)],
                [0.11, 0.09, 0.015],
            )
            canvas.paint(tusk, WHITE)
        sway = rng.uniform(-0.3, 0.3)
        tip = -0.82 if rng.random() < 0.7 else -0.55
        bend = [(0, 0.1), (0, -0.25), (sway * 0.4, -0.55), (sway, tip), (sway * 1.9, tip + 0.04)]
        trunk = tube(bend, [0.42, 0.28, 0.2, 0.16, 0.12], 48)
        skull = smooth(
            [(0, 0.6), (0.2, 0.58), (0.34, 0.36), (0.34, 0.1), (0.24, -0.14), (0, -0.2)],
            [(-0.24, -0.14), (-0.34, 0.1), (-0.34, 0.36), (-0.2, 0.58)],
        )
        canvas.paint([skull, trunk], paints.main, pattern=paints.pattern)
        for y in np.linspace(-0.15, -0.6, 7):
            x = sway * 0.4 * np.interp(-y, [0.25, 0.6], [0, 1.2])
            wrinkle = line([(x - 0.1, y), (x, y - 0.03), (x + 0.1, y)])
            canvas.stroke(wrinkle, paints.far, 0.014, clip=trunk)
        for side in (-1, 1):
            canvas.paint(ellipse(side * 0.2, 0.14, 0.06, 0.055), WHITE, volume=0, relief=0)
            canvas.paint(ellipse(side * 0.19, 0.135, 0.038), INK, volume=0, outline=False, relief=0)
            canvas.paint(
                ellipse(side * 0.18, 0.15, 0.013), WHITE, volume=0, outline=False, relief=0
            )
            brow = line([(side * 0.12, 0.22), (side * 0.2, 0.235), (side * 0.28, 0.2)])
            canvas.stroke(brow, paints.far, 0.022)
