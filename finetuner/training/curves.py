"""The curves of a training: the loss of its steps, and the loss and IoU on held-out objects at intervals."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from backend.masks.prompt import Prompt
from backend.registry.figures import PROMPTS
from backend.registry.metrics import CurvesMetrics, Look, TrainingPoint
from backend.sam.predictor import Embedding
from finetuner.config import TrainConfig
from finetuner.data.objects import grid_coverage
from finetuner.data.prompting import farthest_inner_point
from finetuner.data.sample import Sample
from finetuner.methods.base import Method
from finetuner.training.loop import Step
from finetuner.training.losses import hard_iou, mask_loss

_MOST_POINTS, _LEAST_STEPS = 60, 4
_MOST_IMAGES, _OBJECTS_AN_IMAGE = 8, 3
_LOOKS = 6


@dataclass(frozen=True, slots=True)
class Curves:
    """What a training records while it runs.

    Attributes:
        steps: a tuple `(step, loss, mask loss, IoU loss)` per step.
        looks: measurements on held-out objects.
        validation: measurements on the validation objects, which choose the weights to publish (early_stopping).
    """

    steps: list[tuple[int, float, float, float]] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)
    validation: list[Look] = field(default_factory=list)

    def add(self, step: Step) -> None:
        """Record a step."""
        self.steps.append((step.step, step.loss, step.mask, step.iou))

    def tensors(self) -> dict[str, Tensor]:
        """The steps as a float64 tensor (steps, 4), for a saved state."""
        return {"curves.steps": torch.tensor(self.steps, dtype=torch.float64).reshape(-1, 4)}

    def values(self) -> dict[str, object]:
        """The measurements as JSON, for a saved state."""
        return {name: [look.to_json() for look in getattr(self, name)] for name in ("looks", "validation")}

    @classmethod
    def restore(cls, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> "Curves":
        """The curves that wrote these `tensors` and `values`.

        Raises:
            KeyError, TypeError, ValueError: they are not a saved state of curves.
        """
        steps = [(int(number), *rest) for number, *rest in tensors["curves.steps"].reshape(-1, 4).tolist()]
        looks, validation = ([Look.model_validate(look) for look in values[name]] for name in ("looks", "validation"))
        if any(set(look.loss) != set(PROMPTS) or set(look.iou) != set(PROMPTS) for look in (*looks, *validation)):
            raise ValueError(f"a measurement lacks a kind of prompt; it needs {', '.join(PROMPTS)} and no other")
        return cls(steps=steps, looks=looks, validation=validation)

    def metrics(self) -> CurvesMetrics:
        """The curves as the manifest stores them, with at most 60 points for the training.

        A point is the mean of at least four steps (of all steps if the training has fewer), at the number of the last.
        A single step sees only one image, and images differ in loss more than a training changes it.
        """
        points = min(_MOST_POINTS, max(1, len(self.steps) // _LEAST_STEPS))
        groups = np.array_split(np.array(self.steps, np.float64).reshape(-1, 4), points)
        return CurvesMetrics(
            training=tuple(
                TrainingPoint(int(steps[-1, 0]), *steps[:, 1:].mean(0).round(5).tolist())
                for steps in groups
                if len(steps)
            ),
            held_out=tuple(self.looks),
            validation=tuple(self.validation),
        )


class Watcher:
    """Measures a few objects at the start of a training, at its end, and in between: `looks` times in all.

    On held-out images it draws the curve and chooses nothing, so those images stay unseen. The images that choose
    weights are others (early_stopping). It measures at most three objects on up to `most_images` images, which costs
    a few seconds in a training of minutes.
    """

    def __init__(  # noqa: PLR0913 - all but two by name
        self,
        method: Method,
        held_out: Sequence[Sample],
        *,
        config: TrainConfig,
        embedding: Callable[[Sample], Embedding],
        looks: int = _LOOKS,
        most_images: int = _MOST_IMAGES,
    ) -> None:
        self._method, self._config, self._embedding, self._looks = method, config, embedding, looks
        self._samples = held_out[:most_images]
        self.next_look = 0.0  # the share of the training, in [0, 1], at which the next measurement is due

    def is_due(self, done: float) -> bool:
        """Whether a measurement is due after the share `done` of the training, in [0, 1]; never without images."""
        return bool(self._samples) and done >= min(self.next_look, 1.0) - 1e-9

    def look(self, *, step: int, done: float) -> Look:
        """Measure with the current weights: loss and IoU in [0, 1], the mean over objects per kind of prompt."""
        self.next_look = done + 1 / (self._looks - 1)
        loss: dict[str, list[float]] = {prompt: [] for prompt in PROMPTS}
        ious: dict[str, list[float]] = {prompt: [] for prompt in PROMPTS}
        for sample in self._samples:
            objects = sample.objects[:_OBJECTS_AN_IMAGE]
            target = torch.from_numpy(np.stack([grid_coverage(item, frame=self._method.frame) for item in objects]))
            boxes = [Prompt(box=item.box) for item in objects]
            points = [Prompt(clicks=(farthest_inner_point(item),)) for item in objects]
            for prompt, prompts in (("box", boxes), ("point", points)):
                with torch.no_grad():
                    logits, _ = self._method.decode(self._embedding(sample), prompts)
                single = logits[:, :1, : target.shape[1], : target.shape[2]].cpu()
                loss[prompt] += mask_loss(single, target, losses=self._config.losses)[:, 0].tolist()
                ious[prompt] += hard_iou(single, target)[:, 0].tolist()
        return Look(step=step, loss=_round(loss), iou=_round(ious))


def mean_looks(trainings: Sequence[Sequence[Look]]) -> list[Look]:
    """Average the measurements of a cross-validation's folds: the first of every training, the second, and so on.

    If a training ended early, the measurements that it lacks are left out for all. Trainings without any do not count.
    """
    return [
        Look(
            step=round(np.mean([look.step for look in looks])),
            loss=_round({prompt: [look.loss[prompt] for look in looks] for prompt in PROMPTS}),
            iou=_round({prompt: [look.iou[prompt] for look in looks] for prompt in PROMPTS}),
        )
        for looks in zip(*filter(None, trainings), strict=False)
    ]


def _round(values: Mapping[str, Sequence[float | None]]) -> dict[str, float]:
    """The mean of each column, to five decimals. None stands for a loss that was not a number: the mean is NaN then."""
    return {name: round(float(np.mean(np.array(column, np.float64))), 5) for name, column in values.items()}
