"""Conv-LoRA begins as nothing, has the size that the paper says, and its router learns from the task."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional
from transformers import SamVisionConfig
from transformers.models.sam.modeling_sam import SamVisionEncoder

from backend.sam.adapters.conv_lora import ConvLoraLinear, adapter_parameters, attach_conv_lora, balance_loss
from backend.sam.adapters.places import qkv_places
from backend.sam.families import mobile
from backend.sam.layers.tiny_vit import WindowAttention


def layer(width: int = 12, *, seed: int = 0, **kw: float) -> ConvLoraLinear:
    torch.manual_seed(seed)
    return ConvLoraLinear(nn.Linear(width, 3 * width), **kw)


def awake(adapter: ConvLoraLinear, *, seed: int = 1) -> ConvLoraLinear:
    """With weights that are not zero, so that every part shows."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in (adapter.up, adapter.router.gate, adapter.router.noise):
            weight.copy_(torch.randn(weight.shape, generator=generator))
    return adapter


@pytest.mark.parametrize("is_training", [True, False])
def test_it_starts_as_the_layer_alone(is_training: bool) -> None:
    adapter = layer().train(is_training)
    tokens = torch.randn(2, 14, 14, 12)
    torch.testing.assert_close(adapter(tokens), adapter.frozen(tokens), rtol=0, atol=0)


def test_on_vit_b_it_has_the_papers_119232_weights() -> None:
    with torch.device("meta"):
        encoder = SamVisionEncoder(SamVisionConfig())
        adapters = attach_conv_lora(encoder, places=qkv_places(encoder))
    assert len(adapters) == 12
    assert sum(weight.numel() for _, weight in adapter_parameters(encoder)) == 119_232
    assert {name for name, weight in encoder.named_parameters() if weight.requires_grad} == {
        name for name, _ in adapter_parameters(encoder)
    }


@pytest.mark.parametrize("expert", range(8))
def test_each_expert_computes_what_the_paper_writes(expert: int) -> None:
    adapter = awake(layer()).eval()
    tokens = torch.randn(3, 5, 5, 12, generator=torch.Generator().manual_seed(expert))
    with torch.no_grad():
        adapter.router.gate.zero_()
        low = tokens @ adapter.down.T
        adapter.router.gate[:, expert] = low.mean((0, 1, 2))  # its logit is a square, all others are 0
        out = adapter(tokens)
    assert adapter.chosen == expert
    maps = low.permute(0, 3, 1, 2)
    side = 5 * (expert + 1)
    big = functional.interpolate(maps, size=(side, side), mode="bicubic") if expert else maps
    convolved = functional.conv2d(big, adapter.experts[expert].weight, adapter.experts[expert].bias, padding=1)
    small = functional.gelu(convolved)
    small = functional.interpolate(small, size=(5, 5), mode="bicubic") if expert else small
    expected = adapter.frozen(tokens) + (low + small.permute(0, 2, 3, 1)) @ adapter.up.T * 32 / 3
    torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-5)


def test_it_gives_the_value_that_it_gave_when_it_was_written() -> None:
    adapter = awake(layer()).eval()
    steps = torch.linspace(-1, 1, 2 * 4 * 4 * 12).reshape(2, 4, 4, 12)
    with torch.no_grad():
        assert float(adapter(steps).sum()) == pytest.approx(REFERENCE, rel=1e-4)


REFERENCE = 38.5973


def test_the_router_gets_the_tasks_gradient_and_value_one() -> None:
    adapter = awake(layer()).train()
    out = adapter(torch.randn(2, 6, 6, 12))
    functional.mse_loss(out, torch.zeros_like(out)).backward()  # without the balance loss
    for weight in (adapter.router.gate, adapter.router.noise, adapter.down, adapter.up):
        assert weight.grad is not None
        assert weight.grad.abs().max() > 0
    assert adapter.frozen.weight.grad is None
    chosen = adapter.experts[adapter.chosen].weight.grad
    assert chosen is not None
    assert chosen.abs().max() > 0


