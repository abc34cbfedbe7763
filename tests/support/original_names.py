"""The names of the weights in public checkpoints, which `tests/benchmarks/original_names.py` wrote by their code."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from backend.sam.family import Family

LISTS = Path(__file__).resolve().parents[1] / "data" / "original_names"
Shapes = dict[str, tuple[int, ...]]
# What the code of SAM 2 and of models that grew out of it has for videos alone.
MEMORY = re.compile(
    r"(memory_attention|memory_encoder|obj_ptr_proj|obj_ptr_tpos_proj|mask_downsample|spatial_perceiver)\."
    r"|(maskmem_tpos_enc|no_mem_pos_enc|no_obj_ptr|no_obj_embed_spatial)$"
)


def read_shapes(checkpoint: str) -> Shapes:
    """The shape of every weight of a public checkpoint, by its name there."""
    lines = (line.split(" ") for line in (LISTS / f"{checkpoint}.txt").read_text().splitlines())
    return {name: () if shape == "-" else tuple(map(int, shape.split("x"))) for name, shape in lines}


def empty_state(checkpoint: str) -> dict[str, Tensor]:
    """Such weights without numbers, on PyTorch's meta device."""
    return {name: torch.empty(shape, device="meta") for name, shape in read_shapes(checkpoint).items()}


def shapes_of(state: dict[str, Tensor]) -> Shapes:
    """The shape of every weight, by its name."""
    return {name: tuple(value.shape) for name, value in state.items()}


def image_shapes(checkpoint: str) -> Shapes:
    """As `read_shapes`, without the memory for videos."""
    return {name: shape for name, shape in read_shapes(checkpoint).items() if not MEMORY.match(name)}


def original_shapes(family: Family, model: Any) -> Shapes:
    """The shapes of the family's export of a model whose weights have no numbers, and cannot come to a processor."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.Tensor, "cpu", lambda tensor: tensor)
        return shapes_of(dict(family.original(model).state))
