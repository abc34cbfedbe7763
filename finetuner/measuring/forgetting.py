"""What a training forgot: how well the candidate still draws other things than those it has learnt.

On photographs that have nothing to do with the project, with what the base finds there by itself as the truth, base and
candidate are asked for every object with its box and with one click. The base does not get to 1 either: it found most
of them by another click. The gate does not look at this: who trains for nuclei may well forget motorcycles, but ought
to know.
"""

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from backend.errors import SamloopError
from backend.sam.predictor import Predictor
from finetuner.config import TrainConfig
from finetuner.data.dataset import Embeddings
from finetuner.data.generic import MEASURED, generic_samples
from finetuner.measuring.comparison import differences, differences_json
from finetuner.measuring.evaluation import PROMPTS, Measured, measure, report

log = logging.getLogger(__name__)


def forgetting_json(
    candidate: Predictor, *, plain: Predictor, embeddings: Embeddings, folder: Path | None, config: TrainConfig
) -> dict[str, Any]:
    """What the manifest keeps as `forgetting`, by that name; nothing where the config does not ask for it.

    `plain` is the base, `embeddings` are the base's, `folder` is where the masks that it finds are kept. Never the end
    of a training: what goes wrong here is told in the sentence.

    Returns:
        `{"images", "objects", "base", "candidate", "difference", "said"}`: base and candidate by kind of prompt and
        metric, the difference with its 95 % interval (paired bootstrap over photographs), below zero what was
        forgotten; and a sentence. Where it could not be measured the sentence alone, which tells why.
    """
    if not config.forgetting or folder is None:
        return {}
    found = _forgotten(candidate, plain=plain, embeddings=embeddings, folder=folder, config=config)
    log.info("%s", found["said"], extra={"event": "forgetting.measured"})
    return {"forgetting": found}


def _forgotten(
    candidate: Predictor, *, plain: Predictor, embeddings: Embeddings, folder: Path, config: TrainConfig
) -> dict[str, Any]:
    try:
        samples = generic_samples(MEASURED, plain=plain, embeddings=embeddings, folder=folder)
        if not samples:
            return {"said": "Forgetting was not measured: the base finds nothing on the photographs of other things."}
        measured = partial(measure, samples=samples, clicks=0)
        before = measured(plain, embedding=embeddings)
        after = measured(candidate, embedding=embeddings.by(candidate.base))
    except (SamloopError, OSError) as fault:
        log.warning("forgetting was not measured: %s", fault, extra={"event": "forgetting.failed"})
        return {"said": f"Forgetting was not measured: {fault}"}
    found = differences_json(differences(before, after, rounds=config.bootstrap_rounds, seed=config.seed))
    told = {
        "images": len(samples),
        "objects": sum(len(each.objects) for each in samples),
        "base": _means(before),
        "candidate": _means(after),
        "difference": found,
    }
    return {**told, "said": _sentence(told)}


def _means(measured: Sequence[Measured]) -> dict[str, Mapping[str, float]]:
    told = report(measured)
    return {prompt: told[prompt] for prompt in PROMPTS}


def _sentence(told: Mapping[str, Any]) -> str:
    parts = []
    for prompt, asked in (("box", "with the box"), ("point", "with one click")):
        mean, low, high = told["difference"][prompt]["iou"]
        before, after = told["base"][prompt]["iou"], told["candidate"][prompt]["iou"]
        parts.append(f"{before:.3f} before, {after:.3f} now {asked} ({mean:+.3f} [{low:+.3f}, {high:+.3f}])")
    return (
        f"On {told['images']} photographs of other things, IoU with {told['objects']} masks that the base finds there "
        f"by itself: {', '.join(parts)}."
    )
