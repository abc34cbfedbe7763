"""What a training made, and what it must beat."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from backend.registry.checkpoint import Manifest
from backend.registry.metrics import Verdict
from backend.sam.loading import BaseModel, decoder_of
from backend.sam.predictor import Predictor
from finetuner.unfinished import Unfinished


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What the candidate must beat; `predictor` None: the base model itself.

    `learnt`: digests of the images that it has learnt from; measured on those it would look better than it is.
    `folder`: its checkpoint, for a training that begins with it. `of_base`: the base that it was trained on, where the
    candidate has another.
    """

    version: str
    predictor: Predictor | None = None
    learnt: frozenset[str] = frozenset()
    folder: Path | None = None
    of_base: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """What a training made: the weights' file, and a manifest that lacks only the version and the files.

    `others` are the checkpoint's further files, by name: the report, a page for people, and the masks of the held-out
    objects, which the review pages show. `unfinished` holds the states of its trainings, which whoever publishes it
    clears.
    """

    weights: bytes
    manifest: Manifest
    verdict: Verdict
    others: Mapping[str, bytes] = field(repr=False)
    unfinished: Unfinished | None = field(default=None, repr=False)

    def forget_unfinished(self) -> None:
        """It is kept elsewhere now: what would bring it back after a kill is not needed."""
        if self.unfinished is not None:
            self.unfinished.clear()


def base_predictor(base: BaseModel) -> Predictor:
    """The base model as it is served."""
    return Predictor(base, decoder_of(base, None), version=base.name, calibration=base.calibration)


def learnt_images(manifest: Manifest) -> frozenset[str]:
    """Digests of the images that a checkpoint has learnt from, as far as its manifest tells."""
    split = manifest.metrics.split
    return frozenset() if split is None else frozenset(split.learnt)
