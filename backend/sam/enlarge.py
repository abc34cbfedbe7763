"""Finds where an enlarged low-resolution map is above zero. Bilinear as in PyTorch, but only where it matters.

Interpolation between values that are not above zero gives none above zero. So we compute only the rectangle around the
values that are. A result that is zero up to its last bits may fall on the other side: PyTorch's kernel rounds once, and
this code rounds twice.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int

_STRIP_ROWS = 32  # of 4000 float32: half of a core's second-level cache


@dataclass(frozen=True, slots=True)
class _Axis:
    """Positions along a side of the enlarged map, and for every position its two neighbours in the small map."""

    first: int
    low: Int[np.ndarray, " n"]
    high: Int[np.ndarray, " n"]
    weight: Float[np.ndarray, " n"]  # of `high`, in [0, 1)

    def cut(self, start: int, stop: int) -> "_Axis":
        """Return the positions from `start` to `stop`, counted from the first."""
        part = slice(start, stop)
        return _Axis(self.first + start, self.low[part], self.high[part], self.weight[part])


def enlarge(values: Float[np.ndarray, "h w"], *, height: int, width: int) -> Float[np.ndarray, "{height} {width}"]:
    """Enlarge (or reduce) a map, bilinearly as `torch.nn.functional.interpolate` does without aligned corners.

    Args:
        values: float32.
        height: rows of the result.
        width: columns of the result.

    Returns:
        float32; -1 stands for all values where none can be above zero.
    """
    whole = np.full((height, width), -1, np.float32)
    if (axes := _axes(values, height=height, width=width)) is not None:
        down, across = axes
        whole[_span(down), _span(across)] = _between_rows(_between_columns(values, across), down)
    return whole


def enlarge_above_zero(
    values: Float[np.ndarray, "h w"], *, height: int, width: int
) -> Bool[np.ndarray, "{height} {width}"]:
    """Find where the enlarged (or reduced) map is above zero, without holding the whole map.

    Args:
        values: float32.
        height: rows of the result.
        width: columns of the result.

    Returns:
        True where `enlarge` is above zero.
    """
    mask = np.zeros((height, width), np.bool_)
    if (axes := _axes(values, height=height, width=width)) is not None:
        down, across = axes
        top = int(down.low[0])  # the first row that matters
        sideways = _between_columns(values[top : int(down.high[-1]) + 1], across)
        down = replace(down, low=down.low - top, high=down.high - top)
        for start in range(0, len(down.low), _STRIP_ROWS):
            strip = down.cut(start, start + _STRIP_ROWS)
            np.greater(_between_rows(sideways, strip), 0, out=mask[_span(strip), _span(across)])
    return mask


def _axes(values: Float[np.ndarray, "h w"], *, height: int, width: int) -> tuple[_Axis, _Axis] | None:
    """The rows and the columns of the enlarged map where a value can be above zero; None if no value can."""
    above = values > 0
    down, across = np.flatnonzero(above.any(1)), np.flatnonzero(above.any(0))
    if not down.size:
        return None
    return _axis(down, values.shape[0], height), _axis(across, values.shape[1], width)


def _axis(above: Int[np.ndarray, " k"], count: int, grown: int) -> _Axis:
    """Return those of `grown` positions whose neighbours, out of `count`, may be one of `above`."""
    scale = grown / count
    first = max(0, int((above[0] - 1) * scale))
    end = min(grown, int((above[-1] + 2) * scale) + 1)
    # In float32 and in this order, as in PyTorch's `area_pixel_compute_source_index`.
    at = (np.arange(first, end, dtype=np.float32) + np.float32(0.5)) * np.float32(count / grown) - np.float32(0.5)
    at = np.clip(at, 0, count - 1)
    low = at.astype(np.intp)
    return _Axis(first, low, np.minimum(low + 1, count - 1), at - low.astype(np.float32))


def _span(axis: _Axis) -> slice:
    return slice(axis.first, axis.first + len(axis.low))


def _between_columns(values: Float[np.ndarray, "h w"], axis: _Axis) -> Float[np.ndarray, "h w2"]:
    between = values.take(axis.low, axis=1)
    between *= 1 - axis.weight
    high = values.take(axis.high, axis=1)
    high *= axis.weight
    between += high
    return between


def _between_rows(values: Float[np.ndarray, "h w"], axis: _Axis) -> Float[np.ndarray, "h2 w"]:
    between = values.take(axis.low, axis=0)
    between *= (1 - axis.weight)[:, None]
    high = values.take(axis.high, axis=0)
    high *= axis.weight[:, None]
    between += high
    return between
