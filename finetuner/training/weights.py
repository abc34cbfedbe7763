"""The weights that a training moves: as they are, their moving average, and what the optimizer remembers of them."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from finetuner.config import TrainConfig
from finetuner.methods.base import ENCODER

_ADAM = ("step", "exp_avg", "exp_avg_sq")


class TrainedWeights:
    """Moved by AdamW, averaged as they move; what is published is the average, or what `keep` kept of it last.

    Args:
        named: the weights, by name; their gradients are set by whoever back-propagates.
        config: learning rate, weight decay, clipping, averaging.
        pace: how much faster than the decoder's an adapter's weights move.
    """

    def __init__(self, named: Mapping[str, nn.Parameter], *, config: TrainConfig, pace: float = 1.0) -> None:
        self._names, self._weights, self._config = list(named), list(named.values()), config
        self._average = [weight.detach().clone() for weight in self._weights]
        self._kept: list[Tensor] = []
        self._adam = torch.optim.AdamW(
            _groups(named, config=config, pace=pace),
            weight_decay=config.weight_decay,
            betas=(0.9, 0.99),
            # One pass over the weights. Elsewhere not: there it would count its steps beside the weights.
            fused=all(weight.device.type == "cpu" for weight in self._weights) or None,
        )

    @property
    def parameters(self) -> Sequence[nn.Parameter]:
        """The weights themselves, in their order."""
        return self._weights

    def forget_gradients(self) -> None:
        """Begin a step."""
        self._adam.zero_grad(set_to_none=True)

    def clip(self) -> Tensor:
        """Bound the gradients' norm; the norm that they had."""
        return torch.nn.utils.clip_grad_norm_(self._weights, self._config.clip_norm)

    def move(self, rate: float) -> None:
        """Follow the gradients at this learning rate, and the average after the weights."""
        for group in self._adam.param_groups:
            group["lr"] = rate * group["pace"]
        self._adam.step()
        # Young averages forget faster: with few steps the last weights would otherwise hardly count.
        step = int(self._adam.state[self._weights[0]]["step"])
        keep = min(self._config.ema_decay, (1 + step) / (10 + step))
        with torch.no_grad():
            torch._foreach_lerp_(self._average, list[Tensor](self._weights), 1 - keep)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """The averages in the weights' place, for as long as somebody looks."""
        moving = [weight.detach().clone() for weight in self._weights]
        self._put(self._average)
        try:
            yield
        finally:
            self._put(moving)

    def keep(self) -> None:
        """The average as it is now is the best so far: it is what is published unless a better one is kept."""
        self._kept = [average.clone() for average in self._average]

    def finish(self) -> None:
        """Put what is published in the weights' place."""
        self._put(self._kept or self._average)

    def tensors(self) -> dict[str, Tensor]:
        """All of this, by name: not copied."""
        groups: dict[str, Sequence[Tensor]] = {"weight": self._weights, "average": self._average, "kept": self._kept}
        found = {
            f"{group}.{name}": value.detach()
            for group, values in groups.items()
            for name, value in zip(self._names, values, strict=False)
        }
        for name, weight in zip(self._names, self._weights, strict=True):
            remembered = self._adam.state.get(weight, {})
            found |= {f"{key}.{name}": remembered[key] for key in _ADAM if key in remembered}
        return found

    def finished(self) -> dict[str, Tensor]:
        """What `restore` needs to have the weights as they are, and no more: of a training that is over."""
        return {f"weight.{name}": weight.detach() for name, weight in zip(self._names, self._weights, strict=True)}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take up what `tensors` told, in the order of these weights; others among them are not looked at.

        Raises:
            ValueError: one is missing, of another shape or type, or not finite; then nothing was changed.
        """
        shapes = dict(zip(self._names, self._weights, strict=True))

        def all_of(group: str) -> list[Tensor]:
            return [_taken(tensors, group, name, like) for name, like in shapes.items()]

        weights = all_of("weight")
        average, kept = (
            all_of(group) if any(name.startswith(f"{group}.") for name in tensors) else []
            for group in ("average", "kept")
        )
        adam = {
            name: {key: _taken(tensors, key, name, torch.zeros(()) if key == "step" else like) for key in _ADAM}
            for name, like in shapes.items()
            if f"step.{name}" in tensors
        }
        self._put(weights)
        self._average, self._kept = average or [each.clone() for each in weights], kept
        for name, weight in shapes.items():
            self._adam.state.pop(weight, None)
            if name in adam:
                self._adam.state[weight] = adam[name]

    def _put(self, values: Sequence[Tensor]) -> None:
        with torch.no_grad():
            for weight, value in zip(self._weights, values, strict=True):
                weight.copy_(value)


def _groups(named: Mapping[str, nn.Parameter], *, config: TrainConfig, pace: float) -> list[dict[str, Any]]:
    """What AdamW moves, each with its pace: an adapter in the encoder has one of its own."""
    decoder = [weight for name, weight in named.items() if not name.startswith(ENCODER)]
    encoder = [weight for name, weight in named.items() if name.startswith(ENCODER)]
    return [
        {"params": weights, "pace": pace, "lr": pace * config.learning_rate}
        for pace, weights in ((1.0, decoder), (pace, encoder))
        if weights
    ]


def _taken(tensors: Mapping[str, Tensor], group: str, name: str, like: Tensor) -> Tensor:
    found = tensors.get(f"{group}.{name}")
    if found is None or found.shape != like.shape or found.dtype != like.dtype or not bool(found.isfinite().all()):
        told = "missing" if found is None else f"{found.dtype} of {tuple(found.shape)}, or not finite"
        raise ValueError(f"{group}.{name} is {told}; {like.dtype} of {tuple(like.shape)} is expected")
    # Adam counts its steps on the CPU, wherever the weights are.
    return found.clone() if group == "step" else found.to(like.device, copy=True)
