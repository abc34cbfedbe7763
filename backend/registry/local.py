"""The registry: every project's line of checkpoints, and which of them is its champion, as files.

    objects/<sha256 of manifest.json>/       model.safetensors, report.html, manifest.json: immutable, named by content
    refs/<project>/versions/000000007.json   version 7 is that object
    refs/<project>/champion/000000043.json   from the 43rd decision on, this version is served
    staging/                                 what publishers are writing

An object is complete before a pointer names it, and a pointer is born whole: a finished file gets its name by
`os.link`, which fails where the name exists. So of two processes that decide at once one wins, killing a publisher
leaves nothing that can be read half, the latest decision is the highest number, and nothing is ever overwritten.
"""

import errno
import hashlib
import logging
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

from backend.errors import BadCheckpoint, BadInput, ChampionMoved, NotFound, SamloopError, Unavailable
from backend.files.durable import make_folder, sync_folder, write_file
from backend.ids import VersionName, find_project_id, parse_project_id
from backend.registry import refs
from backend.registry.checkpoint import (
    MANIFEST_FILE,
    WEIGHTS_FILE,
    Manifest,
    manifest_bytes,
    parse_manifest,
    verified_weights,
    write_checkpoint,
)

log = logging.getLogger(__name__)

_OBJECT = re.compile(r"[0-9a-f]{64}")
_ABANDONED_S = 86400.0
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@dataclass(frozen=True, slots=True)
class Pointer:
    """The decision `number`: from `at` (ISO 8601, UTC) on this version is served; None is the base model."""

    number: int
    version: str | None
    reason: str
    at: str


