"""Predicted masks that wait for the report: cut out, packed and compressed, thousands of them in a few megabytes."""

import zlib
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptMask:
    """The rows and columns from `y0_px, x0_px` on that a mask reaches, eight pixels a bit string's byte, deflated."""

    y0_px: int
    x0_px: int
    height_px: int
    width_px: int
    deflated: bytes = field(repr=False)

    @classmethod
    def of(cls, mask: Bool[np.ndarray, "h w"]) -> "KeptMask":
        """Keep a mask; an empty one too."""
        rows = np.flatnonzero(mask.any(axis=1))
        if not len(rows):
            return cls(y0_px=0, x0_px=0, height_px=0, width_px=0, deflated=b"")
        top, bottom = int(rows[0]), int(rows[-1]) + 1
        columns = np.flatnonzero(mask[top:bottom].any(axis=0))
        left, right = int(columns[0]), int(columns[-1]) + 1
        packed = np.packbits(mask[top:bottom, left:right]).tobytes()
        return cls(
            y0_px=top, x0_px=left, height_px=bottom - top, width_px=right - left, deflated=zlib.compress(packed, 1)
        )

    def window(self, y0_px: int, x0_px: int, *, height_px: int, width_px: int) -> Bool[np.ndarray, "h w"]:
        """The part of the mask that lies in this window of its image, which may reach beyond the image."""
        found = np.zeros((height_px, width_px), bool)
        top, left = max(y0_px, self.y0_px), max(x0_px, self.x0_px)
        bottom = min(y0_px + height_px, self.y0_px + self.height_px)
        right = min(x0_px + width_px, self.x0_px + self.width_px)
        if top < bottom and left < right:
            found[top - y0_px : bottom - y0_px, left - x0_px : right - x0_px] = self._crop()[
                top - self.y0_px : bottom - self.y0_px, left - self.x0_px : right - self.x0_px
            ]
        return found

    def _crop(self) -> Bool[np.ndarray, "h w"]:
        bits = np.frombuffer(zlib.decompress(self.deflated), np.uint8)
        count = self.height_px * self.width_px
        return np.unpackbits(bits, count=count).reshape(self.height_px, self.width_px).astype(bool)
