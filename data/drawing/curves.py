"""Curves: closed shapes and tapering limbs as matplotlib paths, from a few points each."""

import numpy as np
from matplotlib.path import Path
from matplotlib.transforms import Affine2D

Points = list[tuple[float, float]] | np.ndarray


def smooth(*points: Points, tension: float = 1.0) -> Path:
    """Returns the closed Catmull-Rom curve through all `points`, as cubic Bézier segments."""
    p = np.concatenate([np.asarray(part, float) for part in points])
    tangent = (np.roll(p, -1, 0) - np.roll(p, 1, 0)) * tension / 6
    ends = np.roll(p, -1, 0)
    handles = np.stack([p + tangent, ends - np.roll(tangent, -1, 0), ends], axis=1)
    vertices = np.concatenate([p[:1], handles.reshape(-1, 2), p[:1]])
    codes = [Path.MOVETO] + [Path.CURVE4] * (3 * len(p)) + [Path.CLOSEPOLY]
    return Path(vertices, codes)


def along(points: Points, samples: int = 32) -> np.ndarray:
    """Returns `samples` positions on the open Catmull-Rom curve through `points`, (samples, 2)."""
    p = np.asarray(points, float)
    p = np.concatenate([[2 * p[0] - p[1]], p, [2 * p[-1] - p[-2]]])
    t = np.linspace(0, len(p) - 3, samples)
    i = np.minimum(t.astype(int), len(p) - 4)
    u = (t - i)[:, None]
    a, b, c, d = p[i], p[i + 1], p[i + 2], p[i + 3]
    quadratic = (2 * a - 5 * b + 4 * c - d) * u**2
    cubic = (3 * b - a - 3 * c + d) * u**3
    return (2 * b + (c - a) * u + quadratic + cubic) / 2


def line(points: Points, samples: int = 24) -> Path:
    """Returns the open smooth curve through `points`, to be stroked."""
    return Path(along(points, samples))


def tube(points: Points, widths: list[float], samples: int = 32) -> Path:
    """Returns a limb: the curve through `points`, as wide at each point as `widths`, round-ended.

    Trunks, necks, tails, legs and stems are all tubes.
    """
    spine = along(points, samples)
    half = along([(0.0, w) for w in widths], samples)[:, 1].clip(1e-3) / 2
    step = np.gradient(spine, axis=0)
    step /= np.linalg.norm(step, axis=1, keepdims=True) + 1e-9
    normal = np.stack([-step[:, 1], step[:, 0]], axis=1)
    turn = np.linspace(0, np.pi, 9)[1:-1, None]
    end = spine[-1] + half[-1] * (np.cos(turn) * normal[-1] + np.sin(turn) * step[-1])
    start = spine[0] - half[0] * (np.cos(turn) * normal[0] + np.sin(turn) * step[0])
    left, right = spine + normal * half[:, None], spine - normal * half[:, None]
    return polygon(np.concatenate([left, end, right[::-1], start]))


def polygon(points: Points) -> Path:
    """Returns the straight-edged closed shape with these corners."""
    p = np.asarray(points, float)
    return Path(np.concatenate([p, p[:1]]), closed=True)


def ellipse(x: float, y: float, rx: float, ry: float | None = None, degrees: float = 0) -> Path:
    """Returns an ellipse about (x, y), turned by `degrees`; a circle if `ry` is left out."""
    shape = Affine2D().scale(rx, rx if ry is None else ry).rotate_deg(degrees).translate(x, y)
    return Path.unit_circle().transformed(shape)


def box(x0: float, y0: float, x1: float, y1: float, radius: float | tuple = 0.0) -> Path:
    """Returns a rectangle with rounded corners; four radii go anticlockwise from lower left."""
    radii = radius if isinstance(radius, tuple) else (radius,) * 4
    corners = [(x0, y0, 180), (x1, y0, 270), (x1, y1, 0), (x0, y1, 90)]
    outline = []
    for (x, y, first), r in zip(corners, radii, strict=True):
        turn = np.deg2rad(first + np.linspace(0, 90, 7))
        cx, cy = x + (r if x == x0 else -r), y + (r if y == y0 else -r)
        outline.append(np.stack([cx + r * np.cos(turn), cy + r * np.sin(turn)], axis=1))
    return polygon(np.concatenate(outline))


def petal(length: float, width: float, notch: float = 0.0, belly: float = 0.62) -> Path:
    """Returns a petal or leaf growing from the origin along +y; `notch` cuts into its tip."""
    w, top = width / 2, length
    return smooth(
        [
            (0, 0),
            (w * 0.6, top * belly * 0.45),
            (w, top * belly),
            (w * (0.35 + notch), top * 0.96),
            (0, top * (1 - 0.6 * notch)),
            (-w * (0.35 + notch), top * 0.96),
            (-w, top * belly),
            (-w * 0.6, top * belly * 0.45),
        ]
    )


def placed(
    path: Path, x: float, y: float, degrees: float = 0, sx: float = 1, sy: float = 1
) -> Path:
    """Returns `path` scaled, then turned, then moved."""
    return path.transformed(Affine2D().scale(sx, sy).rotate_deg(degrees).translate(x, y))
