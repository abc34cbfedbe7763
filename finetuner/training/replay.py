"""Replay: trains on photographs of everyday scenes too, with the base's own masks as truth, to prevent forgetting.

They are not the photographs on which forgetting is measured, so the training cannot learn that measurement by heart.
"""

from collections.abc import Sequence
from itertools import cycle, islice
from pathlib import Path

from backend.sam.predictor import Predictor
from finetuner.config import TrainConfig
from finetuner.data.embeddings import Embeddings
from finetuner.data.generic import REPLAYED, generic_samples
from finetuner.data.sample import Sample


def load_replay(
    *, config: TrainConfig, plain: Predictor, embeddings: Embeddings, folder: Path | None
) -> tuple[Sample, ...]:
    """The photographs to replay as samples; none if the config's `replay` is 0 or there is no folder.

    Raises:
        Unavailable: scikit-image, which ships them, is not installed.
    """
    if not config.replay or folder is None:
        return ()
    return tuple(generic_samples(REPLAYED, plain=plain, embeddings=embeddings, folder=folder))


def mix(
    learnt: Sequence[Sample], replayed: Sequence[Sample], *, share: float, ground_truth_weight: int = 1
) -> list[Sample]:
    """The samples of an epoch: those to learn from, and visits to the replayed ones.

    Args:
        learnt: the project's samples.
        replayed: the photographs; the epoch visits them about equally often.
        share: the share of an epoch's visits that replays, in [0, 1); above 0 it replays at least one.
        ground_truth_weight: how often an epoch visits a sample that is marked as ground truth.
    """
    if not replayed or not share:
        return list(learnt)
    own = sum(ground_truth_weight if sample.is_ground_truth else 1 for sample in learnt)
    visits = max(1, round(own * share / (1 - share)))
    return [*learnt, *islice(cycle(replayed), visits)]
