"""Trains on one Label Studio project: pulls, embeds, learns, judges, publishes, and promotes a better version."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from backend.errors import BadCheckpoint, BadWeights, ChampionMoved, NotFound
from backend.images.source import ImageSource
from backend.labelstudio.api.client import LabelStudio, label_studio_of
from backend.labelstudio.label_config import parse_label_config
from backend.registry.checkpoint import Manifest, read_manifest
from backend.registry.metrics import Verdict
from backend.registry.opening import open_registry
from backend.registry.protocol import Pointer, Registry
from backend.sam.loading import BaseModel, load_base_of
from backend.sam.predictor import predictor_of
from backend.settings import Settings
from finetuner.context import TrainingContext
from finetuner.data.annotations import AnnotatedTask
from finetuner.data.sample import Sample
from finetuner.deciding.candidate import Candidate, Served, learnt_images
from finetuner.presets import config_of
from finetuner.progress import Progress
from finetuner.recipe.first import plan_first
from finetuner.recipe.learning import learn

log = logging.getLogger(__name__)

_TASKS_A_PAGE = 50
_FIRST = "first version"  # what the progress of the short training says


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a training: the published `version`, the `verdict` as JSON, and the `reason`, a sentence."""

    version: str | None
    promoted: bool
    verdict: Mapping[str, object]
    reason: str


def train_project(project_id: int, *, settings: Settings, progress: Progress, fence: Callable[[], None]) -> Outcome:
    """Train on all submitted annotations of the project, and promote the result if it is better.

    A project without a version gets a first one after a short training, and the long training follows (recipe.first).
    Its verdict then has that of the first version as `first`. After a kill the long training goes on, if the first
    version is served by then.

    Args:
        project_id: the Label Studio project.
        settings: the addresses of Label Studio, base model, registry and caches, and the limits of a training.
        progress: receives the progress.
        fence: raises if another run trains this project meanwhile; called before publishing and before promoting.

    Raises:
        SettingsError: Label Studio's address or key is missing.
        NothingToLearn: there are too few usable images.
        SamloopError: Label Studio, the base model or the registry fails, or `fence` raises.
    """
    label_studio = label_studio_of(settings, where="where the worker runs")
    registry = open_registry(settings)
    progress("pulling", project=project_id)
    context = TrainingContext.open(
        settings,
        config=config_of(settings),
        progress=progress,
        unfinished_in=registry.state_dir.unfinished,
        sharing=registry.state_dir.sharing,
    )
    samples = _samples(project_id, settings=settings, label_studio=label_studio, context=context)
    project = _Project(project_id, registry=registry, cache_dir=settings.cache.dir, fence=fence)
    first = plan_first(context.config, samples, seconds=settings.training.first_seconds)
    if first is None or registry.champion(project_id) is not None:
        return project.train(samples, context=context)
    early = project.train(samples, context=replace(context, config=first, progress=partial(progress, part=_FIRST)))
    outcome = project.train(samples, context=context)
    stays = f"; the first version, {early.version}, stays" if early.promoted and not outcome.promoted else ""
    return replace(outcome, verdict={**outcome.verdict, "first": early.verdict}, reason=f"{outcome.reason}{stays}")


@dataclass(frozen=True, slots=True)
class _Project:
    """A project while it is trained. `fence` raises if somebody else trains it by now."""

    project_id: int
    registry: Registry = field(kw_only=True)
    cache_dir: Path = field(kw_only=True)
    fence: Callable[[], None] = field(kw_only=True)

    def train(self, samples: Sequence[Sample], *, context: TrainingContext) -> Outcome:
        """Learn from the samples, publish what came of it, and promote it if it is better than what is served now."""
        champion = self.registry.champion(self.project_id)
        served = _find_served(context.base, self.registry, champion, cache_dir=self.cache_dir)
        candidate = learn(samples, served=served, context=context)
        context.progress("publishing")
        self.fence()
        version = self._publish(candidate)
        if candidate.head_alone is not None:
            _log_challenger(self.project_id, version, verdict=candidate.verdict)
            candidate = candidate.head_alone
            self.fence()
            version = self._publish(candidate)
        return _promote(
            self.project_id, version, candidate, registry=self.registry, champion=champion, fence=self.fence
        )

    def _publish(self, candidate: Candidate) -> str:
        manifest = self.registry.publish(
            self.project_id,
            weights=candidate.weights,
            manifest=candidate.manifest,
            others=candidate.others,
            fence=self.fence,
        )
        candidate.forget_unfinished()
        return manifest.version


