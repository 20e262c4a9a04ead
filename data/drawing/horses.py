"""Horses: standing, grazing, trotting, galloping, rearing, and portraits of the head."""

import numpy as np
from matplotlib.path import Path
from matplotlib.transforms import Affine2D

from .canvas import Canvas
from .colours import INK, RGB, WHITE, Paints, mix
from .curves import ellipse, line, petal, placed, smooth, tube

Point = tuple[float, float]
# Each leg: offsets of knee, fetlock and hoof from the shoulder or hip; near fore, far fore,
# near hind, far hind.
GAITS = {
    "standing": [
        [(0.02, -0.3), (0.0, -0.56), (0.03, -0.64)],
        [(0.06, -0.3), (0.06, -0.56), (0.09, -0.64)],
        [(-0.06, -0.3), (-0.02, -0.56), (0.01, -0.64)],
        [(0.0, -0.3), (0.04, -0.56), (0.07, -0.64)],
    ],
    "trotting": [
        [(0.24, -0.2), (0.2, -0.42), (0.14, -0.5)],
        [(-0.04, -0.3), (-0.16, -0.53), (-0.22, -0.6)],
        [(-0.1, -0.28), (-0.28, -0.46), (-0.36, -0.5)],
        [(0.1, -0.28), (0.1, -0.55), (0.14, -0.63)],
    ],
    "galloping": [
        [(0.3, -0.12), (0.52, -0.26), (0.6, -0.32)],
        [(0.26, -0.22), (0.36, -0.44), (0.42, -0.5)],
        [(-0.2, -0.22), (-0.44, -0.3), (-0.54, -0.36)],
        [(-0.14, -0.28), (-0.32, -0.44), (-0.4, -0.52)],
    ],
    "rearing": [
        [(0.3, -0.06), (0.28, -0.28), (0.22, -0.36)],
        [(0.28, -0.16), (0.18, -0.36), (0.1, -0.42)],
        [(0.16, -0.26), (0.08, -0.5), (0.14, -0.58)],
        [(0.26, -0.22), (0.22, -0.46), (0.28, -0.54)],
    ],
}

NECK_ROOT = (0.32, 0.14)
NECK = tube([(-0.06, -0.02), (0.1, 0.22), (0.28, 0.5)], [0.42, 0.29, 0.2], 24)


def draw(canvas: Canvas, rng: np.random.Generator, paints: Paints) -> str:
    """Draws one horse with its hooves at about y = -0.66; returns its pose."""
    poses = ["standing", "grazing", "trotting", "galloping", "rearing", "portrait"]
    kind = rng.choice(poses, p=[0.22, 0.13, 0.2, 0.15, 0.12, 0.18])
    if kind == "portrait":
        _portrait(canvas, rng, paints)
    elif kind == "rearing":
        with canvas.moved(0.02, -0.08, rng.uniform(30, 42), sx=0.9, sy=0.9):
            _whole(canvas, rng, paints, "rearing", nod=-22)
    else:
        air = 0.06 if kind == "galloping" else 0.0
        canvas.shadow(ellipse(0, -0.7, 0.62, 0.06), 0.05, 0.6)
        with canvas.moved(-0.03, air):
            nod = {"grazing": rng.uniform(-82, -70), "galloping": -18}.get(kind)
            nod = rng.uniform(-10, 12) if nod is None else nod
            _whole(canvas, rng, paints, "standing" if kind == "grazing" else str(kind), nod)
    return str(kind)


