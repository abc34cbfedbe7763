"""A base is named by its weights and its arithmetic: two bases of one name see the same."""

import copy

import pytest
import torch
from torch import nn

from backend.sam.adapters.kind import Adapter
from backend.sam.adapters.served import LORA, list_shapes
from backend.sam.layers.arithmetic import Arithmetic
from backend.sam.layers.int8_linear import Int8Linear, activation_bits
from backend.sam.loading import BaseModel, with_adapter
from backend.sam.loading.base import fingerprint_of, new_base, place_model


def _layer() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(3, 2)


def test_equal_weights_have_one_fingerprint_and_a_changed_weight_another() -> None:
    assert fingerprint_of(_layer()) == fingerprint_of(_layer())
    changed = _layer()
    with torch.no_grad():
        changed.bias[0] += 1e-6
    assert fingerprint_of(changed) != fingerprint_of(_layer())


@pytest.mark.parametrize("other", [_layer().half(), nn.Bilinear(1, 3, 2)], ids=["finer", "of another class"])
def test_a_fingerprint_is_of_type_shape_and_class_too(other: nn.Module) -> None:
    assert fingerprint_of(other) != fingerprint_of(_layer())


def test_the_arithmetic_counts_for_embeddings_and_not_for_checkpoints(tiny_base: BaseModel) -> None:
    fresh = new_base("tiny", copy.deepcopy(tiny_base.model), family=tiny_base.family)
    halved = place_model(fresh, device=torch.device("cpu"), arithmetic=Arithmetic(torch.bfloat16))
    assert halved.encoder_fingerprint == f"{fresh.encoder_fingerprint}-bfloat16"
    assert halved.fingerprint == fresh.fingerprint
    assert halved.encoder_dtype == torch.bfloat16


@pytest.mark.skipif(activation_bits("cpu") is None, reason="PyTorch has no int8 products here")
def test_layers_in_int8_stay_so_under_an_adapter_that_is_merged(tiny_base: BaseModel) -> None:
    fresh = new_base("tiny", copy.deepcopy(tiny_base.model), family=tiny_base.family)
    placed = place_model(fresh, device=torch.device("cpu"), arithmetic=Arithmetic(torch.float32, 7))
    places = placed.family.places(placed.model.vision_encoder)
    weights = {name: torch.zeros(shape) for name, shape in list_shapes(places, kind=LORA, rank=2).items()}

    adapted = with_adapter(placed, Adapter(kind=LORA, rank=2, alpha=4.0, state=weights))

    layers = [layer for layer in adapted.model.vision_encoder.modules() if isinstance(layer, nn.Linear)]
    assert layers
    assert {type(layer) for layer in layers} == {Int8Linear}
    assert adapted.encoder_fingerprint.startswith(f"{fresh.encoder_fingerprint}-{placed.arithmetic.key}+")


def test_with_an_adapter_embeddings_are_others_and_the_base_is_the_same(tiny_base: BaseModel) -> None:
    places = tiny_base.family.places(tiny_base.model.vision_encoder)
    weights = {
        name.removeprefix("vision_encoder."): torch.full(shape, 0.1)
        for name, shape in list_shapes(places, kind=LORA, rank=2).items()
    }
    before = fingerprint_of(tiny_base.model)
    adapted = with_adapter(tiny_base, Adapter(kind=LORA, rank=2, alpha=4.0, state=weights))
    assert adapted.encoder_fingerprint.startswith(f"{tiny_base.encoder_fingerprint}+")
    assert adapted.fingerprint == tiny_base.fingerprint
    assert fingerprint_of(tiny_base.model) == before
