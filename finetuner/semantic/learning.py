"""The loop of the semantic head: one image a step, on its embedding."""

import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
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
from finetuner.training.loop import schedule, share_done
from finetuner.training.weights import Pace, TrainedWeights
from finetuner.unfinished import State

log = logging.getLogger(__name__)
_MOST_WEIGHT = 5.0
_KEPT = 0.95  # of the average, a step
_NEW, _NEW_PACE = frozenset({"tokens", "last", "last_bias", "offset"}), 10.0
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
        samples: at least one with an object; those without are background.
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
        self._moving = TrainedWeights(dict(self.head.named_parameters()), pace=_pace(config))
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
        values = {"step": self._done, "order": self._order, "seconds": self._seconds}
        return State(tensors=self._moving.tensors(), values={**values, "rng": self._rng.bit_generator.state})

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
        except (KeyError, TypeError, OverflowError) as fault:
            raise ValueError(f"it is no state of this training: {fault}") from fault
        if done < 0 or not 0 <= seconds < math.inf or not set(order) <= set(range(len(self._samples))):
            raise ValueError(f"its place, step {done} at {seconds} s, is none among {len(self._samples)} images")
        self._moving.restore(state.tensors)
        self._done, self._order, self._seconds, self._rng = done, order, seconds, rng

    def steps(self) -> Iterator[SemanticStep]:
        """Train until the first of the bounds, `epochs`, `semantic_steps` and `semantic_seconds`."""
        began, config = self._clock() - self._seconds, self._config
        most = min(config.semantic_steps, config.epochs * len(self._samples))
        while self._done < most:
            self._order = self._order or self._rng.permutation(len(self._samples)).tolist()
            work, time_share = self._done / most, (self._clock() - began) / config.semantic_seconds
            done = share_done(work, time_share)
            if done >= 1:
                break
            loss = self._step(self._order.pop(), config.semantic_rate * schedule(done, config=config))
            self._done, self._seconds = self._done + 1, self._clock() - began
            yield SemanticStep(step=self._done, seconds=self._seconds, loss=loss, done=self._done / most)
        self._moving.finish()
        self.head.requires_grad_(requires_grad=False).eval()

    def _step(self, index: int, rate: float) -> float:
        self._moving.forget_gradients()
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
        norm = self._moving.clip()
        if not (math.isfinite(loss.item()) and bool(norm.isfinite())):
            log.warning("skipped a semantic step: loss %s", loss.item(), extra={"event": "training.skipped_step"})
            return loss.item()
        self._moving.move(rate)
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


def _pace(config: TrainConfig) -> Pace:
    """What is new moves ten times as fast as what began with SAM's weights."""
    return Pace(
        of=lambda name: _NEW_PACE if name in _NEW else 1.0,
        kept_share=lambda _: _KEPT,
        weight_decay=config.weight_decay,
        clip_norm=config.clip_norm,
        fused_on=frozenset({"cpu", "cuda"}),
    )


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
        by_cell = weights[0] * wanted[0] + weights[1] * wanted[1]
        entropy = functional.binary_cross_entropy_with_logits(flat[0], wanted[1], weight=by_cell)
    else:
        # Shares, not numbers of classes: a cell on an edge is two of them.
        entropy = functional.cross_entropy(flat.T, wanted.T, weight=weights)
    found = probabilities(logits)[:, known]
    overlap, total = (found * wanted[1:]).sum(1), (found.square() + wanted[1:].square()).sum(1)
    dice = 1 - (2 * overlap + 1) / (total + 1)
    there = wanted[1:].sum(1) > 0
    return entropy + (dice[there].mean() if bool(there.any()) else dice.mean())