def test_all_windows_of_an_image_get_the_same_expert_and_padding_has_no_vote() -> None:
    adapter = awake(layer()).eval()
    image = torch.randn(3, 7, 7, 12)
    adapter(image)
    alone = adapter.chosen
    seen = []
    adapter.router.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    adapter(image)
    adapter(torch.cat([image, torch.zeros(40, 7, 7, 12)]))
    assert adapter.chosen == alone
    torch.testing.assert_close(seen[0], seen[1])


def test_square_windows_may_come_flat() -> None:
    adapter = awake(layer()).eval()
    tokens = torch.randn(2, 7, 7, 12)
    torch.testing.assert_close(adapter(tokens.flatten(1, 2)), adapter(tokens).flatten(1, 2))
    with pytest.raises(ValueError, match="a window of 48 tokens is not a square"):
        adapter(torch.randn(1, 48, 12))


def test_balance_is_smallest_when_all_experts_are_alike() -> None:
    torch.manual_seed(0)
    adapter = layer().train()
    tokens = torch.randn(1, 6, 6, 12)
    adapter(tokens)
    even = float(adapter.balance.detach())
    with torch.no_grad():
        adapter.router.gate[:, 2] = 50 * (tokens @ adapter.down.T).mean((0, 1, 2))
    adapter(tokens)
    assert float(adapter.balance.detach()) > even > 0
    assert float(balance_loss(nn.Sequential(adapter, nn.ReLU())).detach()) == pytest.approx(
        float(adapter.balance.detach())
    )
    adapter.eval()(tokens)
    assert float(adapter.balance.detach()) == 0


def test_after_training_on_images_of_two_kinds_more_than_one_expert_is_used() -> None:
    """Fine texture and coarse ground; a teacher treats both, at scales of their own."""
    torch.manual_seed(3)
    teachers = [awake(layer(), seed=9).eval() for _ in range(2)]
    with torch.no_grad():
        for teacher, expert in zip(teachers, (0, 5), strict=True):
            teacher.router.forward = lambda mean, expert=expert: (  # type: ignore[method-assign]
                torch.tensor(expert),
                mean.new_ones(()),
                mean.new_zeros(()),
            )
    images = [
        torch.randn(1, 8, 8, 12) + 1,
        torch.randn(1, 2, 2, 12).repeat_interleave(4, 1).repeat_interleave(4, 2) - 1,
    ]
    with torch.no_grad():
        wanted = [teacher(image) for teacher, image in zip(teachers, images, strict=True)]
    student = layer().train()
    student.frozen.load_state_dict(teachers[0].frozen.state_dict())
    moved = [weight for weight in student.parameters() if weight.requires_grad]
    optimizer, used = torch.optim.AdamW(moved, lr=1e-2), set()
    for step in range(300):
        out = student(images[step % 2])
        loss = functional.mse_loss(out, wanted[step % 2]) + student.balance
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step >= 250:
            used.add(student.chosen)
    assert len(used) > 1
    assert math.isfinite(loss.item())


def test_it_sits_on_tiny_vits_attention_too() -> None:
    attention = WindowAttention(20, heads=2, window=7)
    tokens = torch.randn(4, 49, 20)
    before = attention(tokens)
    (adapter,) = attach_conv_lora(attention, places=mobile.FAMILY.places(attention))
    torch.testing.assert_close(attention(tokens), before)
    assert sum(weight.numel() for _, weight in adapter_parameters(attention)) == 3 * 20 + 60 * 3 + 48 + 672
    assert adapter is attention.qkv


def test_an_encoder_without_attention_is_refused() -> None:
    with pytest.raises(ValueError, match="Sequential has no fused qkv layer"):
        attach_conv_lora(nn.Sequential(nn.Linear(2, 2)), places={})


def test_tiny_vits_padding_has_no_vote_either() -> None:
    """It pads before its LayerNorm, which makes of nothing its bias: no zeros."""
    attention = WindowAttention(20, heads=2, window=7).eval()
    with torch.no_grad():
        attention.norm.bias.copy_(torch.randn(20))
    (adapter,) = attach_conv_lora(attention, places=mobile.FAMILY.places(attention))
    awake(adapter)
    seen: list[torch.Tensor] = []
    adapter.router.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    tokens = torch.randn(3, 49, 20)
    attention(tokens)
    attention(torch.cat([tokens, torch.zeros(40, 49, 20)]))
    torch.testing.assert_close(seen[0], seen[1])
