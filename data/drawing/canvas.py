"""A canvas: paths become shaded, patterned, outlined paint on a transparent layer."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.path import Path
from matplotlib.transforms import Affine2D, Transform
from scipy.ndimage import gaussian_filter

from .colours import Coat

SIZE = 448  # drawn at twice the stored 224, halved at the end
Colour = tuple[float, float, float] | np.ndarray


@dataclass(frozen=True)
class Style:
    """How a whole picture is rendered.

    Attributes:
        volume: Strength of the rounding light, 0 (flat paper) to about 1.3.
        outline: Width of the ink line around every part, in units of the subject; 0 is none.
        ink: Colour of that line.
        relief: Opacity of the shadow every part casts on those beneath it, 0 to 1.
        texture: Grey paper grain multiplied into the paint, (SIZE, SIZE), about 1; or None.
    """

    volume: float = 1.0
    outline: float = 0.0
    ink: tuple[float, float, float] = (0.1, 0.08, 0.1)
    relief: float = 0.0
    texture: np.ndarray | None = field(default=None, repr=False)


class Canvas:
    """A transparent layer that parts are painted on, back to front.

    Args:
        pose: Takes the subject's coordinates (about -1 to 1, y upwards) to pixels, y upwards.
        light: Direction towards the light (x right, y up, z to the viewer); normalised here.
        style: How parts are rendered.
    """

    def __init__(self, pose: Affine2D, light: tuple[float, float, float], style: Style):
        self.pose: Transform = pose
        self.light = np.asarray(light, float) / np.linalg.norm(light)
        self.style = style
        self.rgb = np.zeros((SIZE, SIZE, 3), np.float32)
        self.alpha = np.zeros((SIZE, SIZE), np.float32)
        self.solid = np.zeros((SIZE, SIZE), np.float32)  # as alpha, but without soft shadows
        self._agg = RendererAgg(SIZE, SIZE, 72)

    @property
    def scale(self) -> float:
        """Pixels in one unit of the subject."""
        return float(np.sqrt(abs(np.linalg.det(self.pose.get_matrix()[:2, :2]))))

    @contextmanager
    def moved(
        self,
        x: float = 0,
        y: float = 0,
        degrees: float = 0,
        sx: float = 1,
        sy: float = 1,
        skew: float = 0,
    ) -> Iterator[None]:
        """Draws within this block in a frame scaled, skewed (in y), turned and moved."""
        before = self.pose
        own = Affine2D().scale(sx, sy).skew_deg(0, skew).rotate_deg(degrees).translate(x, y)
        self.pose = own + before
        try:
            yield
        finally:
            self.pose = before

    def mask(self, paths: list[Path], width: float | None = None) -> np.ndarray:
        """Returns the coverage of the union of `paths`, (SIZE, SIZE) in 0..1.

        With `width` (in units of the subject) the paths are stroked rather than filled.
        """
        self._agg.clear()
        gc = self._agg.new_gc()
        gc.set_foreground((1.0, 1.0, 1.0))
        gc.set_capstyle("round")
        gc.set_joinstyle("round")
        gc.set_linewidth(0.0 if width is None else max(width * self.scale, 0.6))
        for path in paths:
            self._agg.draw_path(gc, path, self.pose, (1.0, 1.0, 1.0) if width is None else None)
        return np.asarray(self._agg.buffer_rgba())[..., 3].astype(np.float32) / 255

    def paint(
        self,
        paths: Path | list[Path],
        colour: Colour,
        *,
        volume: float = 1.0,
        pattern: Coat | None = None,
        clip: Path | list[Path] | None = None,
        outline: bool = True,
        relief: float = 1.0,
        opacity: float = 1.0,
    ) -> None:
        """Paints the union of `paths` as one rounded body.

        Args:
            paths: One closed path or several.
            colour: RGB in 0..1.
            volume: Factor on the style's volume; 0 for glass, eyes and markings.
            pattern: Function of the subject's coordinates (x, y) giving RGB, or None for plain.
            clip: Paths outside which nothing is painted, e.g. the body under a marking.
            outline: Whether the style's ink line is drawn.
            relief: Factor on the style's shadow.
            opacity: 1 covers what is beneath.
        """
        paths = _listed(paths)
        mask = self.mask(paths)
        window = None if clip is None else self.mask(_listed(clip))
        if window is not None:
            mask = mask * window
        if mask.max() < 0.02:
            return
        if self.style.relief and relief:
            self._cast(mask, relief)
        if self.style.outline and outline and window is None:
            self._over(self.mask(paths, 2 * self.style.outline), self.style.ink, _EVERYWHERE)
        rows, cols = _bounds(mask, 4)
        crop = mask[rows, cols]
        paint = np.empty((*crop.shape, 3), np.float32)
        paint[:] = colour
        if pattern is not None:
            paint = pattern(*self._coordinates(rows, cols)).astype(np.float32)
        paint = self._shaded(paint, crop, volume * self.style.volume)
        if self.style.texture is not None:
            paint = paint * self.style.texture[rows, cols, None]
        self._over(crop * opacity, paint, (rows, cols))

    def stroke(
        self, paths: Path | list[Path], colour: Colour, width: float, clip: Path | None = None
    ) -> None:
        """Draws lines `width` wide (in units of the subject)."""
        mask = self.mask(_listed(paths), width)
        if clip is not None:
            mask = mask * self.mask([clip])
        self._over(mask, colour, _EVERYWHERE)

    def shadow(self, path: Path, blur: float, opacity: float) -> None:
        """Lays a soft dark shape, e.g. the shadow on the ground."""
        mask = gaussian_filter(self.mask([path]), blur * self.scale)
        solid = self.solid.copy()
        self._over(mask * opacity, (0.03, 0.03, 0.08), _EVERYWHERE)
        self.solid = solid

    def _cast(self, mask: np.ndarray, factor: float) -> None:
        shift = -self.light[:2] / (np.abs(self.light[:2]).max() + 1e-6) * 0.022 * self.scale
        rows, cols = _bounds(mask, int(0.1 * self.scale) + 2)
        crop = np.roll(mask[rows, cols], (-round(shift[1]), round(shift[0])), (0, 1))
        soft = gaussian_filter(crop, 0.016 * self.scale, truncate=3)
        beneath = self.alpha[rows, cols]
        self.rgb[rows, cols] *= (1 - soft * self.style.relief * factor * beneath)[..., None]

    def _shaded(self, paint: np.ndarray, mask: np.ndarray, volume: float) -> np.ndarray:
        if volume <= 0:
            return paint
        down, right = np.gradient(mask)
        radius = mask.sum() / (np.hypot(down, right).sum() + 1e-6)  # half the width of a strip
        sigma = max(0.8 * radius, 0.8)
        down, right = np.gradient(gaussian_filter(mask, sigma, truncate=2.5))
        nx, ny = -right * sigma * 2.3, down * sigma * 2.3
        facing = (nx * self.light[0] + ny * self.light[1] + self.light[2]) / np.sqrt(
            nx**2 + ny**2 + 1
        )
        gain = (1 + volume * 0.95 * (facing - self.light[2]))[..., None].clip(0.15, None)
        dark = paint * np.minimum(gain, 1) ** np.array([1.15, 1.1, 0.9], np.float32)
        return dark + (1 - dark) * (gain - 1).clip(0, 0.6)

    def _coordinates(self, rows: slice, cols: slice) -> tuple[np.ndarray, np.ndarray]:
        y, x = np.mgrid[rows, cols] + 0.5
        pixels = np.stack([x.ravel(), SIZE - y.ravel()], axis=1)
        own = self.pose.inverted().transform(pixels)
        return own[:, 0].reshape(x.shape), own[:, 1].reshape(x.shape)

    def _over(self, mask: np.ndarray, colour: Colour, where: tuple[slice, slice]) -> None:
        """Porter and Duff's `over`, with the colour stored premultiplied."""
        self.rgb[where] = self.rgb[where] * (1 - mask[..., None]) + mask[..., None] * np.asarray(
            colour, np.float32
        )
        self.alpha[where] = self.alpha[where] * (1 - mask) + mask
        self.solid[where] = self.solid[where] * (1 - mask) + mask


_EVERYWHERE = (slice(None), slice(None))


def _listed(paths: Path | list[Path]) -> list[Path]:
    return [paths] if isinstance(paths, Path) else list(paths)


def _bounds(mask: np.ndarray, margin: int) -> tuple[slice, slice]:
    rows, cols = np.flatnonzero(mask.max(1)), np.flatnonzero(mask.max(0))
    return (
        slice(max(rows[0] - margin, 0), min(rows[-1] + 1 + margin, SIZE)),
        slice(max(cols[0] - margin, 0), min(cols[-1] + 1 + margin, SIZE)),
    )
