"""Images that hold their own truth: discs, squares, stars and triangles on textured ground, drawn from a seed."""

from collections.abc import Iterator

import numpy as np
from benchmarks.exports import Picture
from PIL import Image, ImageDraw

_HEIGHT_PX, _WIDTH_PX = 384, 512
_RADIUS_PX = (52.0, 80.0)
# Corners, and how far in every second one lies.
_CORNERS = {"Disc": (60, 1.0), "Square": (4, 1.0), "Star": (10, 0.5), "Triangle": (3, 1.0)}
_COLOURS = {"Disc": (200, 70, 60), "Square": (80, 170, 80), "Star": (230, 210, 70), "Triangle": (70, 90, 200)}
_COLOUR_SPREAD, _CONTRAST, _GRAIN = 25.0, 35.0, 14.0  # of 255
_PERIOD_PX = 14.0
_TRIES = 50


def shapes(count: int, *, seed: int = 0) -> Iterator[Picture]:
    """Yield images of four labels. A label has its shape, colour and pattern: plain, stripes, checks or dots.

    Every image has all four, and one of them twice if there is room. Shapes are turned, and never overlap.
    """
    for number in range(count):
        yield _picture(f"shapes-{number:03}.png", np.random.default_rng([seed, number]))


def _picture(name: str, rng: np.random.Generator) -> Picture:
    pixels, objects = _ground(rng), []
    taken = np.zeros((_HEIGHT_PX, _WIDTH_PX), bool)
    for label in [*_CORNERS, str(rng.choice(list(_CORNERS)))]:
        mask = next((drawn for drawn in (_mask(label, rng) for _ in range(_TRIES)) if not (drawn & taken).any()), None)
        if mask is None:
            continue  # no room is left
        taken |= mask
        colour = np.array(_COLOURS[label]) + rng.uniform(-_COLOUR_SPREAD, _COLOUR_SPREAD, 3)
        drawn = colour + _CONTRAST * _pattern(label, rng)[mask][:, None]
        pixels[mask] = drawn + rng.normal(0, _GRAIN, drawn.shape)
        objects.append((label, mask))
    return Picture(name, Image.fromarray(pixels.clip(0, 255).astype(np.uint8)), tuple(objects))


def _ground(rng: np.random.Generator) -> np.ndarray:
    """Soft patches of any hue, and grain."""
    patches = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
    soft = patches.resize((_WIDTH_PX, _HEIGHT_PX), Image.Resampling.BICUBIC)
    return np.asarray(soft, np.float64) * 0.35 + 70 + rng.normal(0, _GRAIN, (_HEIGHT_PX, _WIDTH_PX, 3))


def _pattern(label: str, rng: np.random.Generator) -> np.ndarray:
    """Of -1 (dark) to 1 (bright), turned at random."""
    rows, columns = np.mgrid[:_HEIGHT_PX, :_WIDTH_PX] * (2 * np.pi / _PERIOD_PX)
    angle = rng.uniform(0, np.pi)
    along = np.sin(columns * np.cos(angle) + rows * np.sin(angle))
    across = np.sin(rows * np.cos(angle) - columns * np.sin(angle))
    patterns = {
        "Disc": np.zeros_like(along),
        "Square": np.sign(along),
        "Star": np.sign(along * across),
        "Triangle": np.where(along * across > 0.5, 1.0, -1.0),
    }
    return patterns[label]


def _mask(label: str, rng: np.random.Generator) -> np.ndarray:
    corners, inner = _CORNERS[label]
    radius = rng.uniform(*_RADIUS_PX)
    x, y = rng.uniform(radius + 2, _WIDTH_PX - radius - 2), rng.uniform(radius + 2, _HEIGHT_PX - radius - 2)
    angles = rng.uniform(0, 2 * np.pi) + 2 * np.pi * np.arange(corners) / corners
    reach = radius * np.where(np.arange(corners) % 2, inner, 1.0)
    image = Image.new("1", (_WIDTH_PX, _HEIGHT_PX))
    outline = np.stack([x + reach * np.cos(angles), y + reach * np.sin(angles)], axis=1)
    ImageDraw.Draw(image).polygon([(float(x_px), float(y_px)) for x_px, y_px in outline], fill=1)
    return np.asarray(image)
