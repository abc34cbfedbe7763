"""Turns samples into a judged candidate: reports on the data, splits, trains, measures, judges."""

import time
from collections.abc import Sequence
from dataclasses import replace

from backend.registry.metrics import Verdict
from backend.sam.embeddings.domain import with_domain
from backend.sam.loading import BaseModel
from backend.sam.semantic.head import with_semantic
from finetuner.context import TrainingContext
from finetuner.data.dataset import Dataset, assemble
from finetuner.data.folds import fair_images
from finetuner.data.sample import Sample
from finetuner.deciding.candidate import Candidate, Served
from finetuner.measuring.labels import guess_labels
from finetuner.methods import new_method
from finetuner.recipe.head_alone import find_kept, make_head_alone
from finetuner.recipe.judging import compare, fit_calibration
from finetuner.recipe.notes import Learnt, note_manifest
from finetuner.recipe.trained import Trained, train_all
from finetuner.report import checkpoint_files
from finetuner.report.data import DataReport
from finetuner.semantic.beside import Semantic, train_beside
from finetuner.semantic.judging import judge_head
from finetuner.semantic.measuring import measure_semantic
from finetuner.training.start import Start, from_base
from finetuner.unfinished import Unfinished


def learn(samples: Sequence[Sample], *, served: Served, context: TrainingContext) -> Candidate:
    """Train, measure on held-out images, and judge.

    Every training learns from all annotations, old and new, so it does not forget the old ones. It starts from the
    base, or (`start` of the config) from the served version if that has learnt from no held-out image (training.start).

    Raises:
        NothingToLearn: there are too few usable images.
        Diverged: several losses in a row were not finite.
        Dismissed: this process is not the first of several; only the first measures and judges.
    """
    began_s = time.monotonic()
    data = DataReport.of(samples, context.exclusions)
    context.progress("checking", **data.figures(), table=data.table())
    config = context.config
    dataset = assemble(
        samples, share=config.held_out_share, exclusions=context.exclusions, most_folds=config.most_folds
    )
    start = _choose_start(dataset, served=served, context=context)
    context.progress("splitting", said=dataset.split.describe(), start=start.version)
    unfinished = context.open_unfinished(samples, served=served.version)
    trained = train_all(dataset, start=start, context=context, unfinished=unfinished)
    compared = compare(trained, dataset=dataset, served=served, context=context)
    calibration = fit_calibration(trained.predictor, dataset, context=context)
    verdict = compared.verdict(config)
    kept = None if verdict.promote else find_kept(served, context=context)
    on = trained.predictor.base if kept is None else kept.base  # whose encoder the head will be served with
    semantic = _train_semantic(dataset, base=on, served=served, unfinished=unfinished, context=context)
    learnt = Learnt(
        dataset=dataset,
        data=data,
        start=start,
        trained=trained,
        compared=compared.rescore(calibration),
        calibration=calibration,
        semantic=semantic,
        began_s=began_s,
        guesses=guess_labels(
            dataset.held_out, beside=dataset.train, embedding=context.embeddings, frame=context.base.frame
        ),
    )
    if on.encoder_fingerprint != trained.predictor.base.encoder_fingerprint:
        learnt = replace(learnt, semantic=None)  # the challenger cannot be served with a head of another encoder
    candidate = _candidate(learnt, verdict=verdict, served=served, unfinished=unfinished, context=context)
    if kept is None or semantic is None or not semantic.is_gain:
        return candidate
    alone = make_head_alone(candidate, learnt=learnt, semantic=semantic, served=served, context=context)
    return replace(candidate, head_alone=alone)


def _candidate(
    learnt: Learnt, *, verdict: Verdict, served: Served, unfinished: Unfinished | None, context: TrainingContext
) -> Candidate:
    """Build the checkpoint's contents: weights, manifest, report page and masks for review."""
    if learnt.semantic is not None:
        verdict = verdict.with_reasons(learnt.semantic.sentence)
    manifest = note_manifest(learnt, verdict=verdict, served=served, context=context)
    weights = _weights(learnt.trained, learnt.semantic)
    compared = learnt.compared
    others = checkpoint_files(
        manifest,
        weights=weights,
        dataset=learnt.dataset,
        base=compared.base,
        candidate=compared.candidate,
        pictures=context.images_again,
        guesses=learnt.guesses,
    )
    return Candidate(
        weights=weights,
        manifest=manifest,
        verdict=verdict,
        others=others,
        unfinished=unfinished,
    )


def _choose_start(dataset: Dataset, *, served: Served, context: TrainingContext) -> Start:
    config, base = context.config, context.base
    if config.start == "base":
        return from_base(base)
    start = Start.of(base, served=served.version, folder=served.folder, learnt=served.learnt, dataset=dataset)
    return start.fit_to(new_method(config.method, base, config=config), base=base)


def _train_semantic(
    dataset: Dataset,
    *,
    base: BaseModel,
    served: Served,
    unfinished: Unfinished | None,
    context: TrainingContext,
) -> Semantic | None:
    """Train the semantic head on embeddings of `base`, and compare it with what answers batches now.

    None unless the config asks for one.
    """
    config = context.config
    if config.head != "semantic":
        return None
    semantic = train_beside(
        dataset,
        base=base,
        embedding=context.embeddings.by(base),
        config=config,
        unfinished=unfinished,
        progress=context.progress,
    )
    samples = (*dataset.held_out, *dataset.empty_held_out)
    if not samples:
        return semantic
    images, _ = fair_images(samples, served=served.version, learnt=served.learnt)
    predictor, rival = served.predictor, None
    if predictor is not None and predictor.semantic is not None:
        rival = measure_semantic(
            predictor.semantic,
            [sample for sample in samples if sample.image_sha256 in images],
            base=predictor.base,
            embedding=context.embeddings.by(predictor.base),
            unlabelled=config.unlabelled,
        )
    verdict = judge_head(
        [found for found in semantic.measured if found.image_sha256 in images],
        rival,
        served_name=served.version,
        images=images,
        rounds=config.bootstrap_rounds,
        seed=config.seed,
    )
    return replace(semantic, verdict=verdict)


def _weights(trained: Trained, semantic: Semantic | None) -> bytes:
    weights = trained.method.weights()
    if semantic is not None:
        weights = with_semantic(weights, semantic.head)
    outside = trained.predictor.outside
    return weights if outside is None else with_domain(weights, outside.domain)
