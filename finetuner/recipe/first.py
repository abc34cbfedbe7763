"""Plans the first version of a project: a short training, so that annotators see a gain while the long one goes on."""

import math
from collections.abc import Sequence
from dataclasses import replace

from finetuner.config import TrainConfig
from finetuner.data.sample import Sample
from finetuner.data.split import CROSS_VALIDATED_BELOW

_DECODES = 1200  # about a minute on two cores; recipes of so few decodes are in docs/results.md
_LONGER = 4  # a training of less than this many times the work or the time is over soon enough by itself


def plan_first(config: TrainConfig, samples: Sequence[Sample], *, seconds: float) -> TrainConfig | None:
    """The recipe of the first version, or None if a first version would not pay.

    It trains the decoder alone, by the same images and seed, and neither a semantic head nor a measurement of what it
    forgot holds it up. It does not pay before a training that is short itself, and not in a small project: there every
    image teaches the first version, so that none is left to compare it with the long training's fairly.

    Args:
        config: the recipe of the long training.
        samples: what both learn from.
        seconds: the most that the first training may take; 0: there is no first version.
    """
    objects = sum(len(sample.objects) for sample in samples)
    decodes = min(config.decodes_for(objects) or math.inf, config.epochs * objects)
    pictures = {sample.picture or sample.image_sha256 for sample in samples if sample.objects}
    if not seconds or config.promptable_seconds < _LONGER * seconds or decodes < _LONGER * _DECODES:
        return None
    if len(pictures) < CROSS_VALIDATED_BELOW:
        return None
    return replace(
        config,
        is_first=True,
        method="decoder",
        head="promptable",
        forgetting=False,
        decodes=_DECODES,
        seconds=seconds,
    )
