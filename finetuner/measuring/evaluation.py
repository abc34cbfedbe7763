"""Measures a model's masks on held-out objects, as they would be served."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool

from backend.masks.metrics import boundary_iou, dice, hd95_px, iou, over_area, under_area
from backend.masks.packed import KeptMask
from backend.masks.prompt import Prompt
from backend.registry.figures import METRICS, PROMPTS, ClicksToGoal, MaskFigures, ModelFigures, ScoreFigures
from backend.sam.predictor import Decodes, Embedding, PredictedMask
from finetuner.data.objects import SIZES
from finetuner.data.prompting import corrective_click, farthest_inner_point
from finetuner.data.sample import Sample
from finetuner.measuring.calibration import believability

GOALS = ("0.85", "0.90")  # the IoUs to reach with clicks
UNLABELLED = "(none)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """The measurement of one object with one kind of prompt.

    Attributes:
        image_sha256: the digest of the image's bytes.
        label: the object's label, or UNLABELLED.
        size: one of objects.SIZES.
        prompt: one of registry.figures.PROMPTS.
        values: the figures by metric (registry.figures.METRICS).
        score: PredictedMask's.
        predicted_iou: PredictedMask's.
        mask: the predicted mask.
        clicks_iou: the IoU after 0, 1, ... corrective clicks; empty for a box.
    """

    image_sha256: str
    label: str
    size: str
    prompt: str
    values: Mapping[str, float]
    score: float
    predicted_iou: float
    mask: KeptMask = field(repr=False)
    clicks_iou: tuple[float, ...] = ()


def measure(
    predictor: Decodes,
    samples: Sequence[Sample],
    *,
    embedding: Callable[[Sample], Embedding],
    clicks: int,
    on_image: Callable[[int], None] = lambda _: None,
) -> tuple[Measured, ...]:
    """Measure every object twice: with its true box, and with one click at its point farthest from the edge.

    Args:
        predictor: the model to measure.
        samples: the images.
        embedding: returns a sample's embedding by the predictor's encoder.
        clicks: the number of corrective clicks after the first, at the deepest point of the error.
        on_image: receives the number of finished images.

    Returns:
        The measurements in the order of the samples and their objects, the box before the point. The order is the same
        for every predictor, so that two models' measurements pair up.
    """
    measured: list[Measured] = []
    for number, sample in enumerate(samples, start=1):
        measured += _measure_image(predictor, sample, embedding(sample), clicks=clicks)
        on_image(number)
    return tuple(measured)


def report(measured: Sequence[Measured], *, calibrated: Sequence[float] | None = None) -> ModelFigures:
    """Summarise the measurements of one model.

    Args:
        measured: every object with every kind of prompt.
        calibrated: the IoU that a calibration expects of every mask, in the same order; None without a calibration.

    Returns:
        Means over objects; objects without a label have the label "(none)". `clicks_to` is by GOALS: an object that
        misses the goal counts with all clicks. It is empty if no corrective click was measured. `semantic` is None.
    """
    labels = sorted({mask.label for mask in measured})
    curves = [mask.clicks_iou for mask in measured if mask.prompt == "point"]
    rounds = list(zip(*curves, strict=True))
    truth = np.array([mask.values["iou"] for mask in measured])
    box, point = (_means([mask for mask in measured if mask.prompt == prompt]) for prompt in PROMPTS)
    by_size = {size: [mask for mask in measured if mask.size == size] for size in SIZES}
    return ModelFigures(
        box=box,
        point=point,
        clicks={k: float(np.mean(column)) for k, column in enumerate(rounds)},
        clicks_to={goal: _clicks_to(curves, float(goal)) for goal in GOALS} if len(rounds) > 1 else {},
        labels={label: _means([mask for mask in measured if mask.label == label]) for label in labels},
        sizes={size: _means(masks) for size, masks in by_size.items() if masks},
        calibration=ScoreFigures(
            predicted_iou=believability(np.array([mask.predicted_iou for mask in measured], np.float64), truth),
            score=believability(np.array([mask.score for mask in measured], np.float64), truth),
            calibrated=None if calibrated is None else believability(np.array(calibrated, np.float64), truth),
        ),
    )


def _measure_image(predictor: Decodes, sample: Sample, embedding: Embedding, *, clicks: int) -> Iterator[Measured]:
    boxes = predictor.decode(embedding, [Prompt(box=item.box) for item in sample.objects])
    truths = [item.mask for item in sample.objects]
    points, curves = _click(predictor, sample, embedding, truths=truths, clicks=clicks)
    for index, item in enumerate(sample.objects):
        for prompt, answer, curve in (("box", boxes[index], ()), ("point", points[index], tuple(curves[index]))):
            yield Measured(
                image_sha256=sample.image_sha256,
                label=item.label if item.label is not None else UNLABELLED,
                size=item.size,
                prompt=prompt,
                values=_values(answer.mask, truths[index]),
                score=answer.score,
                predicted_iou=answer.predicted_iou,
                mask=KeptMask.of(answer.mask),
                clicks_iou=curve,
            )


def _click(
    predictor: Decodes, sample: Sample, embedding: Embedding, *, truths: Sequence[Bool[np.ndarray, "h w"]], clicks: int
) -> tuple[tuple[PredictedMask, ...], list[list[float]]]:
    """The masks of one click, and the IoUs after 0, 1, ... corrective clicks; objects are decoded together."""
    prompts = [Prompt(clicks=(farthest_inner_point(item),)) for item in sample.objects]
    first = predictor.decode(embedding, prompts)
    masks = [predicted.mask for predicted in first]
    curves = [[iou(mask, truth)] for mask, truth in zip(masks, truths, strict=True)]
    for _ in range(clicks):
        wrong = []
        for index, truth in enumerate(truths):
            if (click := corrective_click(masks[index], truth)) is not None:
                prompts[index] = Prompt(clicks=(*prompts[index].clicks, click))
                wrong.append(index)
        for index, answer in zip(wrong, predictor.decode(embedding, [prompts[i] for i in wrong]), strict=True):
            masks[index] = answer.mask
        for curve, mask, truth in zip(curves, masks, truths, strict=True):
            curve.append(iou(mask, truth))
    return first, curves


def _values(mask: Bool[np.ndarray, "h w"], truth: Bool[np.ndarray, "h w"]) -> dict[str, float]:
    measures = (iou, dice, boundary_iou, hd95_px, over_area, under_area)
    return {name: float(measure(mask, truth)) for name, measure in zip(METRICS, measures, strict=True)}


def _means(measured: Sequence[Measured]) -> MaskFigures:
    means = {name: float(np.mean([mask.values[name] for mask in measured])) for name in METRICS}
    return MaskFigures(**means, n=len(measured))


def _clicks_to(curves: Sequence[Sequence[float]], goal: float) -> ClicksToGoal:
    """The clicks to reach a goal, with the first. An object that misses it counts with all clicks: a lower bound."""
    there = [next((k for k, iou in enumerate(curve) if iou >= goal), None) for curve in curves]
    clicks = [len(curve) if k is None else k + 1 for k, curve in zip(there, curves, strict=True)]
    return ClicksToGoal(clicks=float(np.mean(clicks)), reached=float(np.mean([k is not None for k in there])))