def _whole(canvas: Canvas, rng: np.random.Generator, paints: Paints, gait: str, nod: float) -> None:
    legs = [[(x + rng.normal(0, 0.015), y) for x, y in leg] for leg in GAITS[gait]]
    shoulder, hip = (0.3, 0.0), (-0.42, 0.06)
    far = mix(paints.far, paints.main, 0.15)
    _leg(canvas, paints, (shoulder[0] + 0.06, 0.0), legs[1], far, 0.2)
    _leg(canvas, paints, (hip[0] + 0.08, 0.04), legs[3], far, 0.26)
    hair = paints.second
    _tail(canvas, rng, hair, fly=1.0 if gait in ("galloping", "trotting") else 0.25)
    body = smooth(
        [(0.46, 0.1), (0.4, 0.27), (0.22, 0.33), (0.0, 0.27), (-0.26, 0.33), (-0.46, 0.27)],
        [(-0.56, 0.1), (-0.5, -0.06), (-0.28, -0.1), (0.0, -0.15), (0.26, -0.13), (0.42, -0.05)],
    )
    near = [
        _limb(shoulder, legs[0], 0.22),
        _limb(hip, legs[2], 0.3),
    ]
    turned = Affine2D().rotate_deg(nod).translate(*NECK_ROOT)
    neck = NECK.transformed(turned)
    canvas.paint([body, neck, *near], paints.main, pattern=paints.pattern)
    socks = rng.random() < 0.5
    for joint, leg in ((shoulder, legs[0]), (hip, legs[2])):
        _hoof(canvas, paints, joint, leg, socks)
    if rng.random() < 0.35:
        _saddle(canvas, paints)
    with canvas.moved(*NECK_ROOT, nod):
        _head(canvas, rng, paints, hair, low=nod < -60)


def _limb(joint: Point, leg: list[Point], width: float) -> Path:
    points = [joint, *((joint[0] + x, joint[1] + y) for x, y in leg[:2])]
    return tube(points, [width, 0.115, 0.075], 24)


def _leg(
    canvas: Canvas, paints: Paints, joint: Point, leg: list[Point], colour: RGB, width: float
) -> None:
    canvas.paint(_limb(joint, leg, width), colour)
    _hoof(canvas, paints, joint, leg, False)


def _hoof(canvas: Canvas, paints: Paints, joint: Point, leg: list[Point], sock: bool) -> None:
    (x1, y1), (x2, y2) = ((joint[0] + x, joint[1] + y) for x, y in leg[1:])
    if sock:
        kx, ky = joint[0] + leg[0][0], joint[1] + leg[0][1]
        upper = (x1 + 0.35 * (kx - x1), y1 + 0.35 * (ky - y1))
        canvas.paint(tube([upper, (x1, y1)], [0.088, 0.082], 8), WHITE, volume=0.7, relief=0)
    canvas.paint(tube([(x1, y1), (x2, y2)], [0.08, 0.115], 8), mix(INK, paints.main, 0.2))


def _tail(canvas: Canvas, rng: np.random.Generator, hair: RGB, fly: float) -> None:
    for i in range(5):
        drop = rng.uniform(0.45, 0.62) * (1 - 0.45 * fly)
        back = 0.16 + 0.34 * fly + rng.uniform(-0.05, 0.08)
        root, tip = (-0.5, 0.24), (-0.5 - back, 0.22 - drop)
        mid = (-0.55 - 0.7 * back, 0.26 - 0.3 * drop + 0.08 * fly)
        colour = mix(hair, INK if i < 2 else WHITE, 0.2 if i < 2 else 0.04 * i)
        canvas.paint(tube([root, mid, tip], [0.07, 0.12, 0.02], 20), colour, volume=0.8, relief=0.3)


def _saddle(canvas: Canvas, paints: Paints) -> None:
    cloth = smooth(
        [(-0.16, 0.31), (-0.18, 0.05), (0.02, 0.02), (0.2, 0.05), (0.18, 0.34)], tension=0.6
    )
    canvas.paint(cloth, paints.accent, volume=0.6)
    seat = smooth(
        [(-0.12, 0.28), (-0.14, 0.38), (0, 0.32), (0.14, 0.4), (0.13, 0.22), (0.02, 0.14)]
    )
    canvas.paint(seat, mix(paints.accent, INK, 0.6))
    canvas.stroke(line([(0.03, 0.16), (0.03, -0.13)]), INK, 0.025)
    canvas.paint(ellipse(0.03, -0.05, 0.035, 0.045), (0.8, 0.8, 0.82), volume=0.6)


