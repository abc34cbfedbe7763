"""The key that an embedding is cached under, its precision there, and the embeddings used last, in memory."""

from contextlib import suppress
from dataclasses import dataclass
from threading import Lock

import torch
from cachetools import LRUCache
from torch import Tensor

from backend.sam.embeddings.embedding import Embedding

_LARGEST = torch.finfo(torch.float16).max


@dataclass(frozen=True, slots=True)
class EmbeddingKey:
    """What an embedding depends on. Not the checkpoint: a swap of decoders must not empty the cache."""

    image_sha256: str
    encoder_fingerprint: str
    preprocessing: str


def halve(embedding: Embedding) -> Embedding:
    """The embedding as every tier holds it: float16 on the CPU, channels last, without a gradient.

    Rounding happens once, before the first use. So a mask is the same whether its image was encoded a moment ago, by
    another process or last week, and serving sees what training saw. What float16 cannot hold becomes its largest.
    """
    return embedding.with_maps(_halve_map)


def widen(embedding: Embedding) -> Embedding:
    """The halved embedding in float32, as decoder and training take it; exact."""
    return embedding.with_maps(Tensor.float)


def _halve_map(values: Tensor) -> Tensor:
    half = values.detach().cpu().clamp(-_LARGEST, _LARGEST).half()
    # As the decoder takes it, cell by cell: turned round in every decode it would cost a tenth of that.
    return half.contiguous(memory_format=torch.channels_last)


class MemoryEmbeddings:
    """The embeddings used last, at most `max_bytes` of them. For any number of threads."""

    def __init__(self, max_bytes: int) -> None:
        self._lock = Lock()
        self._recent: LRUCache[EmbeddingKey, Embedding] = LRUCache(max_bytes, getsizeof=lambda value: value.nbytes)

    @property
    def bytes(self) -> int:
        """What the embeddings take together."""
        return int(self._recent.currsize)

    def __len__(self) -> int:
        return len(self._recent)

    def __contains__(self, key: EmbeddingKey) -> bool:
        """Whether it is there; asking does not count as a use."""
        return key in self._recent

    def get(self, key: EmbeddingKey) -> Embedding | None:
        """Return the embedding, halved as it was put, or None."""
        with self._lock:
            return self._recent.get(key)

    def put(self, key: EmbeddingKey, embedding: Embedding) -> None:
        """Keep an embedding, unless it alone is over the bound; those used least recently go."""
        with self._lock, suppress(ValueError):  # LRUCache refuses a value that alone is over the bound
            self._recent[key] = embedding
