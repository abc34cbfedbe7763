"""Embeddings kept: in memory for serving, on disk for training."""

import hashlib
import os
import secrets
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import safetensors.torch
import torch
from safetensors import SafetensorError

from backend.sam.predictor import Embedding


@dataclass(frozen=True, slots=True)
class EmbeddingKey:
    """What an embedding depends on. Not the checkpoint: a swap of decoders must not empty the cache."""

    image_sha256: str
    encoder_fingerprint: str
    preprocessing: str


class EmbeddingCache:
    """The embeddings used last, at most `max_bytes` of them. For any number of threads."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._lock = Lock()
        self._kept: OrderedDict[EmbeddingKey, Embedding] = OrderedDict()
        self._computing: dict[EmbeddingKey, Future[Embedding]] = {}
        self._bytes = self._hits = self._misses = 0

    @property
    def hits(self) -> int:
        """Calls that found the embedding, or another call computing it."""
        return self._hits

    @property
    def misses(self) -> int:
        """Calls that had to compute."""
        return self._misses

    @property
    def bytes(self) -> int:
        """What the kept embeddings take."""
        return self._bytes

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: EmbeddingKey, compute: Callable[[], Embedding]) -> Embedding:
        """Return the kept embedding, or compute it: once, however many ask at the same time.

        Raises:
            Exception: what `compute` raised, to all who waited for it; the next call computes again.
        """
        with self._lock:
            if (kept := self._kept.get(key)) is not None:
                self._kept.move_to_end(key)
                self._hits += 1
                return kept
            if (running := self._computing.get(key)) is None:
                mine = self._computing[key] = Future()
                self._misses += 1
            else:
                self._hits += 1
        return running.result() if running is not None else self._compute(key, compute, mine)

    def peek(self, key: EmbeddingKey) -> Embedding | None:
        """Return the kept embedding, or None: for a caller that would first have to fetch the image."""
        with self._lock:
            if (kept := self._kept.get(key)) is not None:
                self._kept.move_to_end(key)
                self._hits += 1
            return kept

    def _compute(self, key: EmbeddingKey, compute: Callable[[], Embedding], future: Future[Embedding]) -> Embedding:
        try:
            embedding = compute()
        except BaseException as fault:
            with self._lock:
                del self._computing[key]
            future.set_exception(fault)
            raise
        with self._lock:
            del self._computing[key]
            self._keep(key, embedding)
        future.set_result(embedding)
        return embedding

    def _keep(self, key: EmbeddingKey, embedding: Embedding) -> None:
        if embedding.features.nbytes > self._max_bytes:
            return
        self._kept[key] = embedding
        self._bytes += embedding.features.nbytes
        while self._bytes > self._max_bytes:
            _, oldest = self._kept.popitem(last=False)
            self._bytes -= oldest.features.nbytes


class DiskEmbeddings:
    """Embeddings as one safetensors file each; several processes may share the folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, key: EmbeddingKey) -> Embedding | None:
        """Return what was put, on the CPU; None if nothing was, or if the file is damaged."""
        try:
            # Read, not mapped: another process may clear the folder while this one trains.
            kept = safetensors.torch.load(self._path(key).read_bytes())
            height, width = kept["size_px"].tolist()
            return Embedding(features=kept["features"], height_px=height, width_px=width)
        except (OSError, SafetensorError, KeyError, ValueError):
            return None

    def put(self, key: EmbeddingKey, embedding: Embedding) -> None:
        """Keep an embedding; a reader sees all of it or nothing.

        Raises:
            OSError: the folder cannot be written, or the disk is full.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._path(key)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
        tensors = {
            "features": embedding.features.detach().cpu().contiguous(),
            "size_px": torch.tensor([embedding.height_px, embedding.width_px]),
        }
        try:
            temporary.write_bytes(safetensors.torch.save(tensors))
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)

    def _path(self, key: EmbeddingKey) -> Path:
        named = f"{key.image_sha256}\n{key.encoder_fingerprint}\n{key.preprocessing}"
        return self._folder / f"{hashlib.sha256(named.encode()).hexdigest()}.safetensors"
