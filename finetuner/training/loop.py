"""The training loop: a step learns from one or more images, moves the weights and updates their average."""

import hashlib
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
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
    """A finished step.

    Attributes:
        epoch: the epoch of the step, from 1.
        epochs: the number of epochs planned.
        step: the number of the step, from 1.
        decodes: prompts decoded since the training began, counted once per object.
        seconds: time since the training began, without pauses after a kill.
        learning_rate: the learning rate of the decoder in this step.
        loss: the mask loss, the weighted IoU loss and the loss of object scores together.
        mask: the mask loss.
        iou: the IoU loss.
        is_last_of_epoch: whether the epoch ends here.
        done: the share of the training that is over, in [0, 1].
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

    The same seed, samples and config give the same weights on the same machine, unless the limit in seconds ends the
    training.
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
        self._method = method
        # More visits, not a larger loss: gradient clipping and Adam's scaling would undo most of a factor.
        self._visits = [
            sample for sample in samples for _ in range(config.ground_truth_weight if sample.is_ground_truth else 1)
        ]
        self._config = config = replace(config, views=config.views_for(_plan(self._visits, config)[0]))
        self._processes = processes
        self._rounds, self._clock = Rounds(method, config=config, embedding=embedding), clock
        self._weights = TrainedWeights(method.trainable(), pace=promptable_pace(config, encoder=method.pace))
        self._rng = np.random.default_rng(config.seed)
        self._at = _Place()
        self._is_stopped, self._is_moving = False, False

    @property
    def weights(self) -> TrainedWeights:
        """The weights that the training moves."""
        return self._weights

    @property
    def is_whole(self) -> bool:
        """Whether `state` is consistent now: the weights are those after the last counted step."""
        return not self._is_moving

    @property
    def begins_at(self) -> str:
        """The last finished step and a digest of the images: several processes must agree on this text."""
        digest = hashlib.sha256(" ".join(sample.image_sha256 for sample in self._visits).encode()).hexdigest()
        return f"step {self._at.step}, {len(self._visits)} images, {digest}"

    @property
    def ended_at(self) -> EndedAt:
        """How far the training is; the work before a kill counts."""
        at = self._at
        views = self._config.views
        return EndedAt(epochs=at.epoch, steps=at.step, decodes=at.decodes, seconds=round(at.seconds, 1), views=views)

    def stop(self) -> None:
        """Make the current step the last."""
        self._is_stopped = True

    def state(self) -> State:
        """Everything that the next step depends on; valid while `is_whole`."""
        values = {"at": asdict(self._at), "rng": self._rng.bit_generator.state}
        return State(tensors={**self._weights.tensors(), **_torch_rng()}, values=values)

    def restore(self, state: State) -> None:
        """Continue from the state of another trainer with the same method, samples and config.

        Raises:
            ValueError: it is not such a state; nothing has changed then.
        """
        try:
            at, rng = _Place.parse(state.values["at"], visits=len(self._visits)), np.random.default_rng()
            rng.bit_generator.state = state.values["rng"]
            self._weights.restore(state.tensors)
            _restore_torch_rng(state.tensors)
        except (KeyError, TypeError, ValueError, RuntimeError, OverflowError) as fault:
            raise ValueError(f"the saved state does not belong to this training: {fault}") from fault
        self._at, self._rng = at, rng

    def steps(self) -> Iterator[Step]:
        """Train step by step until the first limit of the config is reached.

        Raises:
            Diverged: several losses in a row were not finite.
        """
        at = self._at
        began = self._clock() - at.seconds
        config, (epochs, most) = self._config, _plan(self._visits, self._config)
        while not self._is_stopped:
            if at.next == len(at.order):
                if at.epoch == epochs:
                    break
                self._is_moving = True
                at.epoch, at.next, at.order = at.epoch + 1, 0, self._rng.permutation(len(self._visits)).tolist()
                self._is_moving = False
            seconds = self._processes.agree_on(self._clock() - began)
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
                loss=learnt.loss(iou_weight=config.iou_weight),
                mask=learnt.mask,
                iou=learnt.iou,
                is_last_of_epoch=at.next == len(at.order),
                done=min(1.0, share_done(at.decodes / most, at.seconds / config.promptable_seconds)),
            )
        self._is_moving = True
        self._weights.finish()

    def _step(self, images: Sequence[tuple[Sample, np.random.Generator]], rate: float) -> Learnt:
        """Back-propagate part by part, clip, move and average; the mean losses and the number of decodes."""
        self._weights.forget_gradients()
        mine = images[self._processes.rank :: self._processes.count]
        learnt, size = Learnt(), max(1, math.ceil(len(mine) / self._config.accumulate))
        for first in range(0, len(mine), size):
            learnt += self._rounds.learn(mine[first : first + size], of=len(images))
        mask, iou, presence, decodes = self._processes.add_up(
            self._weights.parameters, (learnt.mask, learnt.iou, learnt.presence, float(learnt.decodes))
        )
        learnt = Learnt(mask / len(images), iou / len(images), round(decodes), presence / len(images))
        loss = learnt.loss(iou_weight=self._config.iou_weight)
        norm = self._weights.clip()
        self._is_moving = True  # the weights and the counts disagree from here to the end of the step
        if math.isfinite(loss) and bool(norm.isfinite()):
            self._at.bad_steps = 0
            self._weights.move(rate)
            return learnt
        self._at.bad_steps += 1
        digests = " ".join(sample.image_sha256[:12] for sample, _ in images)
        log.warning(
            "skipped a step on image %s: loss %s, gradient norm %s",
            digests,
            loss,
            float(norm),
            extra={"event": "training.skipped_step", "image_sha256": images[0][0].image_sha256},
        )
        if self._at.bad_steps > _MOST_BAD_STEPS:
            raise Diverged(
                f"the loss was not a number in {self._at.bad_steps} steps in a row (learning rate {rate:g}); "
                "nothing was published: train with SAMLOOP_METHOD=decoder and SAMLOOP_START=base, or check the base's "
                "weights"
            )
        return learnt

    def _next_images(self) -> list[tuple[Sample, np.random.Generator]]:
        """The next step's images, paired with generators that depend on the seed, the epoch and the place alone."""
        at, config = self._at, self._config
        places = range(at.next, min(at.next + config.images_per_step, len(at.order)))
        return [
            (self._visits[at.order[place]], np.random.default_rng((config.seed, at.epoch, place))) for place in places
        ]


