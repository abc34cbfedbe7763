"""Layers in int8 stay near PyTorch's, treat every token alone, and leave gradients to PyTorch's."""

import copy
import os
import platform
import subprocess
import sys
from unittest import mock

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from backend.sam.layers import int8_linear
from backend.sam.layers.int8_linear import Int8Linear, Int8Mlp, activation_bits, round_linear_layers
from backend.sam.layers.tiny_vit import Mlp

pytestmark = [
    pytest.mark.arithmetic,
    pytest.mark.skipif(activation_bits("cpu") is None, reason="this PyTorch does not multiply in int8 here"),
]
WIDTH, OUT = 64, 48
ERRORS = {8: 0.02, 7: 0.04}  # of a product's norm


def plain_layer(*, bias: bool = True) -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(WIDTH, OUT, bias=bias).requires_grad_(requires_grad=False)


def bits_here() -> int:
    bits = activation_bits("cpu")
    assert bits is not None
    return bits


def tokens(count: int, *, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, WIDTH, generator=torch.Generator().manual_seed(seed))


@given(count=st.integers(1, 40), seed=st.integers(0, 99), bias=st.booleans(), scale=st.sampled_from([1e-3, 1.0, 1e3]))
def test_a_layer_in_int8_is_near_the_layer_whatever_the_size_of_its_input(
    count: int, seed: int, bias: bool, scale: float
) -> None:
    layer, x = plain_layer(bias=bias), tokens(count, seed=seed) * scale

    exact = layer(x)
    rounded = Int8Linear(layer, bits=bits_here())(x)

    assert torch.linalg.norm(rounded - exact) <= ERRORS[bits_here()] * torch.linalg.norm(exact)


def test_a_token_does_not_change_with_the_tokens_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, x = Int8Linear(plain_layer(), bits=bits_here()), tokens(7)
    alone = torch.cat([layer(token[None]) for token in x])

    torch.testing.assert_close(layer(torch.cat([x, 1000 * x]))[:7], alone, rtol=0, atol=0)
    monkeypatch.setattr(int8_linear, "_NUMBERS_AT_ONCE", 2 * WIDTH)
    torch.testing.assert_close(layer(x), alone, rtol=0, atol=0)


def test_a_token_of_zeros_gives_the_bias() -> None:
    layer = plain_layer()

    rounded = Int8Linear(layer, bits=bits_here())(torch.zeros(3, 2, WIDTH))

    torch.testing.assert_close(rounded, layer.bias.expand(3, 2, OUT), rtol=0, atol=0)


def test_what_is_learnt_through_a_layer_is_computed_exactly() -> None:
    layer, x = plain_layer(), tokens(5).requires_grad_()
    rounded = Int8Linear(layer, bits=bits_here())

    out = rounded(x)
    out.sum().backward()

    torch.testing.assert_close(out, layer(x), rtol=0, atol=0)
    torch.testing.assert_close(x.grad, layer.weight.sum(0).expand(5, WIDTH))


def test_a_copy_of_an_encoder_computes_as_the_encoder_and_has_its_weights_by_their_names() -> None:
    encoder = nn.Sequential(plain_layer(), nn.GELU(), nn.Linear(OUT, 8)).requires_grad_(requires_grad=False)
    before = {name: value.clone() for name, value in encoder.state_dict().items()}

    round_linear_layers(encoder, bits=bits_here())

    assert [type(layer) for layer in encoder] == [Int8Linear, nn.GELU, Int8Linear]
    assert {name: value.tolist() for name, value in encoder.state_dict().items()} == {
        name: value.tolist() for name, value in before.items()
    }
    torch.testing.assert_close(copy.deepcopy(encoder)(tokens(3)), encoder(tokens(3)), rtol=0, atol=0)


def plain_mlp(*, seed: int = 0) -> Mlp:
    torch.manual_seed(seed)
    mlp = Mlp(WIDTH)
    nn.init.uniform_(mlp.norm.weight, 0.5, 1.5)
    nn.init.normal_(mlp.norm.bias)
    return mlp.eval().requires_grad_(requires_grad=False)


def through(mlp: Mlp, x: torch.Tensor) -> torch.Tensor:
    out: torch.Tensor = mlp(x[None, None])
    return out[0, 0]


def rounded_copy(mlp: Mlp) -> Mlp:
    rounded = nn.Sequential(copy.deepcopy(mlp))
    round_linear_layers(rounded, bits=bits_here())
    copied = rounded[0]
    assert isinstance(copied, Mlp)
    return copied


