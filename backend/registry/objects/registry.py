"""A registry in an object store, with the keys that a registry in a folder has for its files.

    objects/<sha256 of manifest.json>/<file>     immutable, named by content; manifest.json is written last
    refs/<project>/versions/000000007.json       version 7 is that object
    refs/<project>/champion/000000043.json       from the 43rd decision on, this version is served

So a registry moves from a folder to a store, and back, by a copy.
"""

import hashlib
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from backend.errors import Unavailable
from backend.registry.checkpoint import MANIFEST_FILE, Manifest, digest_files, name_contents, parse_manifest
from backend.registry.numbered import NumberedRegistry
from backend.registry.objects.cache import CheckpointCache
from backend.registry.objects.last_seen import LastSeen, SeenRefs
from backend.registry.objects.refs import ObjectRefs
from backend.registry.objects.sharing import StoreSharing
from backend.registry.objects.store import ObjectStore
from backend.registry.pointers import Pointers
from backend.registry.state import StateDir

_SWEEP_S = 86400.0
_UNFINISHED_S = 7 * 86400.0


class ObjectRegistry(NumberedRegistry):
    """A `Registry` in a store that honours conditional writes, for any number of machines.

    Args:
        url: as `backend.registry.objects.filesystems` reads it.
        folder: on this machine's disk: copies of checkpoints, and the state.
        most_bytes: how large the copies of checkpoints may become together.
    """

    def __init__(self, url: str, *, folder: Path, most_bytes: int) -> None:
        self._store, self._folder = ObjectStore(url), folder
        self._copies, seen = CheckpointCache(folder, most_bytes=most_bytes), SeenRefs(folder / "refs")
        self._last_seen = LastSeen(seen, copies=self._copies)
        self._sharing = StoreSharing(self._store, folder / "state")
        self._state = StateDir(folder / "state", self._sharing)
        super().__init__(
            url, pointers=Pointers(ObjectRefs(self._store, seen)), next_step="is MODEL_DIR the same store, and whole?"
        )

    @property
    def state_dir(self) -> StateDir:
        """On this machine's disk, and shared with other machines through the store."""
        with suppress(OSError):
            self._state.root.mkdir(parents=True, exist_ok=True)
        return self._state

    @property
    def last_seen(self) -> LastSeen:
        """The decisions that this machine read, and its copies of checkpoints."""
        return self._last_seen

    def materialise(self, version: str) -> Path:
        """See Registry: a verified copy, downloaded where this machine has none."""
        sha256 = self._sha256(version)
        return self._copies.fetch(sha256, fill=lambda folder: self._download(sha256, folder))

    @contextmanager
    def _draft(self, *, weights: bytes, manifest: Manifest, others: Mapping[str, bytes]) -> Iterator["_ObjectDraft"]:
        """Nothing is sent before the draft has a number to ask for."""
        contents = name_contents(weights, others)
        yield _ObjectDraft(replace(manifest, files=digest_files(contents)), contents=contents, objects=self._store)

    def _read_manifest(self, sha256: str) -> Manifest:
        where = Path(f"objects/{sha256}")
        data = self._copies.fetch_manifest(sha256, read=lambda: self._download_manifest(sha256))
        return parse_manifest(data, where=where)

    def _sweep_objects(self, *, named: Collection[str], older_than_s: float) -> int:
        self._store.check_conditional()  # also tells whether we may write
        written_at_s: dict[str, float] = {}
        objects = self._store.list_objects("objects")
        for key, at_s in objects.items():
            sha256 = key.partition("/")[0]
            written_at_s[sha256] = max(at_s, written_at_s.get(sha256, at_s))
        left = {
            sha256
            for sha256, at_s in written_at_s.items()
            if sha256 not in named and max(0.0, time.time() - at_s) >= older_than_s
        }
        # The manifest first: what is deleted by halves must not look whole. The next sweep takes the rest.
        keys = sorted((key for key in objects if key.partition("/")[0] in left), key=_is_manifest, reverse=True)
        self._store.delete(f"objects/{key}" for key in keys)
        self._sweep_unfinished()
        self._sharing.compact()
        return len(left)

    def _sweep_unfinished(self) -> None:
        """Delete trainings that nobody has gone on with for a week."""
        states = self._store.list_objects("state/unfinished")
        self._store.delete(
            f"state/unfinished/{key}" for key, at_s in states.items() if time.time() - at_s > _UNFINISHED_S
        )

    def _sweep_if_due(self) -> None:
        """Once a day on every machine: a sweep asks the store for every version."""
        marker = self._folder / "swept"
        with suppress(OSError):
            if time.time() - marker.stat().st_mtime < _SWEEP_S:
                return
        self.sweep()
        with suppress(OSError):
            marker.parent.mkdir(parents=True, exist_ok=True)
            marker.touch()

    def _download(self, sha256: str, folder: Path) -> None:
        data = self._copies.fetch_manifest(sha256, read=lambda: self._download_manifest(sha256))
        (folder / MANIFEST_FILE).write_bytes(data)
        for name, digest in parse_manifest(data, where=folder).files.items():
            key = _name_key(sha256, name)
            if not self._store.download(key, folder / name, size=digest.bytes):
                raise self._missing(key)

    def _download_manifest(self, sha256: str) -> bytes:
        key = _name_key(sha256, MANIFEST_FILE)
        data = self._store.read(key)
        if data is None:
            raise self._missing(key)
        return data

    def _missing(self, key: str) -> Unavailable:
        # Not a bad checkpoint: what is published is never deleted, so that another store is looked at, or a part of it.
        return Unavailable(
            f"{self._store.url}/{key} is missing, though a pointer names it: is MODEL_DIR the same store?"
        )


@dataclass(frozen=True, slots=True)
class _ObjectDraft:
    manifest: Manifest
    contents: Mapping[str, bytes]
    objects: ObjectStore

    def store(self, manifest: Manifest) -> str:
        """See Draft: the files first, and the manifest that vouches for them last."""
        data = manifest.to_json().encode()
        sha256 = hashlib.sha256(data).hexdigest()
        for name, content in self.contents.items():
            self.objects.write(_name_key(sha256, name), content)
        self.objects.write(_name_key(sha256, MANIFEST_FILE), data)
        return sha256


def _name_key(sha256: str, name: str) -> str:
    return f"objects/{sha256}/{name}"


def _is_manifest(key: str) -> bool:
    return key.endswith(f"/{MANIFEST_FILE}")
