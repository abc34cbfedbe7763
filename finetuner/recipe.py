"""From samples to a judged candidate: report, split, train, measure, compare. Projects and exports share it."""

import importlib.metadata
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial

from backend.registry.calibration import Calibration
from backend.registry.checkpoint import REPORT_FILE, Manifest
from backend.registry.metrics import (
    CheckpointMetrics,
    EndedAt,
    Fold,
    ForgettingMetrics,
    SplitMetrics,
    TrainingSeconds,
)
from backend.registry.review_file import REVIEW_FILE
from backend.sam.loading import BaseModel, decoder_of
from backend.sam.predictor import Predictor
from backend.sam.semantic.head import with_semantic
from finetuner.context import TrainingContext
from finetuner.data.dataset import Dataset, Sample, assemble
from finetuner.data.folds import fair_images, trainings
from finetuner.deciding.candidate import Candidate, Served
from finetuner.deciding.outcome import Compared, calibrate
from finetuner.deciding.promotion import Verdict
from finetuner.deciding.smoke import faults
from finetuner.measuring.comparison import differences
from finetuner.measuring.evaluation import Measured, measure
from finetuner.measuring.forgetting import measure_forgetting
from finetuner.methods import new_method
from finetuner.methods.base import Method
from finetuner.presets import peak_mib
from finetuner.report import checkpoint_page
from finetuner.report.data import DataReport
from finetuner.report.review import review_file
from finetuner.semantic.beside import Semantic, train_beside
from finetuner.training.curves import Curves, mean_looks
from finetuner.training.early_stopping import validation_part
from finetuner.training.replay import replayed_samples
from finetuner.training.run import TrainingRun, seed_all
from finetuner.training.start import Start, from_base
from finetuner.unfinished import Unfinished

log = logging.getLogger(__name__)


def learn(samples: Sequence[Sample], *, served: Served, context: TrainingContext) -> Candidate:
    """Train, measure on held-out images, and judge.

    Always on all annotations, old and new: nothing is forgotten. From the base, or (`start` of the config) from what is
    served where that has seen no held-out image: none that an earlier version learnt from can flatter this one (start).

    Raises:
        NothingToLearn: too few usable images.
        Diverged: the training went to numbers that are none.
        Dismissed: of several processes this is another than the first, which alone measures and judges.
    """
    began, config = time.monotonic(), context.config
    data = DataReport.of(samples, context.exclusions)
    context.progress("checking", **data.figures(), table=data.table())
    dataset = assemble(
        samples, share=config.held_out_share, exclusions=context.exclusions, most_folds=config.most_folds
    )
    start = _start(dataset, served=served, context=context)
    context.progress("splitting", said=dataset.split.describe(), start=start.version)
    unfinished = context.unfinished(samples, served=served.version)
    trained = _train_all(dataset, start=start, context=context, unfinished=unfinished)
    compared = _compare(trained, dataset, served=served, context=context)
    kept = trained.predictor()
    calibration = _calibration(kept, dataset, context=context)
    compared = compared.scored_by(calibration)
    semantic = _semantic(kept, dataset, unfinished=unfinished, context=context)
    verdict = _verdict(compared, semantic, context=context)
    figures = compared.figures(config, calibration=calibration)
    metrics = CheckpointMetrics(
        **dict(figures if semantic is None else figures.with_semantic(candidate=semantic.mean)),
        calibration=calibration,
        seconds=_seconds(trained, began_s=began),
        memory_mib=peak_mib(),
        processes=context.processes.count,
        ended_at=trained.ended_at[-1],
        split=_split_metrics(dataset, trained, start=start, base_learnt=context.base_learnt),
        start=start.metrics(),
        curves=trained.curves.metrics(),
        data=data.metrics(),
        semantic=None if semantic is None else semantic.metrics(),
        forgetting=_forgetting(kept, context=context),
    )
    manifest = _manifest(dataset, trained.method, metrics=metrics, verdict=verdict, served=served, context=context)
    weights = _weights(trained.method, semantic)
    page = checkpoint_page(
        manifest,
        weights=weights,
        samples=dataset.held_out,
        base=compared.base,
        candidate=compared.candidate,
        pictures=context.images_again,
    )
    masks = review_file(dataset.held_out, base=compared.base, candidate=compared.candidate)
    return Candidate(
        weights=weights,
        manifest=manifest,
        verdict=verdict,
        others={REPORT_FILE: page, REVIEW_FILE: masks},
        unfinished=unfinished,
    )


