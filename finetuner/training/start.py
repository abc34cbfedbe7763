"""Which weights a training begins with: the base's, or those of what is served.

Either way it learns from all annotations, old and new. From the base no image that an earlier version learnt from can
flatter the new one. From what is served that holds only as long as that has not learnt from a held-out image, by itself
or through what it began with; so where it has, or where nobody knows, the training begins with the base all the same.
The digests of images decide for ever which are held out, so in a project that has outgrown cross-validation this comes
to pass once: after the first training from the base.
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
    """`weights` None: the base's. `learnt`: digests of the images that are in them already. `why` is a sentence.

    `alpha` scales the adapter among the weights; None: there is none.
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
        """Begin with what is served, from its checkpoint's folder, if that is fair to the held-out images."""
        if folder is None:
            return cls(version=base.name, why="nothing but the base is served")
        if not learnt:
            return cls(version=base.name, why=f"{served} does not tell from which images it has learnt")
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
            why="the setting asks for what is served",
            weights=weights,
            learnt=learnt,
            alpha=None if trained.adapter is None else trained.adapter.alpha,
        )

    def fitting(self, method: Method, *, base: BaseModel) -> "Start":
        """This, or the base where the method does not move all of these weights: of another adapter, say."""
        moved, weights = method.trainable(), self.weights or {}
        odd = [name for name, value in weights.items() if name not in moved or moved[name].shape != value.shape]
        adapter = method.sizes["adapter"] or {}
        if self.alpha is not None and not odd and adapter.get("alpha") != self.alpha:
            odd = [f"an alpha of {self.alpha:g}"]
        if not odd:
            return self
        return Start(version=base.name, why=f"{self.version} has what {method.name} would not go on with: {odd[0]}")

    def put_into(self, method: Method) -> None:
        """Let the method begin with these; an adapter that they do not have begins as it was born, adding nothing."""
        moved = method.trainable()
        with torch.no_grad():
            for name, value in (self.weights or {}).items():
                moved[name].copy_(value)

    def metrics(self) -> StartMetrics:
        """What the manifest keeps of it."""
        return StartMetrics(version=self.version, why=self.why)


def from_base(base: BaseModel) -> Start:
    """The default."""
    return Start(version=base.name, why="every training begins with the base")
