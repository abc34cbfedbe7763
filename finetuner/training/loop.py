"""The loop: an image a step or several, a few objects of an image (rounds), moved and averaged; it yields its steps."""

import hashlib
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from backend.errors import Diverged, NothingToLearn
from backend.registry.metrics import EndedAt
from backend.sam.predictor import Embedding
from finetuner.config import TrainConfig
from finetuner.data.sample import Sample
from finetuner.methods.base import ENCODER, Method
from finetuner.training.processes import Processes
from finetuner.training.rounds import Learnt, Rounds
from finetuner.training.weights import Pace, TrainedWeights
from finetuner.unfinished import State

log = logging.getLogger(__name__)

_MOST_BAD_STEPS = 5
_TIME_COUNTS_FROM = 0.25
_ALONE = Processes()


@dataclass(frozen=True, slots=True)
class Step:
    """One step done. `mask` and `iou` are the losses' parts; `decodes` counts object-prompts since the beginning.

    `done` is the share of the training that is over, in [0, 1].
    """

    epoch: int
    epochs: int
    step: int
    decodes: int
    seconds: float
    learning_rate: float
    loss: float
    mask: float
    iou: float
    is_last_of_epoch: bool
    done: float


class Trainer:
    """Trains one method on samples. Iterate over `steps()`; afterwards the method holds the averaged weights.

    The same seed, samples and config give the same weights on the same machine, as long as `seconds` does not end it.
    """

    def __init__(  # noqa: PLR0913 - all but two by name
        self,
        method: Method,
        samples: Sequence[Sample],
        *,
        config: TrainConfig,
        embedding: Callable[[Sample], Embedding],
        clock: Callable[[], float] = time.monotonic,
        processes: Processes = _ALONE,
    ) -> None:
        if not samples:
            raise NothingToLearn("no image is left to learn from: annotate at least two images and train again")
        self._method, self._config = method, config
        # Visits, not a factor of the loss: clipped gradients and Adam's scaling would take most of that away again.
        self._visits = [
            sample for sample in samples for _ in range(config.ground_truth_weight if sample.is_ground_truth else 1)
        ]
        self._processes = processes
        self._rounds, self._clock = Rounds(method, config=config, embedding=embedding), clock
        self._weights = TrainedWeights(method.trainable(), pace=promptable_pace(config, encoder=method.pace))
        self._rng = np.random.default_rng(config.seed)
        self._at = _Place()
        self._is_stopped, self._is_moving = False, False

    @property
    def weights(self) -> TrainedWeights:
        """What moves."""
        return self._weights

    @property
    def is_whole(self) -> bool:
        """Whether `state` tells all now: the weights belong to the step that was counted last, even within the next."""
        return not self._is_moving

    @property
    def begins_at(self) -> str:
        """The step that is done, and the images to learn from: what several processes must have in common."""
        digest = hashlib.sha256(" ".join(sample.image_sha256 for sample in self._visits).encode()).hexdigest()
        return f"step {self._at.step}, {len(self._visits)} images, {digest}"

    @property
    def ended_at(self) -> EndedAt:
        """How far it is; what was done before a kill counts."""
        at = self._at
        return EndedAt(epochs=at.epoch, steps=at.step, decodes=at.decodes, seconds=round(at.seconds, 1))

    def stop(self) -> None:
        """Let the step under way be the last."""
        self._is_stopped = True

    def state(self) -> State:
        """All that the next step depends on; while it `is_whole`."""
        values = {"at": asdict(self._at), "rng": self._rng.bit_generator.state}
        return State(tensors={**self._weights.tensors(), **_torch_rng()}, values=values)

    def restore(self, state: State) -> None:
        """Go on where another trainer, of the same method, samples and config, told its state.

        Raises:
            ValueError: it is no such state; then nothing was changed.
        """
        try:
            at, rng = _Place.parsed(state.values["at"], visits=len(self._visits)), np.random.default_rng()
            rng.bit_generator.state = state.values["rng"]
            self._weights.restore(state.tensors)
            _restore_torch_rng(state.tensors)
        except (KeyError, TypeError, ValueError, RuntimeError, OverflowError) as fault:
            raise ValueError(f"it is no state of this training: {fault}") from fault
        self._at, self._rng = at, rng

    def steps(self) -> Iterator[Step]:
        """Train until the first of the config's bounds, one step after the other.

        Raises:
            Diverged: several losses in a row were not finite.
        """
        at = self._at
        began = self._clock() - at.seconds
        config, epochs, most = self._config, *self._plan()
        while not self._is_stopped:
            if at.next == len(at.order):
                if at.epoch == epochs:
                    break
                self._is_moving = True
                at.epoch, at.next, at.order = at.epoch + 1, 0, self._rng.permutation(len(self._visits)).tolist()
                self._is_moving = False
            seconds = self._processes.agreed(self._clock() - began)
            done = share_done(at.decodes / most, seconds / config.promptable_seconds)
            if done >= 1:
                break
            self._method.begin_step(at.step + 1, done=done)
            rate = config.rate_for(most) * schedule(done, config=config)
            images = self._next_images()
            learnt = self._step(images, rate)
            at.next, at.decodes, at.step, at.seconds = (
                at.next + len(images),
                at.decodes + learnt.decodes,
                at.step + 1,
                self._clock() - began,
            )
            self._is_moving = False
            yield Step(
                epoch=at.epoch,
                epochs=epochs,
                step=at.step,
                decodes=at.decodes,
                seconds=at.seconds,
                learning_rate=rate,
                loss=learnt.mask + config.iou_weight * learnt.iou,
                mask=learnt.mask,
                iou=learnt.iou,
                is_last_of_epoch=at.next == len(at.order),
                done=min(1.0, share_done(at.decodes / most, at.seconds / config.promptable_seconds)),
            )
        self._is_moving = True
        self._weights.finish()

    def _plan(self) -> tuple[int, int]:
        """How many epochs, and how many decodes in all, the bounds leave; seconds are looked at on the way."""
        config = self._config
        an_epoch = sum(min(len(sample.objects), config.objects_per_step) for sample in self._visits)
        an_epoch = max(1, round(an_epoch * (1 + config.corrective_share)))
        most = an_epoch * config.epochs
        if config.decodes is not None and config.decodes < most:
            most = max(config.decodes, an_epoch)  # every image is seen once, at least
        return max(1, min(config.epochs, math.ceil(most / an_epoch))), most

    def _step(self, images: Sequence[tuple[Sample, np.random.Generator]], rate: float) -> Learnt:
        """Back-propagate part by part, clip, move, average. The mean losses, and how many object-prompts there were."""
        self._weights.forget_gradients()
        mine = images[self._processes.rank :: self._processes.count]
        learnt, size = Learnt(), max(1, math.ceil(len(mine) / self._config.accumulate))
        for first in range(0, len(mine), size):
            learnt += self._rounds.learn(mine[first : first + size], of=len(images))
        mask, iou, decodes = self._processes.add_up(
            self._weights.parameters, (learnt.mask, learnt.iou, float(learnt.decodes))
        )
        learnt = Learnt(mask / len(images), iou / len(images), round(decodes))
        norm = self._weights.clip()
        self._is_moving = True  # from here on the step has happened, by half
        if math.isfinite(learnt.mask + learnt.iou) and bool(norm.isfinite()):
            self._at.bad_steps = 0
            self._weights.move(rate)
            return learnt
        self._at.bad_steps += 1
        digests = " ".join(sample.image_sha256[:12] for sample, _ in images)
        log.warning(
            "skipped a step on image %s: loss %s, gradient norm %s",
            digests,
            learnt.mask + learnt.iou,
            float(norm),
            extra={"event": "training.skipped_step", "image_sha256": images[0][0].image_sha256},
        )
        if self._at.bad_steps > _MOST_BAD_STEPS:
            raise Diverged(
                f"the loss was not a number in {self._at.bad_steps} steps in a row (learning rate {rate:g}); "
                "nothing was published: lower the learning rate, or look at the base weights"
            )
        return learnt

    def _next_images(self) -> list[tuple[Sample, np.random.Generator]]:
        """The next step's images with what is drawn for this visit: it follows from seed, epoch and place alone."""
        at, config = self._at, self._config
        places = range(at.next, min(at.next + config.images_per_step, len(at.order)))
        return [
            (self._visits[at.order[place]], np.random.default_rng((config.seed, at.epoch, place))) for place in places
        ]


