"""Gives a model's weights the names that Meta's segment-anything, or MobileSAM's code, loads.

This undoes `mobile.transformers_names`, and the conversion that transformers has for the ViTs.
"""

import re
from collections.abc import Container, Sequence

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from backend.errors import BadInput
from backend.sam.adapters.conv_lora import ConvLoraLinear

_BATCH_NORM_EPS = 1e-5
_SHARED = "prompt_encoder.shared_embedding.positional_embedding"  # transformers' model holds it twice
_PATTERNS = (
    (r"^vision_encoder\.neck\.conv1\.", "image_encoder.neck.0."),
    (r"^vision_encoder\.neck\.layer_norm1\.", "image_encoder.neck.1."),
    (r"^vision_encoder\.neck\.conv2\.", "image_encoder.neck.2."),
    (r"^vision_encoder\.neck\.layer_norm2\.", "image_encoder.neck.3."),
    (r"^vision_encoder\.", "image_encoder."),
    (r"^shared_image_embedding\.positional_embedding$", "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"),
    (r"^prompt_encoder\.point_embed\.", "prompt_encoder.point_embeddings."),
    (r"^prompt_encoder\.mask_embed\.conv1\.", "prompt_encoder.mask_downscaling.0."),
    (r"^prompt_encoder\.mask_embed\.layer_norm1\.", "prompt_encoder.mask_downscaling.1."),
    (r"^prompt_encoder\.mask_embed\.conv2\.", "prompt_encoder.mask_downscaling.3."),
    (r"^prompt_encoder\.mask_embed\.layer_norm2\.", "prompt_encoder.mask_downscaling.4."),
    (r"^prompt_encoder\.mask_embed\.conv3\.", "prompt_encoder.mask_downscaling.6."),
    (r"^(mask_decoder\.transformer\.layers\.\d+)\.layer_norm(\d)\.", r"\1.norm\2."),
    (r"^mask_decoder\.transformer\.layer_norm_final_attn\.", "mask_decoder.transformer.norm_final_attn."),
    (r"^mask_decoder\.upscale_conv1\.", "mask_decoder.output_upscaling.0."),
    (r"^mask_decoder\.upscale_layer_norm\.", "mask_decoder.output_upscaling.1."),
    (r"^mask_decoder\.upscale_conv2\.", "mask_decoder.output_upscaling.3."),
    (r"^(mask_decoder\.(?:output_hypernetworks_mlps\.\d+|iou_prediction_head))\.layers\.0\.", r"\1.layers.1."),
    (r"^(mask_decoder\.(?:output_hypernetworks_mlps\.\d+|iou_prediction_head))\.proj_in\.", r"\1.layers.0."),
    (r"^(mask_decoder\.(?:output_hypernetworks_mlps\.\d+|iou_prediction_head))\.proj_out\.", r"\1.layers.2."),
)


def original_state(
    model: PreTrainedModel, *, encoder_names: Sequence[tuple[str, str]], convolutions: Container[str] = ()
) -> dict[str, Tensor]:
    """Return every weight in float32 under its original name. The original's strict `load_state_dict` accepts them.

    Args:
        model: a SAM with any encoder, or a model that adds to it.
        encoder_names: patterns of names that SAM does not have, and their replacements; the first match counts.
        convolutions: names of layers that have a BatchNorm in the original; it is written so that it changes nothing.

    Raises:
        BadInput: the encoder has Conv-LoRA's layers, for which the original has no names.
    """
    refuse_conv_lora(model)
    patterns = (*encoder_names, *_PATTERNS)
    state: dict[str, Tensor] = {}
    for name, value in model.state_dict().items():
        if name == _SHARED:
            continue
        stem, _, part = name.rpartition(".")
        weight = value.detach().cpu().float().contiguous()
        if stem in convolutions:
            state |= _unfold(_rename(f"{stem}.", patterns), part, weight)
        else:
            state[_rename(name, patterns)] = weight
    return state


def refuse_conv_lora(model: nn.Module) -> None:
    """Raise BadInput if a model has Conv-LoRA's layers, which no other program has."""
    if any(isinstance(module, ConvLoraLinear) for module in model.modules()):
        raise BadInput(
            "Conv-LoRA cannot be exported as hf or sam: its router and convolutions cannot be merged into the layers "
            "that other programs have; --format onnx exports it whole, encoder and decoder, or train with --method lora"
        )


def _rename(name: str, patterns: Sequence[tuple[str, str]]) -> str:
    return next((re.sub(pattern, target, name) for pattern, target in patterns if re.match(pattern, name)), name)


def _unfold(stem: str, part: str, value: Tensor) -> dict[str, Tensor]:
    """Return a convolution's weight; or its bias, as that of a BatchNorm which divides by one."""
    if part == "weight":
        return {f"{stem}c.weight": value}
    one, zero = torch.ones_like(value), torch.zeros_like(value)
    return {
        f"{stem}bn.weight": one,
        f"{stem}bn.bias": value,
        f"{stem}bn.running_mean": zero,
        f"{stem}bn.running_var": one - _BATCH_NORM_EPS,
        f"{stem}bn.num_batches_tracked": torch.tensor(0),
    }
