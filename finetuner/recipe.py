"""From samples to a judged candidate: report, split, train, measure, compare. Projects and exports share it."""

import importlib.metadata
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

from backend.registry.checkpoint import REPORT_FILE, Manifest
from backend.registry.review_file import REVIEW_FILE
from backend.sam.embedding_files import DiskEmbeddings
from backend.sam.loading import BaseModel, decoder_of, load_base
from backend.sam.predictor import Predictor
from backend.settings import Settings
from finetuner.annotations import AnnotatedTask, annotated_task
from finetuner.comparison import differences
from finetuner.config import TrainConfig
from finetuner.curves import Curves, Watcher, mean_looks
from finetuner.data_report import DataReport
from finetuner.dataset import Dataset, Embeddings, Sample, SampleReader, assemble
from finetuner.evaluation import Measured, measure
from finetuner.exclusions import Exclusions
from finetuner.folds import Training, fair_images, trainings
from finetuner.methods import new_method
from finetuner.methods.base import Method
from finetuner.outcome import Compared, calibrate
from finetuner.progress import Progress
from finetuner.promotion import Verdict
from finetuner.report import checkpoint_page
from finetuner.report.pictures import ImagesAgain
from finetuner.report.review import review_file
from finetuner.smoke import faults
from finetuner.trainer import Trainer

log = logging.getLogger(__name__)

