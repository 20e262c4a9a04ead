"""Dinosaurs: long-necks, tyrannosaurs, stegosaurs, three-horned and armoured ones."""

import numpy as np
from matplotlib.path import Path

from .canvas import Canvas
from .colours import INK, RGB, WHITE, Coat, Paints, mix
from .curves import along, ellipse, line, petal, placed, polygon, smooth, tube

Point = tuple[float, float]


def draw(canvas: Canvas, rng: np.random.Generator, paints: Paints) -> str:
    """Draws one dinosaur on the ground at y = -0.7; returns its kind."""
    kinds = {
        "sauropod": _sauropod,
        "tyrannosaur": _tyrannosaur,
        "stegosaur": _stegosaur,
        "triceratops": _triceratops,
        "ankylosaur": _ankylosaur,
    }
    kind = rng.choice(list(kinds), p=[0.26, 0.26, 0.22, 0.18, 0.08])
    canvas.shadow(ellipse(0, -0.71, 0.7, 0.07), 0.05, 0.6)
    kinds[kind](canvas, rng, paints)
    return str(kind)


def _eye(canvas: Canvas, x: float, y: float, r: float) -> None:
    canvas.paint(ellipse(x, y, r), WHITE, volume=0, relief=0)
    canvas.paint(ellipse(x + 0.2 * r, y, r * 0.6), INK, volume=0, outline=False, relief=0)
    canvas.paint(
        ellipse(x + 0.4 * r, y + 0.25 * r, r * 0.2), WHITE, volume=0, outline=False, relief=0
    )


def _foot(
    canvas: Canvas, paints: Paints, x: float, y: float, claws: int = 3, r: float = 0.035
) -> None:
    for i in range(claws):
        claw = ellipse(x + (i - (claws - 1) / 2) * 1.9 * r, y, r, r * 1.1)
        canvas.paint(claw, mix(WHITE, paints.accent, 0.25), volume=0.5, outline=False, relief=0)


def _pillar(x: float, top: float, swing: float, wide: float) -> Path:
    return tube(
        [(x, top), (x + 0.3 * swing, -0.35), (x + swing, -0.63)],
        [wide * 1.6, wide, wide * 1.05],
        20,
    )


def _legs(
    canvas: Canvas,
    paints: Paints,
    xs: tuple[float, float],
    swing: float,
    top: float,
    wide: float,
    far: bool,
) -> list[Path]:
    """Far legs are painted at once; near ones are returned to join the body."""
    legs = [_pillar(x, top, s, wide) for x, s in zip(xs, (swing, -swing), strict=True)]
    if far:
        canvas.paint(legs, paints.far)
    return legs


def _belly(canvas: Canvas, paints: Paints, body: Path, lift: float) -> None:
    """A paler underside, clipped to the body."""
    low = smooth(
        [(-0.6, -0.3 + lift), (0, -0.22 + lift), (0.55, -0.2 + lift), (0.5, -0.7), (-0.6, -0.7)]
    )
    canvas.paint(low, mix(paints.main, WHITE, 0.45), clip=body, volume=0.4, relief=0, opacity=0.7)


def _sauropod(canvas: Canvas, rng: np.random.Generator, paints: Paints) -> None:
    swing, rise = rng.uniform(-0.1, 0.1), rng.uniform(-0.15, 0.1)
    hook = rng.uniform(-0.1, 0.12)
    _legs(canvas, paints, (-0.22, 0.26), swing, -0.1, 0.15, far=True)
    spine = [(-1.05, -0.25 + hook), (-0.8, -0.28), (-0.45, -0.02), (0.0, 0.06), (0.32, 0.06)]
    spine += [(0.52, 0.32), (0.58, 0.62 + rise), (0.72, 0.8 + rise)]
    widths = [0.02, 0.1, 0.3, 0.52, 0.44, 0.22, 0.15, 0.13]
    body = tube(spine, widths, 64)
    near = _legs(canvas, paints, (-0.36, 0.2), -swing, -0.08, 0.17, far=False)
    x, y = 0.78, 0.8 + rise
    skull = smooth(
        [(x - 0.12, y + 0.02), (x - 0.04, y + 0.1), (x + 0.08, y + 0.06), (x + 0.2, y)],
        [(x + 0.2, y - 0.07), (x + 0.05, y - 0.1), (x - 0.08, y - 0.08)],
    )
    if rng.random() < 0.4:
        _frill(canvas, paints, spine, widths, 22, 0.09)
    canvas.paint([body, *near, skull], paints.main, pattern=paints.pattern)
    if rng.random() < 0.5:
        _belly(canvas, paints, body, 0.05)
    for leg, s in ((-0.36, -swing), (0.2, swing)):
        _foot(canvas, paints, leg + s, -0.68)
    _eye(canvas, x + 0.0, y + 0.03, 0.036)
    canvas.stroke(
        line([(x + 0.04, y - 0.05), (x + 0.12, y - 0.045), (x + 0.19, y - 0.02)]), INK, 0.014
    )
    canvas.paint(ellipse(x + 0.17, y + 0.0, 0.01), INK, volume=0, outline=False, relief=0)


