"""What an encoder sees in one image."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Embedding:
    """What an encoder sees in one image.

    Attributes:
        features: the coarsest map, float32 or (as tiers keep it) float16, channels last in memory.
        height_px: of the upright image.
        width_px: of the upright image.
        finer: maps of more rows and columns, for families whose decoder has skips; most have none.
    """

    features: Float[Tensor, "1 c rows cols"] = field(repr=False)
    height_px: int
    width_px: int
    finer: tuple[Float[Tensor, "1 _ _ _"], ...] = field(default=(), repr=False)

    @property
    def maps(self) -> tuple[Float[Tensor, "1 _ _ _"], ...]:
        """All maps, the coarsest first."""
        return (self.features, *self.finer)

    @property
    def nbytes(self) -> int:
        """What all maps take."""
        return sum(values.nbytes for values in self.maps)

    def with_maps(self, change: Callable[[Tensor], Tensor]) -> "Embedding":
        """The same image, all of its maps changed so."""
        return replace(self, features=change(self.features), finer=tuple(map(change, self.finer)))
