"""The result of a training, and the served model that it must beat."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from backend.registry.checkpoint import Manifest
from backend.registry.metrics import Verdict
from backend.sam.predictor import Predictor
from finetuner.unfinished import Unfinished


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """The served model that the candidate must beat.

    Attributes:
        version: its version, or the name of the base.
        predictor: the model; None if the base itself is served.
        learnt: digests of the images that it has learnt from, on which it would look better than it is.
        folder: the folder of its checkpoint, for a training that starts from it.
        of_base: the base that it was trained on, if the candidate has another.
        is_first: whether it is a first version, which a longer training is to follow (recipe.first).
        is_live: whether it answers a project's people now, so that a semantic head may go beside it alone.
    """

    version: str
    predictor: Predictor | None = None
    learnt: frozenset[str] = frozenset()
    folder: Path | None = None
    of_base: str | None = None
    is_first: bool = False
    is_live: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """The result of a training, before its publication.

    Attributes:
        weights: the bytes of the weights' file.
        manifest: the manifest, without version and files.
        verdict: whether the candidate may be served.
        others: the checkpoint's further files by name: the report page, and the held-out masks for the review pages.
        unfinished: the saved states of its trainings, which the publisher deletes.
        head_alone: the served model with this training's semantic head, to be promoted if this candidate is not; None
            if the head is no gain.
    """

    weights: bytes
    manifest: Manifest
    verdict: Verdict
    others: Mapping[str, bytes] = field(repr=False)
    unfinished: Unfinished | None = field(default=None, repr=False)
    head_alone: "Candidate | None" = field(default=None, repr=False)

    def forget_unfinished(self) -> None:
        """Delete the saved states of the trainings, once the candidate is published."""
        if self.unfinished is not None:
            self.unfinished.clear()


def learnt_images(manifest: Manifest) -> frozenset[str]:
    """Digests of the images that a checkpoint has learnt from, as far as its manifest says."""
    split = manifest.metrics.split
    return frozenset() if split is None else frozenset(split.learnt)
