"""Flowers: daisies, tulips, sunflowers, roses, bluebells and poppies, single and in bunches."""

import numpy as np

from .canvas import Canvas
from .colours import INK, RGB, WHITE, Paints, hsv, mix
from .curves import ellipse, line, petal, placed, polygon, smooth, tube

Point = tuple[float, float]


def draw(canvas: Canvas, rng: np.random.Generator, paints: Paints) -> str:
    """Draws one flower, two or three, standing on y = -0.9; returns its kind."""
    blooms = {
        "daisy": _daisy,
        "tulip": _tulip,
        "sunflower": _sunflower,
        "rose": _rose,
        "bluebell": _bluebell,
        "poppy": _poppy,
    }
    kind = rng.choice(list(blooms), p=[0.22, 0.2, 0.18, 0.16, 0.12, 0.12])
    leafy = hsv(rng.uniform(0.2, 0.45), rng.uniform(0.35, 0.7), rng.uniform(0.35, 0.65))
    if rng.random() < 0.2:
        leafy = hsv(rng.random(), 0.5, 0.5)
    close = kind not in ("bluebell", "tulip") and rng.random() < 0.3
    if close:
        for turn in rng.uniform(0, 360, 2):
            canvas.paint(placed(petal(1.0, 0.45), 0, 0, turn), leafy)
        with canvas.moved(sx=1.75, sy=1.75):
            blooms[kind](canvas, rng, paints)
        return f"{kind}, close"
    count = rng.choice([1, 2, 3], p=[0.55, 0.25, 0.2])
    potted = rng.random() < 0.25
    canvas.shadow(ellipse(0, -0.9, 0.35 if potted else 0.2, 0.05), 0.04, 0.5)
    spread = {1: [0.0], 2: [-0.33, 0.36], 3: [-0.5, 0.48, 0.02]}[int(count)]
    for x in spread:
        size = 1.0 if count == 1 else rng.uniform(0.62, 0.74)
        top = (x + rng.uniform(-0.1, 0.1), rng.uniform(0.2, 0.36) + (0.18 if x == 0.02 else 0))
        _stem(canvas, rng, leafy, (x * 0.15, -0.9), top)
        with canvas.moved(*top, rng.uniform(-18, 18) - 20 * x, sx=size, sy=size):
            blooms[kind](canvas, rng, paints)
    if potted:
        _pot(canvas, rng, paints)
    return str(kind)


def _stem(canvas: Canvas, rng: np.random.Generator, leafy: RGB, foot: Point, top: Point) -> None:
    bend = rng.uniform(-0.15, 0.15)
    mid = ((foot[0] + top[0]) / 2 + bend, (foot[1] + top[1]) / 2)
    for _ in range(rng.integers(1, 4)):
        t = rng.uniform(0.2, 0.6)
        x, y = foot[0] + t * (top[0] - foot[0]) + bend * t, foot[1] + t * (top[1] - foot[1])
        turn = rng.choice([-1, 1]) * rng.uniform(30, 70)
        leaf = placed(petal(rng.uniform(0.35, 0.55), rng.uniform(0.14, 0.22)), x, y, turn)
        canvas.paint(leaf, mix(leafy, WHITE, rng.uniform(0, 0.2)))
        vein = placed(line([(0, 0.02), (0.01, 0.2), (0, 0.36)]), x, y, turn)
        canvas.stroke(vein, mix(leafy, INK, 0.35), 0.012, clip=leaf)
    canvas.paint(tube([foot, mid, top], [0.06, 0.05, 0.045]), mix(leafy, INK, 0.1))


def _ring(
    canvas: Canvas,
    rng: np.random.Generator,
    paints: Paints,
    n: int,
    length: float,
    width: float,
    colour: RGB,
    start: float = 0.0,
    first: float = 0.0,
) -> None:
    """Petals around the origin, the even ones first so that the odd ones lie on top."""
    order = [*range(0, n, 2), *range(1, n, 2)]
    for i in order:
        turn = start + 360 * i / n + rng.uniform(-4, 4)
        grow = rng.uniform(0.92, 1.06)
        root = np.deg2rad(turn + 90)
        at = (first * np.cos(root), first * np.sin(root))
        blade = placed(petal(length * grow, width), *at, turn)
        canvas.paint(blade, mix(colour, WHITE if i % 2 else INK, 0.08), pattern=paints.pattern)
        tip = (
            at[0] - 0.75 * length * np.sin(np.deg2rad(turn)),
            at[1] + 0.75 * length * np.cos(np.deg2rad(turn)),
        )
        canvas.stroke(
            line([at, ((at[0] + tip[0]) / 2, (at[1] + tip[1]) / 2), tip]), paints.far, 0.007
        )


