"""What a training forgot: how well the candidate still draws other things than those it has learnt.

On photographs that have nothing to do with the project, with what the base finds there by itself as the truth, base and
candidate are asked for every object with its box and with one click. The base does not get to 1 either: it found most
of them by another click. The gate does not look at this: who trains for nuclei may well forget motorcycles, but ought
to know.
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
    """What the candidate forgot of other things; None where the config does not ask for it.

    Never the end of a training: what goes wrong here is told in the sentence.

    Args:
        candidate: as it would be served.
        plain: the base as it is served.
        embeddings: the base's.
        folder: where the masks that the base finds are kept; None: nowhere, and nothing is measured.
        config: `forgetting` asks for the measurement.

    Returns:
        Base and candidate by kind of prompt, and their difference with its 95 % interval (paired bootstrap over
        photographs): below zero is what was forgotten.
    """
    if not config.forgetting or folder is None:
        return None
    forgetting = _forgotten(candidate, plain=plain, embeddings=embeddings, folder=folder, config=config)
    log.info("%s", forgetting.sentence, extra={"event": "forgetting.measured"})
    return forgetting


def _forgotten(
    candidate: Predictor, *, plain: Predictor, embeddings: Embeddings, folder: Path, config: TrainConfig
) -> ForgettingMetrics:
    try:
        samples = generic_samples(MEASURED, plain=plain, embeddings=embeddings, folder=folder)
        if not samples:
            return ForgettingMetrics(
                sentence="Forgetting was not measured: the base finds nothing on the unrelated photographs."
            )
        measured = partial(measure, samples=samples, clicks=0)
        before = measured(Cleaned(plain, config.specks_px), embedding=embeddings)
        after = measured(Cleaned(candidate, config.specks_px), embedding=embeddings.by(candidate.base))
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
        sentence=f"On {len(samples)} unrelated photographs, IoU with {objects} masks that the base finds there "
        f"by itself: {moved}.",
    )


def _by_prompt(measured: Sequence[Measured]) -> dict[str, MaskFigures]:
    figures = report(measured)
    return {prompt: figures.with_prompt(prompt) for prompt in PROMPTS}


def _mean_iou(measured: Sequence[Measured], prompt: str) -> float:
    return float(np.mean([mask.values["iou"] for mask in measured if mask.prompt == prompt]))
