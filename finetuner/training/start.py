"""Chooses the weights that a training starts from: the base's or those of the served version.

Either way the training learns from all annotations, old and new. From the base, no image that an earlier version learnt
from can flatter the new one. The served version is a fair start only if neither it nor a version that it started from
has learnt from a held-out image. Otherwise, or if its manifest does not say, the training starts from the base.
The digests of images decide permanently which are held out. A project that has outgrown cross-validation therefore
falls back to the base only once.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from backend.errors import BadCheckpoint, NotFound
from backend.registry.metrics import StartMetrics
from backend.sam.loading import BaseModel, find_trained
from finetuner.data.dataset import Dataset
from finetuner.methods.base import ENCODER, Method


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """The weights that a training starts from.

    Attributes:
        version: the name of the base or of the served version.
        why: the reason for this start, a sentence.
        weights: by name; None for the base's.
        learnt: digests of the images that the weights have learnt from.
        alpha: the scale of the adapter among the weights; None without an adapter.
    """

    version: str
    why: str
    weights: Mapping[str, Tensor] | None = None
    learnt: frozenset[str] = frozenset()
    alpha: float | None = None

    @classmethod
    def of(
        cls, base: BaseModel, *, served: str, folder: Path | None, learnt: frozenset[str], dataset: Dataset
    ) -> "Start":
        """The served version, from its checkpoint's folder, if that is fair to the held-out images; else the base."""
        if folder is None:
            return cls(version=base.name, why="only the base is served")
        if not learnt:
            return cls(version=base.name, why=f"{served} does not say which images it has learnt from")
        if seen := learnt & {sample.image_sha256 for sample in dataset.held_out}:
            return cls(version=base.name, why=f"{served} has learnt from {len(seen)} images that are held out now")
        try:
            trained = find_trained(base, folder)
        except (BadCheckpoint, NotFound) as fault:
            return cls(version=base.name, why=f"{served} cannot be loaded: {str(fault)[:200]}")
        weights: dict[str, Tensor] = dict(trained.decoder.state_dict())
        if trained.adapter is not None:
            weights |= {f"{ENCODER}{name}": value for name, value in trained.adapter.state.items()}
        return cls(
            version=served,
            why="SAMLOOP_START asks for the served version",
            weights=weights,
            learnt=learnt,
            alpha=None if trained.adapter is None else trained.adapter.alpha,
        )

    def fit_to(self, method: Method, *, base: BaseModel) -> "Start":
        """This start, or the base if the method does not train exactly these weights (another adapter, for example)."""
        moved, weights = method.trainable(), self.weights or {}
        odd = [name for name, value in weights.items() if name not in moved or moved[name].shape != value.shape]
        adapter = method.sizes["adapter"] or {}
        if self.alpha is not None and not odd and adapter.get("alpha") != self.alpha:
            odd = [f"an alpha of {self.alpha:g}"]
        if not odd:
            return self
        return Start(version=base.name, why=f"method {method.name} cannot continue {self.version}: it has {odd[0]}")

    def put_into(self, method: Method) -> None:
        """Copy these weights into the method; an adapter that they lack keeps its first weights, which add nothing."""
        moved = method.trainable()
        with torch.no_grad():
            for name, value in (self.weights or {}).items():
                moved[name].copy_(value)

    def metrics(self) -> StartMetrics:
        """The start as the manifest stores it."""
        return StartMetrics(version=self.version, why=self.why)


def from_base(base: BaseModel) -> Start:
    """Start from the base: the default."""
    return Start(version=base.name, why="every training starts from the base")