def _tilt(rng: np.random.Generator) -> dict[str, float]:
    return {"degrees": rng.uniform(-25, 25), "sy": rng.uniform(0.62, 1.0)}


def _daisy(canvas: Canvas, rng: np.random.Generator, paints: Paints) -> None:
    with canvas.moved(**_tilt(rng)):
        n = int(rng.integers(9, 17))
        _ring(canvas, rng, paints, n, 0.5, 3.4 / n * 0.45, paints.main)
        canvas.paint(ellipse(0, 0, 0.17), paints.accent)
        _seeds(canvas, rng, 0.14, mix(paints.accent, INK, 0.35), 26)


def _sunflower(canvas: Canvas, rng: np.random.Generator, paints: Paints) -> None:
    with canvas.moved(**_tilt(rng)):
        n = int(rng.integers(14, 20))
        _ring(canvas, rng, paints, n, 0.34, 0.17, mix(paints.main, INK, 0.2), first=0.2, start=9)
        _ring(canvas, rng, paints, n, 0.3, 0.16, paints.main, first=0.2)
        disc = mix(paints.second, INK, 0.45)
        canvas.paint(ellipse(0, 0, 0.28), disc)
        _seeds(canvas, rng, 0.26, mix(disc, WHITE, 0.3), 70)
        canvas.paint(ellipse(0, 0, 0.1), mix(disc, INK, 0.5), volume=0.5, outline=False, relief=0)


def _seeds(canvas: Canvas, rng: np.random.Generator, radius: float, colour: RGB, n: int) -> None:
    """Dots in Vogel's spiral, each 137.5 degrees on from the last, as seeds really sit."""
    i = np.arange(n)
    r, turn = radius * np.sqrt((i + 0.5) / n), np.deg2rad(137.508) * i
    dot = 0.42 * radius / np.sqrt(n) * 1.2
    dots = [ellipse(x, y, dot) for x, y in zip(r * np.cos(turn), r * np.sin(turn), strict=True)]
    canvas.paint(dots, colour, volume=0.5, outline=False, relief=0)


def _tulip(canvas: Canvas, rng: np.random.Generator, paints: Paints) -> None:
    open_ = rng.uniform(0.8, 1.25)
    with canvas.moved(0, 0.0, sx=open_, sy=rng.uniform(1.0, 1.2)):
        for side in (-1, 1):
            back = placed(petal(0.56, 0.3), side * 0.08, -0.02, -side * 14)
            canvas.paint(back, mix(paints.main, INK, 0.25), pattern=paints.pattern)
        for side in (-1, 1):
            flank = smooth(
                [(0, -0.05), (side * 0.22, 0.02), (side * 0.33, 0.24), (side * 0.32, 0.56)],
                [(side * 0.12, 0.36), (side * 0.0, 0.1)],
            )
            canvas.paint(flank, paints.main, pattern=paints.pattern)
        front = smooth([(0, -0.06), (0.2, 0.1), (0.17, 0.34), (0, 0.5), (-0.17, 0.34), (-0.2, 0.1)])
        canvas.paint(front, mix(paints.main, WHITE, 0.12), pattern=paints.pattern)
        for x in (-0.07, 0, 0.07):
            canvas.stroke(line([(x * 0.5, 0.04), (x * 1.1, 0.2), (x, 0.36)]), paints.far, 0.009)