needs_eight_bits = pytest.mark.skipif(activation_bits("cpu") != 8, reason="with 7 bits layers are called one by one")


@needs_eight_bits
@given(count=st.integers(1, 40), seed=st.integers(0, 99), scale=st.sampled_from([1e-2, 1.0, 1e3]))
def test_two_layers_with_whole_numbers_in_between_are_near_the_layers(count: int, seed: int, scale: float) -> None:
    mlp, x = plain_mlp(seed=seed), tokens(count, seed=seed) * scale

    added, exact = through(rounded_copy(mlp), x) - x, through(mlp, x) - x

    assert torch.linalg.norm(added - exact) <= 2 * ERRORS[bits_here()] * torch.linalg.norm(exact)


@needs_eight_bits
def test_two_layers_treat_every_token_alone_and_whatever_lies_beyond_their_ranges_as_their_ends() -> None:
    mlp = plain_mlp()
    with torch.no_grad():
        mlp.norm.weight.fill_(1.0)
        mlp.norm.bias.zero_()
        mlp.fc1.bias.zero_()
    # Along a row of weights a sum is 8 deviations large, and a number alone among zeros is about 8 too.
    far = torch.stack([mlp.fc1.weight[0] - mlp.fc1.weight[0].mean(), torch.eye(WIDTH)[0] * 100])
    rounded = rounded_copy(mlp)

    together = through(rounded, torch.cat([far, tokens(5)]))

    torch.testing.assert_close(
        torch.cat([through(rounded, token[None]) for token in far]), together[:2], rtol=0, atol=0
    )
    normed = mlp.norm(far).clamp(-6, 6)
    most = 6 * mlp.fc1.weight.norm(dim=1).max()
    expected = far + mlp.fc2(nn.functional.gelu(mlp.fc1(normed)).clamp(max=most))
    assert normed.max() == 6
    assert torch.linalg.norm(together[:2] - expected) <= 0.1 * torch.linalg.norm(expected - far)


@needs_eight_bits
def test_what_is_learnt_through_two_layers_is_computed_exactly() -> None:
    mlp, x = plain_mlp(), tokens(5).requires_grad_()

    torch.testing.assert_close(through(rounded_copy(mlp), x), through(mlp, x), rtol=0, atol=0)
    assert not torch.equal(through(rounded_copy(mlp), x.detach()), through(mlp, x.detach()))


@pytest.mark.parametrize("was_rounded", [False, True])
def test_two_layers_of_which_one_is_not_rounded_are_called_one_by_one(*, was_rounded: bool) -> None:
    class Adapted(nn.Linear):
        """Another kind of layer, which rounding leaves alone."""

    mlp = plain_mlp()
    changed = rounded_copy(mlp) if was_rounded else copy.deepcopy(mlp)
    other = Adapted(mlp.fc2.in_features, WIDTH).requires_grad_(requires_grad=False)
    changed.fc2 = other
    rounded, x = rounded_copy(changed), tokens(4)

    assert type(rounded.fc1) is Int8Linear
    expected = x + other(nn.functional.gelu(rounded.fc1(mlp.norm(x))))
    torch.testing.assert_close(through(rounded, x), expected, rtol=0, atol=0)


@pytest.mark.parametrize(("bits", "are_joined"), [(8, True), (7, False)])
def test_two_layers_pass_whole_numbers_with_eight_bits_alone(*, bits: int, are_joined: bool) -> None:
    joined = mock.Mock()
    layers = nn.Sequential(plain_mlp())
    with mock.patch.object(Mlp, "join_rounded", joined):
        round_linear_layers(layers, bits=bits)

    assert joined.called == are_joined


def test_copies_share_the_rounded_weights_of_two_layers() -> None:
    inner, outer = (Int8Linear(nn.Linear(*shape), bits=bits_here()) for shape in ((WIDTH, OUT), (OUT, WIDTH)))
    both = Int8Mlp(nn.LayerNorm(WIDTH), inner, outer)

    assert copy.deepcopy(both) is both


@pytest.mark.skipif(platform.machine() != "x86_64", reason="only x86 adds two products in 16 bits")
def test_a_processor_without_vnni_rounds_to_seven_bits_since_eight_overflow() -> None:
    code = "from backend.sam.layers.int8_linear import activation_bits; print(activation_bits('cpu'))"
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"}

    said = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)

    assert said.stdout.strip() == "7"


def test_other_devices_have_no_products_in_int8() -> None:
    assert activation_bits("cuda") is None
