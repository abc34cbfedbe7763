"""One task in, one prediction out: no HTTP, no globals.

A request keeps the snapshot it began with, so that its masks, its `meta.model_version` and its prediction's
`model_version` are of one version even if a swap happens meanwhile.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from backend.images.source import ImageSource
from backend.labelstudio.controls.choice import output_control, output_of
from backend.labelstudio.controls.results import POLYGON_TOLERANCE_PX, prediction, regions_of_mask
from backend.labelstudio.label_config import LabelConfig
from backend.labelstudio.prompts.request import prompts_from_context
from backend.masks.prompt import Prompt
from backend.sam.predictor import Embedding, PredictedMask, Predictor
from backend.sam.refine import Crop, refined
from backend.sam.scoring import task_score
from backend.serving.lanes import LONGEST_S, Lane, Lanes
from backend.serving.slot import Snapshot
from backend.serving.task_embeddings import TaskEmbeddings
from backend.serving.traffic import Priority

log = logging.getLogger(__name__)
T = TypeVar("T")


class Observer(Protocol):
    """Who listens to what serving does: metrics, in production."""

    def predicted(self, *, regions: int, seconds: float) -> None:
        """A task was answered."""

    def failed(self, reason: str) -> None:
        """A task of a batch was not looked at, or could not be."""


class Serving:
    """Turns tasks into predictions with one shared encoder. Safe for any number of threads.

    Args:
        embeddings: those of the tasks' images; a snapshot whose encoder is another gets them by that.
        lanes: where the decoder runs.
        observer: who is told of every task.
        polygon_tolerance_px: how far a polygon's outline may be from its mask's.
        refines: whether small objects on large images are looked at twice.
    """

    def __init__(
        self,
        *,
        embeddings: TaskEmbeddings,
        lanes: Lanes,
        observer: Observer,
        polygon_tolerance_px: float = POLYGON_TOLERANCE_PX,
        refines: bool = False,
    ) -> None:
        self._embeddings, self._lanes, self._observer = embeddings, lanes, observer
        self._polygon_tolerance_px, self._refines = polygon_tolerance_px, refines

    def interactive(  # noqa: PLR0913 - all by name
        self,
        task: Mapping[str, Any],
        context: Mapping[str, Any],
        *,
        config: LabelConfig,
        images: ImageSource,
        snapshot: Snapshot,
        until_s: float | None = None,
    ) -> dict[str, Any]:
        """The prediction for what an annotator points at: a mask for each object, as the project's controls draw it.

        Until it is there, others make way.

        `until_s` (monotonic) is when nobody waits for it any more; absent, 90 s from now.

        Raises:
            BadInput: the prompts, the task or the labelling config cannot be used.
            Upstream: the image cannot be had.
            Busy: too many ask at once.
        """
        with self._lanes.traffic.click():
            until_s = time.monotonic() + LONGEST_S if until_s is None else until_s
            return self._answer(task, context, config=config, images=images, snapshot=snapshot, until_s=until_s)

    def _answer(  # noqa: PLR0913 - all by name
        self,
        task: Mapping[str, Any],
        context: Mapping[str, Any],
        *,
        config: LabelConfig,
        images: ImageSource,
        snapshot: Snapshot,
        until_s: float,
    ) -> dict[str, Any]:
        started = time.perf_counter()
        # Before the image is fetched: a project that can show no mask is told so at once.
        output_control(config, label=None)
        embeddings = self._embeddings.by(snapshot.predictor.base)
        embedding = embeddings.of(task, config=config, images=images, priority=Priority.CLICK, until_s=until_s)
        size = {"height_px": embedding.height_px, "width_px": embedding.width_px}
        prompts = prompts_from_context(context, config=config, task=task, **size)
        outputs = [output_of(each, config) for each in prompts]
        decoder = _InLane(snapshot.predictor, self._lanes.decode, until_s=until_s)
        masks = decoder.decode(embedding, [each.prompt for each in prompts]) if prompts else ()
        if self._refines:
            frame = snapshot.predictor.base.frame
            encode_crop = _crops(embeddings, task, config=config, images=images, until_s=until_s)
            masks = tuple(
                refined(mask, each.prompt, predictor=decoder, frame=frame, encode_crop=encode_crop)
                for mask, each in zip(masks, prompts, strict=True)
            )
        regions = [
            region
            for output, mask in zip(outputs, masks, strict=True)
            for region in regions_of_mask(
                mask.mask,
                control=output.control,
                label=output.label,
                score=mask.score,
                model_version=snapshot.version,
                polygon_tolerance_px=self._polygon_tolerance_px,
                region_id=output.region_id,
                is_interactive=True,
            )
        ]
        score = task_score([mask.score for mask in masks])
        self._observer.predicted(regions=len(regions), seconds=time.perf_counter() - started)
        return prediction(regions, model_version=snapshot.version, score=score)

    def embedding(
        self, task: Mapping[str, Any], *, config: LabelConfig, images: ImageSource, snapshot: Snapshot, until_s: float
    ) -> Embedding:
        """The embedding of a task of a batch; `until_s` (monotonic) is when nobody waits for it any more."""
        embeddings = self._embeddings.by(snapshot.predictor.base)
        return embeddings.of(task, config=config, images=images, priority=Priority.BATCH, until_s=until_s)

    def decode(self, work: Callable[[], T], *, until_s: float) -> T:
        """What the decoder does for a batch, behind the clicks."""
        return self._lanes.decode.run(work, priority=Priority.BATCH, until_s=until_s)


@dataclass(frozen=True, slots=True)
class _InLane:
    """A predictor whose decodes take their turn."""

    predictor: Predictor
    lane: Lane
    until_s: float = field(kw_only=True)

    def decode(self, embedding: Embedding, prompts: Sequence[Prompt]) -> tuple[PredictedMask, ...]:
        return self.lane.run(
            lambda: self.predictor.decode(embedding, prompts), priority=Priority.CLICK, until_s=self.until_s
        )


def _crops(
    embeddings: TaskEmbeddings, task: Mapping[str, Any], *, config: LabelConfig, images: ImageSource, until_s: float
) -> Callable[[Crop], Embedding]:
    """What embeds parts of the task's image, in the encoder's lane and from the tiers."""

    def embedding(crop: Crop) -> Embedding:
        corners = crop.x0_px, crop.y0_px, crop.x1_px, crop.y1_px
        return embeddings.of(
            task, config=config, images=images, priority=Priority.CLICK, until_s=until_s, crop_px=corners
        )

    return embedding
