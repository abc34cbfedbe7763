"""The weights that a training moves: the first and the current ones, their moving average, the optimizer's state."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from finetuner.methods.base import ENCODER

_ADAM = ("step", "exp_avg", "exp_avg_sq")
_BETAS = (0.9, 0.99)
_ON_CPU = frozenset({"cpu"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How fast weights move. AdamW's betas are 0.9 and 0.99 (Loshchilov & Hutter 2019).

    Attributes:
        of: returns the factor of the learning rate for a weight's name.
        kept_share: returns the decay of the moving average, in [0, 1], for the number of steps done.
        weight_decay: AdamW's weight decay.
        clip_norm: the largest allowed norm of all gradients together.
        fused_on: the types of device on which AdamW updates all weights in one fused pass. Fused, it stores its step
            counts on the weights' device.
    """

    of: Callable[[str], float]
    kept_share: Callable[[int], float]
    weight_decay: float
    clip_norm: float
    fused_on: frozenset[str] = _ON_CPU


class TrainedWeights:
    """Weights that AdamW moves, with their moving average.

    The training publishes the average at the last call of `keep`, or the final average without any.

    Args:
        named: the weights by name; the caller back-propagates their gradients.
        pace: how fast they move.
    """

    def __init__(self, named: Mapping[str, nn.Parameter], *, pace: Pace) -> None:
        self._names, self._weights, self._pace = list(named), list(named.values()), pace
        self._is_fused = all(weight.device.type in pace.fused_on for weight in self._weights)
        self._first, self._average = ([weight.detach().clone() for weight in self._weights] for _ in range(2))
        self._kept: list[Tensor] = []
        self._adam = torch.optim.AdamW(
            _groups(named, pace=pace.of),
            weight_decay=pace.weight_decay,
            betas=_BETAS,
            fused=self._is_fused or None,
        )

    @property
    def parameters(self) -> Sequence[nn.Parameter]:
        """The current weights, in the order of their names."""
        return self._weights

    def forget_gradients(self) -> None:
        """Drop all gradients, at the start of a step."""
        self._adam.zero_grad(set_to_none=True)

    def clip(self) -> Tensor:
        """Scale the gradients down to the largest allowed norm, and return the norm that they had."""
        return torch.nn.utils.clip_grad_norm_(self._weights, self._pace.clip_norm)

    def move(self, rate: float) -> None:
        """Take an AdamW step at this learning rate, and update the average."""
        for group in self._adam.param_groups:
            group["lr"] = rate * group["pace"]
        self._adam.step()
        # An adapter that joins later has done fewer steps than the first weights.
        first = self._adam.state.get(self._weights[0]) or next(iter(self._adam.state.values()))
        step = int(first["step"])
        with torch.no_grad():
            torch._foreach_lerp_(self._average, list[Tensor](self._weights), 1 - self._pace.kept_share(step))

    @contextmanager
    def use_average(self) -> Iterator[None]:
        """Replace the weights with their average inside the `with` block."""
        moving = [weight.detach().clone() for weight in self._weights]
        self._put(self._average)
        try:
            yield
        finally:
            self._put(moving)

    def keep(self) -> None:
        """Mark the current average as the best so far, to be published."""
        self._kept = [average.clone() for average in self._average]

    def finish(self) -> None:
        """Replace the weights with those to publish."""
        self._put(self._kept or self._average)

    def copy_weights(self) -> list[Tensor]:
        """A copy of the weights after `finish`, for `mix`."""
        return [weight.detach().clone() for weight in self._weights]

    def mix(self, published: Sequence[Tensor], *, share: float) -> None:
        """Replace the weights with a point on the line from the first weights to the `published` ones.

        Source: Wortsman et al., "Robust fine-tuning of zero-shot models" (CVPR 2022), section 3. An adapter is the
        product of two factors, one of which starts at zero. Only that factor is scaled, so that the product moves along
        the line.

        Args:
            published: the weights from `copy_weights`.
            share: the position on the line, in (0, 1]; 1 means the published weights.
        """
        mixed = [
            value if name.startswith(ENCODER) and bool(first.any()) else torch.lerp(first, value, share)
            for name, first, value in zip(self._names, self._first, published, strict=True)
        ]
        self._put(mixed)

    def tensors(self) -> dict[str, Tensor]:
        """The weights, their averages and AdamW's state by name, for a saved state; not copied."""
        groups: dict[str, Sequence[Tensor]] = {"weight": self._weights, "average": self._average, "kept": self._kept}
        tensors = {
            f"{group}.{name}": value.detach()
            for group, values in groups.items()
            for name, value in zip(self._names, values, strict=False)
        }
        for name, weight in zip(self._names, self._weights, strict=True):
            remembered = self._adam.state.get(weight, {})
            tensors |= {f"{key}.{name}": remembered[key] for key in _ADAM if key in remembered}
        return tensors

    def weight_tensors(self) -> dict[str, Tensor]:
        """The weights of a finished training by name, as `restore` reads them; without the optimizer's state."""
        return {f"weight.{name}": weight.detach() for name, weight in zip(self._names, self._weights, strict=True)}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore the weights, averages and optimizer's state from `tensors`; other tensors are ignored.

        Raises:
            ValueError: a tensor is missing, not finite, or of another shape or dtype; nothing has changed then.
        """
        shapes = dict(zip(self._names, self._weights, strict=True))

        def all_of(group: str) -> list[Tensor]:
            return [_take(tensors, f"{group}.{name}", like).to(like.device, copy=True) for name, like in shapes.items()]

        weights = all_of("weight")
        average, kept = (
            all_of(group) if any(name.startswith(f"{group}.") for name in tensors) else []
            for group in ("average", "kept")
        )
        adam = {name: self._remember(tensors, name, like) for name, like in shapes.items() if f"step.{name}" in tensors}
        self._put(weights)
        self._average, self._kept = average or [weight.clone() for weight in weights], kept
        for name, weight in shapes.items():
            self._adam.state.pop(weight, None)
            if name in adam:
                self._adam.state[weight] = adam[name]

    def _remember(self, tensors: Mapping[str, Tensor], name: str, like: Tensor) -> dict[str, Tensor]:
        """AdamW's state of a weight. Its step count is on the CPU, or on the weight's device if AdamW is fused."""
        _, *means = _ADAM
        step = _take(tensors, f"step.{name}", torch.zeros(()))
        return {
            "step": step.to(like.device if self._is_fused else "cpu", copy=True),
            **{key: _take(tensors, f"{key}.{name}", like).to(like.device, copy=True) for key in means},
        }

    def _put(self, values: Sequence[Tensor]) -> None:
        with torch.no_grad():
            for weight, value in zip(self._weights, values, strict=True):
                weight.copy_(value)


def _groups(named: Mapping[str, nn.Parameter], *, pace: Callable[[str], float]) -> list[dict[str, object]]:
    """AdamW's parameter groups: one per pace, the slowest first."""
    groups: dict[float, list[nn.Parameter]] = {}
    for name, weight in named.items():
        groups.setdefault(pace(name), []).append(weight)
    return [{"params": weights, "pace": factor} for factor, weights in sorted(groups.items())]


def _take(tensors: Mapping[str, Tensor], key: str, like: Tensor) -> Tensor:
    """The tensor of this key.

    Raises:
        ValueError: it is missing, not finite, or of another shape or dtype than `like`.
    """
    tensor = tensors.get(key)
    if tensor is None:
        raise ValueError(f"{key} is missing: expected {like.dtype} of shape {tuple(like.shape)}")
    if tensor.shape != like.shape or tensor.dtype != like.dtype or not bool(tensor.isfinite().all()):
        raise ValueError(
            f"{key} is {tensor.dtype} of shape {tuple(tensor.shape)}, or not finite: "
            f"expected finite {like.dtype} of shape {tuple(like.shape)}"
        )
    return tensor
