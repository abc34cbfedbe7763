"""One task in, one prediction out: no HTTP, no globals.

A request keeps the snapshot it began with, so that its masks, its `meta.model_version` and its prediction's
`model_version` are of one version even if a swap happens meanwhile.
"""

import hashlib
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from backend.errors import BadInput
from backend.labelstudio.images import ImageSource, open_image
from backend.labelstudio.label_config import LabelConfig
from backend.labelstudio.outputs import output_control, output_of
from backend.labelstudio.prompts import prompts_from_context
from backend.labelstudio.results import POLYGON_TOLERANCE_PX, prediction, regions_of_mask
from backend.sam.embeddings import EmbeddingCache, EmbeddingKey
from backend.sam.loading import BaseModel
from backend.sam.predictor import PREPROCESSING, Embedding, encode
from backend.sam.slot import Snapshot

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SeenImage:
    """What is remembered of an image's address: the digest of its bytes, and when it was read."""

    sha256: str
    read_at_s: float


class SeenImages:
    """Addresses whose bytes were read a moment ago, so that the next click does not read them again.

    An address alone is no key: another project may resolve it with other rights, and a file may change. So an entry
    belongs to one source of images and is forgotten after `fresh_s`.
    """

    def __init__(self, *, limit: int = 10_000, fresh_s: float = 60.0) -> None:
        self._limit, self._fresh_s = limit, fresh_s
        self._seen: OrderedDict[tuple[str, str], SeenImage] = OrderedDict()
        self._lock = threading.Lock()

    def digest(self, source: str, uri: str) -> str | None:
        """The sha256 of the image at `uri`, if it was read within `fresh_s`."""
        with self._lock:
            seen = self._seen.get((source, uri))
            return seen.sha256 if seen and time.monotonic() - seen.read_at_s < self._fresh_s else None

    def add(self, source: str, uri: str, *, sha256: str) -> None:
        """Remember an image that was just read."""
        with self._lock:
            self._seen[source, uri] = SeenImage(sha256, time.monotonic())
            self._seen.move_to_end((source, uri))
            while len(self._seen) > self._limit:
                self._seen.popitem(last=False)


class Observer(Protocol):
    """Who listens to what serving does: metrics, in production."""

    def predicted(self, *, regions: int, seconds: float) -> None:
        """A task was answered."""

    def failed(self, reason: str) -> None:
        """A task of a batch was answered with an empty prediction."""


class Serving:
    """Turns tasks into predictions with one shared encoder. Safe for any number of threads.

    Args:
        base: the base model; its encoder serves every project.
        cache: embeddings in memory.
        max_pixels: images with more are refused before they are decoded.
        observer: who is told of every task.
        polygon_tolerance_px: how far a polygon's outline may be from its mask's.
    """

    def __init__(
        self,
        *,
        base: BaseModel,
        cache: EmbeddingCache,
        max_pixels: int,
        observer: Observer,
        polygon_tolerance_px: float = POLYGON_TOLERANCE_PX,
    ) -> None:
        self._base, self._cache, self._max_pixels, self._observer = base, cache, max_pixels, observer
        self._polygon_tolerance_px = polygon_tolerance_px
        self._seen = SeenImages()

    def interactive(
        self,
        task: Mapping[str, Any],
        context: Mapping[str, Any],
        *,
        config: LabelConfig,
        images: ImageSource,
        snapshot: Snapshot,
    ) -> dict[str, Any]:
        """The prediction for what an annotator points at: a mask for each object, as the project's controls draw it.

        Raises:
            BadInput: the prompts, the task or the labelling config cannot be used.
            Upstream: the image cannot be had.
        """
        started = time.perf_counter()
        # Before the image is fetched: a project that can show no mask is told so at once.
        output_control(config, label=None)
        embedding = self._embedding(task, config=config, images=images)
        size = {"height_px": embedding.height_px, "width_px": embedding.width_px}
        prompts = prompts_from_context(context, config=config, task=task, **size)
        outputs = [output_of(each, config) for each in prompts]
        masks = snapshot.predictor.decode(embedding, [each.prompt for each in prompts]) if prompts else ()
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

    def _embedding(self, task: Mapping[str, Any], *, config: LabelConfig, images: ImageSource) -> Embedding:
        """The embedding of the task's image, from memory if its bytes were seen a moment ago."""
        uri = _image_uri(task, config)
        sha256 = self._seen.digest(images.name, uri)
        if sha256 is not None and (kept := self._cache.peek(self._key(sha256))) is not None:
            return kept
        task_id = task.get("id")
        data = images.fetch(uri, task_id=task_id if isinstance(task_id, int) else None)
        sha256 = hashlib.sha256(data).hexdigest()
        embedding = self._cache.get(self._key(sha256), self._encoder(data))
        self._seen.add(images.name, uri, sha256=sha256)
        return embedding

    def _key(self, sha256: str) -> EmbeddingKey:
        return EmbeddingKey(sha256, self._base.encoder_fingerprint, PREPROCESSING)

    def _encoder(self, data: bytes) -> Callable[[], Embedding]:
        return lambda: encode(self._base, open_image(data, max_pixels=self._max_pixels))


def _image_uri(task: Mapping[str, Any], config: LabelConfig) -> str:
    data = task.get("data")
    uri = data.get(config.image_key) if isinstance(data, Mapping) else None
    if not isinstance(uri, str) or not uri:
        raise BadInput(
            f"task {str(task.get('id'))[:40]} has no image in data[{config.image_key[:80]!r}], "
            "where the labelling config reads it"
        )
    return uri