def _head(canvas: Canvas, rng: np.random.Generator, paints: Paints, hair: RGB, low: bool) -> None:
    """Head and mane on a neck that grows from the origin up and to the right."""
    flow = rng.uniform(0.06, 0.16)
    crest = [(-0.05, 0.2), (0.06, 0.36), (0.16, 0.5), (0.27, 0.6)]
    ear = placed(petal(0.15, 0.075), 0.3, 0.62, rng.uniform(-12, 5))
    canvas.paint(placed(petal(0.14, 0.07), 0.34, 0.61, -14), paints.far)
    tip = rng.uniform(-0.03, 0.03)
    head = tube(
        [(0.26, 0.54), (0.4, 0.42), (0.55, 0.24 + tip), (0.6, 0.18 + tip)],
        [0.2, 0.19, 0.125, 0.13],
    )
    jaw = ellipse(0.335, 0.43, 0.105, 0.12, -40)
    canvas.paint([head, jaw, ear], paints.main, pattern=paints.pattern)
    canvas.paint(placed(petal(0.1, 0.04), 0.305, 0.635, 0), paints.far, volume=0.3, outline=False)
    muzzle = ellipse(0.6, 0.17 + tip, 0.1, 0.09, -45)
    canvas.paint(muzzle, mix(paints.main, INK, 0.35), clip=head, volume=0.6, relief=0)
    if rng.random() < 0.5:
        blaze = tube([(0.36, 0.56), (0.53, 0.36), (0.64, 0.24)], [0.03, 0.06, 0.04])
        canvas.paint(blaze, WHITE, clip=head, volume=0.5, relief=0)
    canvas.paint(ellipse(0.625, 0.195 + tip, 0.02, 0.014, 40), INK, volume=0, relief=0)
    canvas.stroke(line([(0.52, 0.135 + tip), (0.57, 0.14 + tip), (0.62, 0.12 + tip)]), INK, 0.012)
    canvas.paint(ellipse(0.395, 0.485, 0.032, 0.028, -40), INK, volume=0, relief=0)
    canvas.paint(ellipse(0.402, 0.495, 0.01), WHITE, volume=0, outline=False, relief=0)
    if rng.random() < 0.4:
        for strap in ([(0.27, 0.6), (0.28, 0.48), (0.33, 0.34)], [(0.57, 0.31), (0.5, 0.2)]):
            canvas.stroke(line(strap), paints.accent, 0.026)
        canvas.stroke(line([(0.3, 0.45), (0.42, 0.33), (0.53, 0.25)]), paints.accent, 0.022)
    for i, (x, y) in enumerate(crest * 2):
        lock_x, lock_y = x + rng.normal(0, 0.02), y + rng.normal(0, 0.02)
        fall = (lock_x - flow - 0.04, lock_y - rng.uniform(0.12, 0.22))
        if low:  # the frame is turned by the nod: down is here to the right
            fall = (lock_x + rng.uniform(0.06, 0.12), lock_y - 0.1)
        lock = tube(
            [(lock_x + 0.04, lock_y + 0.03), (lock_x - 0.04, lock_y), fall], [0.06, 0.09, 0.02]
        )
        shade = mix(hair, WHITE if i % 2 else INK, 0.1)
        canvas.paint(lock, shade, volume=0.8, relief=0.3)
    fringe = tube([(0.28, 0.63), (0.36, 0.6), (0.42, 0.53)], [0.05, 0.07, 0.015])
    canvas.paint(fringe, hair, volume=0.8, relief=0.3)


def _portrait(canvas: Canvas, rng: np.random.Generator, paints: Paints) -> None:
    """The head and neck alone, large, in profile."""
    hair = paints.second
    grow = rng.uniform(1.75, 2.0)
    with canvas.moved(-0.5, -0.62, rng.uniform(-6, 10), sx=grow, sy=grow):
        chest = smooth(
            [(-0.16, -0.2), (-0.2, 0.05), (-0.06, 0.25), (0.1, 0.2), (0.24, -0.02), (0.26, -0.2)]
        )
        canvas.paint([chest, NECK], paints.main, pattern=paints.pattern)
        _head(canvas, rng, paints, hair, low=False)