def _semantic(
    kept: Predictor, dataset: Dataset, *, unfinished: Unfinished | None, context: TrainingContext
) -> Semantic | None:
    """The semantic head that is trained beside the decoder, where the config asks for one."""
    if context.config.head != "semantic":
        return None
    return train_beside(
        dataset,
        base=kept.base,
        embedding=context.embeddings.by(kept.base),
        config=context.config,
        unfinished=unfinished,
        progress=context.progress,
    )


def _verdict(compared: Compared, semantic: Semantic | None, *, context: TrainingContext) -> Verdict:
    verdict = compared.verdict(context.config)
    return verdict if semantic is None else replace(verdict, reasons=(*verdict.reasons, semantic.sentence))


def _weights(method: Method, semantic: Semantic | None) -> bytes:
    weights = method.weights()
    return weights if semantic is None else with_semantic(weights, semantic.head)


def _manifest(  # noqa: PLR0913 - all by name
    dataset: Dataset,
    method: Method,
    *,
    metrics: CheckpointMetrics,
    verdict: Verdict,
    served: Served,
    context: TrainingContext,
) -> Manifest:
    base = context.base
    return Manifest(
        version="",
        project_id=None,
        base_model=base.name,
        base_fingerprint=base.fingerprint,
        method=method.name,
        parent=served.version if served.predictor is not None else None,
        data_digest=dataset.digest,
        config={**context.config.to_json(), **method.sizes},
        metrics=metrics,
        verdict=verdict.to_json(),
        excluded=context.exclusions.to_json(),
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        code_version=importlib.metadata.version("samloop"),
    )


def base_predictor(base: BaseModel) -> Predictor:
    """The base model as it is served."""
    return Predictor(base, decoder_of(base, None), version=base.name, calibration=base.calibration)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Trained:
    """What is kept, and how good it is: measured on images that it, or a training of its kind, has not learnt from.

    `measured` is in the order of the dataset's held-out side; `ended_at` in that of the trainings. Of the `curves` the
    steps are those of what is kept, and the looks at held-out objects the mean of all trainings that held any out.
    `seconds` are those of the trainings; `here_s` those in this process, less after a kill.
    """

    method: Method
    measured: tuple[Measured, ...]
    ended_at: tuple[EndedAt, ...]
    curves: Curves
    seconds: float
    here_s: float

    def predictor(self) -> Predictor:
        """What is kept, as it would be served."""
        return self.method.predictor(version="candidate")


def _start(dataset: Dataset, *, served: Served, context: TrainingContext) -> Start:
    config, base = context.config, context.base
    if config.start == "base":
        return from_base(base)
    start = Start.of(base, served=served.version, folder=served.folder, learnt=served.learnt, dataset=dataset)
    return start.fitting(new_method(config.method, base, config=config), base=base)


def _train_all(dataset: Dataset, *, start: Start, context: TrainingContext, unfinished: Unfinished | None) -> _Trained:
    replayed = replayed_samples(
        config=context.config,
        plain=base_predictor(context.base),
        embeddings=context.embeddings,
        folder=context.generic_in,
    )
    measured: list[Measured] = []
    processes = context.processes
    ended_at, looks, here_s = [], [], 0.0
    for training in trainings(dataset, config=context.config, replayed=replayed):
        began_s = time.monotonic()
        seed_all(context.config.seed)
        method = new_method(context.config.method, context.base, config=context.config)
        start.put_into(method)
        run = TrainingRun(
            method,
            training,
            embeddings=context.embeddings,
            unfinished=unfinished,
            progress=context.progress,
            processes=processes,
        )
        ended_at.append(run.train())
        if training.number == training.count:
            processes.part()
        looks.append(run.curves.looks)
        here_s += time.monotonic() - began_s
        if training.held_out and processes.is_first:
            candidate = method.predictor(version="candidate")
            measured += _measured(candidate, training.held_out, who="candidate", context=context)
    return _Trained(
        method=method,
        measured=tuple(measured),
        ended_at=tuple(ended_at),
        curves=replace(run.curves, looks=mean_looks(looks)),
        seconds=sum(end.seconds for end in ended_at),
        here_s=here_s,
    )


