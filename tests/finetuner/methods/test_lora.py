"""What LoRA alone has: the names of its weights. What it shares with other adapters: test_adapters."""

import pytest

from backend.sam.loading import BaseModel
from finetuner.methods.lora import Lora


@pytest.fixture
def attached(tiny_base: BaseModel) -> Lora:
    encoder = tiny_base.model.vision_encoder
    return Lora(encoder, places=tiny_base.family.places(encoder), rank=2, alpha=4.0)


def test_weights_are_named_as_a_checkpoint_names_them(attached: Lora, tiny_base: BaseModel) -> None:
    encoder = tiny_base.model.vision_encoder
    expected = [f"{place}.lora_{side}.weight" for place in tiny_base.family.places(encoder) for side in "AB"]
    assert sorted(attached.weights()) == sorted(expected)
