"""Masks that are kept, in memory or in a file: cut out, packed and compressed, thousands in a few megabytes.

Frame: pixels of the upright image, rows from the top and columns from the left.
"""

import base64
import binascii
import zlib
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool

from backend.masks.bounds import Bounds, find_bounds

_MOST_PIXELS = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedMask:
    """A mask's bounding box, which begins at `y0_px, x0_px` of its image, packed eight pixels a byte, row after row.

    An empty mask has a bounding box of 0 x 0 px at 0, 0.
    """

    y0_px: int
    x0_px: int
    height_px: int
    width_px: int
    bits: bytes = field(repr=False)

    @classmethod
    def of(cls, mask: Bool[np.ndarray, "h w"], *, at: tuple[int, int] = (0, 0)) -> "PackedMask":
        """Cut the mask out; it may be a part of an image that begins `at` row and column."""
        bounds = find_bounds(mask)
        if bounds is None:
            return cls(y0_px=0, x0_px=0, height_px=0, width_px=0, bits=b"")
        return cls(
            y0_px=at[0] + bounds.y0_px,
            x0_px=at[1] + bounds.x0_px,
            height_px=bounds.height_px,
            width_px=bounds.width_px,
            bits=np.packbits(mask[bounds.slices]).tobytes(),
        )

    @property
    def bounds(self) -> Bounds | None:
        """The bounding box in the image; None for an empty mask."""
        if not self.bits:
            return None
        y1_px, x1_px = self.y0_px + self.height_px, self.x0_px + self.width_px
        return Bounds(y0_px=self.y0_px, x0_px=self.x0_px, y1_px=y1_px, x1_px=x1_px)

    @property
    def area_px(self) -> int:
        """How many pixels the mask covers."""
        return int.from_bytes(self.bits).bit_count()

    @property
    def crop(self) -> Bool[np.ndarray, "ch cw"]:
        """The mask within its bounding box, `height_px` x `width_px`."""
        bits = np.frombuffer(self.bits, np.uint8)
        shape = self.height_px, self.width_px
        return np.unpackbits(bits, count=self.height_px * self.width_px).reshape(shape).astype(bool)

    def window(self, y0_px: int, x0_px: int, *, height_px: int, width_px: int) -> Bool[np.ndarray, "h w"]:
        """Return the part of the mask in this window of its image; the window may reach beyond the image."""
        part = np.zeros((height_px, width_px), bool)
        top, left = max(y0_px, self.y0_px), max(x0_px, self.x0_px)
        bottom = min(y0_px + height_px, self.y0_px + self.height_px)
        right = min(x0_px + width_px, self.x0_px + self.width_px)
        if top < bottom and left < right:
            part[top - y0_px : bottom - y0_px, left - x0_px : right - x0_px] = self.crop[
                top - self.y0_px : bottom - self.y0_px, left - self.x0_px : right - self.x0_px
            ]
        return part


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptMask:
    """A PackedMask whose bits are deflated: the form in which masks are held by the thousand and written to files."""

    y0_px: int
    x0_px: int
    height_px: int
    width_px: int
    deflated: bytes = field(repr=False)

    @classmethod
    def of(cls, mask: Bool[np.ndarray, "h w"]) -> "KeptMask":
        """Keep a mask of an image; an empty one too."""
        packed = PackedMask.of(mask)
        return cls(
            y0_px=packed.y0_px,
            x0_px=packed.x0_px,
            height_px=packed.height_px,
            width_px=packed.width_px,
            deflated=zlib.compress(packed.bits, 1) if packed.bits else b"",
        )

    @property
    def area_px(self) -> int:
        """How many pixels the mask covers."""
        return self.inflate().area_px

    def to_json(self) -> list[int | str]:
        """`[y0_px, x0_px, height_px, width_px, deflated bits in base64]`."""
        bits = base64.b64encode(self.deflated).decode()
        return [self.y0_px, self.x0_px, self.height_px, self.width_px, bits]

    @classmethod
    def of_json(cls, value: object) -> "KeptMask":
        """Read what `to_json` wrote. The bits are inflated here once, so that every KeptMask can be drawn.

        Raises:
            ValueError: `to_json` wrote no such value.
        """
        match value:
            case [int(y0), int(x0), int(height), int(width), str(bits)] if (
                min(y0, x0, height, width) >= 0 and height * width <= _MOST_PIXELS
            ):
                return cls._check(y0, x0, (height, width), bits)
            case _:
                raise ValueError(f"{str(value)[:80]} is no kept mask")

    @classmethod
    def _check(cls, y0_px: int, x0_px: int, shape: tuple[int, int], bits: str) -> "KeptMask":
        height_px, width_px = shape
        expected = (height_px * width_px + 7) // 8
        try:
            deflated = base64.b64decode(bits, validate=True)
            # One byte more than there may be: a few bytes can inflate to gigabytes.
            inflated = len(zlib.decompressobj().decompress(deflated, expected + 1)) if deflated else 0
        except (binascii.Error, zlib.error) as fault:
            raise ValueError(f"a kept mask cannot be inflated: {fault}") from fault
        if inflated != expected:
            raise ValueError(f"a kept mask of {height_px} x {width_px} px holds {inflated} bytes, not {expected}")
        return cls(y0_px=y0_px, x0_px=x0_px, height_px=height_px, width_px=width_px, deflated=deflated)

    def inflate(self) -> PackedMask:
        """Return the mask with its bits as they were before they were deflated."""
        return PackedMask(
            y0_px=self.y0_px,
            x0_px=self.x0_px,
            height_px=self.height_px,
            width_px=self.width_px,
            bits=zlib.decompress(self.deflated) if self.deflated else b"",
        )

    def window(self, y0_px: int, x0_px: int, *, height_px: int, width_px: int) -> Bool[np.ndarray, "h w"]:
        """Return the part of the mask in this window of its image; the window may reach beyond the image."""
        return self.inflate().window(y0_px, x0_px, height_px=height_px, width_px=width_px)
