"""From a task to the embedding of its image, for clicks, batches and what warms up alike."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from threading import Lock
from typing import Any

from backend.errors import BadInput, Busy
from backend.images.seen import SeenImages
from backend.images.source import ImageSource, open_image
from backend.labelstudio.label_config import LabelConfig
from backend.sam.embeddings.memory import EmbeddingKey
from backend.sam.loading import BaseModel
from backend.sam.predictor import Embedding, encode
from backend.serving.embedding_store import EmbeddingStore
from backend.serving.traffic import Priority

_MOST_HELD_BYTES = 512 << 20


class HeldImages:
    """The image files that requests hold while they wait for the encoder: at most so many bytes of them together.

    What waits is bounded in number, but 128 images of 64 MiB would be 8 GiB. One alone is never refused.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes, self._bytes = max_bytes, 0
        self._lock = Lock()

    @contextmanager
    def holding(self, size_bytes: int) -> Iterator[None]:
        """Spans the wait of a request that holds so many bytes.

        Raises:
            Busy: others hold too many already.
        """
        with self._lock:
            if self._bytes and self._bytes + size_bytes > self._max_bytes:
                held_mib = self._bytes / (1 << 20)
                raise Busy(f"{held_mib:.0f} MiB of images wait for the encoder already: try again", retry_after_s=5)
            self._bytes += size_bytes
        try:
            yield
        finally:
            with self._lock:
                self._bytes -= size_bytes


class TaskEmbeddings:
    """Reads and encodes the images of tasks, each once. Safe for any number of threads.

    Args:
        base: whose encoder it is.
        store: embeddings in their tiers.
        max_pixels: images with more are refused before they are decoded.
        held: bounds the image files that wait for the encoder.
    """

    def __init__(
        self, *, base: BaseModel, store: EmbeddingStore, max_pixels: int, held: HeldImages | None = None
    ) -> None:
        self._base, self._store, self._max_pixels = base, store, max_pixels
        self._seen, self._held = SeenImages(), held or HeldImages(_MOST_HELD_BYTES)

    @property
    def encoder_fingerprint(self) -> str:
        """What these embeddings depend on beside the images."""
        return self._base.encoder_fingerprint

    def by(self, base: BaseModel) -> "TaskEmbeddings":
        """The same images from the same tiers as another encoder sees them: that of a checkpoint with an adapter."""
        if base.encoder_fingerprint == self.encoder_fingerprint:
            return self
        other = TaskEmbeddings(base=base, store=self._store, max_pixels=self._max_pixels, held=self._held)
        other._seen = self._seen  # which bytes lie where does not depend on who looks at them
        return other

    def of(  # noqa: PLR0913 - all by name
        self,
        task: Mapping[str, Any],
        *,
        config: LabelConfig,
        images: ImageSource,
        priority: Priority,
        until_s: float,
        crop_px: tuple[int, int, int, int] | None = None,
    ) -> Embedding:
        """The embedding of the task's image, from the nearest tier if its bytes were seen a moment ago.

        Args:
            task: as Label Studio sends it.
            config: tells where its image is.
            images: where images come from.
            priority: whose turn is first.
            until_s: when nobody waits any more (monotonic).
            crop_px: (left, top, right, bottom) of the part of the upright image that is to be embedded instead.

        Raises:
            BadInput: the task has no image where the labelling config reads it, or the image cannot be used.
            Upstream: the image cannot be had.
            Busy: it was not encoded by `until_s` (monotonic), or too many wait, or too many bytes of images.
        """
        uri = image_uri(task, config)
        sha256 = self._seen.digest(images.name, uri)
        if sha256 is not None and (kept := self._store.peek(self._key(sha256, crop_px))) is not None:
            return kept
        sha256, data = self._read(task, uri, images)
        key, encoder = self._key(sha256, crop_px), self._encoder(data, crop_px)
        with self._held.holding(len(data)):
            return self._store.get(key, encoder, priority=priority, until_s=until_s)

    def warm(
        self,
        task: Mapping[str, Any],
        *,
        config: LabelConfig,
        images: ImageSource,
        priority: Priority,
        until_s: float,
    ) -> bool:
        """Make sure that a tier has it; tells whether it had to be computed. Raises as `of`."""
        uri = image_uri(task, config)
        seen = self._seen.digest(images.name, uri)
        if seen is not None and self._key(seen) in self._store:
            return False
        sha256, data = self._read(task, uri, images)
        if self._key(sha256) in self._store:
            return False
        with self._held.holding(len(data)):
            self._store.get(self._key(sha256), self._encoder(data), priority=priority, until_s=until_s)
        return True

    def _read(self, task: Mapping[str, Any], uri: str, images: ImageSource) -> tuple[str, bytes]:
        task_id = task.get("id")
        data = images.fetch(uri, task_id=task_id if isinstance(task_id, int) else None)
        sha256 = hashlib.sha256(data).hexdigest()
        self._seen.add(images.name, uri, sha256=sha256)
        return sha256, data

    def _key(self, sha256: str, crop_px: tuple[int, int, int, int] | None = None) -> EmbeddingKey:
        preprocessing = self._base.frame.preprocessing
        if crop_px is not None:
            preprocessing = f"{preprocessing} of {crop_px}"
        return EmbeddingKey(sha256, self._base.encoder_fingerprint, preprocessing)

    def _encoder(self, data: bytes, crop_px: tuple[int, int, int, int] | None = None) -> Callable[[], Embedding]:
        def compute() -> Embedding:
            image = open_image(data, max_pixels=self._max_pixels)
            return encode(self._base, image if crop_px is None else image.crop(crop_px))

        return compute


def image_uri(task: Mapping[str, Any], config: LabelConfig) -> str:
    """Where the task's image is.

    Raises:
        BadInput: not where the labelling config reads it.
    """
    data = task.get("data")
    uri = data.get(config.image_key) if isinstance(data, Mapping) else None
    if not isinstance(uri, str) or not uri:
        raise BadInput(
            f"task {str(task.get('id'))[:40]} has no image in data[{config.image_key[:80]!r}], "
            "where the labelling config reads it"
        )
    return uri
