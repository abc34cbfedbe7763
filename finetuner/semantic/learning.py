"""The training loop of the semantic head: one image per step, on its embedding."""

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
_EMA_DECAY = 0.95  # per step
_NEW, _NEW_PACE = frozenset({"tokens", "last", "last_bias", "offset"}), 10.0
_TARGETS_BYTES = 1 << 30  # an image's target takes 26 MB with a hundred labels; targets beyond are computed again


@dataclass(frozen=True, slots=True)
class SemanticStep:
    """A finished step, numbered from 1; `done` is the share of the training that is over, in [0, 1]."""

    step: int
    seconds: float
    loss: float
    done: float


class SemanticTrainer:
    """Trains a head on samples. Iterate over `steps()`; afterwards `head` holds the averaged weights.

    The transformer and the up-scaling start with SAM's weights and learn at `semantic_rate`; the new weights (tokens,
    hyper-networks' last layers) learn ten times as fast. The same seed, samples and config give the same weights on the
    same machine, unless `semantic_seconds` ends the training.

    Args:
        base: provides the decoder that the head starts from, and the encoder of the embeddings.
        samples: the images, at least one with an object; those without are background.
        config: the limits, the learning rate and the seed.
        embedding: returns a sample's embedding.
        clock: returns the time in seconds.
        targets_bytes: the memory for targets; those beyond are computed again.
    """

    def __init__(  # noqa: PLR0913 - all but two by name
        self,
        base: BaseModel,
        samples: Sequence[Sample],
        *,
        config: TrainConfig,
        embedding: Callable[[Sample], Embedding],
        clock: Callable[[], float] = time.monotonic,
        targets_bytes: int = _TARGETS_BYTES,
    ) -> None:
        self._base, self._samples, self._config = base, samples, config
        self._embedding, self._clock = embedding, clock
        self._positions = cells_of(base.image_positions, torch.float32)
        self.head = new_head(base, labels=labels_of(samples), seed=config.seed)
        self._targets: dict[int, Target] = {}
        self._targets_left = targets_bytes
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
        """The number of finished steps."""
        return self._done

    def state(self) -> State:
        """Everything that the next step depends on; valid between two steps."""
        values = {"step": self._done, "order": self._order, "seconds": self._seconds}
        return State(tensors=self._moving.tensors(), values={**values, "rng": self._rng.bit_generator.state})

    def restore(self, state: State) -> None:
        """Continue from the state of another trainer with the same samples and config.

        Raises:
            ValueError: it is not such a state; nothing has changed then.
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
            raise ValueError(f"the saved state does not belong to this training: {fault}") from fault
        if done < 0 or not 0 <= seconds < math.inf or not set(order) <= set(range(len(self._samples))):
            raise ValueError(f"its position, step {done} at {seconds} s, does not fit {len(self._samples)} images")
        self._moving.restore(state.tensors)
        self._done, self._order, self._seconds, self._rng = done, order, seconds, rng

    def steps(self) -> Iterator[SemanticStep]:
        """Train until the first of the limits `epochs`, `semantic_steps` and `semantic_seconds` is reached."""
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
        if (cached := self._targets.get(index)) is not None:
            return cached
        target = target_of(
            self._samples[index],
            labels=self.head.labels,
            frame=self._base.frame,
            unlabelled=self._config.unlabelled,
        )
        if (size := target.shares.nbytes + target.known.nbytes) <= self._targets_left:
            self._targets[index], self._targets_left = target, self._targets_left - size
        return target


def _pace(config: TrainConfig) -> Pace:
    """New weights learn ten times as fast as those that start from SAM's."""
    return Pace(
        of=lambda name: _NEW_PACE if name in _NEW else 1.0,
        kept_share=lambda _: _EMA_DECAY,
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
    """Cross-entropy over background and labels, plus the soft Dice loss of the labels in the image, over known cells.

    With a single label and map, the cross-entropy is binary.

    Args:
        logits: (maps, rows, columns) of any range, on the cells that the image reaches.
        shares: (classes, rows, columns) in [0, 1], the background first; a cell's shares sum to 1.
        known: (rows, columns); cells that are False do not count.
        weights: the weight of a cell, by class.

    Returns:
        A scalar, at least 0, in nats; 0 if no cell is known.
    """
    if not bool(known.any()):
        return logits.sum() * 0
    flat, wanted = logits[:, known], shares[:, known]
    if len(flat) == 1:
        by_cell = weights[0] * wanted[0] + weights[1] * wanted[1]
        entropy = functional.binary_cross_entropy_with_logits(flat[0], wanted[1], weight=by_cell)
    else:
        # The target is shares, not class numbers: a cell on an edge belongs to two classes.
        entropy = functional.cross_entropy(flat.T, wanted.T, weight=weights)
    predicted = probabilities(logits)[:, known]
    overlap, total = (predicted * wanted[1:]).sum(1), (predicted.square() + wanted[1:].square()).sum(1)
    dice = 1 - (2 * overlap + 1) / (total + 1)
    there = wanted[1:].sum(1) > 0
    return entropy + (dice[there].mean() if bool(there.any()) else dice.mean())
