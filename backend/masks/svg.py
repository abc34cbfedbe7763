"""A mask's edge, to be drawn over its image at whatever scale."""

import numpy as np
from jaxtyping import Bool
from PIL import Image


def outline(mask: Bool[np.ndarray, "h w"]) -> str:
    """Return the mask's edge as an SVG path along the borders of its pixels; "" for an empty mask.

    Units are px of the mask. Draw it as a stroke: its straight pieces are not connected, so it has no inside to fill.
    """
    padded = np.pad(mask, 1)
    pieces = [f"M{start} {row}H{end}" for row, start, end in _runs(padded[1:, 1:-1] != padded[:-1, 1:-1])]
    upright = (padded[1:-1, 1:] != padded[1:-1, :-1]).T
    return "".join([*pieces, *(f"M{column} {start}V{end}" for column, start, end in _runs(upright))])


def _runs(edges: Bool[np.ndarray, "h w"]) -> list[tuple[int, int, int]]:
    """Return the row, the first and one past the last column of every run of True."""
    steps = np.diff(np.pad(edges.view(np.int8), ((0, 0), (1, 1))), axis=1)
    rows, starts = np.nonzero(steps == 1)
    _, ends = np.nonzero(steps == -1)
    return list(zip(rows.tolist(), starts.tolist(), ends.tolist(), strict=True))


def fit_view(height_px: int, width_px: int, *, longest_px: int) -> tuple[int, int]:
    """Width and height, in px, of the view of an image: its longer side at most `longest_px`, never enlarged."""
    scale = min(1.0, longest_px / max(height_px, width_px))
    return max(1, round(width_px * scale)), max(1, round(height_px * scale))


def resize(mask: Bool[np.ndarray, "h w"], size: tuple[int, int]) -> Bool[np.ndarray, "rows cols"]:
    """Return the mask at `size` (width, height in px): True where the mask covers more than half of the new pixel."""
    if mask.shape == size[::-1]:
        return mask
    grey = Image.fromarray(mask.view(np.uint8) * np.uint8(255)).resize(size, Image.Resampling.BOX)
    return np.asarray(grey) > 127
