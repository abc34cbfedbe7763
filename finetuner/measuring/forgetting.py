"""Measures what a training forgot: how well the candidate still segments objects on unrelated photographs.

The truth is the objects that the base finds in the photographs by itself. Base and candidate segment every object with
its box and with one click. The base stays below an IoU of 1 too, since it found most objects by another click. The gate
ignores this measurement: a model for nuclei may forget motorcycles, but its users should know.
"""

import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from backend.errors import SamloopError
from backend.registry.figures import PROMPTS, MaskFigures
from backend.registry.metrics import ForgettingMetrics
from backend.sam.cleaning import Cleaned
from backend.sam.predictor import Predictor
from finetuner.config import TrainConfig
from finetuner.data.embeddings import Embeddings
from finetuner.data.generic import MEASURED, generic_samples
from finetuner.measuring.comparison import differences
from finetuner.measuring.evaluation import Measured, measure, report

log = logging.getLogger(__name__)


def measure_forgetting(
    candidate: Predictor, *, plain: Predictor, embeddings: Embeddings, folder: Path | None, config: TrainConfig
) -> ForgettingMetrics | None:
    """Measure what the candidate forgot; None if the config does not ask for it.

    A failure here does not end the training; the sentence gives its reason.

    Args:
        candidate: the candidate as it would be served.
        plain: the base as it is served.
        embeddings: the base's embeddings.
        folder: the cache of the base's masks; None skips the measurement.
        config: `forgetting` asks for the measurement.

    Returns:
        The figures of base and candidate by kind of prompt, and their difference with its 95 % interval (paired
        bootstrap over photographs). Negative differences mean forgetting.
    """
    if not config.forgetting or folder is None:
        return None
    forgetting = _measure(candidate, plain=plain, embeddings=embeddings, folder=folder, config=config)
    log.info("%s", forgetting.sentence, extra={"event": "forgetting.measured"})
    return forgetting


def _measure(
    candidate: Predictor, *, plain: Predictor, embeddings: Embeddings, folder: Path, config: TrainConfig
) -> ForgettingMetrics:
    try:
        samples = generic_samples(MEASURED, plain=plain, embeddings=embeddings, folder=folder)
        if not samples:
            return ForgettingMetrics(
                sentence="Forgetting was not measured: the base finds no object on the unrelated photographs."
            )
        measured = partial(measure, samples=samples, clicks=0)
        before = measured(Cleaned(plain, config.specks_px), embedding=embeddings)
        after = measured(Cleaned(candidate, config.specks_px), embedding=embeddings.suiting(candidate))
    except (SamloopError, OSError) as fault:
        log.warning("forgetting was not measured: %s", fault, extra={"event": "forgetting.failed"})
        return ForgettingMetrics(sentence=f"Forgetting was not measured: {fault}")
    intervals = differences(before, after, rounds=config.bootstrap_rounds, seed=config.seed)
    objects = sum(len(sample.objects) for sample in samples)
    moved = ", ".join(
        f"{_mean_iou(before, prompt):.3f} before, {_mean_iou(after, prompt):.3f} now {asked} "
        "({:+.3f} [{:+.3f}, {:+.3f}])".format(*intervals[prompt]["iou"])
        for prompt, asked in (("box", "with the box"), ("point", "with one click"))
    )
    return ForgettingMetrics(
        images=len(samples),
        objects=objects,
        base=_by_prompt(before),
        candidate=_by_prompt(after),
        difference=intervals,
        sentence=f"On {len(samples)} unrelated photographs, IoU with the {objects} masks that the base finds there "
        f"by itself: {moved}.",
    )


def _by_prompt(measured: Sequence[Measured]) -> dict[str, MaskFigures]:
    figures = report(measured)
    return {prompt: figures.with_prompt(prompt) for prompt in PROMPTS}


def _mean_iou(measured: Sequence[Measured], prompt: str) -> float:
    return float(np.mean([mask.values["iou"] for mask in measured if mask.prompt == prompt]))
