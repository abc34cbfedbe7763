"""Masks that are kept, in memory or in a file: cut out, packed and compressed, thousands in a few megabytes."""

import base64
import binascii
import zlib
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool

_MOST_PIXELS = 1 << 30


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

    @property
    def area_px(self) -> int:
        """How many pixels it covers."""
        return int(np.count_nonzero(self._crop())) if self.deflated else 0

    def to_json(self) -> list[int | str]:
        """`[y0_px, x0_px, height_px, width_px, deflated bits in base64]`."""
        bits = base64.b64encode(self.deflated).decode()
        return [self.y0_px, self.x0_px, self.height_px, self.width_px, bits]

    @classmethod
    def of_json(cls, value: object) -> "KeptMask":
        """Read what `to_json` wrote; the bits are inflated here once, so that a mask that is held can be drawn.

        Raises:
            ValueError: it is none of ours.
        """
        match value:
            case [int(y0), int(x0), int(height), int(width), str(bits)] if (
                min(y0, x0, height, width) >= 0 and height * width <= _MOST_PIXELS
            ):
                return cls._checked(y0, x0, (height, width), bits)
            case _:
                raise ValueError(f"{str(value)[:80]} is no kept mask")

    @classmethod
    def _checked(cls, y0_px: int, x0_px: int, shape: tuple[int, int], bits: str) -> "KeptMask":
        height_px, width_px = shape
        expected = (height_px * width_px + 7) // 8
        try:
            deflated = base64.b64decode(bits, validate=True)
            # One byte more than there may be: a few bytes can inflate to gigabytes.
            found = len(zlib.decompressobj().decompress(deflated, expected + 1)) if deflated else 0
        except (binascii.Error, zlib.error) as fault:
            raise ValueError(f"a kept mask cannot be inflated: {fault}") from fault
        if found != expected:
            raise ValueError(f"a kept mask of {height_px} x {width_px} px holds {found} bytes, not {expected}")
        return cls(y0_px=y0_px, x0_px=x0_px, height_px=height_px, width_px=width_px, deflated=deflated)

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
