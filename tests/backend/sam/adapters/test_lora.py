"""LoRA in a checkpoint and in an encoder that serves."""

import torch
from torch import nn

from backend.sam.adapters.kind import Adapter
from backend.sam.adapters.lora import KIND
from backend.sam.adapters.places import qkv_places


class Attention(nn.Module):
    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.qkv = nn.Linear(4, 12, dtype=dtype)


def random_adapter(encoder: nn.Module) -> Adapter:
    (place,) = qkv_places(encoder).values()
    shapes = KIND.shapes("qkv", place, rank=2)
    assert shapes == {"qkv.lora_A.weight": (2, 4), "qkv.lora_B.weight": (12, 2)}
    return Adapter("lora", 2, 6.0, {name: torch.randn(shape) for name, shape in shapes.items()})


def test_the_update_is_added_to_the_weight_scaled_by_alpha_over_rank() -> None:
    encoder = Attention(torch.float32)
    before, adapter = encoder.qkv, random_adapter(encoder)
    KIND.put_into(encoder, adapter, places=qkv_places(encoder))
    update = adapter.state["qkv.lora_B.weight"] @ adapter.state["qkv.lora_A.weight"]
    torch.testing.assert_close(encoder.qkv.weight, before.weight + 3.0 * update)
    assert encoder.qkv.bias is before.bias
    assert encoder.qkv is not before


def test_the_sum_is_rounded_once_to_the_encoders_dtype() -> None:
    encoder = Attention(torch.bfloat16)
    before, adapter = encoder.qkv.weight.float(), random_adapter(encoder)
    KIND.put_into(encoder, adapter, places=qkv_places(encoder))
    update = 3.0 * adapter.state["qkv.lora_B.weight"] @ adapter.state["qkv.lora_A.weight"]
    torch.testing.assert_close(encoder.qkv.weight, (before + update).bfloat16(), rtol=0.01, atol=0.01)
    assert encoder.qkv.weight.dtype == torch.bfloat16
