"""What registries in a folder and in a store have in common.

An object is complete before a pointer names it. A pointer is complete from its first moment, and taking a number fails
where the number is taken. So of two processes that decide at once, one wins; a killed publisher leaves nothing that can
be read in part; the highest number is the latest decision; and no file is ever overwritten.
"""

import hashlib
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol, runtime_checkable

from backend.errors import BadCheckpoint, BadInput, ChampionMoved, NotFound, SamloopError, Unavailable
from backend.ids import VersionName, parse_project_id, shorten_base
from backend.registry.checkpoint import Manifest, verify_weights
from backend.registry.pointers import Pointers
from backend.registry.protocol import ABANDONED_S, NO_OTHERS, Pointer, let_pass

log = logging.getLogger(__name__)


@runtime_checkable
class Draft(Protocol):
    """A checkpoint that has no number yet."""

    @property
    def manifest(self) -> Manifest:
        """Its manifest, with every file's digest."""

    def store(self, manifest: Manifest) -> str:
        """Make an object of the files and this manifest, which names them; returns the manifest's SHA-256."""


class NumberedReader(ABC):
    """The part of a `Registry` that reads what numbered files name.

    Args:
        pointers: what the numbered files say.
    """

    def __init__(self, pointers: Pointers) -> None:
        self._pointers = pointers

    @abstractmethod
    def materialise(self, version: str) -> Path:
        """See Registry."""

    @abstractmethod
    def _read_manifest(self, sha256: str) -> Manifest:
        """The manifest that has this digest."""

    def manifest(self, version: str) -> Manifest:
        """See Registry."""
        manifest = self._read_manifest(self._sha256(version))
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

    def history(self, project_id: int) -> tuple[Pointer, ...]:
        """See Registry."""
        numbers = self._pointers.numbers(project_id, "champion")
        return tuple(self._pointers.decision(project_id, number) for number in numbers)

    def projects(self) -> tuple[int, ...]:
        """See Registry."""
        return self._pointers.projects()

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


class NumberedRegistry(NumberedReader):
    """A `Registry` but for the objects themselves, which the classes below keep.

    Args:
        place: where it is, for errors.
        pointers: what its numbered files say.
        next_step: what errors advise where decisions are gone.
    """

    def __init__(self, place: str, *, pointers: Pointers, next_step: str) -> None:
        super().__init__(pointers)
        self._place, self._next_step = place, next_step
        self._highest: dict[int, int] = {}  # the highest decision seen, by project

    @abstractmethod
    def _draft(
        self, *, weights: bytes, manifest: Manifest, others: Mapping[str, bytes]
    ) -> AbstractContextManager[Draft]:
        """Hold the files of a checkpoint that is being published."""

    @abstractmethod
    def _sweep_objects(self, *, named: Collection[str], older_than_s: float) -> int:
        """Delete what is older than that and not named; returns how many."""

    def _sweep_if_due(self) -> None:
        """Sweep after a publication, where that costs little."""
        self.sweep()

    def publish(
        self,
        project_id: int,
        *,
        weights: bytes,
        manifest: Manifest,
        others: Mapping[str, bytes] = NO_OTHERS,
        fence: Callable[[], None] = let_pass,
    ) -> Manifest:
        """See Registry. If another publisher takes the number first, the next number is tried."""
        owner = parse_project_id(project_id)
        base, sha6 = shorten_base(manifest.base_model), hashlib.sha256(weights).hexdigest()[:6]
        with self._draft(weights=weights, manifest=replace(manifest, project_id=project_id), others=others) as draft:
            while True:
                number = self._pointers.find_highest(project_id, "versions") + 1
                version = str(VersionName(base=base, project_id=owner, number=number, sha6=sha6))
                manifest = replace(draft.manifest, version=version)
                content = {"version": version, "object": draft.store(manifest)}
                fence()
                if self._pointers.take(project_id, "versions", number, content=content):
                    break
        self._sweep_after(manifest)
        return manifest

    def champion(self, project_id: int) -> Pointer | None:
        """See Registry."""
        number = self._pointers.find_highest(project_id, "champion")
        if number < self._highest.get(project_id, 0):
            raise Unavailable(
                f"the registry {self._place} has lost decision {self._highest[project_id]} of project {project_id}, "
                f"though decisions are never deleted: {self._next_step}"
            )
        if not number:
            return None  # Unknown projects are not remembered, or callers could fill memory with made-up ids.
        self._highest[project_id] = number
        return self._pointers.decision(project_id, number)

    def promote(self, project_id: int, version: str | None, *, reason: str, expected: int | None = None) -> Pointer:
        """See Registry."""
        if version is not None:
            self._verify(project_id, version)
        while True:
            highest = self._pointers.find_highest(project_id, "champion")
            pointer = Pointer(number=highest + 1, version=version, reason=reason, at=_format_now())
            if expected not in (None, highest):
                raise ChampionMoved(
                    f"project {project_id} is at decision {highest}, not {expected}: "
                    "somebody else decided meanwhile; compare again with the version that is served now"
                )
            content = {"version": version, "reason": reason, "at": pointer.at}
            if self._pointers.take(project_id, "champion", pointer.number, content=content):
                break
        log.info(
            "promoted %s in project %d: %s",
            version or "the base model",
            project_id,
            reason,
            extra={
                "event": "checkpoint.promoted",
                "version": version,
                "project_id": project_id,
                "number": pointer.number,
            },
        )
        return pointer

    def sweep(self, *, older_than_s: float = ABANDONED_S) -> int:
        """See Registry: this deletes drafts, and objects that no pointer names."""
        named = {
            self._pointers.version(project_id, number).sha256
            for project_id in self.projects()
            for number in self._pointers.numbers(project_id, "versions")
        }
        return self._sweep_objects(named=named, older_than_s=older_than_s)

    def _sweep_after(self, manifest: Manifest) -> None:
        try:
            self._sweep_if_due()
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


def _format_now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
