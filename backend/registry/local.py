"""A registry of files below one folder.

    objects/<sha256 of manifest.json>/       model.safetensors, report.html, manifest.json: immutable, named by content
    refs/<project>/versions/000000007.json   the digest of version 7
    refs/<project>/champion/000000043.json   decision 43: the version that is served
    staging/                                 files that publishers are writing
    registry.json                            the mark that an empty mount point lacks

An object is complete before a pointer names it. A pointer is complete from its first moment: a finished file gets its
name by `os.link`, which fails where the name exists. So of two processes that decide at once, one wins; a killed
publisher leaves nothing that can be read in part; the highest number is the latest decision; and no file is ever
overwritten.
"""

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from backend.errors import BadCheckpoint, BadInput, ChampionMoved, NotFound, SamloopError, Unavailable
from backend.files.durable import make_folder
from backend.ids import VersionName, parse_project_id, shorten_base
from backend.registry import refs
from backend.registry.checkpoint import Manifest, parse_manifest, read_manifest_bytes, verify_weights, write_checkpoint
from backend.registry.contents import Contents
from backend.registry.disk import Disk
from backend.registry.pointers import Pointers
from backend.registry.protocol import ABANDONED_S, NO_OTHERS, Pointer
from backend.registry.state import StateDir

log = logging.getLogger(__name__)


