"""Compares two models' masks on the same objects and prompts, with bootstrap intervals."""

from collections.abc import Sequence

import numpy as np

from backend.registry.figures import METRICS, PROMPTS, Comparison, Differences, Interval
from finetuner.measuring.evaluation import Measured, report

ROUNDS = 2000
LEAST_GAIN = 0.002  # a smaller mean gain is noise of the training itself
MARGIN = 0.02  # how far an interval may reach below zero before the candidate counts as worse


def differences(
    base: Sequence[Measured], candidate: Sequence[Measured], *, rounds: int = ROUNDS, seed: int = 0
) -> dict[str, dict[str, Interval]]:
    """The mean of candidate minus base by prompt and metric, with 95 % intervals by a paired bootstrap over images.

    The objects of an image are alike, so the bootstrap draws images rather than objects, with replacement. The mean is
    over objects. With a single image the interval is a point.

    Args:
        base: one model's measurements.
        candidate: the other's, of the same objects and prompts in the same order.
        rounds: the number of bootstrap draws.
        seed: of the draws.

    Raises:
        ValueError: the two are not of the same objects in the same order.
    """
    pairs = _pair(base, candidate)
    return {
        prompt: _intervals([pair for pair in pairs if pair[0].prompt == prompt], rounds=rounds, seed=seed)
        for prompt in PROMPTS
    }


def label_differences(
    base: Sequence[Measured], candidate: Sequence[Measured], *, rounds: int = ROUNDS, seed: int = 0
) -> dict[str, dict[str, dict[str, Interval]]]:
    """As `differences`, by label."""
    pairs = _pair(base, candidate)
    return {
        label: differences(*_sides(pairs, label=label), rounds=rounds, seed=seed)
        for label in sorted({mask.label for mask in base})
    }


def comparison(
    base: Sequence[Measured],
    candidate: Sequence[Measured] | None,
    *,
    intervals: Differences | None,
    calibrated: Sequence[float] | None = None,
) -> Comparison:
    """The figures of base and candidate side by side, or of the base alone.

    Args:
        base: the base's measurements.
        candidate: the candidate's; None if only the base was measured.
        intervals: the `differences` of the two.
        calibrated: the candidate's calibrated IoUs, as in evaluation.report.
    """
    return Comparison(
        images=len({mask.image_sha256 for mask in base}),
        objects=sum(mask.prompt == "box" for mask in base),
        base=report(base),
        candidate=None if candidate is None else report(candidate, calibrated=calibrated),
        difference=intervals,
    )


def _pair(base: Sequence[Measured], candidate: Sequence[Measured]) -> list[tuple[Measured, Measured]]:
    pairs = list(zip(base, candidate, strict=True))
    if odd := next((before for before, after in pairs if _object(before) != _object(after)), None):
        raise ValueError(f"the two models were not measured on the same objects in the same order, from {odd} on")
    return pairs


def _sides(pairs: Sequence[tuple[Measured, Measured]], *, label: str) -> tuple[list[Measured], list[Measured]]:
    chosen = [pair for pair in pairs if pair[0].label == label]
    return [before for before, _ in chosen], [after for _, after in chosen]


def _intervals(pairs: Sequence[tuple[Measured, Measured]], *, rounds: int, seed: int) -> dict[str, Interval]:
    return {metric: _bootstrap(pairs, metric=metric, rounds=rounds, seed=seed) for metric in METRICS}


def _object(measured: Measured) -> tuple[str, str, str]:
    return measured.image_sha256, measured.label, measured.prompt


def _bootstrap(pairs: Sequence[tuple[Measured, Measured]], *, metric: str, rounds: int, seed: int) -> Interval:
    images = sorted({before.image_sha256 for before, _ in pairs})
    place = {image: index for index, image in enumerate(images)}
    total, count = np.zeros(len(images)), np.zeros(len(images))
    for before, after in pairs:
        total[place[before.image_sha256]] += after.values[metric] - before.values[metric]
        count[place[before.image_sha256]] += 1
    drawn = np.random.default_rng(seed).integers(len(images), size=(rounds, len(images)))
    means = total[drawn].sum(1) / count[drawn].sum(1)
    low, high = np.percentile(means, (2.5, 97.5))
    return Interval(float(total.sum() / count.sum()), float(low), float(high))
