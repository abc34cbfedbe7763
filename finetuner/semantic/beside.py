"""A semantic head beside the promptable decoder: trained, measured on held-out images, and served if it is fit to be.

It decides nothing of the promptable decoder's promotion, and goes wherever that goes: a head of a challenger is no more
served than the challenger.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

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
from finetuner.semantic.learning import SemanticTrainer
from finetuner.semantic.measuring import Found, measure_semantic, semantic_report
from finetuner.unfinished import Unfinished

log = logging.getLogger(__name__)

FLOOR = 0.5  # held-out mean IoU; below, correcting what a head draws takes longer than drawing
_TELL_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Semantic:
    """A head and what it is worth: `report` is measuring.semantic_report's; `steps` are those of what is kept."""

    head: SemanticHead
    report: SemanticReport | None
    steps: int
    seconds: float

    @property
    def mean(self) -> MaskFigures | None:
        """Its figures over all labels."""
        return None if self.report is None else self.report.mean

    @property
    def is_served(self) -> bool:
        """Whether batches may be pre-annotated with it."""
        return self.report is not None and (self.report.mean.iou or 0.0) >= FLOOR

    @property
    def sentence(self) -> str:
        """For who reads the verdict."""
        if self.report is None:
            return "the semantic head is not served: none of its labels is drawn on a held-out image"
        iou, count = self.report.mean.iou, len(self.report.labels)
        found = f"mean IoU {iou:.3f} over {count} label{'s' * (count != 1)} on held-out images without a prompt"
        if self.is_served:
            return f"the semantic head has {found}: it goes with this version, for batches"
        return (
            f"the semantic head is not served: {found} is below {FLOOR:.3f} (where images are not annotated in full, "
            "SAMLOOP_UNLABELLED=unknown)"
        )

    def metrics(self) -> SemanticMetrics:
        """What the manifest keeps of it."""
        return SemanticMetrics(
            labels=self.head.labels,
            is_served=self.is_served,
            floor=FLOOR,
            steps=self.steps,
            seconds=round(self.seconds, 1),
            held_out=self.report,
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
    """Train and measure on the dataset's sides; of a cross-validation the last head, which learnt from all, is kept.

    `base` is the one whose encoder the head will be served with. Where that has an adapter, it is the one that is kept
    of a cross-validation, and it has seen every image: the folds' figures are a little too good then. What an earlier
    process kept in `unfinished` is taken up, to the last bit; their numbers follow those of the promptable trainings.
    """
    found: list[Found] = []
    began, steps = time.monotonic(), 0
    for training in trainings(dataset, config=config):
        head, steps = _train(training, base=base, embedding=embedding, unfinished=unfinished, progress=progress)
        if training.held_out:
            found += measure_semantic(
                head,
                (*training.held_out, *training.empty_held_out),
                base=base,
                embedding=embedding,
                unlabelled=config.unlabelled,
            )
    return Semantic(head=head, report=semantic_report(found), steps=steps, seconds=time.monotonic() - began)


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
    _take_up(trainer, number, unfinished=unfinished)
    told_s, losses = time.monotonic(), []
    for step in trainer.steps():
        losses.append(step.loss)
        # The state of a last step too: a kill while it is measured, or in the next fold, must not cost this one again.
        if unfinished is not None and (unfinished.is_due() or step.done == 1):
            unfinished.save(number, trainer.state())
        if (now := time.monotonic()) - told_s >= _TELL_S or step.done == 1:
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
            told_s, losses = now, []
    return trainer.head, trainer.step


def _take_up(trainer: SemanticTrainer, number: int, *, unfinished: Unfinished | None) -> None:
    kept = None if unfinished is None else unfinished.load(number)
    if kept is None or unfinished is None:
        return
    try:
        trainer.restore(kept)
    except ValueError as fault:
        unfinished.forget(number, why=str(fault))
        return
    log.info("a killed semantic head goes on after step %d", trainer.step, extra={"event": "training.resumed"})
