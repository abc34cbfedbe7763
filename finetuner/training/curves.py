"""How a training went: its loss as it learnt, and what held-out objects said now and then."""

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
    """Filled in while a training goes on. `steps` are `(step, loss, mask loss, IoU loss)`.

    `looks` are at held-out objects, `validation` at those that choose the weights that are kept (early_stopping).
    """

    steps: list[tuple[int, float, float, float]] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)
    validation: list[Look] = field(default_factory=list)

    def add(self, step: Step) -> None:
        """Note a step."""
        self.steps.append((step.step, step.loss, step.mask, step.iou))

    def tensors(self) -> dict[str, Tensor]:
        """The steps, for a state."""
        return {"curves.steps": torch.tensor(self.steps, dtype=torch.float64).reshape(-1, 4)}

    def values(self) -> dict[str, object]:
        """The looks, for a state."""
        return {name: [look.to_json() for look in getattr(self, name)] for name in ("looks", "validation")}

    @classmethod
    def restored(cls, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> "Curves":
        """What told these `tensors` and `values`.

        Raises:
            KeyError, TypeError, ValueError: nothing of this kind did.
        """
        steps = [(int(number), *rest) for number, *rest in tensors["curves.steps"].reshape(-1, 4).tolist()]
        looks, validation = ([Look.model_validate(look) for look in values[name]] for name in ("looks", "validation"))
        if any(set(look.loss) != set(PROMPTS) or set(look.iou) != set(PROMPTS) for look in (*looks, *validation)):
            raise ValueError(f"a look is not of {', '.join(PROMPTS)}")
        return cls(steps=steps, looks=looks, validation=validation)

    def metrics(self) -> CurvesMetrics:
        """The curves as a manifest keeps them.

        Of the training at most 60 points. A point is the mean of at least four steps if there are as many, and stands
        at the last of them: a single step sees one image, and steps differ more than a training changes.
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
    """Looks at a few held-out objects at the beginning, at the end, and between: `looks` times in all.

    Of held-out images for the eye alone: nothing is chosen by what it sees, so they stay as unseen as they were (what
    early_stopping chooses by are others). At most three objects on `most_images`, so that it costs a few seconds of a
    training of minutes.
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
        self.next_look = 0.0  # done share of the work, in [0, 1], at which the next is due

    def is_due(self, done: float) -> bool:
        """Whether it is time for another look, `done` in [0, 1] of the work being done; never without images."""
        return bool(self._samples) and done >= min(self.next_look, 1.0) - 1e-9

    def look(self, *, step: int, done: float) -> Look:
        """Measure with the weights as they are now."""
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
    """One look for the first of every training, one for the second, and so on: of the folds of a cross-validation.

    Those are equally long; where one ended early, the looks that not all have are left out. Trainings without any do
    not count.
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
    """Means, to five decimals. A loss that is None was no number, and its mean is none either."""
    return {name: round(float(np.mean(np.array(column, np.float64))), 5) for name, column in values.items()}