def _frill(
    canvas: Canvas, paints: Paints, spine: list[Point], widths: list[float], n: int, size: float
) -> None:
    """A row of spikes along the back of a tube, leaning with it."""
    centre, half = along(spine, n), along([(0.0, w) for w in widths], n)[:, 1] / 2
    step = np.gradient(centre, axis=0)
    step /= np.linalg.norm(step, axis=1, keepdims=True)
    up = np.stack([-step[:, 1], step[:, 0]], 1)
    for i in range(1, n - 1):
        at = centre[i] + up[i] * (half[i] - 0.02)
        turn = np.rad2deg(np.arctan2(up[i, 1], up[i, 0])) - 90
        canvas.paint(
            placed(petal(size, size * 0.8, 0, 0.4), at[0], at[1], turn), paints.second, volume=0.7
        )


def _tyrannosaur(canvas: Canvas, rng: np.random.Generator, paints: Paints) -> None:
    with canvas.moved(-0.06, 0, 0):
        lean, wag = rng.uniform(-0.06, 0.08), rng.uniform(-0.12, 0.2)
        _hind(canvas, paints, 0.06, rng.uniform(0.0, 0.16), paints.far, None)
        canvas.paint(_arm(0.33, 0.12 + lean), paints.far)
        spine = [(-1.0, 0.02 + wag), (-0.72, -0.08 + 0.4 * wag), (-0.36, -0.02), (-0.02, 0.06)]
        spine += [(0.24, 0.22 + lean), (0.4, 0.46 + lean), (0.5, 0.6 + lean)]
        widths = [0.02, 0.12, 0.3, 0.5, 0.44, 0.3, 0.26]
        body = tube(spine, widths, 56)
        if rng.random() < 0.6:
            _frill(canvas, paints, spine, widths, 18, 0.1)
        canvas.paint(body, paints.main, pattern=paints.pattern)
        if rng.random() < 0.6:
            chest = tube([(-0.15, -0.22), (0.2, 0.0), (0.44, 0.3 + lean)], [0.1, 0.24, 0.2])
            colour = mix(paints.main, WHITE, 0.45)
            canvas.paint(chest, colour, clip=body, volume=0.4, relief=0, opacity=0.7)
        with canvas.moved(0.48, 0.6 + lean, rng.uniform(-8, 12)):
            _jaws(canvas, rng, paints)
        _hind(canvas, paints, -0.1, rng.uniform(-0.14, 0.02), paints.main, paints.pattern)
        canvas.paint(_arm(0.26, 0.08 + lean), paints.main, pattern=paints.pattern)
        _foot(canvas, paints, 0.47, -0.06 + lean, 2, 0.02)


def _jaws(canvas: Canvas, rng: np.random.Generator, paints: Paints) -> None:
    """A tyrannosaur's head, its hinge at the origin, the mouth more or less open."""
    gape = rng.uniform(8, 26)
    with canvas.moved(degrees=-gape):
        lower = smooth(
            [(-0.1, -0.02), (0.1, -0.02), (0.4, 0.0), (0.45, -0.04), (0.36, -0.1)],
            [(0.1, -0.15), (-0.08, -0.14)],
        )
        canvas.paint(placed(petal(0.3, 0.1), 0.02, -0.05, -84), (0.85, 0.35, 0.4), relief=0)
        canvas.paint(lower, paints.main, pattern=paints.pattern)
        teeth = [
            polygon([(x, -0.015), (x + 0.045, -0.015), (x + 0.022, 0.05)])
            for x in np.arange(0.14, 0.4, 0.055)
        ]
        canvas.paint(teeth, WHITE, volume=0.2, relief=0)
    upper = smooth(
        [(-0.2, 0.02), (-0.12, 0.18), (0.02, 0.25), (0.12, 0.2), (0.32, 0.19), (0.5, 0.12)],
        [(0.52, 0.02), (0.44, -0.02), (0.2, 0.0), (0.0, -0.04), (-0.12, -0.08)],
    )
    teeth = [
        polygon([(x, 0.015), (x + 0.05, 0.015), (x + 0.025, -0.065)])
        for x in np.arange(0.14, 0.46, 0.058)
    ]
    canvas.paint(teeth, WHITE, volume=0.2, relief=0)
    canvas.paint(upper, paints.main, pattern=paints.pattern)
    canvas.paint(ellipse(0.46, 0.1, 0.018, 0.013), INK, volume=0, outline=False, relief=0)
    _eye(canvas, 0.09, 0.14, 0.045)
    canvas.stroke(
        line([(0.02, 0.2), (0.09, 0.205), (0.16, 0.16)]), mix(paints.main, INK, 0.6), 0.025
    )


