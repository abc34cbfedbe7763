"""The type of an embedding: an encoder's output for one image."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from jaxtyping import Float
from torch import Tensor

from backend.masks.crop import Tile


@dataclass(frozen=True, slots=True)
class Embedding:
    """An encoder's output for one image.

    Attributes:
        features: the coarsest map, channels last in memory; float32, or float16 in a cache.
        height_px: of the upright image.
        width_px: of the upright image.
        finer: maps of more rows and columns, for a family whose decoder has skips; empty for most families.
        encode_tile: embeds a tile of the same image by the same encoder; None where only the maps are at hand.
        by_base: embeds the same image by the base's encoder, without an adapter; None where only the maps are at hand,
            or where the base never has to answer (`Predictor.suit`).
    """

    features: Float[Tensor, "1 c rows cols"] = field(repr=False)
    height_px: int
    width_px: int
    finer: tuple[Float[Tensor, "1 _ _ _"], ...] = field(default=(), repr=False)
    encode_tile: Callable[[Tile], "Embedding"] | None = field(default=None, repr=False, compare=False)
    by_base: Callable[[], "Embedding"] | None = field(default=None, repr=False, compare=False)

    @property
    def maps(self) -> tuple[Float[Tensor, "1 _ _ _"], ...]:
        """All maps, the coarsest first."""
        return (self.features, *self.finer)

    @property
    def nbytes(self) -> int:
        """The size of all maps, in bytes."""
        return sum(values.nbytes for values in self.maps)

    def with_maps(self, change: Callable[[Tensor], Tensor]) -> "Embedding":
        """Return the embedding with `change` applied to all maps."""
        return replace(self, features=change(self.features), finer=tuple(map(change, self.finer)))
