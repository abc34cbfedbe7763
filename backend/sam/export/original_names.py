"""A model's weights under the names that Meta's segment-anything gives them, or MobileSAM's code: what both load.

The way back of `mobile_sam.transformers_names`, and of the conversion that transformers has for the ViTs.
"""

import re

import torch
from torch import Tensor, nn
from transformers import SamModel

from backend.errors import BadInput
from backend.sam.adapters.conv_lora import ConvLoraLinear
from backend.sam.families.mobile import MobileSamModel
from backend.sam.layers.tiny_vit import WIDTHS

_CLASSES = 1000  # of the classifier that TinyViT was pretrained with; MobileSAM's code builds it and never asks it
_BATCH_NORM_EPS = 1e-5
_SHARED = "prompt_encoder.shared_embedding.positional_embedding"  # stands twice in transformers' model
_PATTERNS = (
    (r"^vision_encoder\.neck\.conv1\.", "image_encoder.neck.0."),
    (r"^vision_encoder\.neck\.layer_norm1\.", "image_encoder.neck.1."),
    (r"^vision_encoder\.neck\.conv2\.", "image_encoder.neck.2."),
    (r"^vision_encoder\.neck\.layer_norm2\.", "image_encoder.neck.3."),
    # TinyViT
    (r"^vision_encoder\.patch_embed\.conv1\.", "image_encoder.patch_embed.seq.0."),
    (r"^vision_encoder\.patch_embed\.conv2\.", "image_encoder.patch_embed.seq.2."),
    (r"^vision_encoder\.stages\.(.*)\.biases$", r"image_encoder.layers.\1.attention_biases"),
    (r"^vision_encoder\.stages\.", "image_encoder.layers."),
    # ViT
    (r"^vision_encoder\.patch_embed\.projection\.", "image_encoder.patch_embed.proj."),
    (r"^vision_encoder\.layers\.(\d+)\.layer_norm(\d)\.", r"image_encoder.blocks.\1.norm\2."),
    (r"^vision_encoder\.layers\.", "image_encoder.blocks."),
    (r"^vision_encoder\.", "image_encoder."),
    # Prompts
    (r"^shared_image_embedding\.positional_embedding$", "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"),
    (r"^prompt_encoder\.point_embed\.", "prompt_encoder.point_embeddings."),
    (r"^prompt_encoder\.mask_embed\.conv1\.", "prompt_encoder.mask_downscaling.0."),
    (r"^prompt_encoder\.mask_embed\.layer_norm1\.", "prompt_encoder.mask_downscaling.1."),
    (r"^prompt_encoder\.mask_embed\.conv2\.", "prompt_encoder.mask_downscaling.3."),
    (r"^prompt_encoder\.mask_embed\.layer_norm2\.", "prompt_encoder.mask_downscaling.4."),
    (r"^prompt_encoder\.mask_embed\.conv3\.", "prompt_encoder.mask_downscaling.6."),
    # Decoder
    (r"^(mask_decoder\.transformer\.layers\.\d+)\.layer_norm(\d)\.", r"\1.norm\2."),
    (r"^mask_decoder\.transformer\.layer_norm_final_attn\.", "mask_decoder.transformer.norm_final_attn."),
    (r"^mask_decoder\.upscale_conv1\.", "mask_decoder.output_upscaling.0."),
    (r"^mask_decoder\.upscale_layer_norm\.", "mask_decoder.output_upscaling.1."),
    (r"^mask_decoder\.upscale_conv2\.", "mask_decoder.output_upscaling.3."),
    (r"^(mask_decoder\.(?:output_hypernetworks_mlps\.\d+|iou_prediction_head))\.layers\.0\.", r"\1.layers.1."),
    (r"^(mask_decoder\.(?:output_hypernetworks_mlps\.\d+|iou_prediction_head))\.proj_in\.", r"\1.layers.0."),
    (r"^(mask_decoder\.(?:output_hypernetworks_mlps\.\d+|iou_prediction_head))\.proj_out\.", r"\1.layers.2."),
)
_RENAMES = tuple((re.compile(pattern), target) for pattern, target in _PATTERNS)


def original_state(model: SamModel) -> dict[str, Tensor]:
    """Every weight in float32 under its original name; a strict `load_state_dict` there misses none and knows all.

    MobileSAM's code wants a BatchNorm behind every convolution, and a classifier that nothing asks: the BatchNorms
    change nothing (mean 0, variance 1 - eps), since ours were folded away, and the classifier is zero.

    Raises:
        BadInput: the encoder has Conv-LoRA's layers, for which there is no name there.
    """
    refuse_conv_lora(model)
    state: dict[str, Tensor] = {}
    is_mobile = isinstance(model, MobileSamModel)
    convolutions = {name for name, module in model.vision_encoder.named_modules() if isinstance(module, nn.Conv2d)}
    for name, value in model.state_dict().items():
        if name == _SHARED:
            continue
        stem, _, part = name.rpartition(".")
        weight = value.detach().cpu().float().contiguous()
        encoder_stem = stem.removeprefix("vision_encoder.")
        if is_mobile and encoder_stem in convolutions and not encoder_stem.startswith("neck."):
            state |= _unfolded(_renamed(f"{stem}."), part, weight)
        else:
            state[_renamed(name)] = weight
    return state | _classifier() if is_mobile else state


def refuse_conv_lora(model: nn.Module) -> None:
    """Raise BadInput where a model has Conv-LoRA's layers: no other program has them."""
    if any(isinstance(module, ConvLoraLinear) for module in model.modules()):
        raise BadInput(
            "Conv-LoRA cannot be exported as hf or sam: its router and convolutions cannot be merged into the layers "
            "that other programs have; --format onnx exports it whole, encoder and decoder, or train with --method lora"
        )


def _renamed(name: str) -> str:
    return next((pattern.sub(target, name) for pattern, target in _RENAMES if pattern.match(name)), name)


def _unfolded(stem: str, part: str, value: Tensor) -> dict[str, Tensor]:
    """A convolution's weight, or its bias as that of a BatchNorm which divides by one."""
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


def _classifier() -> dict[str, Tensor]:
    width = WIDTHS[-1]
    return {
        "image_encoder.norm_head.weight": torch.ones(width),
        "image_encoder.norm_head.bias": torch.zeros(width),
        "image_encoder.head.weight": torch.zeros(_CLASSES, width),
        "image_encoder.head.bias": torch.zeros(_CLASSES),
    }
