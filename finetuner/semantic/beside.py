"""Trains a semantic head beside the promptable decoder, measures it on held-out images, and decides on serving it.

The head has no say in the promotion of the promptable decoder. If that is not promoted, a head that is a gain for
batches is promoted alone, beside the served decoder (recipe.head_alone).
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from backend.registry.figures import MaskFigures
from backend.registry.metrics import SemanticMetrics, SemanticReport
from backend.sam.loading import BaseModel
from backend.sam.predictor import Embedding
from backend.sam.semantic.head import SemanticHead
from finetuner.config import TrainConfig
from finetuner.data.dataset import Dataset
from finetuner.data.folds import Training, trainings
from finetuner.data.sample import Sample
from finetuner.progress import Progress
from finetuner.semantic.judging import HeadVerdict
from finetuner.semantic.learning import SemanticTrainer
from finetuner.semantic.measuring import LabelOnImage, measure_semantic, semantic_report
from finetuner.unfinished import Unfinished

log = logging.getLogger(__name__)

FLOOR = 0.5  # held-out mean IoU; below it, correcting the head's masks takes longer than drawing them
_REPORT_EVERY_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Semantic:
    """A trained head with its measurements.

    Attributes:
        head: the head.
        report: the figures from measuring.semantic_report.
        steps: the steps of the final head's training.
        seconds: the time of all trainings and measurements.
        measured: the measurements behind the report.
        verdict: the comparison with what answers batches now; None if nobody made it.
    """

    head: SemanticHead
    report: SemanticReport | None
    steps: int
    seconds: float
    measured: tuple[LabelOnImage, ...] = field(default=(), repr=False)
    verdict: HeadVerdict | None = None

    @property
    def mean(self) -> MaskFigures | None:
        """The figures over all labels."""
        return None if self.report is None else self.report.mean

    @property
    def is_served(self) -> bool:
        """Whether batches may be pre-annotated with it: above the floor, and not worse than what answers them now."""
        is_fit = self.report is not None and (self.report.mean.iou or 0.0) >= FLOOR
        return is_fit and not (self.verdict is not None and self.verdict.is_worse)

    @property
    def is_gain(self) -> bool:
        """Whether it is fit to be promoted alone, with the decoder that is served."""
        return self.is_served and self.verdict is not None and self.verdict.is_gain

    @property
    def sentence(self) -> str:
        """A sentence for the readers of the verdict."""
        if self.report is None:
            return "the semantic head is not promoted: none of its labels is drawn on a held-out image"
        iou, count = self.report.mean.iou, len(self.report.labels)
        found = f"mean IoU {iou:.3f} over {count} label{'s' * (count != 1)} on held-out images without a prompt"
        compared = "" if self.verdict is None else f"; {self.verdict.sentence}"
        if self.is_served:
            return f"the semantic head has {found}: it goes with this version, for batches{compared}"
        if (iou or 0.0) >= FLOOR:
            return (
                f"the semantic head is not promoted: {found}, but it may be worse than what it would replace{compared}"
            )
        return (
            f"the semantic head is not promoted: {found} is below {FLOOR:.3f} (where images are not annotated in full, "
            "SAMLOOP_UNLABELLED=unknown)"
        )

    def metrics(self) -> SemanticMetrics:
        """The head's part of the manifest."""
        return SemanticMetrics(
            labels=self.head.labels,
            is_served=self.is_served,
            floor=FLOOR,
            steps=self.steps,
            seconds=round(self.seconds, 1),
            held_out=self.report,
            against=None if self.verdict is None else self.verdict.against,
            difference=None if self.verdict is None else self.verdict.differences,
        )


def train_beside(  # noqa: PLR0913 - what a training has, by name
    dataset: Dataset,
    *,
    base: BaseModel,
    embedding: Callable[[Sample], Embedding],
    config: TrainConfig,
    progress: Progress,
    unfinished: Unfinished | None = None,
) -> Semantic:
    """Train and measure on the dataset's folds; in a cross-validation, the last head, from all images, is kept.

    Args:
        dataset: the folds.
        base: the base whose encoder will serve the head. In a cross-validation with an adapter, this encoder has seen
            every image, and the folds' figures are slightly too good.
        embedding: returns a sample's embedding by that encoder.
        config: the recipe.
        progress: receives the progress.
        unfinished: the states of earlier processes, from which a training resumes exactly. Their numbers follow those
            of the promptable trainings.
    """
    measured: list[LabelOnImage] = []
    began, steps = time.monotonic(), 0
    for training in trainings(dataset, config=config):
        head, steps = _train(training, base=base, embedding=embedding, unfinished=unfinished, progress=progress)
        if training.held_out:
            measured += measure_semantic(
                head,
                (*training.held_out, *training.empty_held_out),
                base=base,
                embedding=embedding,
                unlabelled=config.unlabelled,
            )
    return Semantic(
        head=head,
        report=semantic_report(measured),
        steps=steps,
        seconds=time.monotonic() - began,
        measured=tuple(measured),
    )


def _train(
    training: Training,
    *,
    base: BaseModel,
    embedding: Callable[[Sample], Embedding],
    unfinished: Unfinished | None,
    progress: Progress,
) -> tuple[SemanticHead, int]:
    trainer = SemanticTrainer(
        base, (*training.train, *training.empty_train), config=training.config, embedding=embedding
    )
    number = training.count + training.number
    _resume(trainer, number, unfinished=unfinished)
    reported_s, losses = time.monotonic(), []
    for step in trainer.steps():
        losses.append(step.loss)
        # After the last step too: a kill during the measuring, or in the next fold, must not cost this training again.
        if unfinished is not None and (unfinished.is_due() or step.done == 1):
            unfinished.save(number, trainer.state())
        if (now := time.monotonic()) - reported_s >= _REPORT_EVERY_S or step.done == 1:
            progress(
                "training",
                head="semantic",
                step=step.step,
                steps=round(step.step / step.done),
                loss=sum(losses) / len(losses),
                seconds=step.seconds,
                **training.how_far(done=step.done, seconds=step.seconds),
                **training.figures(),
            )
            reported_s, losses = now, []
    return trainer.head, trainer.step


def _resume(trainer: SemanticTrainer, number: int, *, unfinished: Unfinished | None) -> None:
    state = None if unfinished is None else unfinished.load(number)
    if state is None or unfinished is None:
        return
    try:
        trainer.restore(state)
    except ValueError as fault:
        unfinished.forget(number, why=str(fault))
        return
    log.info("resumed a killed semantic head after step %d", trainer.step, extra={"event": "training.resumed"})
