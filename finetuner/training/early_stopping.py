"""Stops a training and chooses the weights to publish, by validation images.

Validation images are a share of the training side. Their digests choose them, as they choose the held-out images, so
the choice is the same in every training. The gate compares on the held-out images, and those choose nothing here. A
small project has no images to spare: it trains on all of them and publishes the averaged weights at the end.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from backend.registry.metrics import Look
from backend.sam.predictor import Embedding
from finetuner.config import TrainConfig
from finetuner.data.sample import Sample
from finetuner.data.split import rank
from finetuner.methods.base import Method
from finetuner.training.curves import Watcher
from finetuner.training.weights import TrainedWeights

LOOKS = 12  # measurements in a training that runs to its end
_LEAST_IMAGES, _MOST_IMAGES = 4, 16
_MAY_LOSE = 0.005  # the IoU that a kind of prompt may lose against the first weights


class EarlyStopping:
    """Measures the averaged weights at intervals, keeps the best, and stops when they no longer improve."""

    def __init__(
        self,
        method: Method,
        validation: Sequence[Sample],
        *,
        config: TrainConfig,
        embedding: Callable[[Sample], Embedding],
    ) -> None:
        self._watcher = Watcher(
            method, validation, config=config, embedding=embedding, looks=LOOKS, most_images=_MOST_IMAGES
        )
        self._patience = config.patience
        self._looks: list[Look] = []

    @property
    def looks(self) -> tuple[Look, ...]:
        """All measurements so far."""
        return tuple(self._looks)

    @property
    def kept_step(self) -> int | None:
        """The step whose averaged weights are the best so far; None if there are no validation images."""
        return self._looks[best_look(self._looks)].step if self._looks else None

    def look(self, weights: TrainedWeights, *, step: int, done: float) -> bool:
        """Measure if it is due, and keep the averaged weights if they are the best so far; whether to continue."""
        if not self._watcher.is_due(done):
            return True
        with weights.use_average():
            self._looks.append(self._watcher.look(step=step, done=done))
        if best_look(self._looks) == len(self._looks) - 1:
            weights.keep()
        return not is_over(self._looks, patience=self._patience)

    def choose_mix(self, weights: TrainedWeights, *, config: TrainConfig) -> float:
        """Mix the trained weights with the first ones, to prevent forgetting, and return the share of the trained ones.

        The share is the smallest of the config's `mixes` whose IoU on the validation images (the mean over kinds of
        prompt) is within .005 of the best; without validation images it is the config's `mix`.
        """
        published, shares = weights.copy_weights(), sorted(config.mixes)
        chosen = config.mix
        if self._looks:
            ious = []
            for share in shares:
                weights.mix(published, share=share)
                look = self._watcher.look(step=0, done=1.0)
                ious.append(sum(look.iou.values()) / len(look.iou))
            chosen = next(share for share, iou in zip(shares, ious, strict=True) if iou >= max(ious) - _MAY_LOSE)
        weights.mix(published, share=chosen)
        return chosen

    def values(self) -> dict[str, object]:
        """What a saved state needs besides the measurements, as JSON."""
        return {"next_validation": self._watcher.next_look}

    def restore(self, looks: Sequence[Look], values: Mapping[str, Any]) -> None:
        """Restore the measurements and the `values` of a saved state.

        Raises:
            KeyError, TypeError, ValueError: `values` are not those of a saved state.
        """
        next_look = float(values["next_validation"])
        self._looks, self._watcher.next_look = list(looks), next_look


def best_look(looks: Sequence[Look]) -> int:
    """The index of the measurement with the highest IoU, the mean over kinds of prompt.

    Only measurements count in which no kind of prompt lost more than .005 IoU against the first; the first always
    counts. The earliest of equals wins.
    """
    start = looks[0].iou
    fair = [i for i, look in enumerate(looks) if all(look.iou[prompt] >= start[prompt] - _MAY_LOSE for prompt in start)]
    return max(fair, key=lambda i: sum(looks[i].iou.values()))


def is_over(looks: Sequence[Look], *, patience: int) -> bool:
    """Whether no kind of prompt reached a new best IoU in the last `patience` measurements."""
    best = [max(range(len(looks)), key=lambda i, of=prompt: looks[i].iou[of]) for prompt in looks[0].iou]  # type: ignore[misc]
    return len(looks) - 1 - max(best) >= patience


def validation_part(samples: Sequence[Sample], *, config: TrainConfig) -> tuple[tuple[Sample, ...], tuple[Sample, ...]]:
    """Split the training side into samples to train on and samples to validate on, in this order.

    The digests next above the held-out share validate. There is no validation part in a project of fewer than
    `validation_from` images, nor where it would have fewer than four.
    """
    below = config.held_out_share + config.validation_share * (1 - config.held_out_share)
    pictures = {sample.picture or sample.image_sha256 for sample in samples}
    chosen = {picture for picture in pictures if rank(picture) < below}
    if len(pictures) < config.validation_from or len(chosen) < _LEAST_IMAGES:
        return tuple(samples), ()
    is_chosen = [(sample.picture or sample.image_sha256) in chosen for sample in samples]
    return (
        tuple(sample for sample, out in zip(samples, is_chosen, strict=True) if not out),
        tuple(sample for sample, out in zip(samples, is_chosen, strict=True) if out),
    )
