"""What every project is served with, and the hot swap: load and warm beside, then one assignment.

A reader takes a snapshot and keeps it for the whole of its request, so a reply never mixes two versions.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from threading import Lock

import torch
from PIL import Image

from backend.errors import BadCheckpoint, NotFound, Unavailable
from backend.ids import is_version_of
from backend.masks.prompt import Click, Prompt
from backend.registry.protocol import Pointer, Registry
from backend.sam.loading import BaseModel, decoder_of
from backend.sam.predictor import Embedding, Predictor, encode, predictor_of, prompt_tensors
from backend.sam.semantic.objects import semantic_maps

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A predictor with its version; `number` is the registry's decision it stands for, 0 before the first."""

    version: str
    predictor: Predictor
    number: int


class ModelSlot:
    """One base model, and for every project the decoder, and the adapter if any, that its champion names."""

    def __init__(self, base: BaseModel, registry: Registry) -> None:
        self._base = base
        self._registry = registry
        self._of_base = Predictor(
            base, decoder_of(base, None), version=base.name, calibration=base.calibration, semantic=base.semantic
        )
        self._initial = Snapshot(version=base.name, predictor=self._of_base, number=0)
        # Never changed in place: `look` makes a new one and assigns it, so readers need no lock.
        self._served: Mapping[int, Snapshot] = {}
        self._refused: Mapping[str, str] = {}
        self._looking = Lock()

    @property
    def base(self) -> BaseModel:
        """The encoder that all projects share, but for those whose checkpoint has an adapter in it."""
        return self._base

    @property
    def refused(self) -> Mapping[str, str]:
        """Versions that must not be served, and the reason why."""
        return self._refused

    def refused_in(self, project_id: int) -> Mapping[str, str]:
        """Those of one project."""
        return {
            name: why
            for name, why in self._refused.items()
            if name == f"project {project_id}" or is_version_of(name, project_id)
        }

    def snapshot(self, project_id: int | None) -> Snapshot:
        """Return what is served now; the base for None and for a project without a champion. Never waits."""
        return self._served.get(project_id, self._initial) if project_id is not None else self._initial

    def look(self) -> tuple[int, ...]:
        """Compare what is served with the registry, swap what differs; tells the projects that were swapped.

        A checkpoint that must not be served is remembered and not tried again; what was served goes on, and after a
        start, when nothing was, the latest decision that still can be served.

        Raises:
            Unavailable, NotFound: the registry, or a part of it, is away; all other projects were looked at, what is
                served stays, and the next look tries again.
        """
        swapped, away = [], None
        with self._looking:
            for project_id in self._registry.projects():
                try:
                    if self._look_at(project_id):
                        swapped.append(project_id)
                except BadCheckpoint as fault:
                    self._refuse(f"project {project_id}", fault)
                except (NotFound, Unavailable) as fault:
                    away = fault
        if away is not None:
            raise away
        return tuple(swapped)

    def _look_at(self, project_id: int) -> bool:
        champion = self._registry.champion(project_id)
        served = self.snapshot(project_id)
        if champion is None or champion.number == served.number or champion.version in self._refused:
            return False
        first = project_id not in self._served
        decisions = reversed(self._registry.history(project_id)) if first else (champion,)
        for pointer in decisions:
            snapshot = self._load(pointer, served)
            if snapshot is not None:
                self._served = {**self._served, project_id: snapshot}
                log.info(
                    "project %d is served by %s",
                    project_id,
                    snapshot.version,
                    extra={"event": "model.swapped", "project_id": project_id, "version": snapshot.version},
                )
                return True
        return False

    def _load(self, pointer: Pointer, served: Snapshot) -> Snapshot | None:
        """Make the snapshot for a decision, warmed; None if its version is refused."""
        if pointer.version is None:
            return Snapshot(version=self._base.name, predictor=self._of_base, number=pointer.number)
        if pointer.version == served.version:
            return Snapshot(version=served.version, predictor=served.predictor, number=pointer.number)
        if pointer.version in self._refused:
            return None
        try:
            folder = self._registry.materialise(pointer.version)
            predictor = predictor_of(self._base, folder, version=pointer.version)
            _warm(predictor, shared=self._base)
        except BadCheckpoint as fault:
            self._refuse(pointer.version, fault)
            return None
        return Snapshot(version=pointer.version, predictor=predictor, number=pointer.number)

    def _refuse(self, version: str, fault: Exception) -> None:
        if version not in self._refused:
            log.error(
                "%s must not be served: %s",
                version,
                fault,
                extra={"event": "checkpoint.refused", "version": version},
            )
        self._refused = {**self._refused, version: str(fault)}


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
