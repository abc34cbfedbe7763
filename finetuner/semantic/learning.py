"""The loop of the semantic head: one image a step, on its embedding."""

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from backend.sam.decoder import cells_of
from backend.sam.layers.arithmetic import has_fast_bfloat16
from backend.sam.loading import BaseModel, new_head
from backend.sam.predictor import Embedding
from backend.sam.semantic.head import probabilities
from finetuner.config import TrainConfig
from finetuner.data.sample import Sample
from finetuner.semantic.readout import begin_readout
from finetuner.semantic.targets import Target, class_weights, labels_of, target_of
from finetuner.training.loop import schedule
from finetuner.unfinished import State

log = logging.getLogger(__name__)
_MOST_WEIGHT = 5.0
_TIME_COUNTS_FROM = 0.25
_KEPT = 0.95  # of the average, a step
_TARGETS_BYTES = 1 << 30  # an image's takes 26 MB with a hundred labels; those beyond are made again


@dataclass(frozen=True, slots=True)
class SemanticStep:
    """One step done; `done` is the share of the training that is over, in [0, 1]."""

    step: int
    seconds: float
    loss: float
    done: float


class SemanticTrainer:
    """Trains a head on samples. Iterate over `steps()`; afterwards `head` holds the averaged weights.

    The transformer and the up-scaling, which begin with SAM's weights, move at `semantic_rate`; what is new (tokens,
    hyper-networks' last layers) at ten times that. The same seed, samples and config give the same weights on the same
    machine, as long as `semantic_seconds` does not end it.

    Args:
        base: whose decoder the head begins as, and whose encoder the embeddings are of.
        samples: at least one, with at least one object.
        config: bounds, rate, seed.
        embedding: of a sample.
        clock: seconds.
    """

    def __init__(
        self,
        base: BaseModel,
        samples: Sequence[Sample],
        *,
        config: TrainConfig,
        embedding: Callable[[Sample], Embedding],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._base, self._samples, self._config = base, samples, config
        self._embedding, self._clock = embedding, clock
        self._positions = cells_of(base.image_positions, torch.float32)
        self.head = new_head(base, labels=labels_of(samples), seed=config.seed)
        self._targets: dict[int, Target] = {}
        self._targets_left = _TARGETS_BYTES
        weights = class_weights((self._target(n) for n in range(len(samples))), most=_MOST_WEIGHT)
        self._weights = torch.from_numpy(weights).to(base.device)
        begin_readout(self.head, samples, embedding=embedding, target=self._target)
        new = [each for name, each in self.head.named_parameters() if name in {"tokens", "last", "last_bias", "offset"}]
        known = {id(each) for each in new}
        old = [each for each in self.head.parameters() if id(each) not in known]
        self._optimizer = torch.optim.AdamW(
            [{"params": old, "scale": 1.0}, {"params": new, "scale": 10.0}],
            lr=config.semantic_rate,
            weight_decay=config.weight_decay,
            betas=(0.9, 0.99),
            fused=base.device.type in {"cpu", "cuda"},
        )
        self._average = [each.detach().clone() for each in self.head.parameters()]
        self._rng = np.random.default_rng(config.seed)
        self._done, self._order, self._seconds = 0, list[int](), 0.0
        self._is_half = config.precision == "bfloat16" or (
            config.precision == "auto" and has_fast_bfloat16(base.device)
        )

    @property
    def step(self) -> int:
        """How many steps are done."""
        return self._done

    def state(self) -> State:
        """All that the next step depends on; between two steps."""
        tensors: dict[str, Tensor] = {}
        for (name, weight), average in zip(self.head.named_parameters(), self._average, strict=True):
            remembered = self._optimizer.state.get(weight, {})
            told = {"weight": weight.detach(), "average": average, **{key: remembered[key] for key in remembered}}
            tensors |= {f"{group}.{name}": value for group, value in told.items()}
        values = {"step": self._done, "order": self._order, "seconds": self._seconds}
        return State(tensors=tensors, values={**values, "rng": self._rng.bit_generator.state})

    def restore(self, state: State) -> None:
        """Go on where another trainer, of the same samples and config, told its state.

        Raises:
            ValueError: it is no such state; then nothing was changed.
        """
        try:
            done, order, seconds = (
                int(state.values["step"]),
                list(state.values["order"]),
                float(state.values["seconds"]),
            )
            rng = np.random.default_rng()
            rng.bit_generator.state = state.values["rng"]
            taken = [_Taken.of(state, name, like=weight) for name, weight in self.head.named_parameters()]
        except (KeyError, TypeError, OverflowError) as fault:
            raise ValueError(f"it is no state of this training: {fault}") from fault
        if done < 0 or not 0 <= seconds < math.inf or not set(order) <= set(range(len(self._samples))):
            raise ValueError(f"its place, step {done} at {seconds} s, is none among {len(self._samples)} images")
        with torch.no_grad():
            for weight, average, found in zip(self.head.parameters(), self._average, taken, strict=True):
                weight.copy_(found.weight)
                average.copy_(found.average)
                self._optimizer.state[weight] = dict(found.adam)
        self._done, self._order, self._seconds, self._rng = done, order, seconds, rng

    def steps(self) -> Iterator[SemanticStep]:
        """Train until the first of the bounds, `epochs`, `semantic_steps` and `semantic_seconds`."""
        began, config = self._clock() - self._seconds, self._config
        most = min(config.semantic_steps, config.epochs * len(self._samples))
        while self._done < most:
            self._order = self._order or self._rng.permutation(len(self._samples)).tolist()
            work, time_share = self._done / most, (self._clock() - began) / config.semantic_seconds
            # As in finetuner.training.loop: how busy the machine was must not decide a training that its work ends.
            done = time_share if time_share >= max(work, _TIME_COUNTS_FROM) else work
            if done >= 1:
                break
            loss = self._step(self._order.pop(), config.semantic_rate * schedule(done, config=config))
            self._done, self._seconds = self._done + 1, self._clock() - began
            yield SemanticStep(step=self._done, seconds=self._seconds, loss=loss, done=self._done / most)
        with torch.no_grad():
            for weight, average in zip(self.head.parameters(), self._average, strict=True):
                weight.copy_(average)
        self.head.requires_grad_(requires_grad=False).eval()

    def _step(self, index: int, rate: float) -> float:
        for group in self._optimizer.param_groups:
            group["lr"] = rate * group["scale"]
        self._optimizer.zero_grad(set_to_none=True)
        target = self._target(index)
        image = self._embedding(self._samples[index]).features.to(self._base.device)
        with torch.autocast(self._base.device.type, torch.bfloat16, enabled=self._is_half):
            logits = self.head(image, self._positions).float()
        rows, columns = target.known.shape
        loss = semantic_loss(
            logits[:, :rows, :columns],
            torch.from_numpy(target.shares).to(logits.device),
            known=torch.from_numpy(target.known).to(logits.device),
            weights=self._weights,
        )
        torch.autograd.backward(loss)
        norm = torch.nn.utils.clip_grad_norm_(self.head.parameters(), self._config.clip_norm)
        if not (math.isfinite(loss.item()) and bool(norm.isfinite())):
            log.warning("skipped a semantic step: loss %s", loss.item(), extra={"event": "training.skipped_step"})
            return loss.item()
        self._optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(self._average, list(self.head.parameters()), 1 - _KEPT)
        return loss.item()

    def _target(self, index: int) -> Target:
        if (kept := self._targets.get(index)) is not None:
            return kept
        made = target_of(
            self._samples[index],
            labels=self.head.labels,
            frame=self._base.frame,
            unlabelled=self._config.unlabelled,
        )
        if (size := made.shares.nbytes + made.known.nbytes) <= self._targets_left:
            self._targets[index], self._targets_left = made, self._targets_left - size
        return made


@dataclass(frozen=True, slots=True)
class _Taken:
    """One weight, its average, and what the optimizer remembers of it (nothing before its first step)."""

    weight: Tensor
    average: Tensor
    adam: Mapping[str, Tensor]

    @classmethod
    def of(cls, state: State, name: str, *, like: Tensor) -> "_Taken":
        """Raises KeyError for what is missing, ValueError for what does not fit."""

        def taken(group: str, shape: torch.Size) -> Tensor:
            found = state.tensors[f"{group}.{name}"]
            if found.shape != shape or found.dtype != like.dtype or not bool(found.isfinite().all()):
                raise ValueError(f"{group}.{name} is {found.dtype} of {tuple(found.shape)}, or not finite")
            # A fused optimizer counts its steps beside the weights.
            return found.to(like.device, copy=True)

        adam = ("exp_avg", "exp_avg_sq") if f"step.{name}" in state.tensors else ()
        remembered = {key: taken(key, like.shape) for key in adam}
        if remembered:
            remembered["step"] = taken("step", torch.Size(()))
        return cls(taken("weight", like.shape), taken("average", like.shape), remembered)


def semantic_loss(
    logits: Float[Tensor, "maps rows cols"],
    shares: Float[Tensor, "classes rows cols"],
    *,
    known: Bool[Tensor, "rows cols"],
    weights: Float[Tensor, " classes"],
) -> Float[Tensor, ""]:
    """Cross-entropy over ground and labels, and soft Dice of every label that is in the image, over known cells.

    Of one label, and one map, binary cross-entropy with logits. `weights` by class. 0 where no cell is known.
    """
    if not bool(known.any()):
        return logits.sum() * 0
    flat, wanted = logits[:, known], shares[:, known]
    if len(flat) == 1:
        each = weights[0] * wanted[0] + weights[1] * wanted[1]
        entropy = functional.binary_cross_entropy_with_logits(flat[0], wanted[1], weight=each)
    else:
        # Shares, not numbers of classes: a cell on an edge is two of them.
        entropy = functional.cross_entropy(flat.T, wanted.T, weight=weights)
    found = probabilities(logits)[:, known]
    overlap, total = (found * wanted[1:]).sum(1), (found.square() + wanted[1:].square()).sum(1)
    dice = 1 - (2 * overlap + 1) / (total + 1)
    there = wanted[1:].sum(1) > 0
    return entropy + (dice[there].mean() if bool(there.any()) else dice.mean())
