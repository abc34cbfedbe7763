"""A registry in memory: a second kind, in one file, that passes the same contract as the registry on a disk."""

import hashlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from threading import Lock

from backend.errors import BadCheckpoint, BadInput, ChampionMoved, NotFound
from backend.ids import ProjectId, VersionName, parse_project_id, shorten_base
from backend.registry.checkpoint import Manifest, read_manifest, verify_weights, write_checkpoint
from backend.registry.protocol import NO_OTHERS, Pointer, let_pass
from backend.registry.state import StateDir

log = logging.getLogger(__name__)


class MemoryRegistry:
    """Manifests and decisions in dictionaries, checkpoints in `folder`; for the threads of one process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._manifests: dict[ProjectId, list[Manifest]] = {}
        self._decisions: dict[ProjectId, list[Pointer]] = {}
        self._lock = Lock()

    @property
    def state_dir(self) -> StateDir:
        return StateDir(self._folder / "state")

    @property
    def last_seen(self) -> None:
        return None

    def publish(
        self,
        project_id: int,
        *,
        weights: bytes,
        manifest: Manifest,
        others: Mapping[str, bytes] = NO_OTHERS,
        fence: Callable[[], None] = let_pass,
    ) -> Manifest:
        with self._lock:
            fence()
            line = self._manifests.setdefault(parse_project_id(project_id), [])
            version = VersionName(
                base=shorten_base(manifest.base_model),
                project_id=parse_project_id(project_id),
                number=len(line) + 1,
                sha6=hashlib.sha256(weights).hexdigest()[:6],
            )
            manifest = replace(manifest, version=str(version), project_id=project_id)
            line.append(write_checkpoint(self._folder_of(version), weights=weights, manifest=manifest, others=others))
            return line[-1]

    def materialise(self, version: str) -> Path:
        name = VersionName.parse(version)
        if not any(manifest.version == version for manifest in self._manifests.get(name.project_id, ())):
            raise NotFound(f"there is no version {version}; `samloop versions --project {name.project_id}` lists them")
        return self._folder_of(name)

    def manifest(self, version: str) -> Manifest:
        manifest = read_manifest(self.materialise(version))
        if manifest not in self._manifests[VersionName.parse(version).project_id]:
            raise BadCheckpoint(f"the manifest of {version} is not the published one")
        return manifest

    def versions(self, project_id: int) -> tuple[Manifest, ...]:
        readable = []
        for published in self._manifests.get(parse_project_id(project_id), ()):
            try:
                readable.append(self.manifest(published.version))
            except BadCheckpoint as fault:
                number = VersionName.parse(published.version).number
                log.warning("version %d of project %d cannot be read: %s", number, project_id, fault)
        return tuple(readable)

    def champion(self, project_id: int) -> Pointer | None:
        history = self.history(project_id)
        return history[-1] if history else None

    def history(self, project_id: int) -> tuple[Pointer, ...]:
        return tuple(self._decisions.get(parse_project_id(project_id), ()))

    def promote(self, project_id: int, version: str | None, *, reason: str, expected: int | None = None) -> Pointer:
        if version is not None:
            if VersionName.parse(version).project_id != project_id:
                raise BadInput(f"{version} is not a version of project {project_id}")
            self.manifest(version)
            verify_weights(self.materialise(version))
        with self._lock:
            line = self._decisions.setdefault(parse_project_id(project_id), [])
            if expected not in (None, len(line)):
                raise ChampionMoved(f"project {project_id} is at decision {len(line)}, not {expected}")
            line.append(Pointer(number=len(line) + 1, version=version, reason=reason, at="2026-01-01T00:00:00+00:00"))
            return line[-1]

    def projects(self) -> tuple[int, ...]:
        return tuple(sorted({*self._manifests, *self._decisions}))

    def sweep(self, *, older_than_s: float = 0.0) -> int:
        return 0  # whoever is killed takes all of it with them

    def _folder_of(self, version: VersionName) -> Path:
        return self._folder / str(version.project_id) / str(version.number)
