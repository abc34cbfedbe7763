"""How good masks are on held-out objects, as they would be served, and whether another model's are better."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool

from backend.masks.metrics import boundary_iou, dice, hd95_px, iou, over_area, under_area
from backend.masks.prompt import Prompt
from backend.sam.predictor import Embedding, PredictedMask
from finetuner.dataset import Sample
from finetuner.prompting import corrective_click, farthest_inner_point

METRICS = ("iou", "dice", "boundary_iou", "hd95_px", "over_area", "under_area")
COMPARED = ("iou", "dice", "boundary_iou")
PROMPTS = ("box", "point")
UNLABELLED = "(none)"


@runtime_checkable
class Decodes(Protocol):
    """A predictor: one mask a prompt, in their order."""

    def decode(self, embedding: Embedding, prompts: Sequence[Prompt]) -> tuple[PredictedMask, ...]:
        """Masks of the image's size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One object with one kind of prompt. `clicks_iou[k]`: IoU after k corrective clicks, of the point prompt only."""

    image_sha256: str
    label: str
    prompt: str
    values: Mapping[str, float]
    clicks_iou: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean difference with its 95 % bootstrap interval; above zero: the candidate is better."""

    mean: float
    low: float
    high: float

    def to_json(self) -> list[float]:
        """`[mean, low, high]`."""
        return [self.mean, self.low, self.high]


Differences = Mapping[str, Mapping[str, Interval]]


def measure(
    predictor: Decodes,
    samples: Sequence[Sample],
    *,
    embedding: Callable[[Sample], Embedding],
    clicks: int,
    on_image: Callable[[int], None] = lambda _: None,
) -> tuple[Measured, ...]:
    """Measure every object twice: with its true box, and with one click at its point farthest from its edge.

    From the point on, `clicks` corrective clicks follow, each in the middle of the deepest wrong region. `on_image`
    hears how many images are done. Order: as the samples and their objects, the box before the point; the same for
    every predictor, so that two of them pair.
    """
    found: list[Measured] = []
    for number, sample in enumerate(samples, start=1):
        found += _measure_image(predictor, sample, embedding(sample), clicks=clicks)
        on_image(number)
    return tuple(found)


def report(measured: Sequence[Measured]) -> dict[str, Any]:
    """Means over objects: `{"box", "point", "clicks", "labels", "semantic"}` of `samloop evaluate --json`.

    A label's figures are over both kinds of prompt; an object without a label counts under "(none)".
    """
    labels = sorted({each.label for each in measured})
    points = [each.clicks_iou for each in measured if each.prompt == "point"]
    return {
        **{prompt: _means([each for each in measured if each.prompt == prompt]) for prompt in PROMPTS},
        "clicks": {str(k): float(np.mean(column)) for k, column in enumerate(zip(*points, strict=True))},
        "labels": {label: _means([each for each in measured if each.label == label]) for label in labels},
        "semantic": None,
    }


def differences(
    base: Sequence[Measured], candidate: Sequence[Measured], *, rounds: int = 2000, seed: int = 0
) -> dict[str, dict[str, Interval]]:
    """Candidate minus base by prompt and metric, paired by object, with a bootstrap over IMAGES.

    Objects of one image are alike, so images are drawn with replacement, not objects; the mean is over the drawn
    objects. With a single image the interval is a point.
    """
    return {
        prompt: {
            metric: _bootstrap(
                [each for each in base if each.prompt == prompt],
                [each for each in candidate if each.prompt == prompt],
                metric=metric,
                rounds=rounds,
                seed=seed,
            )
            for metric in COMPARED
        }
        for prompt in PROMPTS
    }


def differences_json(found: Differences) -> dict[str, dict[str, list[float]]]:
    """`{"box": {"iou": [mean, low, high], ...}, "point": ...}`."""
    return {prompt: {name: each.to_json() for name, each in metrics.items()} for prompt, metrics in found.items()}


def compared_json(
    base: Sequence[Measured], candidate: Sequence[Measured] | None, *, found: Differences | None
) -> dict[str, Any]:
    """What `samloop evaluate --json` prints; `candidate` and `difference` are null where only the base was measured."""
    return {
        "images": len({each.image_sha256 for each in base}),
        "objects": sum(each.prompt == "box" for each in base),
        "base": report(base),
        "candidate": None if candidate is None else report(candidate),
        "difference": None if found is None else differences_json(found),
    }


def _measure_image(predictor: Decodes, sample: Sample, embedding: Embedding, *, clicks: int) -> Iterator[Measured]:
    boxes = predictor.decode(embedding, [Prompt(box=each.box) for each in sample.objects])
    rounds = list(_clicked(predictor, sample, embedding, clicks=clicks))
    for index, item in enumerate(sample.objects):
        label, truth = item.label if item.label is not None else UNLABELLED, item.mask
        curve = tuple(iou(masks[index], truth) for masks in rounds)
        for prompt, mask, told in (("box", boxes[index].mask, ()), ("point", rounds[0][index], curve)):
            yield Measured(
                image_sha256=sample.image_sha256,
                label=label,
                prompt=prompt,
                values=_values(mask, truth),
                clicks_iou=told,
            )


def _clicked(
    predictor: Decodes, sample: Sample, embedding: Embedding, *, clicks: int
) -> Iterator[list[Bool[np.ndarray, "h w"]]]:
    """The objects' masks after 0, 1, ... corrective clicks; all of an image's objects are decoded together."""
    prompts = [Prompt(clicks=(farthest_inner_point(each),)) for each in sample.objects]
    masks = [each.mask for each in predictor.decode(embedding, prompts)]
    yield list(masks)
    for _ in range(clicks):
        wrong = []
        for index, item in enumerate(sample.objects):
            if (click := corrective_click(masks[index], item.mask)) is not None:
                prompts[index] = Prompt(clicks=(*prompts[index].clicks, click))
                wrong.append(index)
        for index, found in zip(wrong, predictor.decode(embedding, [prompts[i] for i in wrong]), strict=True):
            masks[index] = found.mask
        yield list(masks)


def _values(mask: Bool[np.ndarray, "h w"], truth: Bool[np.ndarray, "h w"]) -> dict[str, float]:
    measures = (iou, dice, boundary_iou, hd95_px, over_area, under_area)
    return {name: float(measure(mask, truth)) for name, measure in zip(METRICS, measures, strict=True)}


def _means(measured: Sequence[Measured]) -> dict[str, float]:
    means = {name: float(np.mean([each.values[name] for each in measured])) for name in METRICS}
    return {**means, "n": len(measured)}


def _bootstrap(
    base: Sequence[Measured],
    candidate: Sequence[Measured],
    *,
    metric: str,
    rounds: int,
    seed: int,
) -> Interval:
    images = sorted({each.image_sha256 for each in base})
    place = {image: index for index, image in enumerate(images)}
    total, count = np.zeros(len(images)), np.zeros(len(images))
    for before, after in zip(base, candidate, strict=True):
        total[place[before.image_sha256]] += after.values[metric] - before.values[metric]
        count[place[before.image_sha256]] += 1
    drawn = np.random.default_rng(seed).integers(len(images), size=(rounds, len(images)))
    means = total[drawn].sum(1) / count[drawn].sum(1)
    low, high = np.percentile(means, (2.5, 97.5))
    return Interval(float(total.sum() / count.sum()), float(low), float(high))
