"""How good masks are: the figures of a model and the comparison of several, as written to JSON.

A figure that is not finite is None, in memory as in JSON: a mean over no objects has no value, and JSON cannot express
NaN.
"""

import math
from collections.abc import Mapping
from typing import Annotated, NamedTuple

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, Strict

METRICS = ("iou", "dice", "boundary_iou", "hd95_px", "over_area", "under_area")
PROMPTS = ("box", "point")


class Written(BaseModel):
    """A value that is written as JSON. Reading ignores unknown fields, which later versions may write."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", validate_by_name=True, validate_by_alias=True, serialize_by_alias=True
    )

    def to_json(self) -> dict[str, object]:
        """Return the value as JSON that the class can read back."""
        return self.model_dump(mode="json")


def _drop_infinite(value: object) -> object:
    return None if isinstance(value, float) and not math.isfinite(value) else value


Number = Annotated[float, Strict()]  # neither a string of digits nor a boolean
Figure = Annotated[Number | None, BeforeValidator(_drop_infinite)]


class Interval(NamedTuple):
    """A mean difference with its 95 % bootstrap interval. For IoUs, above zero means that the candidate is better."""

    mean: Number
    low: Number
    high: Number


def _drop_unmeasured(value: object) -> object:
    """Drop intervals with a number that is not finite: nothing was measured there."""
    if not isinstance(value, Mapping):
        return value
    return {
        prompt: {name: interval for name, interval in intervals.items() if _is_finite(interval)}
        if isinstance(intervals, Mapping)
        else intervals
        for prompt, intervals in value.items()
    }


def _is_finite(interval: object) -> bool:
    if not isinstance(interval, list | tuple):
        return True  # the type's own check refuses it, with a better message
    return not any(number is None or _drop_infinite(number) is None for number in interval)


Differences = Annotated[Mapping[str, Mapping[str, Interval]], BeforeValidator(_drop_unmeasured)]
"""Intervals by kind of prompt and metric."""


class MaskFigures(Written):
    """Means over `n` masks.

    `iou`, `dice` and `boundary_iou` are in [0, 1]. `hd95_px` is in image px. `over_area` and `under_area` are the areas
    beyond and missing from the annotator's mask, as shares of that mask, at least 0.
    """

    iou: Figure = None
    dice: Figure = None
    boundary_iou: Figure = None
    hd95_px: Figure = None
    over_area: Figure = None
    under_area: Figure = None
    n: int = 0

    def figure(self, metric: str) -> float | None:
        """Return the figure of one of METRICS; None: not measured."""
        value: float | None = getattr(self, metric)
        return value


class ClicksToGoal(Written):
    """Mean number of clicks to reach an IoU, the first click included, and the share of objects that reached it."""

    clicks: Figure = None
    reached: Figure = None


class Bin(NamedTuple):
    """Predictions with nearly the same score: how many, their mean score and their mean true IoU."""

    predictions: int
    mean_score: Number
    mean_iou: Number


class Believability(Written):
    """How far scores are from the masks' true IoU.

    `ece` is the expected calibration error, in [0, 1]; `correlation` is Pearson's and `rank_correlation` Spearman's,
    None where one side is constant.
    """

    n: int = 0
    ece: Figure = None
    correlation: Figure = None
    rank_correlation: Figure = None
    bins: tuple[Bin, ...] = ()


class ScoreFigures(Written):
    """How reliable a model's scores are.

    Attributes:
        predicted_iou: the IoU that the decoder predicts.
        score: the score that is served.
        calibrated: the IoU that the calibration expects; None where the model has no calibration.
    """

    predicted_iou: Believability | None = None
    score: Believability | None = None
    calibrated: Believability | None = None


class ModelFigures(Written):
    """Means over held-out objects for one model.

    Attributes:
        box, point: with this prompt alone.
        clicks: the mean IoU after 0, 1, ... corrective clicks.
        clicks_to: by the IoU to reach, such as "0.85".
        labels, sizes: by label and by COCO's sizes, over both prompts.
        calibration: how reliable the scores are.
        semantic: over labels, without a prompt.
    """

    box: MaskFigures | None = None
    point: MaskFigures | None = None
    clicks: Mapping[int, Figure] = Field(default_factory=dict)
    clicks_to: Mapping[str, ClicksToGoal] = Field(default_factory=dict)
    labels: Mapping[str, MaskFigures] = Field(default_factory=dict)
    sizes: Mapping[str, MaskFigures] = Field(default_factory=dict)
    calibration: ScoreFigures | None = None
    semantic: MaskFigures | None = None

    def with_prompt(self, prompt: str) -> MaskFigures:
        """Return the figures for one of PROMPTS; empty figures where it was not measured."""
        figures: MaskFigures | None = getattr(self, prompt)
        return figures or MaskFigures()


class Comparison(Written):
    """Models measured on the same held-out objects, as `samloop evaluate --json` prints them; None: not measured.

    `difference` is candidate minus base; `difference_to_served` is candidate minus the served version.
    """

    images: int | None = None
    objects: int | None = None
    base: ModelFigures | None = None
    candidate: ModelFigures | None = None
    difference: Differences | None = None
    served: ModelFigures | None = None
    difference_to_served: Differences | None = None

    def model(self, name: str) -> ModelFigures | None:
        """Return the figures of `base`, `candidate` or `served`; None: not measured."""
        figures: ModelFigures | None = getattr(self, name)
        return figures

    def with_semantic(self, **figures: MaskFigures | None) -> "Comparison":
        """Return the comparison with figures of semantic heads, given by model (`candidate`, `served`)."""
        models = {name: self.model(name) for name in figures}
        update = {
            name: model.model_copy(update={"semantic": figures[name]})
            for name, model in models.items()
            if model is not None
        }
        return self.model_copy(update=update)


class Evaluation(Comparison):
    """A comparison, and a note on its worth where a model has learnt from these images; None otherwise."""

    note: str | None = None
