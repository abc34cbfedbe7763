"""What Conv-LoRA alone has: routers. What it shares with other adapters: test_adapters."""

import pytest
from torch import Tensor

from backend.sam.loading import BaseModel
from finetuner.methods.conv_lora import ConvLora


@pytest.fixture
def attached(tiny_base: BaseModel) -> ConvLora:
    encoder = tiny_base.model.vision_encoder
    return ConvLora(encoder, places=tiny_base.family.places(encoder), rank=2, alpha=4.0)


def test_the_routers_ask_for_balance_once_they_have_chosen(attached: ConvLora, pixels: Tensor) -> None:
    attached.encoder.train()
    attached.encoder(pixels)
    assert attached.balance().requires_grad
