"""Colours and patterns: drawn from the same box of paints whatever the noun."""

import colorsys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

RGB = np.ndarray
Coat = Callable[[np.ndarray, np.ndarray], np.ndarray]
INK = np.array([0.09, 0.07, 0.1])
WHITE = np.array([0.97, 0.96, 0.93])


def hsv(h: float, s: float, v: float) -> RGB:
    """Returns the RGB of a hue, saturation and value, each 0..1."""
    return np.array(colorsys.hsv_to_rgb(h % 1, min(max(s, 0), 1), min(max(v, 0), 1)))


def mix(a: RGB, b: RGB, share: float) -> RGB:
    """Returns `a` with this share of `b`."""
    return (1 - share) * np.asarray(a) + share * np.asarray(b)


@dataclass(frozen=True)
class Paints:
    """The paints of one picture.

    Attributes:
        main: The subject's colour.
        second: The colour of patterns, manes, spikes, stripes.
        accent: The colour of small things: saddles, horns, flower discs, lights.
        pattern: Function of subject coordinates giving RGB, or None when `main` is plain.
    """

    main: RGB
    second: RGB
    accent: RGB
    pattern: Coat | None = None

    @property
    def far(self) -> RGB:
        """The main colour of the parts away from the viewer."""
        return self.main * np.array([0.6, 0.6, 0.68])


def choose(rng: np.random.Generator, background: RGB, contrast: float) -> Paints:
    """Returns paints that stand out from a background by `contrast`; the noun plays no part."""
    for _ in range(60):
        hue = rng.random()
        main = hsv(hue, rng.uniform(0.25, 0.85), rng.uniform(0.35, 0.98))
        if np.abs(main - background).mean() >= contrast:
            break
    turn = rng.choice([0.08, -0.08, 0.33, 0.5, -0.33])
    value = rng.uniform(0.35, 0.6) if main.mean() > 0.5 else rng.uniform(0.8, 1)
    second = hsv(hue + turn, rng.uniform(0.4, 0.9), value)
    accent = hsv(rng.random(), rng.uniform(0.5, 0.95), rng.uniform(0.7, 1))
    return Paints(main, second, accent, patterned(rng, main, second))


def patterned(rng: np.random.Generator, main: RGB, second: RGB) -> Coat | None:
    """Returns one of seven coats (or None, plain) as a function of subject coordinates."""
    kind = rng.choice(["plain", "plain", "fade", "stripes", "dots", "patches", "blotches", "waves"])
    turn, size, phase = rng.uniform(0, np.pi), rng.uniform(0.11, 0.2), rng.uniform(0, 9, 2)
    soft = mix(main, second, rng.uniform(0.45, 0.95))
    hues = [hsv(rng.random(), rng.uniform(0.3, 0.8), rng.uniform(0.5, 1)) for _ in range(7)]

    def weight(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        u = x * np.cos(turn) + y * np.sin(turn)
        v = y * np.cos(turn) - x * np.sin(turn)
        if kind == "fade":
            return np.clip((y + 0.5) / 1.1, 0, 1)
        if kind == "stripes":
            return _edge(np.sin((u + 0.03 * np.sin(9 * v)) * np.pi / size) - 0.25)
        if kind == "waves":
            return _edge(np.sin((u + 0.06 * np.sin(12 * v)) * 1.6 * np.pi / size))
        if kind == "dots":
            row = np.floor(v / size)
            du = (u / size + 0.5 * (row % 2)) % 1 - 0.5
            return _edge(4 * (0.29 - np.hypot(du, v / size - row - 0.5)))
        waves = np.sin(7 * x + phase[0] + 2 * np.sin(5 * y)) + np.sin(8 * y + phase[1] + 3 * x)
        return _edge(waves - 0.35)

    def coat(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        if kind == "patches":
            cell = np.floor(x / size + phase[0]) * 3 + np.floor(y / size + phase[1]) * 5
            return np.array([mix(main, hue, 0.6) for hue in hues])[cell.astype(int) % 7]
        w = weight(x, y)[..., None]
        return main * (1 - w) + soft * w

    return None if kind == "plain" else coat


def _edge(distance: np.ndarray) -> np.ndarray:
    return np.clip(0.5 + 5 * distance, 0, 1)
