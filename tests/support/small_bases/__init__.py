"""Random bases of several families as `save_pretrained` folders: narrow, with few blocks, but with the real frames.

A module here with a constant `BASE` is a family's; no list names it.
"""

import importlib
import pkgutil
from pathlib import Path
from typing import Any

import torch
from support.small_base import SmallBase, small_sam_config
from torch import nn
from transformers import SamModel

SURE = 100.0  # beyond all that noise makes of an object score


def make_lively(model: nn.Module, *, by: float, sure: float = SURE) -> None:
    """Add noise to all weights: transformers' own are so small that a model gives every image the same masks.

    A decoder with object scores has `sure` added to them, so that it sees an object at every prompt.
    """
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(by * torch.randn(weight.shape))
    set_object_scores(model, shift=sure)


def set_object_scores(model: nn.Module, *, shift: float) -> None:
    """Add a number to all object scores of a model, or of its decoder, where it has such scores."""
    for name, module in model.named_modules():
        if name.endswith("pred_obj_score_head"):
            anything: Any = module
            with torch.no_grad():
                anything.proj_out.bias.add_(shift)


def list_small_bases() -> list[SmallBase]:
    """The families' bases, in the order of their modules' names."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    modules = [importlib.import_module(f"{__name__}.{name}") for name in names]
    return [module.BASE for module in modules if hasattr(module, "BASE")]


SMALL_BASES = {base.family: base for base in list_small_bases()}


def write_small_base(family: str, folder: Path, *, seed: int = 0) -> Path:
    """Write the family's random base, in evaluation mode, and return the folder."""
    base = SMALL_BASES[family]
    torch.manual_seed(seed)
    model: Any = base.build()
    make_lively(model.eval(), by=base.noise)
    model.save_pretrained(folder)
    return folder


def save_small_sam(folder: Path) -> Path:
    """Save a random SamModel of `small_sam_config` in the folder, and return that."""
    torch.manual_seed(0)
    SamModel(small_sam_config()).eval().save_pretrained(folder)
    return folder