_TELL_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What the candidate must beat; `predictor` None: the base model itself.

    `learnt`: digests of the images that it has learnt from; measured on those it would look better than it is.
    """

    version: str
    predictor: Predictor | None = None
    learnt: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """What a training made: the weights' file, and a manifest that lacks only the version and the files.

    `others` are the checkpoint's further files, by name: the report, a page for people, and the masks of the held-out
    objects, which the review pages show.
    """

    weights: bytes
    manifest: Manifest
    verdict: Verdict
    others: Mapping[str, bytes] = field(repr=False)


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

    def annotated(self, task: object, *, image_key: str | None) -> AnnotatedTask | None:
        """Read one task as annotations.annotated_task does; None if there is nothing in it to learn from."""
        return annotated_task(task, image_key=image_key, exclusions=self.exclusions, annotators=self.config.annotators)

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
            bare = replace(task, annotations=())  # what was drawn is in the samples already
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
    return TrainConfig(
        method=settings.method,
        epochs=settings.train_epochs,
        seconds=settings.train_seconds,
        annotators=settings.annotators,
        rectangles_are_masks=settings.rectangle_masks,
    )


def learnt_images(manifest: Manifest) -> frozenset[str]:
    """Digests of the images that a checkpoint has learnt from, as far as its manifest tells."""
    split = manifest.metrics.get("split")
    learnt = split.get("learnt") if isinstance(split, Mapping) else None
    return frozenset(each for each in learnt if isinstance(each, str)) if isinstance(learnt, list) else frozenset()


def learn(samples: Sequence[Sample], *, served: Served, workshop: Workshop) -> Candidate:
    """Train from the base model, measure on held-out images, and judge.

    Always from the base and on all annotations, old and new: nothing is forgotten, and no image that an earlier version
    learnt from can flatter this one.

    Raises:
        NothingToLearn: too few usable images.
        Diverged: the training went to numbers that are none.
    """
    began, config = time.monotonic(), workshop.config
    data = DataReport.of(samples, workshop.exclusions)
    workshop.progress("checking", **data.figures(), table=data.table())
    dataset = assemble(
        samples, share=config.held_out_share, exclusions=workshop.exclusions, most_folds=config.most_folds
    )
    workshop.progress("splitting", said=dataset.split.describe())
    trained = _train_all(dataset, workshop=workshop)
    compared = _compare(trained, dataset, served=served, workshop=workshop)
    kept = trained.predictor()
    calibration = calibrate(kept, dataset.train, embedding=workshop.embeddings.by(kept.base))
    verdict = compared.verdict(config)
    metrics = compared.figures(config, calibration=calibration) | {
        **({} if calibration is None else {"calibration": calibration.to_json()}),
        "seconds": {
            "training": round(trained.seconds, 1),
            "evaluating": round(time.monotonic() - began - trained.seconds, 1),
        },
        "ended_at": trained.ended_at[-1],
        "split": _split_json(dataset, trained),
        "curves": trained.curves.to_json(),
        "data": data.to_json(),
    }
    base, method = workshop.base, trained.method
    told = {**config.to_json(), **method.sizes}
    manifest = Manifest(
        version="", project_id=None, base_model=base.name, base_fingerprint=base.fingerprint, method=method.name,
        parent=served.version if served.predictor is not None else None, data_digest=dataset.digest,
        config=told, metrics=metrics, verdict=verdict.to_json(), excluded=workshop.exclusions.to_json(),
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        code_version=importlib.metadata.version("samloop"),
    )  # fmt: skip
    weights = method.weights()
    page = checkpoint_page(
        manifest, weights=weights, samples=dataset.held_out, base=compared.base, candidate=compared.candidate,
        pictures=workshop.images_again,
    )  # fmt: skip
    masks = review_file(dataset.held_out, base=compared.base, candidate=compared.candidate)
    return Candidate(
        weights=weights, manifest=manifest, verdict=verdict, others={REPORT_FILE: page, REVIEW_FILE: masks}
    )


def base_predictor(base: BaseModel) -> Predictor:
    """The base model as it is served."""
    return Predictor(base, decoder_of(base, None), version=base.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Trained:
    """What is kept, and how good it is: measured on images that it, or a training of its kind, has not learnt from.

    `measured` is in the order of the dataset's held-out side; `ended_at` in that of the trainings. Of the `curves` the
    steps are those of what is kept, and the looks at held-out objects the mean of all trainings that held any out.
    """

    method: Method
    measured: tuple[Measured, ...]
    ended_at: tuple[Mapping[str, Any], ...]
    curves: Curves
    seconds: float

    def predictor(self) -> Predictor:
        """What is kept, as it would be served."""
        return self.method.predictor(version="candidate")


def _train_all(dataset: Dataset, *, workshop: Workshop) -> _Trained:
    measured: list[Measured] = []
    ended_at, looks, seconds = [], [], 0.0
    for training in trainings(dataset, config=workshop.config):
        began = time.monotonic()
        method = new_method(workshop.config.method, workshop.base, config=workshop.config)
        curves = Curves()
        ended_at.append(_train(method, training, workshop=workshop, curves=curves))
        looks.append(curves.looks)
        seconds += time.monotonic() - began
        if training.held_out:
            candidate = method.predictor(version="candidate")
            measured += _measured(candidate, training.held_out, who="candidate", workshop=workshop)
    return _Trained(
        method=method,
        measured=tuple(measured),
        ended_at=tuple(ended_at),
        curves=Curves(steps=curves.steps, looks=mean_looks(looks)),
        seconds=seconds,
    )


def _train(method: Method, training: Training, *, workshop: Workshop, curves: Curves) -> Mapping[str, Any]:
    learning, looking = (partial(method.seen, embeddings=workshop.embeddings, learns=each) for each in (True, False))
    trainer = Trainer(method, training.train, config=training.config, embedding=learning)
    watcher = Watcher(method, training.held_out, config=training.config, embedding=looking)

    def look(number: int, done: float) -> None:
        if watcher.is_due(done):
            curves.looks.append(watcher.look(step=number, done=done))

    look(0, 0.0)
    told_s, losses, step = time.monotonic(), [], None
    for step in trainer.steps():
        curves.add(step)
        if step.done < 1:
            look(step.step, step.done)
        losses.append(step.loss)
        now = time.monotonic()
        if step.is_last_of_epoch or step.step == 1 or now - told_s >= _TELL_S:
            workshop.progress(
                "training", epoch=step.epoch, epochs=step.epochs, step=step.step, loss=sum(losses) / len(losses),
                mask_loss=step.mask, iou_loss=step.iou, learning_rate=step.learning_rate, seconds=step.seconds,
                **training.figures(),
            )  # fmt: skip
            told_s = now
        if step.is_last_of_epoch:
            losses = []
    if step is None:
        return {"epochs": 0, "steps": 0, "decodes": 0, "seconds": 0.0}
    look(step.step, 1.0)
    return {"epochs": step.epoch, "steps": step.step, "decodes": step.decodes, "seconds": round(step.seconds, 1)}


def _measured(predictor: Predictor, samples: Sequence[Sample], *, who: str, workshop: Workshop) -> tuple[Measured, ...]:
    return measure(
        predictor, samples, embedding=workshop.embeddings.by(predictor.base), clicks=workshop.config.evaluation_clicks,
        on_image=lambda done: workshop.progress("evaluating", model=who, done=done, total=len(samples)),
    )  # fmt: skip


def _compare(trained: _Trained, dataset: Dataset, *, served: Served, workshop: Workshop) -> Compared:
    config, plain = workshop.config, base_predictor(workshop.base)
    measured = partial(_measured, samples=dataset.held_out, workshop=workshop)
    images, told = fair_images(dataset.held_out, served=served.version, learnt=served.learnt)
    crossed = (dataset.split.describe(),) if dataset.split.is_cross_validated else ()
    compared = Compared(
        base_name="the base model",
        served_name=served.version,
        base=measured(plain, who="base"),
        candidate=trained.measured,
        served=None if served.predictor is None else measured(served.predictor, who="served"),
        faults=faults(trained.predictor(), base=plain, weights=trained.method.trainable()),
        fair_images=images,
        notes=(*crossed, *told),
    )
    gains = differences(compared.base, compared.candidate, rounds=config.bootstrap_rounds, seed=config.seed)
    workshop.progress(
        "evaluating",
        **{f"{prompt}_{name}_gain": each.mean for prompt, found in gains.items() for name, each in found.items()},
    )
    return compared


def _split_json(dataset: Dataset, trained: _Trained) -> dict[str, Any]:
    split = dataset.split
    return {
        "said": split.describe(),
        "train_images": len({each.image_sha256 for each in dataset.train}),
        "train_objects": sum(len(each.objects) for each in dataset.train),
        "learnt": list(split.train),
        "held_out": list(split.held_out),
        "held_out_by_floor": list(split.floored),
        "near_duplicates": [list(group) for group in split.alike],
        "folds": [
            {"held_out": list(fold.held_out), "ended_at": ended_at}
            for fold, ended_at in zip(split.folds, trained.ended_at, strict=False)
        ],
    }
