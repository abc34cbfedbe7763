"""SAM-HQ: SAM's ViT and decoder, an additional token, and maps for fine edges.

Ke et al., "Segment Anything in High Quality" (NeurIPS 2023), section 3.2 and figure 2. The mask of the additional token
is added to all four of SAM's masks, which is the default of transformers and of the paper's own predictor.
"""

from pathlib import Path
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from transformers import SamHQModel

from backend.sam.decoder import attend, mask_weights
from backend.sam.export.original_names import original_state
from backend.sam.families.pretrained import read_pretrained
from backend.sam.families.vit import ENCODER_TO_ORIGINAL, REGISTERED, SamFamily, registry_usage
from backend.sam.family import Decoded, DecoderInputs, Family, Maps, MaskDecoder, Model, OriginalCode
from backend.sam.layers.upscaling import upscale

# The names of SAM-HQ's additions in transformers, and in SAM-HQ's own code.
_ADDED = (
    ("hq_token", "hf_token"),
    ("hq_mask_mlp.proj_in", "hf_mlp.layers.0"),
    ("hq_mask_mlp.layers.0", "hf_mlp.layers.1"),
    ("hq_mask_mlp.proj_out", "hf_mlp.layers.2"),
    *(
        (f"{ours}_{part}", f"{theirs}.{number}")
        for ours, theirs in (
            ("compress_vit", "compress_vit_feat"),
            ("encoder", "embedding_encoder"),
            ("mask", "embedding_maskfeature"),
        )
        for number, part in ((0, "conv1"), (1, "norm"), (3, "conv2"))
    ),
)
TO_ORIGINAL = tuple((rf"^mask_decoder\.{ours}\.", f"mask_decoder.{theirs}.") for ours, theirs in _ADDED)
FROM_ORIGINAL = tuple((rf"^mask_decoder\.{theirs}\.", f"mask_decoder.{ours}.") for ours, theirs in _ADDED)


class HqFeatures(nn.Module):
    """Makes the maps for fine edges from the finished embedding and from the first block with global attention.

    In transformers' model these layers belong to the decoder. Here they belong to the embedding: their maps take two
    thirds of the space of that block's tokens, and no click pays for them. Therefore trainings do not change them.

    Args:
        model: shares its parameters.
    """

    def __init__(self, model: Any) -> None:  # noqa: ANN401 - any model of this family
        super().__init__()
        decoder = model.mask_decoder
        self.late = nn.ModuleList([decoder.encoder_conv1, decoder.encoder_norm, decoder.encoder_conv2])
        self.early = nn.ModuleList([decoder.compress_vit_conv1, decoder.compress_vit_norm, decoder.compress_vit_conv2])

    def forward(
        self, embedding: Float[Tensor, "b c s s"], tokens: Float[Tensor, "b s s d"]
    ) -> Float[Tensor, "b k g g"]:
        """Return maps of g = 4 s cells a side, in the dtype of the embedding."""
        return _enlarge(self.late, embedding) + _enlarge(self.early, tokens.permute(0, 3, 1, 2))


