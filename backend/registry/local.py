"""A registry of files below one folder.

objects/<sha256 of manifest.json>/       model.safetensors, report.html, manifest.json: immutable, named by content
refs/<project>/versions/000000007.json   the digest of version 7
refs/<project>/champion/000000043.json   decision 43: the version that is served
staging/                                 files that publishers are writing
registry.json                            the mark that an empty mount point lacks
"""

import logging
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from backend.registry.checkpoint import Manifest, parse_manifest, read_manifest_bytes, write_checkpoint
from backend.registry.folder.contents import Contents
from backend.registry.folder.disk import Disk, MarkedDisk
from backend.registry.folder.refs import FolderRefs
from backend.registry.numbered import NumberedRegistry
from backend.registry.pointers import Pointers
from backend.registry.state import StateDir

log = logging.getLogger(__name__)


class LocalRegistry(NumberedRegistry):
    """A `Registry` on one disk, which may be shared between machines; it needs hard links.

    Args:
        root: the folder that holds everything; it is made unless a registry is remembered here.
        memory: see `Disk`.
    """

    def __init__(self, root: Path, *, memory: Path | None = None) -> None:
        self._root, self._disk, self._contents = root, Disk(root, memory=memory), Contents(root)
        self._state_dir = StateDir(root, sharing=MarkedDisk(self._disk))
        refs = FolderRefs(self._disk, staging=self._contents.staging)
        super().__init__(str(root), pointers=Pointers(refs), next_step="is its disk mounted?")
        try:
            if not self._disk.had_mark:
                root.mkdir(parents=True, exist_ok=True)
        except OSError as fault:
            # Not raised: without its registry, a server still serves the base model, and looks again.
            log.warning("the registry %s cannot be reached: %s", root, fault, extra={"event": "registry.away"})

    @property
    def root(self) -> Path:
        """The folder that holds everything."""
        return self._root

    @property
    def state_dir(self) -> StateDir:
        """Beside the registry's own folders: machines that share the disk share the state."""
        return self._state_dir

    @property
    def last_seen(self) -> None:
        """See Registry: nothing is stored apart from the folder."""
        return None

    def materialise(self, version: str) -> Path:
        """See Registry: the folder already lies on this disk."""
        return self._contents.folder(self._sha256(version))

    @contextmanager
    def _draft(self, *, weights: bytes, manifest: Manifest, others: Mapping[str, bytes]) -> Iterator["_StagedDraft"]:
        """If another publisher takes the number first, only the manifest is written again."""
        with self._disk.writing(), self._contents.stage() as staged:
            written = write_checkpoint(staged, weights=weights, manifest=manifest, others=others)
            yield _StagedDraft(written, folder=staged, contents=self._contents)

    def _read_manifest(self, sha256: str) -> Manifest:
        folder = self._contents.folder(sha256)
        with self._disk.reading():
            return parse_manifest(read_manifest_bytes(folder, sha256=sha256), where=folder)

    def _sweep_objects(self, *, named: Collection[str], older_than_s: float) -> int:
        with self._disk.writing():
            return self._contents.sweep(named=named, older_than_s=older_than_s)


@dataclass(frozen=True, slots=True)
class _StagedDraft:
    manifest: Manifest
    folder: Path
    contents: Contents

    def store(self, manifest: Manifest) -> str:
        """See Draft."""
        return self.contents.add(self.folder, manifest)
