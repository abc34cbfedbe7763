"""What every kind of registry does. Callers depend on this contract alone.

A further kind of registry is one file beside `local` that fulfils this contract (tests/contracts/test_registry.py runs
over every kind), and a line in `opening`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Protocol, runtime_checkable

from backend.registry.checkpoint import Manifest
from backend.registry.state import StateDir

ABANDONED_S = 86400.0  # s; no publisher takes a day
NO_OTHERS: Mapping[str, bytes] = MappingProxyType({})


def let_pass() -> None:
    """Be the fence of whoever publishes alone."""


@dataclass(frozen=True, slots=True)
class Pointer:
    """Decision `number`: from `at` (ISO 8601, UTC) on, `version` is served; None is the base model."""

    number: int
    version: str | None
    reason: str
    at: str


@runtime_checkable
class LastSeen(Protocol):
    """What this machine saw last of a registry that cannot be reached now; every method is as in `Registry`."""

    def projects(self) -> tuple[int, ...]:
        """Return the projects of which a decision was read."""
        ...

    def history(self, project_id: int) -> tuple[Pointer, ...]:
        """Return the decisions that were read, oldest first."""
        ...

    def manifest(self, version: str) -> Manifest:
        """Return the manifest, whose digest is what the version's pointer says."""
        ...

    def materialise(self, version: str) -> Path:
        """Return the verified checkpoint folder."""
        ...


@runtime_checkable
class Registry(Protocol):
    """Every project's checkpoints, and the decisions which of them serves. Many processes may use it at once.

    Every method raises:
        Unavailable: the registry cannot be read; or, on writing, is full or read-only. An unreachable registry never
            looks like an empty one.
        BadInput: a project id is not a positive whole number, or a version is not a version's name.
    """

    @property
    def state_dir(self) -> StateDir:
        """The folders of files that change while samloop runs: ledgers, flags, unfinished trainings."""
        ...

    @property
    def last_seen(self) -> LastSeen | None:
        """What this machine saw last of it, where that is stored apart from the registry; None elsewhere."""
        ...

    def publish(
        self,
        project_id: int,
        *,
        weights: bytes,
        manifest: Manifest,
        others: Mapping[str, bytes] = NO_OTHERS,
        fence: Callable[[], None] = let_pass,
    ) -> Manifest:
        """Store a checkpoint as the project's next version. It serves only after a promotion.

        Args:
            project_id: whose version it is.
            weights: a safetensors file.
            manifest: `publish` fills in `version`, `project_id` and `files`.
            others: further files, by name; the manifest holds their digests too.
            fence: raises if the version must not be published any more. It is called once the files are stored, right
                before the version gets its number: storing may take minutes, in which another run may take over.

        Returns:
            The manifest as published. Its version is a `backend.ids.VersionName`.

        Raises:
            BadCheckpoint: a name in `others` is not a file name.
        """
        ...

    def materialise(self, version: str) -> Path:
        """Return the checkpoint folder of this version on this machine's disk. Callers must not change it.

        Its files may be damaged; `checkpoint.verify_weights` checks them.

        Raises:
            NotFound: there is no such version.
        """
        ...

    def manifest(self, version: str) -> Manifest:
        """Return the manifest of this version.

        Raises:
            NotFound: there is no such version.
            BadCheckpoint: the manifest differs from the published one.
        """
        ...

    def versions(self, project_id: int) -> tuple[Manifest, ...]:
        """Return every readable version of the project, oldest first; log and skip unreadable versions."""
        ...

    def champion(self, project_id: int) -> Pointer | None:
        """Return the latest decision, or None before the first, while the base model is served.

        Raises:
            Unavailable: also when decisions seen earlier are gone, as after a lost mount; the served version stays.
            BadCheckpoint: the pointer is malformed.
        """
        ...

    def history(self, project_id: int) -> tuple[Pointer, ...]:
        """Return every decision, oldest first.

        Raises:
            BadCheckpoint: a pointer is malformed.
        """
        ...

    def promote(self, project_id: int, version: str | None, *, reason: str, expected: int | None = None) -> Pointer:
        """Decide that this version is served from now on; None returns to the base model.

        This first verifies the version's files. `expected` is the number of the decision that the caller knows, 0 for
        none; if it is given, a newer decision makes this call fail.

        Raises:
            NotFound: there is no such version.
            BadInput: the version belongs to another project.
            BadCheckpoint: a file of the version is damaged.
            ChampionMoved: there is a newer decision than `expected`.
        """
        ...

    def projects(self) -> tuple[int, ...]:
        """Return the ids of all projects with a version or a decision, ascending."""
        ...

    def sweep(self, *, older_than_s: float = ABANDONED_S) -> int:
        """Delete the unnamed leftovers of killed publishers; return how many.

        Leftovers younger than `older_than_s` stay: their publisher may still be at work. This also checks that the
        registry is writable.

        Raises:
            BadCheckpoint: a pointer is unreadable. Nothing is deleted, because it may name a leftover.
        """
        ...