class LocalRegistry:
    """A `Registry` on one disk, which may be shared between machines; it needs hard links.

    Args:
        root: the folder that holds everything; it is made unless a registry is remembered here.
        memory: see `Disk`.
    """

    def __init__(self, root: Path, *, memory: Path | None = None) -> None:
        self._root, self._disk = root, Disk(root, memory=memory)
        self._contents, self._pointers = Contents(root), Pointers(self._disk)
        self._highest: dict[int, int] = {}  # the highest decision seen, by project
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
        return StateDir(self._root)

    def publish(
        self, project_id: int, *, weights: bytes, manifest: Manifest, others: Mapping[str, bytes] = NO_OTHERS
    ) -> Manifest:
        """See Registry. If another publisher takes the number first, only the manifest is written again."""
        owner, pointers = parse_project_id(project_id), self._pointers.folder(project_id, "versions")
        base, sha6 = shorten_base(manifest.base_model), hashlib.sha256(weights).hexdigest()[:6]
        with self._disk.writing(), self._contents.staged() as staged:
            manifest = write_checkpoint(
                staged, weights=weights, manifest=replace(manifest, project_id=project_id), others=others
            )
            make_folder(pointers)
            while True:
                number = refs.find_highest(pointers) + 1
                version = str(VersionName(base=base, project_id=owner, number=number, sha6=sha6))
                manifest = replace(manifest, version=version)
                content = {"version": version, "object": self._contents.add(staged, manifest)}
                if refs.take_number(pointers, number, content, staging=self._contents.staging):
                    break
        self._sweep_after(manifest)
        return manifest

    def materialise(self, version: str) -> Path:
        """See Registry: the folder already lies on this disk."""
        return self._contents.folder(self._sha256(version))

    def manifest(self, version: str) -> Manifest:
        """See Registry."""
        sha256 = self._sha256(version)
        folder = self._contents.folder(sha256)
        with self._disk.reading():
            manifest = parse_manifest(read_manifest_bytes(folder, sha256=sha256), where=folder)
        if manifest.version != version:
            raise BadCheckpoint(f"the manifest of {version} is that of {manifest.version[:100]!r}")
        if manifest.project_id != (owner := VersionName.parse(version).project_id):
            raise BadCheckpoint(
                f"the manifest of {version} is that of project {str(manifest.project_id)[:20]}, not {owner}"
            )
        return manifest

    def versions(self, project_id: int) -> tuple[Manifest, ...]:
        """See Registry."""
        readable = []
        for number in self._pointers.numbers(project_id, "versions"):
            try:
                readable.append(self.manifest(self._pointers.version(project_id, number).version))
            except (BadCheckpoint, BadInput, NotFound) as fault:
                log.warning(
                    "version %d of project %d cannot be read: %s",
                    number,
                    project_id,
                    fault,
                    extra={"event": "checkpoint.unreadable", "project_id": project_id},
                )
        return tuple(readable)

    def champion(self, project_id: int) -> Pointer | None:
        """See Registry."""
        numbers = self._pointers.numbers(project_id, "champion")
        number = numbers[-1] if numbers else 0
        if number < self._highest.get(project_id, 0):
            raise Unavailable(
                f"the registry {self._root} has lost decision {self._highest[project_id]} of project {project_id}, "
                "though decisions are never deleted: is its disk mounted?"
            )
        if not number:
            return None  # Unknown projects are not remembered, or callers could fill memory with made-up ids.
        self._highest[project_id] = number
        return self._pointers.decision(project_id, number)

    def history(self, project_id: int) -> tuple[Pointer, ...]:
        """See Registry."""
        numbers = self._pointers.numbers(project_id, "champion")
        return tuple(self._pointers.decision(project_id, number) for number in numbers)

    def promote(self, project_id: int, version: str | None, *, reason: str, expected: int | None = None) -> Pointer:
        """See Registry."""
        if version is not None:
            self._verify(project_id, version)
        pointers = self._pointers.folder(project_id, "champion")
        with self._disk.writing():
            make_folder(pointers)
            while True:
                number = refs.find_highest(pointers) + 1
                pointer = Pointer(number=number, version=version, reason=reason, at=_format_now())
                content = {"version": version, "reason": reason, "at": pointer.at}
                if expected in (None, number - 1) and refs.take_number(
                    pointers, number, content, staging=self._contents.staging
                ):
                    break
                if expected is not None:
                    raise ChampionMoved(
                        f"project {project_id} is at decision {refs.find_highest(pointers)}, not {expected}: "
                        "somebody else decided meanwhile; compare again with the version that is served now"
                    )
        log.info(
            "promoted %s in project %d: %s",
            version or "the base model",
            project_id,
            reason,
            extra={"event": "checkpoint.promoted", "version": version, "project_id": project_id, "number": number},
        )
        return pointer

    def projects(self) -> tuple[int, ...]:
        """See Registry."""
        return self._pointers.projects()

    def sweep(self, *, older_than_s: float = ABANDONED_S) -> int:
        """See Registry: this deletes staged files, and objects that no pointer names."""
        with self._disk.writing():
            named = {
                self._pointers.version(project_id, number).sha256
                for project_id in self.projects()
                for number in self._pointers.numbers(project_id, "versions")
            }
            return self._contents.sweep(named=named, older_than_s=older_than_s)

    def _sweep_after(self, manifest: Manifest) -> None:
        try:
            self.sweep()
        except SamloopError as fault:  # an unreadable pointer of another project does not harm this version
            log.warning("leftovers of killed publishers stay: %s", fault, extra={"event": "registry.unswept"})
        log.info(
            "published %s",
            manifest.version,
            extra={
                "event": "checkpoint.published",
                "version": manifest.version,
                "project_id": manifest.project_id,
            },
        )

    def _verify(self, project_id: int, version: str) -> None:
        if VersionName.parse(version).project_id != project_id:
            raise BadInput(f"{version} is not a version of project {project_id}")
        self.manifest(version)
        verify_weights(self.materialise(version))

    def _sha256(self, version: str) -> str:
        """The digest of the version's manifest; only the two numbers in the name become part of a path."""
        name = VersionName.parse(version)
        absent = NotFound(f"there is no version {version}; `samloop versions --project {name.project_id}` lists them")
        try:
            published = self._pointers.version(name.project_id, name.number)
        except NotFound as fault:
            raise absent from fault
        if published.version != version:
            raise absent
        return published.sha256


def _format_now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
