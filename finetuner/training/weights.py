"""The weights that a training moves: the first, the present, their moving average, and the optimizer's memory."""

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
    """How weights move. AdamW's betas are 0.9 and 0.99 (Loshchilov & Hutter 2019).

    Attributes:
        of: the factor of the learning rate by a weight's name.
        kept_share: the share of the moving average that stays at a step, by the number of steps done; in [0, 1].
        weight_decay: AdamW's.
        clip_norm: the most that the norm of all gradients may be.
        fused_on: types of device where one pass moves all weights. Elsewhere than on a CPU AdamW then counts its steps
            beside the weights.
    """

    of: Callable[[str], float]
    kept_share: Callable[[int], float]
    weight_decay: float
    clip_norm: float
    fused_on: frozenset[str] = _ON_CPU


class TrainedWeights:
    """Moved by AdamW, averaged as they move; what is published is the average, or what `keep` kept of it last.

    Args:
        named: the weights, by name; their gradients are set by whoever back-propagates.
        pace: how they move.
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
        """The weights themselves, in their order."""
        return self._weights

    def forget_gradients(self) -> None:
        """Begin a step."""
        self._adam.zero_grad(set_to_none=True)

    def clip(self) -> Tensor:
        """Bound the gradients' norm; the norm that they had."""
        return torch.nn.utils.clip_grad_norm_(self._weights, self._pace.clip_norm)

    def move(self, rate: float) -> None:
        """Follow the gradients at this learning rate, and the average after the weights."""
        for group in self._adam.param_groups:
            group["lr"] = rate * group["pace"]
        self._adam.step()
        # An adapter that joins later has done fewer steps than the first weights.
        first = self._adam.state.get(self._weights[0]) or next(iter(self._adam.state.values()))
        step = int(first["step"])
        with torch.no_grad():
            torch._foreach_lerp_(self._average, list[Tensor](self._weights), 1 - self._pace.kept_share(step))

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

    def published(self) -> list[Tensor]:
        """A copy of the weights as they are, from which `mix` starts: after `finish`."""
        return [weight.detach().clone() for weight in self._weights]

    def mix(self, published: Sequence[Tensor], *, share: float) -> None:
        """Put a mixture of the first weights and the `published` ones in the weights' place.

        Wortsman et al., "Robust fine-tuning of zero-shot models" (CVPR 2022), section 3: the line between both weights.
        An adapter is the product of two factors, of which one begins as zero; that one alone is scaled, so that the
        product moves along the line.

        Args:
            published: as `published` gave them.
            share: of the way, in (0, 1]; 1 leaves the first weights no part.
        """
        mixed = [
            value if name.startswith(ENCODER) and bool(first.any()) else torch.lerp(first, value, share)
            for name, first, value in zip(self._names, self._first, published, strict=True)
        ]
        self._put(mixed)

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
        """What AdamW knows of a weight; it counts steps on the CPU unless it is fused, then beside the weight."""
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
    """What AdamW moves: the weights of one pace together, the slowest first."""
    groups: dict[float, list[nn.Parameter]] = {}
    for name, weight in named.items():
        groups.setdefault(pace(name), []).append(weight)
    return [{"params": weights, "pace": factor} for factor, weights in sorted(groups.items())]


def _take(tensors: Mapping[str, Tensor], key: str, like: Tensor) -> Tensor:
    """The tensor of this key.

    Raises:
        ValueError: it is missing, not finite, or of another shape or type than `like`.
    """
    tensor = tensors.get(key)
    if tensor is None:
        raise ValueError(f"{key} is missing; {like.dtype} of {tuple(like.shape)} is expected")
    if tensor.shape != like.shape or tensor.dtype != like.dtype or not bool(tensor.isfinite().all()):
        raise ValueError(
            f"{key} is {tensor.dtype} of {tuple(tensor.shape)}, or not finite; "
            f"{like.dtype} of {tuple(like.shape)} is expected"
        )
    return tensor
