"""Segment Anything as it was published: a ViT, one map, and a decoder without skips.

Kirillov et al., "Segment Anything" (ICCV 2023). SlimSAM and MedSAM belong to this family too.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import SamModel
from transformers.modeling_layers import GradientCheckpointingLayer

from backend.errors import BadWeights
from backend.sam.adapters.places import Place, qkv_places
from backend.sam.decoder import decode_all
from backend.sam.export.original_names import original_state
from backend.sam.families.pretrained import read_pretrained
from backend.sam.family import Decoded, DecoderInputs, Family, Maps, MaskDecoder, Model, OriginalCode
from backend.sam.frame import SAM_FRAME, Frame
from backend.sam.layers.fused_attention import fuse_attention

REGISTERED = {768: "vit_b", 1024: "vit_l", 1280: "vit_h"}  # by the encoder's width
ENCODER_TO_ORIGINAL = (
    (r"^vision_encoder\.patch_embed\.projection\.", "image_encoder.patch_embed.proj."),
    (r"^vision_encoder\.layers\.(\d+)\.layer_norm(\d)\.", r"image_encoder.blocks.\1.norm\2."),
    (r"^vision_encoder\.layers\.", "image_encoder.blocks."),
)


class SamFamily:
    """See `family.Family`."""

    name = "sam"
    title = "Segment Anything (ViT)"
    licence = "Apache 2.0"
    architectures: tuple[str, ...] = ("SamModel",)
    frame: Frame = SAM_FRAME
    formats: tuple[str, ...] = ("hf", "sam", "onnx")
    holds_in_int8 = False
    recomputes = True
    scores_objects = False

    def load(self, folder: Path) -> Model:
        """As `Family.load`. Refuses a SAM for another canvas, because its embeddings would show other places."""
        model: SamModel = read_pretrained(SamModel, folder)
        return self._of_this_canvas(model, folder)

    def place(self, model: Model, *, device: torch.device, dtype: torch.dtype) -> None:
        """As `Family.place`: the whole encoder computes in `dtype`, with attention in fewer operations."""
        anything: Any = model
        fuse_attention(anything.vision_encoder)
        anything.to(device)
        # We cast the weights once. Autocast would cast them in every call, which takes a tenth of the time.
        anything.vision_encoder.to(memory_format=torch.channels_last).to(dtype)

    def sight(self, model: Model) -> nn.Module:
        """As `Family.sight`: the encoder."""
        return cast("nn.Module", model.vision_encoder)

    def encode(self, encoder: nn.Module, pixels: Float[Tensor, "1 3 side side"]) -> Maps:
        """As `Family.encode`: one map."""
        return (encoder(pixels).last_hidden_state,)

    def positions(self, model: Model) -> Float[Tensor, "1 c rows cols"]:
        """As `Family.positions`."""
        anything: Any = model
        positions: Tensor = anything.get_image_wide_positional_embeddings()
        return positions.detach()

    def decode(self, decoder: MaskDecoder, inputs: DecoderInputs) -> Decoded:
        """As `Family.decode`."""
        logits, ious = decode_all(decoder, inputs)
        return Decoded(logits=logits, ious=ious)

    def places(self, encoder: nn.Module) -> Mapping[str, Place]:
        """As `Family.places`. The ViT pads its windows after the norm, with zeros."""
        return qkv_places(encoder)

    def blocks(self, encoder: nn.Module) -> Iterator[nn.Module]:
        """As `Family.blocks`: the ViT's layers."""
        return (module for module in encoder.modules() if isinstance(module, GradientCheckpointingLayer))

    def usage(self) -> str:
        """As `Family.usage`."""
        return (
            "```python\nfrom transformers import SamModel, SamProcessor\n\n"
            'model = SamModel.from_pretrained("<this folder>")\n```\n\n'
            "To serve it: `SAMLOOP_MODEL=<this folder> samloop up`."
        )

    def original(self, model: Any) -> OriginalCode:  # noqa: ANN401 - any of its models
        """As `Family.original`, for Meta's `segment_anything`.

        Raises:
            BadInput: the encoder has Conv-LoRA's layers, for which the original has no names.
        """
        registered = REGISTERED.get(model.config.vision_config.hidden_size)
        file = f"sam_{registered or 'vit'}.pth"
        return OriginalCode(
            file=file,
            state=original_state(model, encoder_names=ENCODER_TO_ORIGINAL),
            usage=registry_usage("segment_anything", registered, file=file),
        )

    def _of_this_canvas(self, model: Model, folder: Path) -> Model:
        side = cast("Any", model.config).vision_config.image_size
        if side != self.frame.canvas_px:
            raise BadWeights(f"{folder} is a SAM for {side} px; only {self.frame.canvas_px} px are supported")
        return model


def registry_usage(package: str, registered: str | None, *, file: str) -> str:
    """Say how a program loads a file by a package's `sam_model_registry`; None for a size that it does not know."""
    how = f'sam_model_registry["{registered}"](checkpoint="{file}")' if registered else "sam.load_state_dict(state)"
    return (
        "A state dict under the original names; it loads strictly.\n\n```python\n"
        f"from {package} import sam_model_registry\n\nmodel = {how}\n```"
    )


FAMILY: Family = SamFamily()
