"""Trains on all folds, one after another, and returns the model to keep."""

import time
from dataclasses import dataclass, replace

from backend.registry.metrics import EndedAt, Look
from backend.sam.predictor import Predictor, base_predictor
from finetuner.context import TrainingContext
from finetuner.data.dataset import Dataset
from finetuner.data.folds import Training, trainings
from finetuner.measuring.click_policy import with_measured_policy
from finetuner.measuring.domain import count_outside, with_outside
from finetuner.measuring.evaluation import Measured
from finetuner.measuring.magnification import choose_magnification
from finetuner.methods import new_method
from finetuner.methods.base import Method
from finetuner.training.curves import Curves, mean_looks
from finetuner.training.replay import load_replay
from finetuner.training.run import TrainingRun, seed_all
from finetuner.training.start import Start
from finetuner.unfinished import Unfinished


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """The trained model and its measurements on images that it, or the training of their fold, has not learnt from.

    Attributes:
        method: the last training's method, with its final weights.
        measured: the measurements, in the order of the dataset's held-out side.
        ended_at: how far each training came, in order.
        curves: the last training's steps, and the mean of the held-out measurements over the trainings that have some.
        seconds: the time of all trainings, before and after a kill.
        here_s: the time of the trainings in this process.
        predictor: the model as it would be served, but uncalibrated. Training images chose its click policy.
        outside: how many held-out images the base answers, because they look unlike the images learnt from.
    """

    method: Method
    measured: tuple[Measured, ...]
    ended_at: tuple[EndedAt, ...]
    curves: Curves
    seconds: float
    here_s: float
    predictor: Predictor
    outside: int = 0


def train_all(dataset: Dataset, *, start: Start, context: TrainingContext, unfinished: Unfinished | None) -> Trained:
    """Train on every fold and return the last training's model; in a cross-validation that one learns from all images.

    Raises:
        Diverged: several losses in a row were not finite.
        Dismissed: this process is not the first of several; only the first measures.
    """
    plain = base_predictor(context.base)
    replayed = load_replay(
        config=context.config,
        plain=plain,
        embeddings=context.embeddings,
        folder=context.generic_in,
    )
    magnification = _choose_magnification(dataset, plain=plain, context=context)
    measured: list[Measured] = []
    ended_at: list[EndedAt] = []
    looks: list[list[Look]] = []
    here_s, outside = 0.0, 0
    for training in trainings(dataset, config=context.config, replayed=replayed):
        began_s = time.monotonic()
        method, run = _begin(training, start=start, context=context, unfinished=unfinished)
        ended_at.append(run.train())
        if training.number == training.count:
            context.processes.part()
        looks.append(run.curves.looks)
        here_s += time.monotonic() - began_s
        if context.processes.is_first:
            predictor = _predictor(method, training, plain=plain, context=context)
            predictor = replace(predictor, magnification=magnification)
            if training.held_out:
                measured += context.measure(predictor, training.held_out, who="candidate")
                embeddings = context.embeddings.by(predictor.base)
                outside += count_outside(predictor, training.held_out, embedding=embeddings)
    return Trained(
        method=method,
        measured=tuple(measured),
        ended_at=tuple(ended_at),
        curves=replace(run.curves, looks=mean_looks(looks)),
        seconds=sum(end.seconds for end in ended_at),
        here_s=here_s,
        predictor=predictor,
        outside=outside,
    )


def _choose_magnification(dataset: Dataset, *, plain: Predictor, context: TrainingContext) -> float | None:
    """The magnification of the tiles that will answer; None for whole images.

    A first version sees whole images alone: to encode the tiles would take a part of its minute.
    """
    config = context.config
    if config.tiles == "off" or config.is_first or not context.processes.is_first:
        return None
    return choose_magnification(plain, dataset.train, embedding=context.embeddings, specks_px=config.specks_px)


def _predictor(method: Method, training: Training, *, plain: Predictor, context: TrainingContext) -> Predictor:
    predictor = method.predictor(version="candidate")
    embeddings = context.embeddings.by(predictor.base)
    chosen = with_measured_policy(
        predictor,
        training.train,
        plain=plain,
        embedding=embeddings,
        specks_px=context.config.specks_px,
    )
    if context.config.outside != "base":
        return chosen
    return with_outside(chosen, training.train, plain=plain, embedding=embeddings, folder=context.generic_in)


def _begin(
    training: Training, *, start: Start, context: TrainingContext, unfinished: Unfinished | None
) -> tuple[Method, TrainingRun]:
    """The method with its first weights, and its run. Both draw random numbers, so this seeds the generators first."""
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
