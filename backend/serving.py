"""One task in, one prediction out: no HTTP, no globals.

A request keeps the snapshot it began with, so that its masks, its `meta.model_version` and its prediction's
`model_version` are of one version even if a swap happens meanwhile.
"""

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from backend.labelstudio.images import ImageSource
from backend.labelstudio.label_config import LabelConfig
from backend.labelstudio.outputs import output_control, output_of
from backend.labelstudio.prompts import prompts_from_context
from backend.labelstudio.results import POLYGON_TOLERANCE_PX, prediction, regions_of_mask
from backend.lanes import LONGEST_S, Lanes, Priority
from backend.sam.slot import Snapshot
from backend.task_embeddings import TaskEmbeddings

log = logging.getLogger(__name__)


class Observer(Protocol):
    """Who listens to what serving does: metrics, in production."""

    def predicted(self, *, regions: int, seconds: float) -> None:
        """A task was answered."""

    def failed(self, reason: str) -> None:
        """A task of a batch was answered with an empty prediction."""


class Serving:
    """Turns tasks into predictions with one shared encoder. Safe for any number of threads.

    Args:
        embeddings: those of the tasks' images, of one encoder for every project.
        lanes: where the decoder runs.
        observer: who is told of every task.
        polygon_tolerance_px: how far a polygon's outline may be from its mask's.
    """

    def __init__(
        self,
        *,
        embeddings: TaskEmbeddings,
        lanes: Lanes,
        observer: Observer,
        polygon_tolerance_px: float = POLYGON_TOLERANCE_PX,
    ) -> None:
        self._embeddings, self._lanes, self._observer = embeddings, lanes, observer
        self._polygon_tolerance_px = polygon_tolerance_px

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
        embedding = self._embeddings.of(task, config=config, images=images, priority=Priority.CLICK, until_s=until_s)
        size = {"height_px": embedding.height_px, "width_px": embedding.width_px}
        prompts = prompts_from_context(context, config=config, task=task, **size)
        outputs = [output_of(each, config) for each in prompts]
        masks = self._lanes.decode.run(
            lambda: snapshot.predictor.decode(embedding, [each.prompt for each in prompts]) if prompts else (),
            priority=Priority.CLICK,
            until_s=until_s,
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
            )
        ]
        score = min((mask.score for mask in masks), default=0.0)
        self._observer.predicted(regions=len(regions), seconds=time.perf_counter() - started)
        return prediction(regions, model_version=snapshot.version, score=score)

    def batch(self, tasks: Sequence[Mapping[str, Any]], *, snapshot: Snapshot) -> list[dict[str, Any]]:
        """One prediction a task, in order. Without a prompt there is nothing to segment yet: each is empty, score 0."""
        return [prediction([], model_version=snapshot.version, score=0.0) for _ in tasks]
