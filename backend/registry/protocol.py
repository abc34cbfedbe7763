"""What a registry is, wherever it keeps its checkpoints: the seam that callers depend on.

A second kind of registry is one file beside `local` that keeps this contract (tests/contracts/test_registry.py runs
over every kind), and a line in `opening`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Protocol, runtime_checkable

from backend.registry.checkpoint import Manifest
from backend.registry.state import StateDir

ABANDONED_S = 86400.0  # s; no publisher takes a day
NO_OTHERS: Mapping[str, bytes] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Pointer:
    """The decision `number`: from `at` (ISO 8601, UTC) on this version is served; None is the base model."""

    number: int
    version: str | None
    reason: str
    at: str


@runtime_checkable
class Registry(Protocol):
    """Every project's line of checkpoints, and the decisions which of them is served; for many processes at once.

    Every method raises:
        Unavailable: the registry cannot be read, or, on writing, is full or read-only. A registry that is away never
            looks like one in which nothing was published.
        BadInput: a project id that is no positive whole number, or a version that is no version's name.
    """

    @property
    def state_dir(self) -> StateDir:
        """Where files live that change while samloop runs: ledgers, flags, unfinished trainings."""
        ...

    def publish(
        self, project_id: int, *, weights: bytes, manifest: Manifest, others: Mapping[str, bytes] = NO_OTHERS
    ) -> Manifest:
        """Store a checkpoint as the project's next version; it is not served before it is promoted.

        Args:
            project_id: whose version it is.
            weights: a safetensors file.
            manifest: `version`, `project_id` and `files` are filled in here.
            others: files beside the weights, by name; the manifest vouches for them too.

        Returns:
            The manifest as published. Its version is a `backend.ids.VersionName`.

        Raises:
            BadCheckpoint: a name in `others` cannot be a file's.
        """
        ...

    def materialise(self, version: str) -> Path:
        """The checkpoint folder of this version on this machine's disk, to read and not to change.

        Its files may still be damaged: `checkpoint.verify_weights` tells.

        Raises:
            NotFound: no such version.
        """
        ...

    def manifest(self, version: str) -> Manifest:
        """The manifest of this version.

        Raises:
            NotFound: no such version.
            BadCheckpoint: the manifest is not the one that was published.
        """
        ...

    def versions(self, project_id: int) -> tuple[Manifest, ...]:
        """Every readable version of the project, oldest first; an unreadable version is logged and left out."""
        ...

    def champion(self, project_id: int) -> Pointer | None:
        """The latest decision, or None where nothing was ever promoted (the base model is served).

        Raises:
            Unavailable: also when decisions seen before are gone, as under a lost mount: what is served stays.
            BadCheckpoint: the pointer is none of ours.
        """
        ...

    def history(self, project_id: int) -> tuple[Pointer, ...]:
        """Every decision, oldest first.

        Raises:
            BadCheckpoint: a pointer is none of ours.
        """
        ...

    def promote(self, project_id: int, version: str | None, *, reason: str, expected: int | None = None) -> Pointer:
        """Decide that this version is served from now on; None goes back to the base model.

        The version's files are verified first. With `expected` (the number of the decision compared with, 0 for none)
        the decision is made only if no other came between.

        Raises:
            NotFound: no such version.
            BadInput: the version is another project's.
            BadCheckpoint: its files do not verify.
            ChampionMoved: another decision came between.
        """
        ...

    def projects(self) -> tuple[int, ...]:
        """Ids of the projects that have a version or a decision, ascending."""
        ...

    def sweep(self, *, older_than_s: float = ABANDONED_S) -> int:
        """Delete what killed publishers left and nothing names; returns how many.

        Only what has lain untouched for `older_than_s`: something younger may be a publisher at work. Whoever may not
        write learns it here, so this also checks that the registry is writable.

        Raises:
            BadCheckpoint: a pointer cannot be read, so that nobody knows what it names; nothing is deleted.
        """
        ...
