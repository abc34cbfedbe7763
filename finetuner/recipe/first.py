"""Plans the first version of a project: a short training, so that annotators see a gain while the long one goes on."""

import math
from collections.abc import Sequence
from dataclasses import replace

from finetuner.config import TrainConfig
from finetuner.data.sample import Sample
from finetuner.data.split import CROSS_VALIDATED_BELOW

_DECODES = 1200  # about a minute on two cores; recipes of so few decodes are in docs/results.md
_LONGER = 4  # a training of less than this many times the work or the time ends soon enough by itself


def plan_first(config: TrainConfig, samples: Sequence[Sample], *, seconds: float) -> TrainConfig | None:
    """Return the recipe of the first version, or None if a first version would not pay.

    The first training trains only the decoder, with the same images and seed. It skips further views, the semantic head
    and the measurement of forgetting. It does not pay before a long training that is short itself. It does not pay in a
    small project either: every image would teach the first version, and none would be left to compare the two fairly.

    Args:
        config: the recipe of the long training.
        samples: both trainings learn from these.
        seconds: the longest time for the first training, s; 0 for no first version.
    """
    objects = sum(len(sample.objects) for sample in samples)
    decodes = min(config.decodes_for(objects) or math.inf, config.epochs * objects)
    distinct = {sample.picture or sample.image_sha256 for sample in samples if sample.objects}
    if not seconds or config.promptable_seconds < _LONGER * seconds or decodes < _LONGER * _DECODES:
        return None
    if len(distinct) < CROSS_VALIDATED_BELOW:
        return None
    return replace(
        config,
        is_first=True,
        method="decoder",
        head="promptable",
        forgetting=False,
        views=1,
        decodes=_DECODES,
        seconds=seconds,
    )
