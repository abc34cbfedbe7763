"""The version that serves each project, and the hot swap: load and warm the new one, then assign it at once.

A request takes one snapshot and keeps it to its end, so an answer never mixes two versions.
"""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from threading import Lock

import torch
from PIL import Image

from backend.errors import BadCheckpoint, NotFound, Unavailable
from backend.ids import is_version_of
from backend.masks.prompt import Click, Prompt
from backend.registry.protocol import LastSeen, Pointer, Registry
from backend.sam.loading import BaseModel
from backend.sam.predictor import Embedding, Predictor, base_predictor, encode, predictor_of, prompt_tensors
from backend.sam.semantic.objects import semantic_maps
from backend.serving.turns.machine_share import stand_back
from backend.serving.turns.traffic import Traffic

log = logging.getLogger(__name__)
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 60.0
_PATIENCE_S = 0.5  # of the two seconds within which a promotion is served


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A predictor and its version; `number` is the decision that it carries out, 0 before the first."""

    version: str
    predictor: Predictor
    number: int


@dataclass(frozen=True, slots=True)
class _Refusal:
    """Why a version is not served, and the project's latest decision then: only a later decision tries it again."""

    reason: str
    number: int


@dataclass(frozen=True, slots=True)
class _Away:
    """Why a version could not be read, and when, on the slot's clock, it is read again."""

    reason: str
    again_at_s: float
    pause_s: float