def _samples(
    project_id: int, *, settings: Settings, label_studio: LabelStudio, context: TrainingContext
) -> list[Sample]:
    label_config = parse_label_config(str(label_studio.project(project_id).get("label_config")))
    images = ImageSource(settings=settings, label_studio=label_studio)

    def read_annotated() -> Iterator[AnnotatedTask]:
        for number, task in enumerate(label_studio.tasks(project_id, page_size=_TASKS_A_PAGE), start=1):
            if number % _TASKS_A_PAGE == 1:
                context.progress("pulling", tasks=number)
            yield from context.read_task(task, config=label_config)

    return context.samples(
        read_annotated(),
        read=lambda task: _fetch(images, task),
        label_config=label_config,
        max_pixels=settings.image.pixels,
    )


def _fetch(images: ImageSource, task: AnnotatedTask) -> bytes:
    return images.fetch(task.image_uri, task_id=task.task_id if isinstance(task.task_id, int) else None)


def _find_served(base: BaseModel, registry: Registry, champion: Pointer | None, *, cache_dir: Path) -> Served:
    """The model that the candidate must beat: the champion, on its own base if the project's base has changed since.

    It is the base if there is no champion, or if the champion cannot be served.
    """
    if champion is None or champion.version is None:
        return Served(version=base.name, is_live=True)
    try:
        folder = registry.materialise(champion.version)
        manifest = read_manifest(folder)
        own = base if manifest.base_fingerprint == base.fingerprint else _other_base(manifest, base, cache_dir)
        predictor, learnt = predictor_of(own, folder), learnt_images(manifest)
    except (BadCheckpoint, BadWeights, NotFound) as fault:
        log.warning(
            "comparing with the base: %s cannot be served: %s",
            champion.version,
            fault,
            extra={"event": "checkpoint.refused", "version": champion.version},
        )
        return Served(version=base.name, is_live=True)
    of_base = None if own is base else manifest.base_model
    return Served(
        version=champion.version,
        predictor=predictor,
        learnt=learnt,
        folder=folder,
        of_base=of_base,
        is_first=manifest.config.is_first,
        is_live=True,
    )


def _other_base(manifest: Manifest, base: BaseModel, cache_dir: Path) -> BaseModel:
    """The base that the project had when its champion was trained."""
    log.info(
        "%s was trained on %s, but the base is now %s: measuring both on the same held-out images",
        manifest.version,
        manifest.base_model,
        base.name,
        extra={"event": "base.changed", "version": manifest.version},
    )
    return load_base_of(manifest, like=base, cache_dir=cache_dir)


def _promote(  # noqa: PLR0913 - all by name
    project_id: int,
    version: str,
    candidate: Candidate,
    *,
    registry: Registry,
    champion: Pointer | None,
    fence: Callable[[], None],
) -> Outcome:
    verdict = candidate.verdict
    if verdict.promote:
        fence()
        try:
            registry.promote(project_id, version, reason=verdict.sentence, expected=champion.number if champion else 0)
        except ChampionMoved as fault:
            verdict = Verdict(promote=False, reasons=(str(fault),))
    if not verdict.promote:
        _log_challenger(project_id, version, verdict=verdict)
    report = {**verdict.to_json(), "version": version, "evaluation": candidate.manifest.metrics.to_json()}
    return Outcome(version=version, promoted=verdict.promote, verdict=report, reason=verdict.sentence)


def _log_challenger(project_id: int, version: str, *, verdict: Verdict) -> None:
    log.info(
        "did not promote %s, which is kept as a challenger: %s",
        version,
        verdict.sentence,
        extra={"event": "checkpoint.challenger", "version": version, "project_id": project_id},
    )
