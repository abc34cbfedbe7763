"""EdgeTAM on images: SAM 2's decoder behind a RepViT that runs on phones.

Zhou et al., "EdgeTAM: On-Device Track Anything Model" (CVPR 2025). We leave out its memory for videos, as for SAM 2.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from transformers import EdgeTamConfig, EdgeTamModel, PreTrainedModel

from backend.errors import BadWeights
from backend.sam.adapters.places import Place
from backend.sam.families.pretrained import fill
from backend.sam.families.sam2 import Sam2Family
from backend.sam.families.sam2_names import sam2_names
from backend.sam.family import Family, Model, OriginalCode, OriginalReader

_NEEDS_TIMM = (
    "is an EdgeTAM, whose encoder is timm's RepViT, and timm cannot be imported here: "
    "install it by `pip install 'samloop[edgetam]'`, or set SAMLOOP_MODEL to another base"
)

# The encoder in Meta's code, and what transformers' wrapper of timm makes of that name.
_BODY, _WRAPPED_BODY = "image_encoder.trunk.body.", "image_encoder.trunk.timm_model."


class EdgeTamFamily(Sam2Family):
    """See `family.Family`."""

    name = "edgetam"
    title = "EdgeTAM (RepViT)"
    # The published folders name the model for videos, whose weights include those for images.
    architectures: tuple[str, ...] = ("EdgeTamModel", "EdgeTamVideoModel")
    kind: type[PreTrainedModel] = EdgeTamModel
    recomputes = False  # a pass through a RepViT holds less than 1 GB

    def load(self, folder: Path) -> Model:
        """As `Family.load`; transformers takes the encoder from timm."""
        try:
            return super().load(folder)
        except ImportError as fault:
            raise BadWeights(f"{folder} {_NEEDS_TIMM}") from fault

    def original(self, model: Any) -> OriginalCode:  # noqa: ANN401 - any of its models
        """As `Family.original`, for EdgeTAM's code: everything except the memory for videos."""
        code = super().original(model)
        return replace(code, state={name.replace(_WRAPPED_BODY, _BODY): value for name, value in code.state.items()})

    def _name_published(self, model: Any) -> tuple[str, str]:  # noqa: ANN401 - as in SAM 2's
        del model
        return "edgetam", "configs/edgetam.yaml"

    def places(self, encoder: nn.Module) -> Mapping[str, Place]:
        """As `Family.places`: none, because it has only convolutions. So only the method `decoder` trains it."""
        del encoder
        return {}

    def blocks(self, encoder: nn.Module) -> Iterator[nn.Module]:
        """As `Family.blocks`: none."""
        del encoder
        return iter(())


def edgetam_config() -> EdgeTamConfig:
    """Return the config of the only published size."""
    backbone = {
        "model_type": "timm_wrapper",
        "architecture": "repvit_m1.dist_in1k",
        "num_classes": 2,  # a number that transformers asks for; there is no classifier
        "model_args": {"in_chans": 3, "features_only": True, "out_indices": [0, 1, 2, 3]},
    }
    return EdgeTamConfig(vision_config={"backbone_config": backbone})


def edgetam_from_original(state: Mapping[str, Tensor]) -> EdgeTamModel:
    """Build the model from a state with the names of EdgeTAM's own code. Leaves out the memory for videos.

    Raises:
        BadWeights: a weight is missing, unknown or of a wrong shape (the message names it); or timm is not installed.
    """
    try:
        model = EdgeTamModel(edgetam_config())
    except ImportError as fault:
        raise BadWeights(f"the file {_NEEDS_TIMM}") from fault
    fill(model, edgetam_names(state), title="an EdgeTAM's")
    return model


def edgetam_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a state from the names of EdgeTAM's code to those of `EdgeTamModel`; as `sam2_names`."""
    return sam2_names({name.replace(_BODY, _WRAPPED_BODY): value for name, value in state.items()})


FAMILY: Family = EdgeTamFamily()
READERS = (OriginalReader(marks=("image_encoder.trunk.", "image_encoder.trunk.body."), read=edgetam_from_original),)