def _plan(visits: Sequence[Sample], config: TrainConfig) -> tuple[int, int]:
    """The number of epochs and of decodes within the config's limits; the limit in seconds is checked per step."""
    an_epoch = sum(min(len(sample.objects), config.objects_per_step) for sample in visits)
    an_epoch = max(1, round(an_epoch * (1 + config.corrective_share)))
    most = an_epoch * config.epochs
    bound = config.decodes_for(sum(len(sample.objects) for sample in visits))
    if bound is not None and bound < most:
        most = max(bound, an_epoch)  # the training sees every image at least once
    return max(1, min(config.epochs, math.ceil(most / an_epoch))), most


@dataclass(slots=True)
class _Place:
    """A training's position: it visits images in `order` in this epoch, and `next` is the index of the next."""

    epoch: int = 0
    next: int = 0
    order: list[int] = field(default_factory=list)
    decodes: int = 0
    step: int = 0
    seconds: float = 0.0
    bad_steps: int = 0

    @classmethod
    def parse(cls, values: Mapping[str, Any], *, visits: int) -> "_Place":
        """The position in a saved state.

        Raises:
            ValueError, TypeError: no training with this number of `visits` per epoch can be at such a position.
        """
        at = cls(**values)
        counts = (at.epoch, at.next, at.decodes, at.step, at.bad_steps)
        if any(type(count) is not int or count < 0 for count in counts) or type(at.seconds) is not float:
            raise ValueError(f"its position {str(values)[:100]} has a negative count, or a value that is not a number")
        if sorted(at.order) != list(range(visits)) or at.next > visits or not 0 <= at.seconds < math.inf:
            raise ValueError(f"its position {str(values)[:100]} does not fit {visits} images")
        return at


def promptable_pace(config: TrainConfig, *, encoder: float) -> Pace:
    """The pace of a promptable training: the decoder moves at the learning rate, an adapter `encoder` times as fast."""
    return Pace(
        of=lambda name: encoder if name.startswith(ENCODER) else 1.0,
        # A young average forgets faster: after few steps the latest weights would hardly count otherwise.
        kept_share=lambda step: min(config.ema_decay, (1 + step) / (10 + step)),
        weight_decay=config.weight_decay,
        clip_norm=config.clip_norm,
    )


def share_done(work: float, time_share: float) -> float:
    """The share of the training that is over, at least 0; 1 and above end it.

    Time counts only once it is clearly the tighter limit. The learning rate follows this share, and a training that
    ends by its number of decodes must not depend on how busy the machine was.

    Args:
        work: the share of the decodes that is done.
        time_share: the share of the limit in seconds that has passed.
    """
    return time_share if time_share >= max(work, _TIME_COUNTS_FROM) else work


def _torch_rng() -> dict[str, Tensor]:
    """The state of torch's generators, from which layers draw (dropout, noisy gates)."""
    found = {"rng.cpu": torch.get_rng_state()}
    return found | ({"rng.cuda": torch.cuda.get_rng_state()} if torch.cuda.is_available() else {})


def _restore_torch_rng(tensors: Mapping[str, Tensor]) -> None:
    torch.set_rng_state(tensors["rng.cpu"])
    if torch.cuda.is_available() and "rng.cuda" in tensors:
        torch.cuda.set_rng_state(tensors["rng.cuda"])


def schedule(done: float, *, config: TrainConfig) -> float:
    """The factor of the learning rate, in (0, 1], when the share `done` of the training, in [0, 1], is over.

    It rises linearly during the warm-up and then falls along half a cosine (Loshchilov & Hutter 2017, SGDR,
    equation 5, without restarts).
    """
    if done < config.warmup_share:
        return 0.1 + 0.9 * done / config.warmup_share
    rest = (done - config.warmup_share) / (1 - config.warmup_share)
    return config.final_lr_share + (1 - config.final_lr_share) * 0.5 * (1 + math.cos(math.pi * min(rest, 1.0)))
