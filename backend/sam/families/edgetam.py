"""EdgeTAM on images: SAM 2's decoder behind a RepViT that runs on phones.

Zhou et al., "EdgeTAM: On-Device Track Anything Model" (CVPR 2025). Its memory for videos is left out, as SAM 2's is.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from torch import nn
from transformers import EdgeTamModel, PreTrainedModel

from backend.errors import BadWeights
from backend.sam.adapters.places import Place
from backend.sam.families.sam2 import Sam2Family
from backend.sam.family import Family, Model


class EdgeTamFamily(Sam2Family):
    """See `family.Family`."""

    name = "edgetam"
    title = "EdgeTAM (RepViT)"
    # The published folders are marked as the model for videos, whose weights hold those for images.
    architectures: tuple[str, ...] = ("EdgeTamModel", "EdgeTamVideoModel")
    kind: type[PreTrainedModel] = EdgeTamModel
    recomputes = False  # all that a RepViT's pass keeps is less than 1 GB

    def load(self, folder: Path) -> Model:
        """As `Family.load`; transformers takes the encoder from timm."""
        try:
            return super().load(folder)
        except ImportError as fault:
            raise BadWeights(
                f"{folder} is an EdgeTAM, whose encoder is timm's RepViT, and timm cannot be imported here: "
                "install it by `pip install 'samloop[edgetam]'`, or set SAMLOOP_MODEL to another base"
            ) from fault

    def places(self, encoder: nn.Module) -> Mapping[str, Place]:
        """As `Family.places`: none, as it is all convolutions, so that the method `decoder` alone trains it."""
        del encoder
        return {}

    def blocks(self, encoder: nn.Module) -> Iterator[nn.Module]:
        """As `Family.blocks`: none."""
        del encoder
        return iter(())


FAMILY: Family = EdgeTamFamily()
