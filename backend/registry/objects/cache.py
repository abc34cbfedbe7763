"""Verified checkpoints on this machine's disk: whatever comes out is what its digests say.

objects/<sha256 of manifest.json>/       a checkpoint, as a registry in a folder holds it
manifests/<sha256>.json                  a manifest whose checkpoint may be elsewhere
"""

import hashlib
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeAlias

from backend.errors import BadCheckpoint, NotFound, Unavailable
from backend.files.durable import fill_folder, write_file
from backend.files.locks import hold_lock
from backend.registry.checkpoint import read_manifest_bytes, verify_weights

log = logging.getLogger(__name__)
_IN_USE_S = 3600.0  # what was asked for within an hour may still be read from
_Stamp: TypeAlias = tuple[tuple[str, int, int], ...]


class CheckpointCache:
    """Copies of published checkpoints, for any number of processes; the least recently used go first.

    Every method raises:
        Unavailable: the disk is full or cannot be written.

    Args:
        root: made when something is stored.
        most_bytes: how much stays, but for what was used within the last hour.
    """

    def __init__(self, root: Path, *, most_bytes: int) -> None:
        self._objects, self._manifests, self._most_bytes = root / "objects", root / "manifests", most_bytes
        self._verified: dict[str, _Stamp] = {}

    def fetch(self, sha256: str, *, fill: Callable[[Path], None]) -> Path:
        """The folder of the checkpoint whose manifest has this digest, verified.

        Args:
            sha256: of the manifest.
            fill: downloads the checkpoint into an empty folder; called where there is no copy, or a damaged one.

        Raises:
            BadCheckpoint: what was downloaded is not what its digests say.
        """
        folder = self._objects / sha256
        if not self._is_whole(folder, sha256):
            with self._writing():
                self._objects.mkdir(parents=True, exist_ok=True)
                # Looked at again under the lock: a copy that somebody else has just made must not be thrown away.
                with hold_lock(self._objects.parent / "lock"):
                    if not self._is_whole(folder, sha256):
                        self._discard(folder)
                        with fill_folder(folder) as draft:
                            fill(draft)
                            _verify(draft, sha256)
                self._make_room(but=folder)
        with suppress(OSError):
            os.utime(folder)
        return folder

    def fetch_manifest(self, sha256: str, *, read: Callable[[], bytes]) -> bytes:
        """The bytes of the manifest that has this digest; `read` downloads them where there is no copy.

        Raises:
            BadCheckpoint: what was downloaded has another digest.
        """
        path = self._manifests / f"{sha256}.json"
        with suppress(OSError):
            data = path.read_bytes()
            if hashlib.sha256(data).hexdigest() == sha256:
                os.utime(path)
                return data
        data = read()
        if (actual := hashlib.sha256(data).hexdigest()) != sha256:
            raise BadCheckpoint(f"a manifest has sha256 {actual}, its pointer says {sha256}")
        with self._writing():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_file(path, data, is_synced=False)
        return data

    def _is_whole(self, folder: Path, sha256: str) -> bool:
        """Whether the copy is there and undamaged. Its bytes are looked at once, and again when a file changes."""
        stamp = _stamp(folder)
        if not stamp:
            return False
        if self._verified.get(sha256) == stamp:
            return True
        try:
            _verify(folder, sha256)
        except (BadCheckpoint, NotFound, Unavailable) as fault:
            log.warning("a copy is damaged and fetched again: %s", fault, extra={"event": "registry.copy_damaged"})
            return False
        self._verified[sha256] = stamp
        return True

    def _discard(self, folder: Path) -> None:
        self._verified.pop(folder.name, None)
        if folder.exists():
            shutil.rmtree(folder)

    def _make_room(self, *, but: Path) -> None:
        entries = sorted(self._list_entries())
        left = sum(size for _, size, _ in entries)
        for used_at_s, size, path in entries:
            if left <= self._most_bytes or time.time() - used_at_s < _IN_USE_S:
                return
            if path != but:
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
                left -= size

    def _list_entries(self) -> Iterator[tuple[float, int, Path]]:
        """When it was used (Unix time, s), its bytes, and its path, of everything; what goes meanwhile is left out."""
        for folder in (self._objects, self._manifests):
            for path in folder.iterdir() if folder.is_dir() else ():
                with suppress(FileNotFoundError):
                    yield path.stat().st_mtime, _measure_bytes(path), path

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as fault:
            raise Unavailable(
                f"a checkpoint cannot be copied to {self._objects.parent}: {fault.strerror or fault}; free some space, "
                "or set SAMLOOP_CACHE_DIR to a folder on another disk"
            ) from fault


def _verify(folder: Path, sha256: str) -> None:
    read_manifest_bytes(folder, sha256=sha256)
    verify_weights(folder)


def _stamp(folder: Path) -> _Stamp:
    """What changes when a file of the folder does; () where there is no folder."""
    try:
        with os.scandir(folder) as entries:
            return tuple(sorted((entry.name, entry.stat().st_size, entry.stat().st_mtime_ns) for entry in entries))
    except (FileNotFoundError, NotADirectoryError):
        return ()


def _measure_bytes(path: Path) -> int:
    return sum(file.stat().st_size for file in path.iterdir()) if path.is_dir() else path.stat().st_size
