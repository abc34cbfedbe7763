"""When to stop, and which weights to keep: by images that neither teach nor judge.

They are a share of the training side, by the same digest that holds images out, so that they stay what they are; the
held-out images, on which the gate compares, choose nothing. A small project has none to spare: there every image
teaches, and the averaged weights at the end of the schedule are kept.
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

LOOKS = 12  # of a training that is not stopped
_LEAST_IMAGES, _MOST_IMAGES = 4, 16
_MAY_LOSE = 0.005  # IoU, of any kind of prompt, against the weights that the training began with


class EarlyStopping:
    """Looks at the averaged weights as they go, keeps the best, and says when nothing gets better any more."""

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
        """All of them so far."""
        return tuple(self._looks)

    @property
    def kept_step(self) -> int | None:
        """After which step the weights were as they are kept; None: there is nothing to choose by."""
        return self._looks[best_look(self._looks)].step if self._looks else None

    def look(self, weights: TrainedWeights, *, step: int, done: float) -> bool:
        """Look if it is time to, and keep the average if it is the best so far; whether to go on."""
        if not self._watcher.is_due(done):
            return True
        with weights.averaged():
            self._looks.append(self._watcher.look(step=step, done=done))
        if best_look(self._looks) == len(self._looks) - 1:
            weights.keep()
        return not is_over(self._looks, patience=self._patience)

    def choose_mix(self, weights: TrainedWeights, *, config: TrainConfig) -> float:
        """Leave the trained weights mixed with the first ones, against forgetting; the share of the trained ones.

        Of the config's `mixes` the smallest whose IoU on the validation images, mean over kinds of prompt, is within
        .005 of the best; the config's `mix` where there is nothing to choose by.
        """
        published, shares = weights.published(), sorted(config.mixes)
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
        """For a state, beside the looks: JSON."""
        return {"next_validation": self._watcher.next_look}

    def restore(self, looks: Sequence[Look], values: Mapping[str, Any]) -> None:
        """Take up these looks, and what `values` told.

        Raises:
            KeyError, TypeError, ValueError: that is not what was given.
        """
        next_look = float(values["next_validation"])
        self._looks, self._watcher.next_look = list(looks), next_look


def best_look(looks: Sequence[Look]) -> int:
    """The look with the highest IoU, mean over kinds of prompt, among those where no kind lost more than .005.

    Against the first look, that is; so the first is always among them, and the earliest of equals wins.
    """
    start = looks[0].iou
    fair = [i for i, look in enumerate(looks) if all(look.iou[prompt] >= start[prompt] - _MAY_LOSE for prompt in start)]
    return max(fair, key=lambda i: sum(looks[i].iou.values()))


def is_over(looks: Sequence[Look], *, patience: int) -> bool:
    """Whether no kind of prompt has had a new best IoU in the last `patience` looks."""
    best = [max(range(len(looks)), key=lambda i, of=prompt: looks[i].iou[of]) for prompt in looks[0].iou]  # type: ignore[misc]
    return len(looks) - 1 - max(best) >= patience


def validation_part(samples: Sequence[Sample], *, config: TrainConfig) -> tuple[tuple[Sample, ...], tuple[Sample, ...]]:
    """What is left to learn from, and what validates: by the digest of the image, next above the held-out share.

    Nothing validates below `validation_from` images, or where fewer than four would.
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
