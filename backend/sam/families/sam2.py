"""SAM 2 and 2.1 on images: a Hiera, and a decoder that adds the encoder's finer maps while it enlarges its own.

Ravi et al., "SAM 2: Segment Anything in Images and Videos" (2024), section 4 and appendix D. Images are seen as the
paper's predictor for images sees them: stretched to the canvas, without a memory. An object that is absent, by the
decoder's object score, has an empty mask, as in the paper's predictor for videos.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel, Sam2Model

from backend.errors import BadWeights
from backend.sam.decoder import attend, draw_masks
from backend.sam.families.pretrained import read_pretrained
from backend.sam.families.sam2_names import original_of_sam2
from backend.sam.families.vit import SamFamily
from backend.sam.family import Decoded, DecoderInputs, Family, Maps, MaskDecoder, Model, OriginalCode
from backend.sam.frame import SAM_FRAME, Frame
from backend.sam.layers.product_attention import use_products

# By the width of the first stage and the number of blocks: the size in a file's name, and in its config's name.
_SIZES = {
    (96, 12): ("tiny", "t"),
    (96, 16): ("small", "s"),
    (112, 24): ("base_plus", "b+"),
    (144, 48): ("large", "l"),
}


class Finish(nn.Module):
    """Turns the neck's maps into those that the decoder takes: narrows the finer maps from 256 channels to 32 and 64.

    In transformers' model this belongs to the decoder. Here it belongs to the embedding, which becomes five times as
    small as with the neck's own maps, and no click pays for it. Therefore trainings do not change it.

    Args:
        model: shares its parameters.
    """

    def __init__(self, model: Any) -> None:  # noqa: ANN401 - any model of these families
        super().__init__()
        self.fine, self.middle = model.mask_decoder.conv_s0, model.mask_decoder.conv_s1
        self.no_memory = model.no_memory_embedding

    def forward(self, levels: Sequence[Float[Tensor, "b _ _ _"]]) -> tuple[Float[Tensor, "b _ _ _"], ...]:
        """Turn the neck's levels, the finest first, into the decoder's maps, the coarsest first."""
        fine, middle, coarse = levels
        placed = coarse + self.no_memory.to(coarse.dtype).view(1, -1, 1, 1)
        return placed, _narrow(self.middle, middle), _narrow(self.fine, fine)


class Sam2Family(SamFamily):
    """See `family.Family`."""

    name = "sam2"
    title = "SAM 2 (Hiera)"
    # The published folders name the model for videos, whose weights include those for images.
    architectures: tuple[str, ...] = ("Sam2Model", "Sam2VideoModel")
    kind: type[PreTrainedModel] = Sam2Model
    formats: tuple[str, ...] = ("hf", "sam", "onnx")
    scores_objects = True
    frame: Frame = Frame(
        preprocessing="stretched-1024-pil-bilinear/imagenet-mean-std/1",
        canvas_px=SAM_FRAME.canvas_px,
        grid=SAM_FRAME.grid,
        mean=SAM_FRAME.mean,
        std=SAM_FRAME.std,
        keeps_aspect=False,
    )

    def load(self, folder: Path) -> Model:
        """As `Family.load`. Refuses a model for another canvas."""
        model: Any = read_pretrained(self.kind, folder)
        side = model.config.prompt_encoder_config.image_size
        if side != self.frame.canvas_px:
            raise BadWeights(f"{folder} is a {self.title} for {side} px; only {self.frame.canvas_px} px are supported")
        # The tuple hides it from the encoder's state, so `save_pretrained` writes only transformers' names.
        model.vision_encoder.finish = (Finish(model),)
        return cast("Model", model)

    def place(self, model: Model, *, device: torch.device, dtype: torch.dtype) -> None:
        """As `Family.place`: the whole encoder computes in `dtype`."""
        anything: Any = model
        anything.to(device)
        anything.vision_encoder.to(memory_format=torch.channels_last).to(dtype)
        if device.type == "cpu":
            use_products(anything.vision_encoder)
        # `to` may have replaced the shared parameters.
        anything.vision_encoder.finish = (Finish(model),)

    def sight(self, model: Model) -> nn.Module:
        """As `Family.sight`: the encoder, and the layers that finish its maps."""
        anything: Any = model
        return nn.ModuleList([anything.vision_encoder, *anything.vision_encoder.finish])

    def encode(self, encoder: nn.Module, pixels: Float[Tensor, "1 3 side side"]) -> Maps:
        """As `Family.encode`: maps of 64, 128 and 256 cells a side."""
        (finish,) = cast("tuple[Finish]", encoder.finish)
        return cast("Maps", finish(encoder(pixels).fpn_hidden_states))

    def decode(self, decoder: MaskDecoder, inputs: DecoderInputs) -> Decoded:
        """As `Family.decode`; a single mask that is not stable gives way to the best of the others."""
        scoring: Any = decoder
        queries, keys = attend(decoder, inputs, leading=[scoring.obj_score_token.weight])
        logits, ious = draw_masks(decoder, inputs, queries=queries[:, 1:], keys=keys, skips=inputs.maps[1:])
        logits, ious = with_stable_single(decoder, logits, ious)
        scores = scoring.pred_obj_score_head(queries[:, 0])[:, 0]
        return Decoded(logits=logits, ious=ious, object_scores=scores)

    def usage(self) -> str:
        """As `Family.usage`."""
        return (
            f"```python\nfrom transformers import {self.kind.__name__}, Sam2Processor\n\n"
            f'model = {self.kind.__name__}.from_pretrained("<this folder>")\n```\n\n'
            "To serve it: `SAMLOOP_MODEL=<this folder> samloop up`."
        )

    def original(self, model: Any) -> OriginalCode:  # noqa: ANN401 - any of its models
        """As `Family.original`, for Meta's code: everything except the memory for videos, which an image does not need.

        Raises:
            BadInput: the encoder has Conv-LoRA's layers, for which the original has no names.
        """
        name, config = self._name_published(model)
        return OriginalCode(
            file=f"{name}.pt", state=original_of_sam2(model), usage=_usage(name, config), wrapper="model"
        )

    def _name_published(self, model: Any) -> tuple[str, str]:  # noqa: ANN401 - any of its models
        """The names in Meta's code of a checkpoint of this size and of its config. SAM 2.1 has the same layers."""
        backbone = model.config.vision_config.backbone_config
        size, letter = _SIZES.get((backbone.hidden_size, sum(backbone.blocks_per_stage)), (None, "<your size>"))
        return f"sam2_hiera_{size}" if size else "sam2_hiera", f"configs/sam2.1/sam2.1_hiera_{letter}.yaml"


