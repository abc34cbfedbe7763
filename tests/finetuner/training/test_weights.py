"""Weights move by their own pace, are averaged, kept, and restored to the last bit."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from finetuner.training.weights import Pace, TrainedWeights


def _weights(values: float = 1.0) -> dict[str, nn.Parameter]:
    return {name: nn.Parameter(torch.full((3,), values)) for name in ("slow", "fast")}


def _moving(named: dict[str, nn.Parameter], *, kept_share: Callable[[int], float] = lambda _: 0.5) -> TrainedWeights:
    pace = Pace(of=lambda name: 10.0 if name == "fast" else 1.0, kept_share=kept_share, weight_decay=0.0, clip_norm=1.0)
    return TrainedWeights(named, pace=pace)


def _step(moving: TrainedWeights, rate: float = 0.01) -> None:
    moving.forget_gradients()
    for weight in moving.parameters:
        weight.grad = torch.ones_like(weight)
    moving.move(rate)


def _copy(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in tensors.items()}


def test_a_weight_moves_as_many_times_as_fast_as_its_pace() -> None:
    named = _weights()
    _step(_moving(named))
    # Adam's first step is the learning rate, whatever the gradient.
    assert torch.allclose(named["slow"], torch.tensor(0.99))
    assert torch.allclose(named["fast"], torch.tensor(0.9))


def test_the_average_follows_and_gives_way_again() -> None:
    named = _weights()
    moving = _moving(named)
    _step(moving)
    with moving.use_average():
        assert torch.allclose(named["slow"], torch.tensor(0.995))
    assert torch.allclose(named["slow"], torch.tensor(0.99))


def test_the_share_that_the_average_keeps_is_asked_by_the_number_of_steps_done() -> None:
    asked: list[int] = []
    moving = _moving(_weights(), kept_share=lambda step: asked.append(step) or 0.5)
    _step(moving)
    _step(moving)
    assert asked == [1, 2]


def test_what_was_kept_last_is_published_however_the_weights_go_on() -> None:
    named = _weights()
    moving = _moving(named)
    _step(moving)
    moving.keep()
    _step(moving)
    moving.finish()
    assert torch.allclose(named["slow"], torch.tensor(0.995))


def test_gradients_are_cut_to_the_norm_and_the_norm_that_they_had_comes_back() -> None:
    moving = _moving(_weights())
    for weight in moving.parameters:
        weight.grad = torch.full_like(weight, 2.0)
    assert moving.clip().item() == pytest.approx((6 * 4) ** 0.5)
    norm = torch.cat([weight.grad for weight in moving.parameters if weight.grad is not None]).norm()
    assert norm.item() == pytest.approx(1.0, rel=1e-4)


def test_a_restored_training_goes_on_to_the_last_bit() -> None:
    named, other = _weights(), _weights(5.0)
    moving, restored = _moving(named), _moving(other)
    _step(moving)
    moving.keep()
    restored.restore(_copy(moving.tensors()))
    for weights in (moving, restored):
        _step(weights, rate=0.02)
    assert _copy(moving.tensors()).keys() == restored.tensors().keys()
    assert all(torch.equal(value, restored.tensors()[name]) for name, value in moving.tensors().items())


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("weight.slow", None, "weight.slow is missing"),
        ("average.fast", torch.zeros(4), r"average.fast is torch.float32 of shape \(4,\), or not finite"),
        ("exp_avg.fast", torch.full((3,), torch.nan), "exp_avg.fast is .* not finite"),
        ("weight.fast", torch.zeros(3, dtype=torch.float64), "weight.fast is torch.float64"),
    ],
)
def test_a_state_of_other_weights_is_refused_and_changes_nothing(name: str, value: Tensor | None, why: str) -> None:
    named = _weights()
    moving = _moving(named)
    _step(moving)
    tensors = _copy(moving.tensors())
    before = _copy(moving.tensors())
    if value is None:
        del tensors[name]
    else:
        tensors[name] = value
    with pytest.raises(ValueError, match=why):
        moving.restore({key: tensor + 0 for key, tensor in tensors.items()})
    assert all(torch.equal(value, before[key]) for key, value in moving.tensors().items())


def test_a_mixture_lies_between_the_first_weights_and_the_last() -> None:
    named = _weights()
    moving = _moving(named)
    for _ in range(3):
        _step(moving)
    moving.finish()
    last = named["fast"].detach().clone()
    moving.mix(moving.copy_weights(), share=0.75)
    assert torch.allclose(named["fast"], 0.25 + 0.75 * last)


def test_of_an_adapter_the_factor_that_began_as_zero_is_mixed_alone() -> None:
    """So the product of both factors, which is what the encoder gets, lies on the line."""
    named = {
        "vision_encoder.a": nn.Parameter(torch.ones(3)),
        "vision_encoder.b": nn.Parameter(torch.zeros(3)),
    }
    moving = TrainedWeights(
        named, pace=Pace(of=lambda _: 1.0, kept_share=lambda _: 0.0, weight_decay=0.0, clip_norm=1.0)
    )
    _step(moving)
    moving.finish()
    a, b = (weight.detach().clone() for weight in named.values())
    moving.mix(moving.copy_weights(), share=0.5)
    assert not torch.equal(a, torch.ones(3))
    assert torch.equal(named["vision_encoder.a"], a)
    assert torch.allclose(named["vision_encoder.b"], 0.5 * b)