class SamHqFamily(SamFamily):
    """See `family.Family`."""

    name = "sam-hq"
    title = "SAM-HQ (ViT)"
    architectures: tuple[str, ...] = ("SamHQModel",)
    formats: tuple[str, ...] = ("hf", "sam", "onnx")

    def load(self, folder: Path) -> Model:
        """As `Family.load`. Refuses a model for another canvas."""
        return _finish(self._of_this_canvas(read_pretrained(SamHQModel, folder), folder))

    def place(self, model: Model, *, device: torch.device, dtype: torch.dtype) -> None:
        """As `Family.place`: the whole encoder computes in `dtype`, with attention in fewer operations."""
        super().place(model, device=device, dtype=dtype)
        _finish(model)  # `to` may have replaced the shared parameters

    def sight(self, model: Model) -> nn.Module:
        """As `Family.sight`: the encoder, and the layers that make its finer maps."""
        anything: Any = model
        return nn.ModuleList([anything.vision_encoder, *anything.vision_encoder.finish])

    def encode(self, encoder: nn.Module, pixels: Float[Tensor, "1 3 side side"]) -> Maps:
        """As `Family.encode`: maps of 64 and 256 cells a side."""
        seen, (finish,) = encoder(pixels), cast("tuple[HqFeatures]", encoder.finish)
        return seen.last_hidden_state, finish(seen.last_hidden_state, seen.intermediate_embeddings[0])

    def decode(self, decoder: MaskDecoder, inputs: DecoderInputs) -> Decoded:
        """As `Family.decode`: adds the mask of the additional token to all four of SAM's masks."""
        fine = inputs.maps[1:]
        hq: Any = decoder
        queries, keys = attend(decoder, inputs, leading=[hq.hq_token.weight])  # tokens have no order
        further, queries = hq.hq_mask_mlp(queries[:, :1]), queries[:, 1:]
        # The product with ones on the diagonal is the enlarged maps themselves, in the frame of the grid.
        alone = torch.eye(further.shape[-1], dtype=keys.dtype, device=keys.device)
        maps = upscale(decoder, keys, alone[None].expand(len(keys), -1, -1))
        finer = _smooth(hq, maps)
        for level in fine:  # none while a swap warms up, which has only the coarse map
            finer = finer + (level if inputs.image_of is None else level[inputs.image_of])
        logits = _product(mask_weights(decoder, queries[:, 1:]), maps) + _product(further, finer)
        return Decoded(logits=logits, ious=decoder.iou_prediction_head(queries[:, 0]))

    def usage(self) -> str:
        """As `Family.usage`."""
        return super().usage().replace("SamModel", "SamHQModel").replace("SamProcessor", "SamHQProcessor")

    def original(self, model: Any) -> OriginalCode:  # noqa: ANN401 - any of its models
        """As `Family.original`, for SAM-HQ's own code.

        Raises:
            BadInput: the encoder has Conv-LoRA's layers, for which the original has no names.
        """
        registered = REGISTERED.get(model.config.vision_config.hidden_size)
        file = f"sam_hq_{registered or 'vit'}.pth"
        return OriginalCode(
            file=file,
            state=original_state(model, encoder_names=(*ENCODER_TO_ORIGINAL, *TO_ORIGINAL)),
            usage=registry_usage("segment_anything_hq", registered, file=file),
        )


def _finish(model: Any) -> Model:  # noqa: ANN401 - any model of this family
    # The tuple hides it from the encoder's state, so `save_pretrained` writes only transformers' names.
    model.vision_encoder.finish = (HqFeatures(model),)
    return cast("Model", model)


def _enlarge(layers: nn.ModuleList, maps: Float[Tensor, "b c s s"]) -> Float[Tensor, "b k g g"]:
    """Apply two transposed convolutions with a norm and a GELU in between, in the dtype of the maps."""
    first, norm, second = (cast("Any", layer) for layer in layers)
    wide = _transpose(first, maps).permute(0, 2, 3, 1)
    wide = functional.layer_norm(
        wide, norm.normalized_shape, norm.weight.to(wide.dtype), norm.bias.to(wide.dtype), norm.eps
    )
    return _transpose(second, functional.gelu(wide).permute(0, 3, 1, 2))


def _transpose(layer: nn.ConvTranspose2d, maps: Float[Tensor, "b c s s"]) -> Float[Tensor, "b d t t"]:
    bias = cast("Tensor", layer.bias)
    return functional.conv_transpose2d(maps, layer.weight.to(maps.dtype), bias.to(maps.dtype), layer.stride)


def _smooth(decoder: Any, maps: Float[Tensor, "n k g g"]) -> Float[Tensor, "n k g g"]:  # noqa: ANN401
    """Pass the enlarged maps through two convolutions, for the additional token."""
    maps = maps.to(decoder.mask_conv1.weight.dtype).contiguous(memory_format=torch.channels_last)
    smooth: Tensor = decoder.mask_conv2(functional.gelu(decoder.mask_norm(decoder.mask_conv1(maps))))
    return smooth


def _product(weights: Float[Tensor, "n m k"], maps: Float[Tensor, "n k g g"]) -> Float[Tensor, "n m g g"]:
    return (weights.to(maps.dtype) @ maps.flatten(2)).view(len(maps), -1, *maps.shape[2:])


FAMILY: Family = SamHqFamily()