class Registry:
    """Checkpoints below one folder, for any number of processes at once.

    Every method raises Unavailable when the folder cannot be read, or, on writing, when it is full or read-only;
    BadInput for a project id that is no positive whole number, or a version that is no version's name.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._highest: dict[int, int] = {}
        try:
            root.mkdir(parents=True, exist_ok=True)
        except OSError as fault:
            # Not raised: a server whose registry is away still serves its base model, and looks again.
            log.warning("the registry %s is away: %s", root, fault, extra={"event": "registry.away"})

    @property
    def root(self) -> Path:
        """The folder that holds it all."""
        return self._root

    def publish(
        self,
        project_id: int,
        *,
        weights: bytes,
        manifest: Manifest,
        others: Mapping[str, bytes] = MappingProxyType({}),
    ) -> Manifest:
        """Store a checkpoint as the project's next version; it is not served before it is promoted.

        `others` are files beside the weights, by name; the manifest vouches for them too.
        `version`, `project_id` and `files` of the manifest are filled in; the version is
        `<base model>-p<project>-v<number>-<first six of the weights' sha256>`.
        """
        pointers = self._pointers(project_id, "versions")
        owner, base, sha6 = (
            parse_project_id(project_id),
            _file_safe(manifest.base_model),
            hashlib.sha256(weights).hexdigest()[:6],
        )
        with self._writing(), self._staged() as staging:
            # The weights are written once; a number lost to another publisher costs a manifest.
            manifest = write_checkpoint(
                staging, weights=weights, manifest=replace(manifest, project_id=project_id), others=others
            )
            make_folder(pointers)
            while True:
                number = refs.highest(pointers) + 1
                version = VersionName(base=base, project_id=owner, number=number, sha6=sha6)
                manifest = replace(manifest, version=str(version))
                if self._commit(staging, manifest, pointers=pointers, number=number):
                    break
        try:
            self.sweep()
        except SamloopError as fault:  # another project's pointer that cannot be read takes nothing from this version
            log.warning("what killed publishers left stays: %s", fault, extra={"event": "registry.unswept"})
        log.info(
            "published %s",
            manifest.version,
            extra={"event": "checkpoint.published", "version": manifest.version, "project_id": project_id},
        )
        return manifest

    def folder(self, version: str) -> Path:
        """The checkpoint folder of this version.

        Raises:
            NotFound: no such version.
        """
        return self._root / "objects" / self._object(version)

    def manifest(self, version: str) -> Manifest:
        """The manifest of this version.

        Raises:
            NotFound: no such version.
            BadCheckpoint: the manifest is not the one that was published.
        """
        sha256 = self._object(version)
        folder = self._root / "objects" / sha256
        with self._reading():
            manifest = parse_manifest(manifest_bytes(folder, sha256=sha256), where=folder)
        if manifest.version != version:
            raise BadCheckpoint(f"the manifest of {version} names itself {manifest.version[:100]!r}")
        return manifest

    def versions(self, project_id: int) -> tuple[Manifest, ...]:
        """Every readable version of the project, oldest first; an unreadable one is logged and left out."""
        found = []
        for number in self._numbers(project_id, "versions"):
            try:
                found.append(self.manifest(self._entry(project_id, "versions", number)["version"]))
            except (BadCheckpoint, BadInput, NotFound) as fault:
                log.warning(
                    "version %d of project %d cannot be read: %s",
                    number,
                    project_id,
                    fault,
                    extra={"event": "checkpoint.unreadable", "project_id": project_id},
                )
        return tuple(found)

    def champion(self, project_id: int) -> Pointer | None:
        """The latest decision, or None where nothing was ever promoted (the base model is served).

        Raises:
            Unavailable: also when decisions seen before are gone, as under a lost mount: what is served stays.
            BadCheckpoint: the pointer is none of ours.
        """
        numbers = self._numbers(project_id, "champion")
        number = numbers[-1] if numbers else 0
        if number < self._highest.get(project_id, 0):
            raise Unavailable(
                f"the registry {self._root} has lost decision {self._highest[project_id]} of project {project_id}; "
                "decisions are never deleted: is its disk mounted?"
            )
        if not number:
            return None  # and nothing is remembered: anybody may ask for any number of projects that there are not
        self._highest[project_id] = number
        return self._pointer(project_id, number)

    def history(self, project_id: int) -> tuple[Pointer, ...]:
        """Every decision, oldest first.

        Raises:
            BadCheckpoint: a pointer is none of ours.
        """
        return tuple(self._pointer(project_id, number) for number in self._numbers(project_id, "champion"))

    def promote(self, project_id: int, version: str | None, *, reason: str, expected: int | None = None) -> Pointer:
        """Decide that this version is served from now on; None goes back to the base model.

        Its files are verified first. With `expected` (the number of the decision compared with, 0 for none) the
        decision is made only if no other came between.

        Raises:
            NotFound: no such version.
            BadInput: the version is another project's.
            BadCheckpoint: its files do not verify.
            ChampionMoved: another decision came between.
        """
        if version is not None:
            self._verify(project_id, version)
        pointers = self._pointers(project_id, "champion")
        with self._writing():
            make_folder(pointers)
            while True:
                number = refs.highest(pointers) + 1
                staging = self._root / "staging"
                pointer = Pointer(number=number, version=version, reason=reason, at=_now())
                content = {"version": version, "reason": reason, "at": pointer.at}
                if expected in (None, number - 1) and refs.create(pointers, number, content, staging=staging):
                    break
                if expected is not None:
                    raise ChampionMoved(
                        f"project {project_id} is at decision {refs.highest(pointers)}, not {expected}: "
                        "another promotion came between; compare again with what is served now"
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
        """Ids of the projects that have a version or a decision, ascending."""
        with self._reading():
            folder = self._root / "refs"
            names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
        found = (find_project_id(name) for name in names)
        return tuple(sorted(project_id for project_id in found if project_id is not None))

    def sweep(self, *, older_than_s: float = _ABANDONED_S) -> int:
        """Delete what killed publishers left: staging folders, and objects that no pointer names; tells how many.

        Only what has lain untouched for `older_than_s`: something younger may be a publisher at work.
        """
        with self._writing():
            named = {
                self._entry(project_id, "versions", number).get("object")
                for project_id in self.projects()
                for number in self._numbers(project_id, "versions")
            }
            left = [
                path
                for folder in (self._root / "staging", self._root / "objects")
                for path in (folder.iterdir() if folder.is_dir() else ())
                if path.name not in named and _age_s(path) >= older_than_s
            ]
            for path in left:
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
        return len(left)

    def _commit(self, staging: Path, manifest: Manifest, *, pointers: Path, number: int) -> bool:
        """Make the object of the staged weights and this manifest, and point at it; False if the number is taken."""
        data = manifest.to_json().encode()
        sha256 = hashlib.sha256(data).hexdigest()
        folder = staging.with_name(secrets.token_hex(16))
        folder.mkdir()
        try:
            for name in manifest.files:
                os.link(staging / name, folder / name)
            write_file(folder / MANIFEST_FILE, data)
            make_folder(self._root / "objects")
            folder.rename(self._root / "objects" / sha256)
        except OSError as fault:
            # That object exists already: a publisher of the very same bytes was killed before its pointer, or is a
            # step ahead. Objects with one name are equal, so the pointer may name it.
            if fault.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
                raise
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        sync_folder(self._root / "objects")
        content = {"version": manifest.version, "object": sha256}
        return refs.create(pointers, number, content, staging=self._root / "staging")

    def _verify(self, project_id: int, version: str) -> None:
        if VersionName.parse(version).project_id != project_id:
            raise BadInput(f"{version} is not a version of project {project_id}")
        self.manifest(version)
        verified_weights(self.folder(version))

    def _object(self, version: str) -> str:
        name = VersionName.parse(version)  # nothing of it but two numbers ever becomes part of a path
        entry: dict[str, Any] = {}
        with suppress(NotFound):
            entry = self._entry(name.project_id, "versions", name.number)
        if entry.get("version") != version:
            raise NotFound(f"there is no version {version}; `samloop versions --project {name.project_id}` lists them")
        return str(entry["object"])

    def _pointer(self, project_id: int, number: int) -> Pointer:
        entry = self._entry(project_id, "champion", number)
        return Pointer(number=number, version=entry["version"], reason=entry["reason"], at=entry["at"])

    def _entry(self, project_id: int, kind: str, number: int) -> dict[str, Any]:
        folder = self._pointers(project_id, kind)
        with self._reading():
            try:
                entry = refs.read(folder, number)
            except FileNotFoundError as fault:
                raise NotFound(f"there is no {kind} {number} in project {project_id}") from fault
        match entry:
            case {"version": str(), "object": str(sha256)} if kind == "versions" and _OBJECT.fullmatch(sha256):
                return entry
            case {"version": str() | None, "reason": str(), "at": str()} if kind == "champion":
                return entry
            case _:
                raise BadCheckpoint(f"{folder} holds under {number} no pointer of ours")

    def _numbers(self, project_id: int, kind: str) -> tuple[int, ...]:
        with self._reading():
            return refs.numbers(self._pointers(project_id, kind))

    def _pointers(self, project_id: int, kind: str) -> Path:
        return self._root / "refs" / str(parse_project_id(project_id)) / kind

    @contextmanager
    def _staged(self) -> Iterator[Path]:
        staging = self._root / "staging" / secrets.token_hex(16)
        make_folder(staging.parent)
        try:
            yield staging
        finally:
            shutil.rmtree(staging, ignore_errors=True)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Tell that the registry is away, which must never look like "nothing was published"."""
        try:
            if not self._root.is_dir():
                raise Unavailable(f"the registry {self._root} is not there; is its disk mounted (MODEL_DIR)?")
            yield
        except OSError as fault:
            raise Unavailable(f"the registry {self._root} cannot be read: {fault.strerror or fault}") from fault

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with self._reading():
            try:
                yield
            except OSError as fault:
                said = fault.strerror or str(fault)
                step = "free some space" if fault.errno in _FULL else "make it writable, on a disk that has hard links"
                raise Unavailable(
                    f"the registry {self._root} cannot be written: {said}; what is served stays; {step} (MODEL_DIR)"
                ) from fault


def _age_s(path: Path) -> float:
    """Seconds since it was changed; below zero once it is gone."""
    try:
        return max(0.0, time.time() - path.lstat().st_mtime)
    except FileNotFoundError:
        return -1.0


def _file_safe(base_model: str) -> str:
    """`facebook/sam-vit-base` -> `facebook-sam-vit-base`; at most 80 characters, never empty."""
    name = Path(base_model).name if base_model.startswith(("/", ".")) else base_model
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-._")[:80] or WEIGHTS_FILE.partition(".")[0]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
