"""How good masks are, as numbers that are written: figures of one model, and the comparison of several.

A figure that is not a finite number is None, in memory as in JSON: a mean over no objects has no value, and JSON has no
name for NaN.
"""

import math
from collections.abc import Mapping
from typing import Annotated, NamedTuple

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, Strict

METRICS = ("iou", "dice", "boundary_iou", "hd95_px", "over_area", "under_area")
PROMPTS = ("box", "point")


class Written(BaseModel):
    """A value that is written as JSON. Fields that it does not know, of a later version, are ignored."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", validate_by_name=True, validate_by_alias=True, serialize_by_alias=True
    )

    def to_json(self) -> dict[str, object]:
        """The value as JSON: what the class reads back."""
        return self.model_dump(mode="json")


def _drop_infinite(value: object) -> object:
    return None if isinstance(value, float) and not math.isfinite(value) else value


Number = Annotated[float, Strict()]  # neither a text of digits nor a truth value
Figure = Annotated[Number | None, BeforeValidator(_drop_infinite)]


class Interval(NamedTuple):
    """A mean difference with its 95 % bootstrap interval. Of IoUs, above zero: the candidate is better."""

    mean: Number
    low: Number
    high: Number


def _drop_unmeasured(value: object) -> object:
    """Leave out intervals that hold a number that is not finite: nothing was measured there."""
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
        return True  # for the type's own check, which names what is wrong
    return not any(number is None or _drop_infinite(number) is None for number in interval)


Differences = Annotated[Mapping[str, Mapping[str, Interval]], BeforeValidator(_drop_unmeasured)]
"""Intervals by kind of prompt and metric."""


class MaskFigures(Written):
    """Means over `n` masks.

    `iou`, `dice` and `boundary_iou` are in [0, 1]; `hd95_px` is in px of the image; `over_area` and `under_area` are
    areas beyond and missing from people's mask as shares of that mask, at least 0.
    """

    iou: Figure = None
    dice: Figure = None
    boundary_iou: Figure = None
    hd95_px: Figure = None
    over_area: Figure = None
    under_area: Figure = None
    n: int = 0

    def figure(self, metric: str) -> float | None:
        """The figure of one of METRICS; None: not measured."""
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
    """How far scores are from the IoU that the masks have.

    `ece` is the expected calibration error, in [0, 1]; `correlation` is Pearson's and `rank_correlation` Spearman's,
    None where one side is constant.
    """

    n: int = 0
    ece: Figure = None
    correlation: Figure = None
    rank_correlation: Figure = None
    bins: tuple[Bin, ...] = ()


class ScoreFigures(Written):
    """Whether scores can be believed.

    `predicted_iou` is of the IoU as the decoder predicts it, `score` of the score that is served, and `calibrated` of
    the IoU that a calibration expects, None where the model has no calibration.
    """

    predicted_iou: Believability | None = None
    score: Believability | None = None
    calibrated: Believability | None = None


class ModelFigures(Written):
    """Means over held-out objects for one model.

    `box` and `point` are by kind of prompt; figures by label and by size are over both kinds. `clicks` is the IoU after
    0, 1, ... corrective clicks; `clicks_to` is by the IoU to reach, as "0.85". `semantic` is over labels, without a
    prompt.
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
        """The figures for one of PROMPTS; without values where it was not measured."""
        figures: MaskFigures | None = getattr(self, prompt)
        return figures or MaskFigures()


class Comparison(Written):
    """Models measured on the same held-out objects: what `samloop evaluate --json` prints.

    `difference` is candidate minus base, `difference_to_served` candidate minus what is served. None: not measured.
    """

    images: int | None = None
    objects: int | None = None
    base: ModelFigures | None = None
    candidate: ModelFigures | None = None
    difference: Differences | None = None
    served: ModelFigures | None = None
    difference_to_served: Differences | None = None

    def model(self, name: str) -> ModelFigures | None:
        """The figures of `base`, `candidate` or `served`; None: not measured."""
        figures: ModelFigures | None = getattr(self, name)
        return figures

    def with_semantic(self, **figures: MaskFigures | None) -> "Comparison":
        """The same with figures of semantic heads, by model: `candidate` or `served`, where those were measured."""
        models = {name: self.model(name) for name in figures}
        update = {
            name: model.model_copy(update={"semantic": figures[name]})
            for name, model in models.items()
            if model is not None
        }
        return self.model_copy(update=update)


class Evaluation(Comparison):
    """A comparison with a note: what it is worth where a model has learnt from the images; None: all of it."""

    note: str | None = None
