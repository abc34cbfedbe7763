"""The layers that an adapter sits on."""

import torch
from torch import nn

from backend.sam.adapters.places import qkv_places


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.qkv, self.proj = nn.LayerNorm(4), nn.Linear(4, 12), nn.Linear(4, 4)


def test_every_fused_layer_is_a_place_by_its_name_in_the_order_of_the_blocks() -> None:
    encoder = nn.Sequential(Attention(), nn.Linear(4, 4), Attention())
    places = qkv_places(encoder)
    assert list(places) == ["0.qkv", "2.qkv"]
    assert places["2.qkv"].layer is encoder.get_submodule("2.qkv")
    assert places["2.qkv"].padding is None


def test_padding_is_what_the_familys_attention_makes_of_it() -> None:
    attention = Attention()
    nn.init.constant_(attention.norm.bias, 3.0)
    (place,) = qkv_places(attention, padding=lambda owner: owner.norm.bias).values()
    assert place.padding is not None
    assert torch.equal(place.padding, torch.full((4,), 3.0))


def test_an_encoder_that_has_an_adapter_already_has_no_place_there() -> None:
    encoder = nn.Sequential(Attention())
    encoder.get_submodule("0").qkv = nn.Sequential(nn.Linear(4, 12))
    assert qkv_places(encoder) == {}
