"""What every project is served with, and the hot swap: load and warm beside, then one assignment.

A reader takes a snapshot and keeps it for the whole of its request, so a reply never mixes two versions.
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
from backend.registry.protocol import Pointer, Registry
from backend.sam.loading import BaseModel
from backend.sam.predictor import Embedding, Predictor, base_predictor, encode, predictor_of, prompt_tensors
from backend.sam.semantic.objects import semantic_maps

log = logging.getLogger(__name__)
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 60.0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A predictor with its version; `number` is the registry's decision it stands for, 0 before the first."""

    version: str
    predictor: Predictor
    number: int


@dataclass(frozen=True, slots=True)
class _Refusal:
    """Why a version is not served, and the project's latest decision at that time: a later one is a new try."""

    reason: str
    number: int


@dataclass(frozen=True, slots=True)
class _Away:
    """Why a version could not be read, and when (by the slot's clock) it is read again."""

    reason: str
    again_at_s: float
    pause_s: float


class ModelSlot:
    """One base model, and for every project the decoder, and the adapter if any, that its champion names.

    Args:
        base: the encoder that projects share.
        registry: which version each project is served with.
        clock_s: seconds that only go forward.
    """

    def __init__(self, base: BaseModel, registry: Registry, *, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._base = base
        self._registry, self._clock_s = registry, clock_s
        self._of_base = base_predictor(base)
        self._initial = Snapshot(version=base.name, predictor=self._of_base, number=0)
        # Never changed in place: `look` makes a new one and assigns it, so readers need no lock.
        self._served: Mapping[int, Snapshot] = {}
        self._refused: Mapping[str, _Refusal] = {}
        self._away: Mapping[str, _Away] = {}
        self._registry_away: str | None = None
        self._looking = Lock()

    @property
    def base(self) -> BaseModel:
        """The encoder that all projects share, but for those whose checkpoint has an adapter in it."""
        return self._base

    @property
    def refused(self) -> Mapping[str, str]:
        """Versions that must not be served, and the reason why."""
        return {name: refusal.reason for name, refusal in self._refused.items()}

    @property
    def away(self) -> Mapping[str, str]:
        """What cannot be read just now and is tried again, and the reason why: versions, projects, the registry."""
        registry = {} if self._registry_away is None else {"registry": self._registry_away}
        return registry | {name: away.reason for name, away in self._away.items()}

    def refused_in(self, project_id: int) -> Mapping[str, str]:
        """Those of one project."""
        return {
            name: why
            for name, why in self.refused.items()
            if name == _project_name(project_id) or is_version_of(name, project_id)
        }

    def snapshot(self, project_id: int | None) -> Snapshot:
        """Return what is served now; the base for None and for a project without a champion. Never waits."""
        return self._served.get(project_id, self._initial) if project_id is not None else self._initial

    def look(self) -> tuple[int, ...]:
        """Compare what is served with the registry, swap what differs; tells the projects that were swapped.

        A checkpoint that must not be served is remembered and not tried again before the next decision; a checkpoint
        that is away is tried again, after pauses that grow to a minute. What was served goes on, and after a start,
        when nothing was, the latest decision that can be served now.

        Raises:
            Unavailable, NotFound: the registry, or a part of it, is away; all other projects were looked at, what is
                served stays, and the next look tries again.
        """
        swapped, away = [], None
        with self._looking:
            try:
                project_ids = self._registry.projects()
            except (NotFound, Unavailable) as fault:
                self._registry_away = str(fault)
                raise
            self._registry_away = None
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
            return False  # every decision before it was looked at too
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

    def _serve(self, project_id: int, snapshot: Snapshot) -> None:
        self._served = {**self._served, project_id: snapshot}
        log.info(
            "project %d is served by %s",
            project_id,
            snapshot.version,
            extra={"event": "model.swapped", "project_id": project_id, "version": snapshot.version},
        )

    def _load(self, pointer: Pointer, served: Snapshot, *, latest: int) -> Snapshot | None:
        """Make the snapshot for a decision, warmed; None if its version is refused, or is away and not to be tried yet.

        Raises:
            NotFound, Unavailable: it is away.
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
            # Its manifest by the digest that its pointer names: a folder may hold another version's files, all whole.
            self._registry.manifest(version)
            folder = self._registry.materialise(version)
            predictor = predictor_of(self._base, folder, version=version, plain=self._of_base)
            _warm(predictor, shared=self._base)
        except BadCheckpoint as fault:
            self._refuse(version, fault, number=latest)
            return None
        except (NotFound, Unavailable) as fault:
            self._wait_for(version, fault)
            raise
        self._forget(version)
        return Snapshot(version=version, predictor=predictor, number=pointer.number)

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
        """What was wrong with it is over."""
        self._refused = {known: refusal for known, refusal in self._refused.items() if known != name}
        self._away = {known: away for known, away in self._away.items() if known != name}

    def _forget_away(self, project_id: int) -> None:
        """All that was decided is served: no version of the project is waited for."""
        self._away = {name: away for name, away in self._away.items() if not is_version_of(name, project_id)}


def _project_name(project_id: int) -> str:
    return f"project {project_id}"


def _warm(predictor: Predictor, *, shared: BaseModel) -> None:
    """Decode once, so that no request pays for first use, and finite weights that overflow show.

    On an empty embedding; where the encoder is not the one that all share, on that of a black image.

    Raises:
        BadCheckpoint: what comes out is not finite.
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
