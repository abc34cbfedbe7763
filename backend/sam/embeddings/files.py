"""The cache of embeddings on disk: a safetensors file an image, in a folder that all processes share."""

import hashlib
import logging
import os
import secrets
import shutil
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from backend.errors import Unavailable
from backend.files.durable import write_file
from backend.files.locks import take_lock
from backend.sam.embeddings.embedding import Embedding
from backend.sam.embeddings.memory import EmbeddingKey, halve
from backend.settings import Settings

log = logging.getLogger(__name__)
_ABANDONED_S = 600.0  # a temporary file this old is left from a killed process; writing takes milliseconds


@dataclass(frozen=True, slots=True)
class _File:
    path: Path
    size_bytes: int
    used_s: float


class DiskEmbeddings:
    """At most `max_bytes` of embeddings; removes the least recently used. For any number of threads and processes.

    A file's modification time records its last use: most machines do not update the access time.
    """

    def __init__(self, folder: Path, *, max_bytes: int) -> None:
        self.folder, self._max_bytes = folder, max_bytes

    @classmethod
    def of(cls, settings: Settings) -> "DiskEmbeddings":
        """Return the cache that this machine's server, trainings and commands share."""
        return cls(settings.cache.dir / "embeddings", max_bytes=settings.cache.disk_mib << 20)

    def __contains__(self, key: EmbeddingKey) -> bool:
        """Whether there is a file for the key. The file may still turn out to be damaged."""
        return self._path(key).is_file()

    def get(self, key: EmbeddingKey) -> Embedding | None:
        """Return the embedding, halved; None if it is absent. Removes a damaged file, which counts as absent."""
        path = self._path(key)
        try:
            # Read, not mapped: another process may clear the folder while this one trains.
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as fault:
            log.warning("the embedding %s cannot be read: %s", path, fault, extra={"event": "embedding.unreadable"})
            return None
        try:
            embedding = _parse(data)
        except (SafetensorError, KeyError, ValueError) as fault:
            log.warning(
                "the embedding %s is damaged, or of another version, and was removed: %s",
                path,
                str(fault)[:200],
                extra={"event": "embedding.damaged"},
            )
            with suppress(OSError):
                path.unlink()
            return None
        with suppress(OSError):
            os.utime(path)
        return embedding

    def put(self, key: EmbeddingKey, embedding: Embedding) -> None:
        """Write an embedding, halved, unless it alone exceeds the bound. A reader sees the whole file or no file.

        Raises:
            OSError: the folder cannot be written, or the disk is full.
        """
        data = _file_of(halve(embedding))
        if len(data) > self._max_bytes:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self._path(key)
        # One writer at a time: two writers that saw the same free room would together exceed the bound.
        with self._lock_entry(self.folder / ".lock"):
            self._make_room(len(data), besides=path)
            write_file(path, data, is_synced=False)

    def free_bytes(self) -> int:
        """Return how many bytes the file system has left.

        Raises:
            Unavailable: the folder cannot be created or written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            probe = self.folder / f".probe.{os.getpid()}.{secrets.token_hex(4)}"
            probe.touch()
            probe.unlink()
            return shutil.disk_usage(self.folder).free
        except OSError as fault:
            raise Unavailable(
                f"{self.folder} cannot be written ({fault}): set SAMLOOP_CACHE_DIR to a folder that can"
            ) from fault

    def usage_bytes(self) -> int:
        """Return how many bytes all files take now."""
        return sum(file.size_bytes for file in self._files())

    @contextmanager
    def alone(self, key: EmbeddingKey, *, longest_s: float) -> Iterator[None]:
        """Keep other processes from computing the same embedding. Once inside, check whether it is there by now.

        After `longest_s` seconds the caller goes in anyway, and likewise on a file system without locks: to compute an
        embedding twice is a waste, not an error.
        """
        path = self._path(key)
        path = path.with_name(f".{path.name}.computing")
        with suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
        with self._lock_entry(path, longest_s=longest_s):
            try:
                yield
            finally:
                with suppress(OSError):
                    path.unlink()

    @contextmanager
    def _lock_entry(self, path: Path, *, longest_s: float = 10.0) -> Iterator[None]:
        descriptor = None
        try:
            descriptor = take_lock(path, longest_s=longest_s)
        except OSError:
            log.debug("no lock on %s", path, exc_info=True)
        try:
            yield
        finally:
            if descriptor is not None:
                os.close(descriptor)

    def _make_room(self, size_bytes: int, *, besides: Path) -> None:
        """Remove the least recently used files until a new file fits; `besides` does not count, as it gets replaced."""
        files = sorted((file for file in self._files() if file.path != besides), key=lambda file: file.used_s)
        total = size_bytes + sum(file.size_bytes for file in files)
        for file in files:
            abandoned = file.path.name.startswith(".") and time.time() - file.used_s > _ABANDONED_S
            if total > self._max_bytes or abandoned:
                file.path.unlink(missing_ok=True)
                total -= file.size_bytes

    def _files(self) -> Iterator[_File]:
        with suppress(FileNotFoundError), os.scandir(self.folder) as entries:
            for entry in entries:
                if ".safetensors" not in entry.name:
                    continue
                with suppress(FileNotFoundError):  # another process may remove it meanwhile
                    stat = entry.stat()
                    yield _File(Path(entry.path), stat.st_size, stat.st_mtime)

    def _path(self, key: EmbeddingKey) -> Path:
        named = f"{key.image_sha256}\n{key.encoder_fingerprint}\n{key.preprocessing}"
        return self.folder / f"{hashlib.sha256(named.encode()).hexdigest()}.safetensors"


def _file_of(embedding: Embedding) -> bytes:
    state = {_map_name(level): values.contiguous() for level, values in enumerate(embedding.maps)}
    state["size_px"] = torch.tensor([embedding.height_px, embedding.width_px])
    return safetensors.torch.save(state | {"crc32": torch.tensor(_checksum(embedding.maps, state["size_px"]))})


def _parse(data: bytes) -> Embedding:
    """Read the bytes that `_file_of` wrote. Raises KeyError, ValueError or SafetensorError for any other bytes."""
    state = safetensors.torch.load(data)
    maps, size_px = [state[_map_name(level)] for level in range(len(state) - 2)], state["size_px"]
    # A file is renamed into place without waiting for the disk. After a power cut it may have its length, but zeros.
    if int(state["crc32"]) != _checksum(maps, size_px):
        raise ValueError("its checksum is wrong")
    height, width = size_px.tolist()
    # A file's numbers are channels-first; in memory they are channels-last, as from `halve`.
    features, *finer = (values.contiguous(memory_format=torch.channels_last) for values in maps)
    return Embedding(features=features, height_px=height, width_px=width, finer=tuple(finer))


def _map_name(level: int) -> str:
    """The name of a map in a file. The coarsest map has the name that it had before there were finer maps."""
    return f"finer.{level}" if level else "features"


def _checksum(maps: Sequence[Tensor], size_px: Tensor) -> int:
    """The checksum of a file. Finer maps come last, so that files from before there were such maps stay valid."""
    coarsest, *finer = maps
    checksum = zlib.crc32(coarsest.contiguous().numpy().tobytes())
    for values in (size_px, *finer):
        checksum = zlib.crc32(values.contiguous().numpy().tobytes(), checksum)
    return checksum
