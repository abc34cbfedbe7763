"""A canvas of noise for adapters on the tiny base's encoder."""

import pytest
import torch
from torch import Tensor

from backend.sam.loading import BaseModel


@pytest.fixture
def pixels(tiny_base: BaseModel) -> Tensor:
    """(1, 3, side, side), the same in every test."""
    side = tiny_base.frame.canvas_px
    return torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0))
