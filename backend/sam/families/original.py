"""Reads a file of weights that a release, Meta's code or another program wrote, and renames them for transformers.

MedSAM, micro-sam and all who train with Meta's code use Meta's names; notebooks use those of transformers. Some wrap
them (`{"model": ...}`), and some put `module.` before every name. The weights' shapes tell the size of the model.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from transformers import PreTrainedModel, SamHQModel, SamModel

from backend.errors import BadWeights
from backend.sam.families import list_families, list_readers
from backend.sam.families.mobile import transformers_names
from backend.sam.families.pretrained import fill
from backend.sam.families.sam_hq import FROM_ORIGINAL as SAM_HQ_NAMES
from backend.sam.family import OriginalReader

State = Mapping[str, Tensor]
_WRAPPERS = ("model", "model_state", "state_dict", "model_state_dict")
_PREFIXES = ("module.", "_orig_mod.", "sam.", "model.")
_NO_WEIGHTS = {"pixel_mean", "pixel_std"}  # buffers of older copies of Meta's code
ENCODER_NAMES = (
    (r"^image_encoder\.patch_embed\.proj\.", r"vision_encoder.patch_embed.projection."),
    (r"^image_encoder\.blocks\.(\d+)\.norm(\d)\.", r"vision_encoder.layers.\1.layer_norm\2."),
    (r"^image_encoder\.blocks\.", r"vision_encoder.layers."),
    (r"^image_encoder\.pos_embed$", r"vision_encoder.pos_embed"),
)
_POSITIONS = (
    "shared_image_embedding.positional_embedding",
    "prompt_encoder.shared_embedding.positional_embedding",
)
_DECODER_EPS = 1e-5  # of segment-anything's decoder; transformers' default is 1e-6


def model_of_file(file: Path) -> PreTrainedModel:
    """Return the model, in float32, whose weights a `.pt`, `.pth` or `.bin` file holds.

    Raises:
        BadWeights: PyTorch did not write the file, or it holds no known model, or lacks weights.
    """
    state = _unwrap(read_tensors(file), file)
    reader = next((reader for reader in list_readers() if reader.knows(state.keys())), None)
    if reader is None:
        first = ", ".join(list(state)[:3])
        raise BadWeights(f"{file} holds no model that samloop knows: its first names are {first}; {_say_instead()}")
    try:
        return reader.read(state)
    except (KeyError, IndexError, ValueError, RuntimeError) as fault:
        raise BadWeights(f"{file} lacks weights of a SAM ({fault}); {_say_instead()}") from fault


def read_tensors(file: Path) -> object:
    """Return the content of a file that PyTorch wrote, on the CPU. Runs no code from the file.

    Raises:
        BadWeights: PyTorch did not write the file, or it holds more than tensors.
    """
    try:
        # We read a pickle only here, and only a file that the user named; never a checkpoint.
        return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as fault:  # torch raises UnpicklingError, RuntimeError, EOFError, KeyError, ... for bad files
        raise BadWeights(f"{file} is not PyTorch's file of weights ({_name_fault(fault)}); {_say_instead()}") from fault


def _name_fault(fault: Exception) -> str:
    """Name what PyTorch met, without its advice to load the file unsafely."""
    told = str(fault).partition("WeightsUnpickler error:")[2] or str(fault)
    return next((line.strip() for line in told.splitlines() if line.strip()), type(fault).__name__)[:200]


def _say_instead() -> str:
    """Which files can be read, as the next step of an error."""
    titles = ", ".join(family.title for family in list_families())
    return f"name a file of {titles}, one with transformers' names, or a save_pretrained folder"


def _unwrap(raw: object, file: Path) -> State:
    state: Any = raw
    while isinstance(state, Mapping) and (
        inside := [state[key] for key in _WRAPPERS if isinstance(state.get(key), Mapping)]
    ):
        state = inside[0]
    if not isinstance(state, Mapping) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise BadWeights(f"{file} holds no state dict (names and tensors); {_say_instead()}")
    while prefix := next((some for some in _PREFIXES if all(name.startswith(some) for name in state)), None):
        state = {name.removeprefix(prefix): value for name, value in state.items()}
    return {name: value for name, value in state.items() if name not in _NO_WEIGHTS}


def _sam_from_original(state: State) -> PreTrainedModel:
    named = transformers_names(state, encoder_names=ENCODER_NAMES)
    return _sam_from(named, sizes={"layer_norm_eps": _DECODER_EPS})


def _sam_hq_from_original(state: State) -> PreTrainedModel:
    named = transformers_names(state, encoder_names=(*ENCODER_NAMES, *SAM_HQ_NAMES))
    return _sam_from(named, kind=SamHQModel, sizes={"layer_norm_eps": _DECODER_EPS})


def _sam_from(state: State, *, sizes: Mapping[str, float], kind: type[PreTrainedModel] = SamModel) -> PreTrainedModel:
    """Build a model of SAM's architecture, in the size that the weights have.

    Args:
        state: with transformers' names.
        sizes: numbers of the decoder's configuration that no shape tells.
        kind: SAM's own class, or a class that adds to it.
    """
    named = {name: value.float().contiguous() for name, value in state.items()}
    # A model that was saved with tied weights has only one of the two.
    for one, other in (_POSITIONS, _POSITIONS[::-1]):
        if one in named:
            named.setdefault(other, named[one])
    model = kind(cast("Any", kind.config_class)(**_config_of(named, sizes=sizes)))
    fill(model, named, title="a SAM's" if kind is SamModel else "a SAM-HQ's")
    return model


def _config_of(state: State, *, sizes: Mapping[str, float]) -> dict[str, dict[str, object]]:
    shapes = {name: tuple(value.shape) for name, value in state.items()}
    _, rows, _, width = shapes["vision_encoder.pos_embed"]
    patch = shapes["vision_encoder.patch_embed.projection.weight"][-1]
    layers = _count(shapes, r"vision_encoder\.layers\.(\d+)\.")
    reach = [shapes[f"vision_encoder.layers.{number}.attn.rel_pos_h"] for number in range(layers)]
    window = (min(length for length, _ in reach) + 1) // 2
    hidden = shapes["prompt_encoder.no_mask_embed.weight"][1]
    decoder = "mask_decoder.transformer.layers"
    return {
        "vision_config": {
            "hidden_size": width,
            "output_channels": shapes["vision_encoder.neck.conv1.weight"][0],
            "num_hidden_layers": layers,
            "num_attention_heads": width // reach[0][1],
            "mlp_dim": shapes["vision_encoder.layers.0.mlp.lin1.weight"][0],
            "patch_size": patch,
            "image_size": rows * patch,
            "window_size": window,
            "global_attn_indexes": [number for number, (length, _) in enumerate(reach) if length > 2 * window - 1],
            "num_pos_feats": shapes["shared_image_embedding.positional_embedding"][1],
        },
        "prompt_encoder_config": {
            "hidden_size": hidden,
            "mask_input_channels": shapes["prompt_encoder.mask_embed.conv2.weight"][0],
            "image_size": rows * patch,
            "patch_size": patch,
        },
        "mask_decoder_config": {
            "hidden_size": hidden,
            "mlp_dim": shapes[f"{decoder}.0.mlp.lin1.weight"][0],
            "num_hidden_layers": _count(shapes, r"mask_decoder\.transformer\.layers\.(\d+)\."),
            "attention_downsample_rate": hidden // shapes[f"{decoder}.0.cross_attn_token_to_image.q_proj.weight"][0],
            "iou_head_hidden_dim": shapes["mask_decoder.iou_prediction_head.proj_in.weight"][0],
            # Only for SAM-HQ: the width of the encoder's tokens, which its decoder sees.
            **({"vit_dim": width} if "mask_decoder.hq_token.weight" in shapes else {}),
            **sizes,
        },
    }


def _count(names: Mapping[str, object], numbered: str) -> int:
    return 1 + max(int(match[1]) for name in names if (match := re.match(numbered, name)))


# Segment Anything and SAM-HQ, under Meta's names and under transformers'.
READERS = (
    OriginalReader(marks=("image_encoder.blocks.",), read=_sam_from_original),
    OriginalReader(marks=("image_encoder.blocks.", "mask_decoder.hf_token."), read=_sam_hq_from_original),
    OriginalReader(marks=("vision_encoder.layers.",), read=lambda state: _sam_from(state, sizes={})),
    OriginalReader(
        marks=("vision_encoder.layers.", "mask_decoder.hq_token."),
        read=lambda state: _sam_from(state, kind=SamHQModel, sizes={}),
    ),
)