def _hind(
    canvas: Canvas, paints: Paints, x: float, swing: float, colour: RGB, pattern: Coat | None
) -> None:
    knee, heel = (x + 0.16 + swing, -0.22), (x + swing - 0.04, -0.44)
    thigh = tube([(x, 0.02), knee], [0.36, 0.2], 16)
    shin = tube([knee, heel, (x + swing + 0.02, -0.62)], [0.2, 0.12, 0.11], 20)
    foot = tube([(x + swing - 0.02, -0.655), (x + swing + 0.2, -0.66)], [0.1, 0.09], 8)
    canvas.paint([thigh, shin, foot], colour, pattern=pattern)
    _foot(canvas, paints, x + swing + 0.21, -0.67, 3, 0.025)


def _arm(x: float, y: float) -> Path:
    return tube([(x, y), (x + 0.12, y - 0.08), (x + 0.2, y - 0.13)], [0.11, 0.075, 0.05], 16)


def _stegosaur(canvas: Canvas, rng: np.random.Generator, paints: Paints) -> None:
    swing, hook = rng.uniform(-0.08, 0.08), rng.uniform(-0.08, 0.15)
    _legs(canvas, paints, (-0.2, 0.36), swing, -0.15, 0.14, far=True)
    spine = [(-1.0, -0.15 + hook), (-0.72, -0.12), (-0.4, 0.05), (-0.08, 0.1), (0.28, -0.06)]
    spine += [(0.58, -0.24), (0.8, -0.3)]
    widths = [0.03, 0.14, 0.4, 0.54, 0.42, 0.2, 0.15]
    body = tube(spine, widths, 56)
    centre, half = along(spine, 60), along([(0.0, w) for w in widths], 60)[:, 1] / 2
    for row, colour in ((0.03, mix(paints.second, INK, 0.4)), (0.0, paints.second)):
        for t in np.linspace(0.14, 0.86, 9) + row:
            i = int(t * 59)
            step = centre[min(i + 1, 59)] - centre[i - 1]
            turn = np.rad2deg(np.arctan2(step[1], step[0]))
            up = np.array([-step[1], step[0]]) / np.linalg.norm(step)
            size = 0.16 + 0.26 * np.sin(np.pi * np.clip((t - 0.05) / 0.9, 0, 1)) ** 1.5
            at = centre[i] + up * (half[i] - 0.05)
            plate = polygon([(-0.3, 0), (-0.52, 0.5), (0, 1.1), (0.52, 0.5), (0.3, 0)])
            canvas.paint(placed(plate, at[0], at[1], turn, size * 0.62, size), colour)
    for dx, turn in ((-0.92, 70), (-0.85, 45), (-0.95, 110), (-0.8, 30)):
        thorn = placed(petal(0.22, 0.06, 0, 0.3), dx, -0.13 + 0.7 * hook, turn)
        canvas.paint(thorn, WHITE)
    near = _legs(canvas, paints, (-0.34, 0.28), -swing, -0.1, 0.17, far=False)
    skull = smooth(
        [(0.72, -0.26), (0.84, -0.21), (0.96, -0.28), (1.0, -0.35), (0.9, -0.38), (0.74, -0.38)]
    )
    canvas.paint([body, *near, skull], paints.main, pattern=paints.pattern)
    if rng.random() < 0.5:
        _belly(canvas, paints, body, 0.08)
    for leg, s in ((-0.34, -swing), (0.28, swing)):
        _foot(canvas, paints, leg + s, -0.68)
    _eye(canvas, 0.85, -0.27, 0.032)
    canvas.stroke(line([(0.86, -0.345), (0.92, -0.34), (0.98, -0.33)]), INK, 0.013)


