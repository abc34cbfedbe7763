"""From a task to the embedding of its image, for clicks, batches and what warms up alike."""

import hashlib
from collections.abc import Callable
from contextlib import AbstractContextManager

from backend.images.memory import give_back_memory
from backend.images.seen import SeenImages
from backend.images.source import open_image
from backend.sam.embeddings.memory import EmbeddingKey
from backend.sam.loading import BaseModel
from backend.sam.predictor import Embedding, encode
from backend.sam.refine import Crop
from backend.serving.embeddings.held_images import HeldImages
from backend.serving.embeddings.shared_reads import ImageBytes, SharedReads
from backend.serving.embeddings.store import EmbeddingStore
from backend.serving.task_image import TaskImage
from backend.serving.turns.traffic import Priority

_MOST_HELD_BYTES = 512 << 20
# What images of more pixels leave behind is given back; for smaller ones that would cost clicks more than it saves.
_LARGE_PIXELS = 16_000_000


class TaskEmbeddings:
    """Reads and encodes the images of tasks, every image once. Safe for any number of threads.

    Args:
        base: whose encoder it is.
        store: embeddings in their tiers.
        max_pixels: images with more are refused before they are decoded.
        held: bounds the image files that wait for the encoder.
        seen: remembers which bytes lie where, for a moment.
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
        """What these embeddings depend on beside the images."""
        return self._base.encoder_fingerprint

    @property
    def joined_reads(self) -> int:
        """How many requests joined the read of another request for the same image."""
        return self._reads.joined

    def by(self, base: BaseModel) -> "TaskEmbeddings":
        """The same images from the same tiers as another encoder sees them: that of a checkpoint with an adapter."""
        if base.encoder_fingerprint == self.encoder_fingerprint:
            return self
        # Which bytes lie where does not depend on who looks at them.
        other = TaskEmbeddings(
            base=base, store=self._store, max_pixels=self._max_pixels, held=self._held, seen=self._seen
        )
        other._reads = self._reads
        return other

    def of(self, image: TaskImage, *, priority: Priority, until_s: float, crop: Crop | None = None) -> Embedding:
        """The embedding of the task's image, from the nearest tier if its bytes were seen a moment ago.

        Args:
            image: the task, and where its image comes from.
            priority: whose turn is first.
            until_s: when nobody waits any more (monotonic).
            crop: the part of the upright image (image px) that is to be embedded instead.

        Raises:
            BadInput: the task has no image where the labelling config reads it, or the image cannot be used.
            Upstream: the image cannot be had.
            Busy: it was not encoded by `until_s`, too many requests wait, or they hold too many bytes of images.
        """
        sha256 = self._seen.digest(image.images.name, image.uri)
        if sha256 is not None and (embedding := self._store.peek(self._key(sha256, crop))) is not None:
            return embedding
        with self._reading(image) as read:
            return self._encode(read, priority=priority, until_s=until_s, owner=image.project_id, crop=crop)

    def warm(self, image: TaskImage, *, priority: Priority, until_s: float) -> bool:
        """Make sure that a tier has it; True if it had to be computed. Raises as `of`."""
        seen = self._seen.digest(image.images.name, image.uri)
        if seen is not None and self._key(seen) in self._store:
            return False
        with self._reading(image) as read:
            if self._key(read.sha256) in self._store:
                return False
            self._encode(read, priority=priority, until_s=until_s, owner=image.project_id)
        return True

    def _reading(self, image: TaskImage) -> AbstractContextManager[ImageBytes]:
        """Spans the use of the image's bytes; who asks for them meanwhile gets the same."""
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
                self._key(read.sha256, crop),
                self._encoder(read.data, crop),
                priority=priority,
                until_s=until_s,
                owner=owner,
            )

    def _key(self, sha256: str, crop: Crop | None = None) -> EmbeddingKey:
        preprocessing = self._base.frame.preprocessing
        if crop is not None:
            preprocessing = f"{preprocessing} of {_corners_px(crop)}"
        return EmbeddingKey(sha256, self._base.encoder_fingerprint, preprocessing)

    def _encoder(self, data: bytes, crop: Crop | None) -> Callable[[], Embedding]:
        def compute() -> Embedding:
            image = open_image(data, max_pixels=self._max_pixels)
            embedding = encode(self._base, image if crop is None else image.crop(_corners_px(crop)))
            if image.width * image.height > _LARGE_PIXELS:
                del image
                give_back_memory()
            return embedding

        return compute


def _corners_px(crop: Crop) -> tuple[int, int, int, int]:
    return crop.x0_px, crop.y0_px, crop.x1_px, crop.y1_px
