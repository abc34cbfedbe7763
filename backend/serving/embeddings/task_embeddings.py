"""From a task to the embedding of its image, for clicks, batches and embedding ahead alike."""

import hashlib
from collections.abc import Callable
from contextlib import AbstractContextManager

from backend.images.memory import give_back_memory
from backend.images.seen import SeenImages
from backend.images.source import open_image
from backend.masks.crop import Crop
from backend.sam.embeddings.memory import EmbeddingKey
from backend.sam.loading import BaseModel
from backend.sam.predictor import Embedding, encode
from backend.serving.embeddings.held_images import HeldImages
from backend.serving.embeddings.shared_reads import ImageBytes, SharedReads
from backend.serving.embeddings.store import EmbeddingStore
from backend.serving.task_image import TaskImage
from backend.serving.turns.traffic import Priority

_MOST_HELD_BYTES = 512 << 20
# After larger images, freed memory goes back to the system; after smaller ones that would slow clicks for little gain.
_LARGE_PIXELS = 16_000_000


class TaskEmbeddings:
    """Reads and encodes the images of tasks, every image once. Safe for any number of threads.

    Args:
        base: the model with the encoder.
        store: the tiers of embeddings.
        max_pixels: larger images are refused before they are decoded.
        held: bounds the image files that wait for the encoder.
        seen: remembers the digest at an address for a moment.
    """

    def __init__(
        self,
        *,
        base: BaseModel,
        store: EmbeddingStore,
        max_pixels: int,
        held: HeldImages | None = None,
        seen: SeenImages | None = None,
    ) -> None:
        self._base, self._store, self._max_pixels = base, store, max_pixels
        self._seen, self._held = seen or SeenImages(), held or HeldImages(_MOST_HELD_BYTES)
        self._reads = SharedReads()

    @property
    def encoder_fingerprint(self) -> str:
        """The fingerprint of the encoder that makes these embeddings."""
        return self._base.encoder_fingerprint

    @property
    def joined_reads(self) -> int:
        """How many requests joined another request's read of the same image."""
        return self._reads.joined

    def by(self, base: BaseModel) -> "TaskEmbeddings":
        """Return embeddings by another encoder, such as that of a checkpoint with an adapter; tiers are shared."""
        if base.encoder_fingerprint == self.encoder_fingerprint:
            return self
        # The reads and digests are shared too: they do not depend on the encoder.
        other = TaskEmbeddings(
            base=base, store=self._store, max_pixels=self._max_pixels, held=self._held, seen=self._seen
        )
        other._reads = self._reads
        return other

    def of(self, image: TaskImage, *, priority: Priority, until_s: float, crop: Crop | None = None) -> Embedding:
        """Return the embedding of the task's image. If its bytes were seen a moment ago, the image is not fetched.

        Args:
            image: the task, and the source of its image.
            priority: whose turn comes first.
            until_s: when nobody waits any more (monotonic).
            crop: the part of the upright image to embed instead, image px.

        Raises:
            BadInput: the task has no image where the labelling config reads it, or the image is unusable.
            Upstream: the image cannot be fetched.
            Busy: the image was not encoded by `until_s`, too many requests wait, or their images take too much memory.
        """
        sha256 = self._seen.digest(image.images.name, image.uri)
        if sha256 is not None:
            embedding = self._store.peek(EmbeddingKey.of(sha256, self._base, crop=crop))
            if embedding is not None:
                return embedding
        with self._reading(image) as read:
            return self._encode(read, priority=priority, until_s=until_s, owner=image.project_id, crop=crop)

    def warm(self, image: TaskImage, *, priority: Priority, until_s: float, crop: Crop | None = None) -> bool:
        """Make sure that a tier has the embedding; return True if it was computed now. Takes and raises as `of`."""
        seen = self._seen.digest(image.images.name, image.uri)
        if seen is not None and EmbeddingKey.of(seen, self._base, crop=crop) in self._store:
            return False
        with self._reading(image) as read:
            if EmbeddingKey.of(read.sha256, self._base, crop=crop) in self._store:
                return False
            self._encode(read, priority=priority, until_s=until_s, owner=image.project_id, crop=crop)
        return True

    def _reading(self, image: TaskImage) -> AbstractContextManager[ImageBytes]:
        """Span the use of the image's bytes; calls in this time share them."""
        source, uri = image.images.name, image.uri

        def read() -> ImageBytes:
            data = image.fetch()
            sha256 = hashlib.sha256(data).hexdigest()
            self._seen.add(source, uri, sha256=sha256)
            return ImageBytes(sha256, data)

        return self._reads.reading((source, uri), read)

    def _encode(
        self,
        read: ImageBytes,
        *,
        priority: Priority,
        until_s: float,
        owner: int | None,
        crop: Crop | None = None,
    ) -> Embedding:
        with self._held.holding(len(read.data), owner=owner):
            return self._store.get(
                EmbeddingKey.of(read.sha256, self._base, crop=crop),
                self._encoder(read.data, crop),
                priority=priority,
                until_s=until_s,
                owner=owner,
            )

    def _encoder(self, data: bytes, crop: Crop | None) -> Callable[[], Embedding]:
        def compute() -> Embedding:
            image = open_image(data, max_pixels=self._max_pixels)
            embedding = encode(self._base, image, crop=crop)
            if image.width * image.height > _LARGE_PIXELS:
                del image
                give_back_memory()
            return embedding

        return compute
