"""TinyViT cuts windows, shares biases and attends as its paper says."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from transformers import SamVisionConfig

from backend.sam.families.mobile import mobile_sam_config
from backend.sam.layers.tiny_vit import TinyVitEncoder, WindowAttention, mix_by_products, offset_index

pytestmark = pytest.mark.arithmetic


@given(window=st.integers(1, 14))
def test_two_pairs_of_tokens_share_a_bias_exactly_if_they_are_as_far_apart(window: int) -> None:
    index = offset_index(window)

    for one in range(0, window**2, 3):
        for other in range(0, window**2, 5):
            dy, dx = abs(one // window - other // window), abs(one % window - other % window)
            assert index[one, other] == dy * window + dx


def test_attention_is_a_softmax_of_scaled_products_plus_bias_head_by_head() -> None:
    torch.manual_seed(0)
    attention = WindowAttention(12, heads=3, window=2).eval()
    nn.init.normal_(attention.biases)
    tokens = torch.randn(5, 4, 12)

    with torch.no_grad():
        got = attention(tokens)
        normed = nn.functional.layer_norm(tokens, (12,), attention.norm.weight, attention.norm.bias)
        qkv = nn.functional.linear(normed, attention.qkv.weight, attention.qkv.bias)
        heads = []
        for head in range(3):
            query, key, value = qkv[..., 12 * head : 12 * (head + 1)].split(4, dim=-1)
            scores = query @ key.transpose(1, 2) / 2.0 + attention.biases[head][offset_index(2)]
            heads.append(scores.softmax(-1) @ value)
        expected = nn.functional.linear(torch.cat(heads, -1), attention.proj.weight, attention.proj.bias)

    torch.testing.assert_close(got, expected)


@given(
    windows=st.integers(1, 24),
    heads=st.integers(1, 5),
    n=st.sampled_from([1, 49, 196]),
    all_scores=st.sampled_from([0.0, 60.0, -60.0, 500.0, -500.0]),  # exponentials of 500 are not finite
)
@settings(max_examples=20, deadline=None)
def test_two_products_mix_as_pytorchs_attention_does_whatever_the_scores_and_the_number_of_windows(
    windows: int, heads: int, n: int, all_scores: float
) -> None:
    made = torch.Generator().manual_seed(windows)
    qkv = torch.randn(windows, n, heads, 3, 8, generator=made)
    bias = torch.randn(heads, n, n, generator=made) + all_scores
    query, key, value = qkv.permute(3, 0, 2, 1, 4)

    mixed = mix_by_products(qkv, bias.clone())

    expected = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=bias[None]).transpose(1, 2)
    rounded = {"rtol": 1e-3, "atol": 1e-3} if all_scores else {}  # a score near 500 is rounded to 3e-5
    torch.testing.assert_close(mixed, expected, **rounded)


def test_in_bfloat16_attention_is_as_near_to_float32_without_a_gradient_as_with_one() -> None:
    torch.manual_seed(0)
    exact = WindowAttention(64, heads=2, window=7).eval()
    nn.init.normal_(exact.biases)
    rough = copy.deepcopy(exact).to(torch.bfloat16)
    rough.norm.float()  # as `compute_in` leaves it
    tokens = torch.randn(9, 49, 64)
    truth = exact(tokens).detach()

    def error_of(mixed: torch.Tensor) -> float:
        return float((mixed.detach().float() - truth).abs().mean())

    with_gradient = error_of(rough(tokens))
    with torch.no_grad():
        without = error_of(rough(tokens))

    assert 0 < without < 1.3 * with_gradient


@pytest.fixture(scope="module")
def encoder() -> TinyVitEncoder:
    torch.manual_seed(0)
    config = mobile_sam_config().vision_config
    assert isinstance(config, SamVisionConfig)
    return TinyVitEncoder(config).eval()


@pytest.mark.parametrize(("height", "width"), [(64, 64), (96, 160)])
def test_the_encoder_divides_by_sixteen_into_256_channels(encoder: TinyVitEncoder, height: int, width: int) -> None:
    with torch.no_grad():
        features = encoder(torch.randn(2, 3, height, width)).last_hidden_state

    assert features.shape == (2, 256, height // 16, width // 16)


def test_an_image_is_encoded_alike_alone_and_in_a_batch(encoder: TinyVitEncoder) -> None:
    images = torch.randn(3, 3, 64, 64)
    with torch.no_grad():
        together = encoder(images).last_hidden_state
        alone = torch.cat([encoder(image[None]).last_hidden_state for image in images])

    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)


def test_it_has_the_five_million_encoder_weights_that_mobilesam_names(encoder: TinyVitEncoder) -> None:
    assert 5.5e6 < sum(weight.numel() for weight in encoder.parameters()) < 6.5e6


def test_gradients_reach_every_weight(encoder: TinyVitEncoder) -> None:
    encoder(torch.randn(1, 3, 64, 64)).last_hidden_state.square().sum().backward()

    assert [name for name, weight in encoder.named_parameters() if weight.grad is None] == []
    encoder.zero_grad()
