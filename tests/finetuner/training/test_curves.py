"""A training can be watched, and watching changes nothing."""

import numpy as np
import pytest

from backend.registry.metrics import CurvesMetrics, Look
from backend.sam.loading import BaseModel
from backend.sam.predictor import Embedding, encode
from finetuner.config import TrainConfig
from finetuner.data.sample import Sample
from finetuner.methods.decoder import DecoderMethod
from finetuner.training.curves import Curves, Watcher, mean_looks
from finetuner.training.loop import Step, Trainer


@pytest.fixture
def embedding(tiny_base: BaseModel, discs: object) -> Embedding:
    return encode(tiny_base, discs(0)[0])  # type: ignore[operator]


def _step(number: int, loss: float) -> Step:
    return Step(
        epoch=1,
        epochs=1,
        step=number,
        decodes=number,
        seconds=1.0,
        learning_rate=1e-4,
        loss=loss,
        mask=loss,
        iou=0.0,
        is_last_of_epoch=False,
        done=0.5,
    )


def test_a_long_training_is_told_in_sixty_means() -> None:
    curves = Curves()
    for number in range(1, 1201):
        curves.add(_step(number, float(number)))
    told = curves.metrics().training
    assert len(told) == 60
    assert told[0] == (20, 10.5, 10.5, 0.0)
    assert told[-1].step == 1200


def test_a_short_training_is_told_in_means_of_four_steps() -> None:
    curves = Curves()
    assert curves.metrics() == CurvesMetrics()
    for number in range(1, 10):
        curves.add(_step(number, 1.0))
    assert [point.step for point in curves.metrics().training] == [5, 9]


def test_looks_are_spread_over_the_training(tiny_base: BaseModel, sample: Sample, embedding: Embedding) -> None:
    watcher = Watcher(DecoderMethod(tiny_base), [sample], config=TrainConfig(), embedding=lambda _: embedding)
    done = [
        share for share in np.linspace(0, 1, 101).tolist() if watcher.is_due(share) and watcher.look(step=1, done=share)
    ]
    assert len(done) == 6
    assert not Watcher(DecoderMethod(tiny_base), [], config=TrainConfig(), embedding=lambda _: embedding).is_due(0.0)


def test_the_end_is_looked_at_however_late_the_look_before_was(
    tiny_base: BaseModel, sample: Sample, embedding: Embedding
) -> None:
    watcher = Watcher(DecoderMethod(tiny_base), [sample], config=TrainConfig(), embedding=lambda _: embedding)
    watcher.look(step=9, done=0.95)
    assert not watcher.is_due(0.99)
    assert watcher.is_due(1.0)


def test_what_the_folds_saw_is_told_as_their_mean_and_trainings_that_saw_nothing_do_not_count() -> None:
    def look(step: int, value: float) -> Look:
        figures = {"box": value, "point": value / 2}
        return Look(step=step, loss=figures, iou=figures)

    (first, last) = mean_looks([[look(0, 0.2), look(8, 0.6)], [look(0, 0.4), look(10, 0.8), look(12, 1.0)], []])
    assert (first.step, first.loss, first.iou) == (0, {"box": 0.3, "point": 0.15}, {"box": 0.3, "point": 0.15})
    assert (last.step, last.iou) == (9, {"box": 0.7, "point": 0.35})
    assert mean_looks([[]]) == []


def test_a_watched_training_ends_with_the_weights_of_one_that_is_not(
    tiny_base: BaseModel, sample: Sample, embedding: Embedding
) -> None:
    config, ended = TrainConfig(epochs=4, decodes=None), []
    for is_watched in (False, True):
        method = DecoderMethod(tiny_base)
        watcher = Watcher(method, [sample], config=config, embedding=lambda _: embedding)
        for step in Trainer(method, [sample], config=config, embedding=lambda _: embedding).steps():
            if is_watched:
                look = watcher.look(step=step.step, done=step.done)
                assert set(look.iou) == set(look.loss) == {"box", "point"}
                assert 0 <= look.iou["box"] <= 1
        ended.append(method.weights())
    assert ended[0] == ended[1]
