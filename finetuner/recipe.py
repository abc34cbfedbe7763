"""From samples to a judged candidate: split, train, measure, compare. Projects and exports share it."""

import importlib.metadata
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from backend.registry.checkpoint import Manifest
from backend.sam.embedding_files import DiskEmbeddings
from backend.sam.loading import BaseModel, decoder_of, load_base
from backend.sam.predictor import Predictor
from backend.settings import Settings
from finetuner.annotations import AnnotatedTask, Exclusions
from finetuner.comparison import differences
from finetuner.config import TrainConfig
from finetuner.curves import Curves, Watcher
from finetuner.dataset import Dataset, Embeddings, Sample, SampleReader, assemble
from finetuner.evaluation import Measured, measure
from finetuner.methods import new_method
from finetuner.methods.base import Method
from finetuner.outcome import Compared, calibrate
from finetuner.progress import Progress
from finetuner.promotion import Verdict
from finetuner.report import checkpoint_page
from finetuner.report.pictures import ImagesAgain
from finetuner.smoke import faults
from finetuner.trainer import Trainer

log = logging.getLogger(__name__)

_TELL_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What the candidate must beat; `predictor` None: the base model itself."""

    version: str
    predictor: Predictor | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """What a training made: the weights' file, and a manifest that lacks only the version and the files.

    `report` is a page for people: REPORT_FILE of the checkpoint.
    """

    weights: bytes
    manifest: Manifest
    verdict: Verdict
    report: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Workshop:
    """What every step of a training uses."""

    base: BaseModel
    embeddings: Embeddings
    config: TrainConfig
    exclusions: Exclusions
    progress: Progress
    images_again: ImagesAgain = field(default_factory=ImagesAgain)

    @classmethod
    def open(cls, settings: Settings, *, config: TrainConfig, progress: Progress) -> "Workshop":
        """Load the base model.

        Raises:
            BadWeights: its weights cannot be had.
        """
        base = load_base(settings.model, cache_dir=settings.cache_dir, device=settings.device, dtype=settings.dtype)
        return cls(
            base=base,
            embeddings=Embeddings(
                base, disk=DiskEmbeddings.of(settings), max_pixels=settings.image_megapixels * 1_000_000
            ),
            config=config,
            exclusions=Exclusions(),
            progress=progress,
        )

    def samples(
        self,
        tasks: Iterable[AnnotatedTask],
        *,
        read: Callable[[AnnotatedTask], bytes],
        labels: Iterable[str] = (),
        max_pixels: int,
    ) -> list[Sample]:
        """Read the tasks' images and objects; `labels` as Rules has them."""

        def remembered(task: AnnotatedTask) -> bytes:
            data = read(task)
            bare = replace(task, regions=())  # what was drawn is in the samples already
            self.images_again.remember(data, read=lambda: read(bare), max_pixels=max_pixels)
            return data

        reader = SampleReader(
            read=remembered,
            embeddings=self.embeddings,
            rules=self.config.rules(labels),
            max_pixels=max_pixels,
            exclusions=self.exclusions,
        )
        return reader.samples(tasks, progress=self.progress)


def config_of(settings: Settings) -> TrainConfig:
    """The recipe with what the settings decide of it."""
    return TrainConfig(method=settings.method, epochs=settings.train_epochs, seconds=settings.train_seconds)


