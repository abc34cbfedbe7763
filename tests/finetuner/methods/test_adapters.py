"""An adapter begins as the encoder that it sits on, and leaves that encoder as it was."""

import pytest
import torch
from torch import Tensor

from backend.sam.loading import BaseModel
from finetuner.methods import conv_lora, list_methods, lora
from finetuner.methods.base import MethodKind
from finetuner.methods.conv_lora import ConvLora
from finetuner.methods.lora import Lora


@pytest.fixture(params=[Lora, ConvLora])
def attached(tiny_base: BaseModel, request: pytest.FixtureRequest) -> Lora | ConvLora:
    encoder = tiny_base.model.vision_encoder
    adapter: Lora | ConvLora = request.param(encoder, places=tiny_base.family.places(encoder), rank=2, alpha=4.0)
    return adapter


def test_a_fresh_adapter_adds_nothing(attached: Lora | ConvLora, tiny_base: BaseModel, pixels: Tensor) -> None:
    assert attached.is_zero()
    with torch.no_grad():
        (plain,), (adapted,) = (
            tiny_base.family.encode(encoder, pixels) for encoder in (tiny_base.model.vision_encoder, attached.encoder)
        )
    assert torch.equal(plain, adapted)


def test_a_weight_that_moved_shows_in_the_copy_alone(
    attached: Lora | ConvLora, tiny_base: BaseModel, pixels: Tensor
) -> None:
    encoder = tiny_base.model.vision_encoder
    with torch.no_grad():
        (before,) = tiny_base.family.encode(encoder, pixels)
        for weight in attached.weights().values():
            weight.add_(0.3)
        (after,), (adapted,) = (tiny_base.family.encode(one, pixels) for one in (encoder, attached.encoder))
    assert not attached.is_zero()
    assert torch.equal(before, after)
    assert not torch.equal(before, adapted)


@pytest.mark.parametrize("method", [lora.METHOD, conv_lora.METHOD], ids=lambda method: method.name)
def test_the_method_is_known_by_its_adapters_name(method: MethodKind) -> None:
    assert list_methods()[method.name] is method
    assert method.adapter is not None
    assert method.adapter.name == method.name