def _triceratops(canvas: Canvas, rng: np.random.Generator, paints: Paints) -> None:
    swing, hook = rng.uniform(-0.08, 0.08), rng.uniform(-0.1, 0.12)
    _legs(canvas, paints, (-0.3, 0.24), swing, -0.15, 0.17, far=True)
    spine = [(-1.0, -0.32 + hook), (-0.75, -0.18), (-0.42, 0.02), (-0.05, 0.05), (0.3, 0.02)]
    body = tube(spine, [0.02, 0.18, 0.46, 0.58, 0.46], 48)
    near = _legs(canvas, paints, (-0.46, 0.14), -swing, -0.12, 0.19, far=False)
    canvas.paint([body, *near], paints.main, pattern=paints.pattern)
    if rng.random() < 0.5:
        _belly(canvas, paints, body, 0.03)
    for leg, s in ((-0.46, -swing), (0.14, swing)):
        _foot(canvas, paints, leg + s, -0.68)
    with canvas.moved(0.42, 0.05, rng.uniform(-10, 12), sx=1.05, sy=1.05):
        turn = np.deg2rad(np.linspace(60, 250, 8))
        rim = np.stack([0.02 + 0.36 * np.cos(turn), 0.08 + 0.4 * np.sin(turn)], 1)
        for x, y in rim:
            canvas.paint(ellipse(x, y, 0.065), paints.accent)
        shield = smooth([*rim, (0.1, -0.2), (0.22, 0.1)])
        canvas.paint(shield, paints.second)
        inner = rim.mean(0) + (rim - rim.mean(0)) * 0.7
        canvas.paint(smooth(inner), mix(paints.second, paints.main, 0.5), volume=0.5, relief=0)
        canvas.paint(placed(petal(0.42, 0.09, 0, 0.25), 0.22, 0.16, -38), mix(WHITE, INK, 0.25))
        face = smooth(
            [(-0.06, 0.1), (0.06, 0.26), (0.24, 0.22), (0.42, 0.06), (0.55, -0.06), (0.54, -0.16)],
            [(0.4, -0.2), (0.2, -0.24), (0.0, -0.18)],
        )
        canvas.paint(face, paints.main, pattern=paints.pattern)
        beak = smooth([(0.42, 0.02), (0.56, -0.05), (0.57, -0.2), (0.48, -0.22), (0.44, -0.12)])
        canvas.paint(beak, mix(paints.accent, INK, 0.35))
        canvas.paint(placed(petal(0.44, 0.1, 0, 0.25), 0.14, 0.18, -30), WHITE)
        canvas.paint(placed(petal(0.2, 0.1, 0, 0.3), 0.42, 0.04, -20), WHITE)
        _eye(canvas, 0.2, 0.06, 0.042)
        canvas.stroke(line([(0.24, -0.15), (0.34, -0.12), (0.44, -0.14)]), INK, 0.014)


def _ankylosaur(canvas: Canvas, rng: np.random.Generator, paints: Paints) -> None:
    swing = rng.uniform(-0.06, 0.06)
    with canvas.moved(0, 0.0):
        _legs(canvas, paints, (-0.3, 0.3), swing, -0.3, 0.14, far=True)
        tail = tube([(-0.4, -0.15), (-0.75, -0.2), (-0.95, -0.05)], [0.34, 0.14, 0.08])
        near = _legs(canvas, paints, (-0.4, 0.22), -swing, -0.3, 0.16, far=False)
        body = smooth(
            [
                (-0.65, -0.15),
                (-0.4, 0.18),
                (0.0, 0.28),
                (0.4, 0.16),
                (0.6, -0.15),
                (0.4, -0.4),
                (-0.1, -0.45),
                (-0.5, -0.38),
            ]
        )
        skull = smooth(
            [(0.5, -0.05), (0.66, 0.08), (0.86, 0.02), (0.96, -0.12), (0.88, -0.22), (0.6, -0.24)]
        )
        canvas.paint([tail, *near, body, skull], paints.main, pattern=paints.pattern)
        canvas.paint(
            [ellipse(-0.98, 0.0, 0.13, 0.1, 30), ellipse(-0.9, -0.05, 0.08)], paints.accent
        )
        for row, y in enumerate((0.0, 0.14, 0.22)):
            for x in np.arange(-0.5 + 0.1 * row, 0.5 - 0.1 * row, 0.17):
                at = (x, y - 0.35 * x * x)
                canvas.paint(placed(petal(0.2, 0.13, 0, 0.3), *at, 12 - 50 * x), paints.second)
        canvas.paint(placed(petal(0.16, 0.1, 0, 0.3), 0.58, 0.02, 40), WHITE)
        for leg, s in ((-0.4, -swing), (0.22, swing)):
            _foot(canvas, paints, leg + s, -0.68)
        _eye(canvas, 0.76, -0.02, 0.036)
        canvas.stroke(line([(0.76, -0.14), (0.85, -0.12), (0.93, -0.14)]), INK, 0.014)