def _rose(canvas: Canvas, rng: np.random.Generator, paints: Paints) -> None:
    """Petals in a closing spiral, each ring smaller, brighter and turned on."""
    for side in range(5):
        canvas.paint(placed(petal(0.5, 0.16), 0, 0, 72 * side + 20), hsv(0.3, 0.5, 0.45))
    start = rng.uniform(0, 360)
    for ring, (n, radius, size) in enumerate(
        [(6, 0.25, 0.24), (5, 0.18, 0.2), (5, 0.11, 0.15), (3, 0.055, 0.1)]
    ):
        shade = mix(paints.main, INK if ring < 2 else WHITE, (0.16, 0.0, 0.1, 0.2)[ring])
        for i in range(n):
            turn = np.deg2rad(start + 40 * ring + 360 * i / n)
            x, y = radius * np.cos(turn), radius * np.sin(turn)
            leaf = ellipse(x, y, size * 0.82, size * rng.uniform(0.95, 1.1), np.rad2deg(turn))
            canvas.paint(leaf, shade, pattern=paints.pattern)
            rim = np.deg2rad(np.rad2deg(turn) + np.linspace(-60, 60, 7))
            arc = np.stack([x + size * 0.78 * np.cos(rim), y + size * 0.78 * np.sin(rim)], 1)
            canvas.stroke(line(arc), mix(shade, WHITE, 0.35), 0.012)
    turn = np.linspace(0, 3.5 * np.pi, 30)
    swirl = np.stack([0.022 * turn**0.6 * np.cos(turn), 0.022 * turn**0.6 * np.sin(turn)], 1)
    canvas.stroke(line(swirl, 60), mix(paints.main, INK, 0.45), 0.014)


def _poppy(canvas: Canvas, rng: np.random.Generator, paints: Paints) -> None:
    with canvas.moved(**_tilt(rng)):
        for i, turn in enumerate(rng.uniform(0, 90) + np.array([0, 180, 90, 270])):
            blade = placed(petal(0.52, 0.66, 0.12, 0.66), 0, 0, turn)
            canvas.paint(
                blade, mix(paints.main, WHITE if i > 1 else INK, 0.1), pattern=paints.pattern
            )
        heart = mix(paints.second, INK, 0.6)
        blot = [placed(petal(0.2, 0.12), 0, 0, 45 * i) for i in range(8)]
        canvas.paint(blot, heart, volume=0.4, outline=False, relief=0)
        canvas.paint(ellipse(0, 0, 0.08), paints.accent)
        ring = np.deg2rad(np.arange(0, 360, 24))
        dots = [ellipse(0.15 * np.cos(a), 0.15 * np.sin(a), 0.016) for a in ring]
        canvas.paint(dots, mix(paints.accent, WHITE, 0.3), volume=0, outline=False, relief=0)


def _bluebell(canvas: Canvas, rng: np.random.Generator, paints: Paints) -> None:
    """An arched stem with bells hanging from it."""
    arch = [(0, -0.2), (0.02, 0.15), (0.16, 0.42), (0.42, 0.46), (0.56, 0.34)]
    canvas.paint(tube(arch, [0.045, 0.04, 0.035, 0.03, 0.02]), hsv(0.3, 0.5, 0.45))
    spots = [
        (-0.14, 0.02, -14),
        (0.08, 0.28, 10),
        (0.27, 0.46, -8),
        (0.44, 0.43, 6),
        (0.56, 0.33, 22),
    ]
    for i, (x, y, turn) in enumerate(spots):
        size = 1.1 - 0.1 * i
        with canvas.moved(x, y, turn + rng.uniform(-8, 8), sx=size, sy=size):
            canvas.stroke(line([(0.02, 0.06), (0, 0.03), (0, -0.02)]), hsv(0.3, 0.5, 0.45), 0.022)
            inside = ellipse(0, -0.27, 0.125, 0.035)
            bell = [(-0.03, 0), (0.03, 0), (0.1, -0.08), (0.11, -0.2), (0.17, -0.31), (0.08, -0.27)]
            bell += [(0, -0.33), (-0.08, -0.27), (-0.17, -0.31), (-0.11, -0.2), (-0.1, -0.08)]
            canvas.paint(inside, paints.far)
            canvas.paint(smooth(bell, tension=0.8), paints.main, pattern=paints.pattern)
            canvas.stroke(line([(0, -0.04), (0.01, -0.15), (0, -0.27)]), paints.far, 0.012)


def _pot(canvas: Canvas, rng: np.random.Generator, paints: Paints) -> None:
    shape = polygon([(-0.2, -0.95), (0.2, -0.95), (0.28, -0.55), (-0.28, -0.55)])
    canvas.paint(shape, paints.accent)
    canvas.paint(ellipse(0, -0.56, 0.31, 0.06), mix(paints.accent, WHITE, 0.2))
    canvas.paint(ellipse(0, -0.55, 0.26, 0.035), mix(paints.accent, INK, 0.6), volume=0)