def learn(samples: Sequence[Sample], *, served: Served, workshop: Workshop) -> Candidate:
    """Train from the base model, measure on held-out images, and judge.

    Always from the base and on all annotations, old and new: nothing is forgotten, and no image that an earlier version
    learnt from can flatter this one.

    Raises:
        NothingToLearn: too few usable images.
        Diverged: the training went to numbers that are none.
    """
    began, config, base = time.monotonic(), workshop.config, workshop.base
    dataset = assemble(samples, share=config.held_out_share, exclusions=workshop.exclusions)
    method, curves = new_method(config.method, base, precision=config.precision), Curves()
    ended_at = _train(method, dataset, workshop=workshop, curves=curves)
    trained = time.monotonic()
    compared = _measure_all(method, dataset, served=served, workshop=workshop)
    calibration = calibrate(method.predictor(version="candidate"), dataset.train, embedding=workshop.embeddings)
    verdict = compared.verdict(config)
    metrics = compared.figures(config, calibration=calibration) | {
        **({} if calibration is None else {"calibration": calibration.to_json()}),
        "seconds": {"training": round(trained - began, 1), "evaluating": round(time.monotonic() - trained, 1)},
        "ended_at": ended_at,
        "split": _split_json(dataset),
        "curves": curves.to_json(),
    }
    manifest = Manifest(
        version="", project_id=None, base_model=base.name, base_fingerprint=base.fingerprint, method=method.name,
        parent=served.version if served.predictor is not None else None, data_digest=dataset.digest,
        config=config.to_json(), metrics=metrics, verdict=verdict.to_json(), excluded=workshop.exclusions.to_json(),
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        code_version=importlib.metadata.version("samloop"),
    )  # fmt: skip
    weights = method.weights()
    page = checkpoint_page(
        manifest, weights=weights, samples=dataset.held_out, base=compared.base, candidate=compared.candidate,
        pictures=workshop.images_again,
    )  # fmt: skip
    return Candidate(weights=weights, manifest=manifest, verdict=verdict, report=page)


def base_predictor(base: BaseModel) -> Predictor:
    """The base model as it is served."""
    return Predictor(base, decoder_of(base, None), version=base.name)


def _train(method: Method, dataset: Dataset, *, workshop: Workshop, curves: Curves) -> Mapping[str, Any]:
    trainer = Trainer(method, dataset.train, config=workshop.config, embedding=workshop.embeddings)
    watcher = Watcher(method, dataset.held_out, config=workshop.config, embedding=workshop.embeddings)
    curves.looks.append(watcher.look(step=0, done=0.0))
    told_s, losses, step = time.monotonic(), [], None
    for step in trainer.steps():
        curves.add(step)
        if watcher.is_due(step.done) and step.done < 1:
            curves.looks.append(watcher.look(step=step.step, done=step.done))
        losses.append(step.loss)
        now = time.monotonic()
        if step.is_last_of_epoch or step.step == 1 or now - told_s >= _TELL_S:
            workshop.progress(
                "training", epoch=step.epoch, epochs=step.epochs, step=step.step, loss=sum(losses) / len(losses),
                mask_loss=step.mask, iou_loss=step.iou, learning_rate=step.learning_rate, seconds=step.seconds,
            )  # fmt: skip
            told_s = now
        if step.is_last_of_epoch:
            losses = []
    if step is None:
        return {"epochs": 0, "steps": 0, "decodes": 0, "seconds": 0.0}
    curves.looks.append(watcher.look(step=step.step, done=1.0))
    return {"epochs": step.epoch, "steps": step.step, "decodes": step.decodes, "seconds": round(step.seconds, 1)}


def _measure_all(method: Method, dataset: Dataset, *, served: Served, workshop: Workshop) -> Compared:
    config, plain = workshop.config, base_predictor(workshop.base)

    def measured(predictor: Predictor, who: str) -> tuple[Measured, ...]:
        return measure(
            predictor, dataset.held_out, embedding=workshop.embeddings, clicks=config.evaluation_clicks,
            on_image=lambda done: workshop.progress("evaluating", model=who, done=done, total=len(dataset.held_out)),
        )  # fmt: skip

    tuned = method.predictor(version="candidate")
    compared = Compared(
        base_name="the base model",
        served_name=served.version,
        base=measured(plain, "base"),
        candidate=measured(tuned, "candidate"),
        served=None if served.predictor is None else measured(served.predictor, "served"),
        faults=faults(tuned, base=plain, weights=method.trainable()),
    )
    gains = differences(compared.base, compared.candidate, rounds=config.bootstrap_rounds, seed=config.seed)
    workshop.progress(
        "evaluating",
        **{f"{prompt}_{name}_gain": each.mean for prompt, found in gains.items() for name, each in found.items()},
    )
    return compared


def _split_json(dataset: Dataset) -> dict[str, Any]:
    return {
        "said": dataset.split.describe(),
        "train_images": len(dataset.train),
        "train_objects": sum(len(each.objects) for each in dataset.train),
        "held_out": list(dataset.split.held_out),
        "held_out_by_floor": list(dataset.split.floored),
    }