@dataclass(slots=True)
class _Place:
    """Where in its schedule a training is: `next` of the `order` in which this epoch visits images."""

    epoch: int = 0
    next: int = 0
    order: list[int] = field(default_factory=list)
    decodes: int = 0
    step: int = 0
    seconds: float = 0.0
    bad_steps: int = 0

    @classmethod
    def parsed(cls, values: Mapping[str, Any], *, visits: int) -> "_Place":
        """Raises ValueError or TypeError for what no training with so many visits an epoch can have told."""
        at = cls(**values)
        counts = (at.epoch, at.next, at.decodes, at.step, at.bad_steps)
        if any(type(count) is not int or count < 0 for count in counts) or type(at.seconds) is not float:
            raise ValueError(f"its place {str(values)[:100]} is none")
        if sorted(at.order) != list(range(visits)) or at.next > visits or not 0 <= at.seconds < math.inf:
            raise ValueError(f"its place {str(values)[:100]} is not among {visits} images")
        return at


def promptable_pace(config: TrainConfig, *, encoder: float) -> Pace:
    """The decoder moves at the learning rate, an adapter in the `encoder` so many times as fast."""
    return Pace(
        of=lambda name: encoder if name.startswith(ENCODER) else 1.0,
        # Young averages forget faster: with few steps the last weights would otherwise hardly count.
        kept_share=lambda step: min(config.ema_decay, (1 + step) / (10 + step)),
        weight_decay=config.weight_decay,
        clip_norm=config.clip_norm,
    )


def share_done(work: float, time_share: float) -> float:
    """How much of the run is over, in [0, 1].

    Time counts only where it is the tighter bound for sure: the learning rate follows this, and a training that its
    work ends must not depend on how busy the machine was.
    """
    return time_share if time_share >= max(work, _TIME_COUNTS_FROM) else work


def _torch_rng() -> dict[str, Tensor]:
    """What layers that draw (dropout, noisy gates) draw from."""
    found = {"rng.cpu": torch.get_rng_state()}
    return found | ({"rng.cuda": torch.cuda.get_rng_state()} if torch.cuda.is_available() else {})


def _restore_torch_rng(tensors: Mapping[str, Tensor]) -> None:
    torch.set_rng_state(tensors["rng.cpu"])
    if torch.cuda.is_available() and "rng.cuda" in tensors:
        torch.cuda.set_rng_state(tensors["rng.cuda"])


def schedule(done: float, *, config: TrainConfig) -> float:
    """The share of the learning rate at this share of the run, both in [0, 1]: a linear warm-up, then half a cosine."""
    if done < config.warmup_share:
        return 0.1 + 0.9 * done / config.warmup_share
    rest = (done - config.warmup_share) / (1 - config.warmup_share)
    return config.final_lr_share + (1 - config.final_lr_share) * 0.5 * (1 + math.cos(math.pi * min(rest, 1.0)))
