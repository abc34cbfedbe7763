"""What an embedding is kept by, in which precision, and those used last in memory."""

from collections import OrderedDict
from dataclasses import dataclass, replace
from threading import Lock

import torch

from backend.sam.predictor import Embedding

_LARGEST = torch.finfo(torch.float16).max


@dataclass(frozen=True, slots=True)
class EmbeddingKey:
    """What an embedding depends on. Not the checkpoint: a swap of decoders must not empty the cache."""

    image_sha256: str
    encoder_fingerprint: str
    preprocessing: str


def halved(embedding: Embedding) -> Embedding:
    """The embedding as every tier holds it: float16 on the CPU, channels last, without a gradient.

    Rounding happens once, before the first use. So a mask is the same whether its image was encoded a moment ago, by
    another process or last week, and serving sees what training saw. What float16 cannot hold becomes its largest.
    """
    features = embedding.features.detach().cpu().clamp(-_LARGEST, _LARGEST).half()
    # As the decoder takes it, cell by cell: turned round in every decode it would cost a tenth of that.
    features = features.contiguous(memory_format=torch.channels_last)
    return replace(embedding, features=features)


def widened(embedding: Embedding) -> Embedding:
    """The kept embedding in float32, as decoder and training take it; exact."""
    return replace(embedding, features=embedding.features.float())


class MemoryEmbeddings:
    """The embeddings used last, at most `max_bytes` of them. For any number of threads."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._lock = Lock()
        self._kept: OrderedDict[EmbeddingKey, Embedding] = OrderedDict()
        self._bytes = 0

    @property
    def bytes(self) -> int:
        """What the kept embeddings take."""
        return self._bytes

    def __len__(self) -> int:
        return len(self._kept)

    def __contains__(self, key: EmbeddingKey) -> bool:
        """Whether it is kept; asking is no use of it."""
        return key in self._kept

    def get(self, key: EmbeddingKey) -> Embedding | None:
        """Return the kept embedding, halved as it was put, or None."""
        with self._lock:
            if (kept := self._kept.get(key)) is not None:
                self._kept.move_to_end(key)
            return kept

    def put(self, key: EmbeddingKey, embedding: Embedding) -> None:
        """Keep an embedding, unless it alone is over the bound; those used least recently go."""
        size = embedding.features.nbytes
        if size > self._max_bytes:
            return
        with self._lock:
            if (before := self._kept.pop(key, None)) is not None:
                self._bytes -= before.features.nbytes
            self._kept[key] = embedding
            self._bytes += size
            while self._bytes > self._max_bytes:
                _, oldest = self._kept.popitem(last=False)
                self._bytes -= oldest.features.nbytes
