"""Replay: steps on photographs of other things, with the base's own masks as the truth, against forgetting.

Other photographs than those on which forgetting is measured: what is won there is not learnt by heart.
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
    """The photographs to replay, as generic.generic_samples has them; none where the config asks for none.

    Raises:
        Unavailable: scikit-image, which carries them, is not installed.
    """
    if not config.replay or folder is None:
        return ()
    return tuple(generic_samples(REPLAYED, plain=plain, embeddings=embeddings, folder=folder))


def mix(
    learnt: Sequence[Sample], replayed: Sequence[Sample], *, share: float, ground_truth_weight: int = 1
) -> list[Sample]:
    """The samples to learn from, and so many visits to replayed ones that those are `share` of an epoch's visits.

    At least one, where anything is replayed at all; all are visited about equally often. `share` is in [0, 1).
    `ground_truth_weight`: how often the trainer visits what is marked as ground truth.
    """
    if not replayed or not share:
        return list(learnt)
    own = sum(ground_truth_weight if sample.is_ground_truth else 1 for sample in learnt)
    visits = max(1, round(own * share / (1 - share)))
    return [*learnt, *islice(cycle(replayed), visits)]
