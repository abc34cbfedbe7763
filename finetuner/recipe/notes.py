"""Builds the manifest of a checkpoint from its training."""

import importlib.metadata
import time
from dataclasses import dataclass
from datetime import UTC, datetime

from backend.registry.calibration import Calibration
from backend.registry.checkpoint import Manifest
from backend.registry.metrics import (
    CheckpointMetrics,
    DomainMetrics,
    Fold,
    Recipe,
    SplitMetrics,
    TrainingSeconds,
    Verdict,
)
from backend.registry.review_file import LabelGuess
from backend.sam.predictor import base_predictor
from finetuner.context import TrainingContext
from finetuner.data.dataset import Dataset
from finetuner.deciding.candidate import Served
from finetuner.deciding.outcome import Compared
from finetuner.measuring.forgetting import measure_forgetting
from finetuner.presets import peak_mib
from finetuner.recipe.trained import Trained
from finetuner.report.data import DataReport
from finetuner.semantic.beside import Semantic
from finetuner.training.start import Start


@dataclass(frozen=True, slots=True, kw_only=True)
class Learnt:
    """Everything that a training produced and measured. `began_s` is its start by time.monotonic.

    `guesses`: of the held-out objects' labels (measuring.labels).
    """

    dataset: Dataset
    data: DataReport
    start: Start
    trained: Trained
    compared: Compared
    calibration: Calibration | None
    semantic: Semantic | None
    began_s: float
    guesses: tuple[LabelGuess | None, ...] = ()


def note_manifest(learnt: Learnt, *, verdict: Verdict, served: Served, context: TrainingContext) -> Manifest:
    """The manifest without version, project and files, which the publisher adds.

    This measures forgetting too, as the last step of a training.
    """
    base, method = context.base, learnt.trained.method
    return Manifest(
        version="",
        project_id=None,
        base_model=base.name,
        base_fingerprint=base.fingerprint,
        method=method.name,
        parent=served.version if served.predictor is not None else None,
        data_digest=learnt.dataset.digest,
        config=Recipe.model_validate({**context.config.to_json(), **method.sizes, "base_source": base.source}),
        metrics=_metrics(learnt, context=context),
        verdict=verdict,
        excluded=context.exclusions.by_reason(),
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        code_version=importlib.metadata.version("samloop"),
    )


def _metrics(learnt: Learnt, *, context: TrainingContext) -> CheckpointMetrics:
    trained, semantic = learnt.trained, learnt.semantic
    figures = learnt.compared.figures(context.config, calibration=learnt.calibration)
    return CheckpointMetrics(
        **dict(figures if semantic is None else figures.with_semantic(candidate=semantic.mean)),
        calibration=learnt.calibration,
        click_policy=trained.predictor.click_policy.value,
        seconds=_seconds(learnt),
        memory_mib=peak_mib(),
        processes=context.processes.count,
        ended_at=trained.ended_at[-1],
        split=_split(learnt, base_learnt=context.base_learnt),
        start=learnt.start.metrics(),
        curves=trained.curves.metrics(),
        data=learnt.data.metrics(),
        semantic=None if semantic is None else semantic.metrics(),
        forgetting=measure_forgetting(
            learnt.trained.predictor,
            plain=base_predictor(context.base),
            embeddings=context.embeddings,
            folder=context.generic_in,
            config=context.config,
        ),
        domain=_domain(learnt),
        magnification=trained.predictor.magnification,
    )


def _domain(learnt: Learnt) -> DomainMetrics | None:
    outside = learnt.trained.predictor.outside
    if outside is None:
        return None
    domain = outside.domain
    return DomainMetrics(
        learnt=len(domain.learnt),
        others=len(domain.others),
        radius=domain.radius,
        held_out=len({sample.image_sha256 for sample in learnt.dataset.held_out}),
        outside=learnt.trained.outside,
    )


def _seconds(learnt: Learnt) -> TrainingSeconds:
    evaluating_s = time.monotonic() - learnt.began_s - learnt.trained.here_s
    return TrainingSeconds(training=round(learnt.trained.seconds, 1), evaluating=round(evaluating_s, 1))


def _split(learnt: Learnt, *, base_learnt: frozenset[str]) -> SplitMetrics:
    dataset, split = learnt.dataset, learnt.dataset.split
    empty = (sample.image_sha256 for sample in dataset.empty_learnt if learnt.semantic is not None)
    return SplitMetrics(
        sentence=split.describe(),
        train_images=len({sample.image_sha256 for sample in dataset.train}),
        train_objects=sum(len(sample.objects) for sample in dataset.train),
        learnt=tuple(sorted({*split.train, *empty, *learnt.start.learnt, *base_learnt})),
        held_out=tuple(split.held_out),
        held_out_by_floor=tuple(split.floored),
        near_duplicates=tuple(tuple(group) for group in split.alike),
        folds=tuple(
            Fold(held_out=tuple(fold.held_out), ended_at=ended_at)
            for fold, ended_at in zip(split.folds, learnt.trained.ended_at, strict=False)
        ),
    )