def _calibration(kept: Predictor, dataset: Dataset, *, context: TrainingContext) -> Calibration | None:
    """From images that have not taught, where the project has some with enough objects; else from those that have."""
    _, validating = validation_part(dataset.train, config=context.config)
    embedding = context.embeddings.by(kept.base)
    found = calibrate(kept, validating, embedding=embedding) if validating else None
    return found or calibrate(kept, dataset.train, embedding=embedding)


def _seconds(trained: _Trained, *, began_s: float) -> TrainingSeconds:
    evaluating_s = time.monotonic() - began_s - trained.here_s
    return TrainingSeconds(training=round(trained.seconds, 1), evaluating=round(evaluating_s, 1))


def _forgetting(kept: Predictor, *, context: TrainingContext) -> ForgettingMetrics | None:
    plain, config = base_predictor(context.base), context.config
    return measure_forgetting(
        kept, plain=plain, embeddings=context.embeddings, folder=context.generic_in, config=config
    )


def _measured(
    predictor: Predictor, samples: Sequence[Sample], *, who: str, context: TrainingContext
) -> tuple[Measured, ...]:
    return measure(
        predictor,
        samples,
        embedding=context.embeddings.by(predictor.base),
        clicks=context.config.evaluation_clicks,
        on_image=lambda done: context.progress("evaluating", model=who, done=done, total=len(samples)),
    )


def _compare(trained: _Trained, dataset: Dataset, *, served: Served, context: TrainingContext) -> Compared:
    config, plain = context.config, base_predictor(context.base)
    measured = partial(_measured, samples=dataset.held_out, context=context)
    images, told = fair_images(dataset.held_out, served=served.version, learnt=served.learnt)
    crossed = (dataset.split.describe(),) if dataset.split.is_cross_validated else ()
    known = len({each.image_sha256 for each in dataset.held_out} & context.base_learnt)
    flattered = (f"the base has learnt from {known} of these images, which flatters it and the candidate",)
    compared = Compared(
        base_name="the base model",
        served_name=served.version,
        base=measured(plain, who="base"),
        candidate=trained.measured,
        served=None if served.predictor is None else measured(served.predictor, who="served"),
        faults=faults(trained.predictor(), base=plain, weights=trained.method.trainable()),
        fair_images=images,
        notes=(*crossed, *told, *(flattered if known else ())),
    )
    gains = differences(compared.base, compared.candidate, rounds=config.bootstrap_rounds, seed=config.seed)
    context.progress(
        "evaluating",
        **{f"{prompt}_{name}_gain": each.mean for prompt, found in gains.items() for name, each in found.items()},
    )
    return compared


def _split_metrics(dataset: Dataset, trained: _Trained, *, start: Start, base_learnt: frozenset[str]) -> SplitMetrics:
    split = dataset.split
    return SplitMetrics(
        sentence=split.describe(),
        train_images=len({sample.image_sha256 for sample in dataset.train}),
        train_objects=sum(len(sample.objects) for sample in dataset.train),
        learnt=tuple(sorted({*split.train, *start.learnt, *base_learnt})),
        held_out=tuple(split.held_out),
        held_out_by_floor=tuple(split.floored),
        near_duplicates=tuple(tuple(group) for group in split.alike),
        folds=tuple(
            Fold(held_out=tuple(fold.held_out), ended_at=ended_at)
            for fold, ended_at in zip(split.folds, trained.ended_at, strict=False)
        ),
    )
