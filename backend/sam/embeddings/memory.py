"""The key of an embedding, its precision in a cache, and the cache in memory."""

from contextlib import suppress
from dataclasses import dataclass
from threading import Lock

import torch
from cachetools import LRUCache
from torch import Tensor

from backend.masks.crop import Crop
from backend.sam.embeddings.embedding import Embedding
from backend.sam.loading.base import BaseModel

_LARGEST = torch.finfo(torch.float16).max


@dataclass(frozen=True, slots=True)
class EmbeddingKey:
    """Everything that an embedding depends on. The decoder is not part: a swap of decoders must not empty the cache."""

    image_sha256: str
    encoder_fingerprint: str
    preprocessing: str

    @classmethod
    def of(cls, image_sha256: str, base: BaseModel, *, view: str = "", crop: Crop | None = None) -> "EmbeddingKey":
        """Return the key of an image, or of a part of it, by a base's encoder; one rule for serving and training.

        Args:
            image_sha256: the digest of the image file's bytes.
            base: has the encoder and the frame.
            view: names how a training mirrored, turned or zoomed the image; empty for the image as it is.
            crop: the part, in image px; None for the whole image.
        """
        seen = f"{base.frame.preprocessing}/{view}" if view else base.frame.preprocessing
        part = "" if crop is None else f" of {crop.corners_px}"
        return cls(image_sha256, base.encoder_fingerprint, f"{seen}{part}")


def halve(embedding: Embedding) -> Embedding:
    """Return the embedding as every cache holds it: float16 on the CPU, channels last, without a gradient.

    We round once, before the first use. So a mask does not depend on whether its image was encoded a moment ago, last
    week, or by another process, and serving sees what a training saw. Numbers beyond float16 become its largest number.
    """
    return embedding.with_maps(_halve_map)


def widen(embedding: Embedding) -> Embedding:
    """Return a halved embedding in float32, for the decoder or a training. This is exact."""
    return embedding.with_maps(Tensor.float)


def _halve_map(values: Tensor) -> Tensor:
    half = values.detach().cpu().clamp(-_LARGEST, _LARGEST).half()
    # Channels last, as the decoder takes it: a conversion in every decode would take a tenth of the decode's time.
    return half.contiguous(memory_format=torch.channels_last)


class MemoryEmbeddings:
    """The most recently used embeddings, at most `max_bytes` in all. For any number of threads."""

    def __init__(self, max_bytes: int) -> None:
        self._lock = Lock()
        self._recent: LRUCache[EmbeddingKey, Embedding] = LRUCache(max_bytes, getsizeof=lambda value: value.nbytes)

    @property
    def bytes(self) -> int:
        """The size of all embeddings, in bytes."""
        return int(self._recent.currsize)

    def __len__(self) -> int:
        return len(self._recent)

    def __contains__(self, key: EmbeddingKey) -> bool:
        """Whether the embedding is there. This does not count as a use."""
        return key in self._recent

    def get(self, key: EmbeddingKey) -> Embedding | None:
        """Return the embedding as it was put, or None."""
        with self._lock:
            return self._recent.get(key)

    def put(self, key: EmbeddingKey, embedding: Embedding) -> None:
        """Store an embedding, unless it alone exceeds the bound; the least recently used embeddings are removed."""
        with self._lock, suppress(ValueError):  # LRUCache refuses a value that alone exceeds the bound
            self._recent[key] = embedding
