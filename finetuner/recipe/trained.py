"""The trainings of all folds, one after the other, and what is kept of them."""

import time
from dataclasses import dataclass, replace

from backend.registry.metrics import EndedAt, Look
from backend.sam.predictor import Predictor
from finetuner.context import TrainingContext
from finetuner.data.dataset import Dataset
from finetuner.data.folds import Training, trainings
from finetuner.deciding.candidate import base_predictor
from finetuner.measuring.click_policy import with_measured_policy
from finetuner.measuring.evaluation import Measured
from finetuner.methods import new_method
from finetuner.methods.base import Method
from finetuner.training.curves import Curves, mean_looks
from finetuner.training.replay import load_replay
from finetuner.training.run import TrainingRun, seed_all
from finetuner.training.start import Start
from finetuner.unfinished import Unfinished


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """What is kept, and how good it is: measured on images that it, or a training of its kind, has not learnt from.

    `measured` is in the order of the dataset's held-out side; `ended_at` in that of the trainings. The steps of
    `curves` are those of what is kept; their looks at held-out objects are the mean over all trainings that held any
    out. `seconds` are those of the trainings; `here_s` those in this process, less after a kill. `predictor` is what
    is kept as it would be served, but uncalibrated: the images that it learnt from chose its policy for one click.
    """

    method: Method
    measured: tuple[Measured, ...]
    ended_at: tuple[EndedAt, ...]
    curves: Curves
    seconds: float
    here_s: float
    predictor: Predictor


def train_all(dataset: Dataset, *, start: Start, context: TrainingContext, unfinished: Unfinished | None) -> Trained:
    """Train on every fold; of a cross-validation the last training, which learns from all images, is kept.

    Raises:
        Diverged: a training went to numbers that are none.
        Dismissed: of several processes this is another than the first, which alone measures.
    """
    replayed = load_replay(
        config=context.config,
        plain=base_predictor(context.base),
        embeddings=context.embeddings,
        folder=context.generic_in,
    )
    measured: list[Measured] = []
    ended_at: list[EndedAt] = []
    looks: list[list[Look]] = []
    here_s = 0.0
    for training in trainings(dataset, config=context.config, replayed=replayed):
        began_s = time.monotonic()
        method, run = _begin(training, start=start, context=context, unfinished=unfinished)
        ended_at.append(run.train())
        if training.number == training.count:
            context.processes.part()
        looks.append(run.curves.looks)
        here_s += time.monotonic() - began_s
        if context.processes.is_first:
            predictor = _predictor(method, training, context=context)
            if training.held_out:
                measured += context.measure(predictor, training.held_out, who="candidate")
    return Trained(
        method=method,
        measured=tuple(measured),
        ended_at=tuple(ended_at),
        curves=replace(run.curves, looks=mean_looks(looks)),
        seconds=sum(end.seconds for end in ended_at),
        here_s=here_s,
        predictor=predictor,
    )


def _predictor(method: Method, training: Training, *, context: TrainingContext) -> Predictor:
    predictor = method.predictor(version="candidate")
    return with_measured_policy(
        predictor,
        training.train,
        embedding=context.embeddings.by(predictor.base),
        specks_px=context.config.specks_px,
    )


def _begin(
    training: Training, *, start: Start, context: TrainingContext, unfinished: Unfinished | None
) -> tuple[Method, TrainingRun]:
    """The method with the weights that it begins with, and its run. Both draw random numbers: seeded first."""
    seed_all(context.config.seed)
    method = new_method(context.config.method, context.base, config=context.config)
    start.put_into(method)
    run = TrainingRun(
        method,
        training,
        embeddings=context.embeddings,
        unfinished=unfinished,
        progress=context.progress,
        processes=context.processes,
    )
    return method, run