def _usage(name: str, config: str) -> str:
    return (
        "Every weight that an image needs, under the original names. The memory for videos is not in it: Meta's own "
        "checkpoint brings that, or it stays as it is born, which its predictor for images never asks.\n\n"
        "```python\nimport torch\nfrom sam2.build_sam import build_sam2\n\n"
        f'model = build_sam2("{config}", ckpt_path=None, device="cpu")\n'
        f'state = torch.load("{name}.pt", weights_only=True)["model"]\n'
        "missing, unknown = model.load_state_dict(state, strict=False)\n"
        "assert not unknown\n```"
    )


def with_stable_single(
    decoder: MaskDecoder, logits: Float[Tensor, "n 4 g g"], ious: Float[Tensor, "n 4"]
) -> tuple[Float[Tensor, "n 4 g g"], Float[Tensor, "n 4"]]:
    """Replace a single mask that is not stable by the best of the other three, by their predicted IoUs.

    This is `_dynamic_multimask_via_stability` of transformers' `Sam2MaskDecoder` and of Meta's code. Like these, it
    leaves all four masks of a decoder in training as they are.
    """
    rule: Any = decoder
    if decoder.training or not rule.dynamic_multimask_via_stability:
        return logits, ious
    delta = rule.dynamic_multimask_stability_delta
    inner, outer = ((logits[:, 0] > edge).flatten(1).sum(1).float() for edge in (delta, -delta))
    shares = torch.where(outer > 0, inner / outer, 1.0)
    number = torch.where(shares >= rule.dynamic_multimask_stability_thresh, 0, 1 + ious[:, 1:].argmax(1))
    rows = torch.arange(len(logits), device=logits.device)
    return (
        torch.cat([logits[rows, number][:, None], logits[:, 1:]], dim=1),
        torch.cat([ious[rows, number][:, None], ious[:, 1:]], dim=1),
    )


def _narrow(convolution: nn.Conv2d, maps: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h w"]:
    """Apply a 1x1 convolution in the dtype of the maps, whatever the dtype of its weights."""
    bias = cast("Tensor", convolution.bias)
    return functional.conv2d(maps, convolution.weight.to(maps.dtype), bias.to(maps.dtype))


FAMILY: Family = Sam2Family()