class ModelSlot:
    """One base model, and every project's decoder and adapter, as its champion names them.

    Args:
        base: the model whose encoder the projects share.
        registry: the decisions.
        traffic: the clicks that a version makes way for while it is loaded.
        patience_s: how long a version makes way in all, s.
        clock_s: returns seconds that never go back.
    """

    def __init__(
        self,
        base: BaseModel,
        registry: Registry,
        *,
        traffic: Traffic | None = None,
        patience_s: float = _PATIENCE_S,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._base, self._traffic, self._patience_s = base, traffic or Traffic(), patience_s
        self._registry, self._clock_s = registry, clock_s
        self._of_base = base_predictor(base)
        self._initial = Snapshot(version=base.name, predictor=self._of_base, number=0)
        # `look` assigns new mappings and never changes these in place, so readers need no lock.
        self._served: Mapping[int, Snapshot] = {}
        self._refused: Mapping[str, _Refusal] = {}
        self._away: Mapping[str, _Away] = {}
        self._registry_away: str | None = None
        self._last_seen: tuple[int, ...] | None = None  # the projects that are served by it, None before it was read
        self._swaps = 0
        self._looking = Lock()

    @property
    def base(self) -> BaseModel:
        """The model whose encoder all projects share, except those whose checkpoint has an adapter."""
        return self._base

    @property
    def swaps(self) -> int:
        """How often another version began to serve a project; the versions that a start brings count too."""
        return self._swaps

    @property
    def refused(self) -> Mapping[str, str]:
        """The versions that must not be served, with the reasons."""
        return {name: refusal.reason for name, refusal in self._refused.items()}

    @property
    def away(self) -> Mapping[str, str]:
        """The versions and projects, or the registry, that cannot be read now and are tried again, with the reasons."""
        registry = {} if self._registry_away is None else {"registry": self._registry_away}
        return registry | {name: away.reason for name, away in self._away.items()}

    def list_refused(self, project_id: int) -> Mapping[str, str]:
        """The refused versions of one project, with the reasons."""
        return {
            name: why
            for name, why in self.refused.items()
            if name == _project_name(project_id) or is_version_of(name, project_id)
        }

    def snapshot(self, project_id: int | None) -> Snapshot:
        """Return the version that serves the project now, without waiting; the base model for None or no champion."""
        return self._served.get(project_id, self._initial) if project_id is not None else self._initial

    def look(self) -> tuple[int, ...]:
        """Look into the registry, and swap where the latest decision differs; return the projects that were swapped.

        A checkpoint that must not be served is not tried again before the next decision. An unreadable checkpoint is
        tried again after pauses that grow to a minute. Meanwhile the old version goes on serving; after a start, the
        latest decision that can be served is served.

        Raises:
            Unavailable, NotFound: the registry, or a part of it, cannot be read. All other projects were looked at, the
                served versions stay, and the next look tries again.
        """
        swapped, away = [], None
        with self._looking:
            try:
                project_ids = self._registry.projects()
            except (NotFound, Unavailable) as fault:
                self._serve_last_seen()
                self._registry_away = f"{fault}{self._describe_last_seen()}"
                raise
            self._registry_away, self._last_seen = None, ()
            for project_id in project_ids:
                name = _project_name(project_id)
                try:
                    if self._look_at(project_id):
                        swapped.append(project_id)
                    self._forget(name)
                except BadCheckpoint as fault:
                    self._refuse(name, fault, number=0)
                except (NotFound, Unavailable) as fault:
                    self._wait_for(name, fault)
                    away = fault
        if away is not None:
            raise away
        return tuple(swapped)

    def _look_at(self, project_id: int) -> bool:
        champion = self._registry.champion(project_id)
        served = self.snapshot(project_id)
        if champion is None or champion.number == served.number:
            self._forget_away(project_id)
            return False
        first = project_id not in self._served
        if self._is_refused(champion.version, latest=champion.number) and _project_name(project_id) not in self._away:
            return False  # every earlier decision was tried too
        decisions = reversed(self._registry.history(project_id)) if first else (champion,)
        away: NotFound | Unavailable | None = None
        for pointer in decisions:
            try:
                snapshot = self._load(pointer, served, latest=champion.number)
            except (NotFound, Unavailable) as fault:
                away = away or fault
                continue
            if snapshot is not None:
                self._serve(project_id, snapshot)
                if pointer.number == champion.number:
                    self._forget_away(project_id)
                return True
        if away is not None:
            raise away
        return False

    def _serve_last_seen(self) -> None:
        """After a start without the registry, serve the latest decisions of which this machine has all it needs."""
        seen = self._registry.last_seen
        if self._last_seen is not None or seen is None:
            return
        self._last_seen = tuple(project_id for project_id in seen.projects() if self._serve_from(seen, project_id))

    def _serve_from(self, seen: LastSeen, project_id: int) -> bool:
        try:
            decisions = seen.history(project_id)
        except BadCheckpoint as fault:
            log.warning("%s", fault, extra={"event": "model.unseen", "project_id": project_id})
            return False
        for pointer in reversed(decisions):
            version = pointer.version or self._base.name
            try:
                predictor = self._open(version, seen) if pointer.version else self._of_base
            except (BadCheckpoint, NotFound, Unavailable) as fault:
                # Nothing is refused here: the registry may have a sound copy.
                log.warning("%s: %s", version, fault, extra={"event": "model.unseen", "version": version})
                continue
            self._serve(project_id, Snapshot(version=version, predictor=predictor, number=pointer.number))
            return True
        return False

    def _describe_last_seen(self) -> str:
        projects = ", ".join(
            f"{project_id} by {self._served[project_id].version}" for project_id in self._last_seen or ()
        )
        return f"; until then, the versions that this machine saw last serve project {projects}" if projects else ""

    def _serve(self, project_id: int, snapshot: Snapshot) -> None:
        self._served = {**self._served, project_id: snapshot}
        self._swaps += 1
        log.info(
            "project %d is served by %s",
            project_id,
            snapshot.version,
            extra={"event": "model.swapped", "project_id": project_id, "version": snapshot.version},
        )

    def _load(self, pointer: Pointer, served: Snapshot, *, latest: int) -> Snapshot | None:
        """Load and warm the snapshot of a decision; None if its version is refused.

        Raises:
            NotFound, Unavailable: the version cannot be read, or is not to be tried again yet.
        """
        version = pointer.version
        if version is None:
            return Snapshot(version=self._base.name, predictor=self._of_base, number=pointer.number)
        if version == served.version:
            return Snapshot(version=version, predictor=served.predictor, number=pointer.number)
        if self._is_refused(version, latest=latest):
            return None
        away = self._away.get(version)
        if away is not None and self._clock_s() < away.again_at_s:
            raise Unavailable(away.reason)
        try:
            predictor = self._open(version, self._registry)
        except BadCheckpoint as fault:
            self._refuse(version, fault, number=latest)
            return None
        except (NotFound, Unavailable) as fault:
            self._wait_for(version, fault)
            raise
        self._forget(version)
        return Snapshot(version=version, predictor=predictor, number=pointer.number)

    def _open(self, version: str, registry: LastSeen) -> Predictor:
        """Load and warm a version, on one core and between clicks.

        Raises:
            BadCheckpoint, NotFound, Unavailable: as the registry, or the version predicts no finite numbers.
        """
        # The pointer names the manifest's digest: a folder may hold another version's files, all of them sound.
        registry.manifest(version)
        folder = registry.materialise(version)
        with stand_back(self._traffic, patience_s=self._patience_s):
            predictor = predictor_of(self._base, folder, version=version, plain=self._of_base)
            _warm(predictor, shared=self._base)
        return predictor

    def _is_refused(self, version: str | None, *, latest: int) -> bool:
        refusal = None if version is None else self._refused.get(version)
        return refusal is not None and latest <= refusal.number

    def _refuse(self, name: str, fault: Exception, *, number: int) -> None:
        known = self._refused.get(name)
        if known is None or known.number < number:
            log.error(
                "%s must not be served: %s",
                name,
                fault,
                extra={"event": "checkpoint.refused", "version": name},
            )
        self._refused = {**self._refused, name: _Refusal(str(fault), number)}
        self._away = {known: away for known, away in self._away.items() if known != name}

    def _wait_for(self, name: str, fault: Exception) -> None:
        known = self._away.get(name)
        pause_s = _FIRST_PAUSE_S if known is None else min(2 * known.pause_s, _LONGEST_PAUSE_S)
        self._away = {**self._away, name: _Away(str(fault), self._clock_s() + pause_s, pause_s)}

    def _forget(self, name: str) -> None:
        """Forget why it was refused or unreadable."""
        self._refused = {known: refusal for known, refusal in self._refused.items() if known != name}
        self._away = {known: away for known, away in self._away.items() if known != name}

    def _forget_away(self, project_id: int) -> None:
        """Forget the project's unreadable versions: its latest decision is served."""
        self._away = {name: away for name, away in self._away.items() if not is_version_of(name, project_id)}


def _project_name(project_id: int) -> str:
    return f"project {project_id}"


def _warm(predictor: Predictor, *, shared: BaseModel) -> None:
    """Decode once, so that no request pays for the first use, and overflows show.

    This decodes an empty embedding; with an encoder of its own, the embedding of a black image.

    Raises:
        BadCheckpoint: an output is not finite.
    """
    base = predictor.base
    side = base.frame.canvas_px
    if base is shared:
        empty = Embedding(features=torch.zeros_like(base.image_positions), height_px=side, width_px=side)
    else:
        empty = encode(base, Image.new("RGB", (side, side)))
    middle = Prompt(clicks=(Click(x_px=side / 2, y_px=side / 2),))
    with torch.inference_mode():
        outputs = [*predictor.four_masks(empty, prompt_tensors((middle,), empty, frame=base.frame))]
        if predictor.semantic is not None:
            outputs.append(torch.from_numpy(semantic_maps(predictor.semantic, empty, base=base).margins))
    if not all(bool(torch.isfinite(output).all()) for output in outputs):
        raise BadCheckpoint(f"{predictor.version} predicts numbers that are not finite")
