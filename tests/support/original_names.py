"""The names of the weights in public checkpoints, which `tests/benchmarks/original_names.py` wrote by their code."""

from pathlib import Path

import torch
from torch import Tensor

LISTS = Path(__file__).resolve().parents[1] / "data" / "original_names"
Shapes = dict[str, tuple[int, ...]]


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
